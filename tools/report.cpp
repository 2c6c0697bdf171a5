#include "tools/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "kernels/error.h"
#include "tools/figure_text.h"
#include "tools/html.h"
#include "tools/report_parts.h"
#include "tools/report_style.h"
#include "tools/svg_plot.h"

namespace cutis {
namespace {

using namespace report;

template <class... Args>
void add(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

constexpr std::string_view kExplanations = R"(<details><summary>What the figures mean</summary><dl>
<dt>Balanced accuracy</dt><dd>The mean of the classes' sensitivities: each class counts the same, however rare. Always giving
the most frequent answer scores 1 / number of classes. The ISIC challenges rank by it.</dd>
<dt>Accuracy</dt><dd>The share of images answered right. Where one class is frequent it says little.</dd>
<dt>Sensitivity, specificity, precision</dt><dd>Of the images of a class, the share that the model finds; of the other images,
the share that it does not call so; of the images it calls so, the share that is right.</dd>
<dt>Macro F1</dt><dd>The mean over classes of F1, the harmonic mean of sensitivity and precision.</dd>
<dt>AUC</dt><dd>The probability that an image of the class gets a higher probability of that class than an image of another
one: 1 is perfect, 0.5 is chance. Macro AUC is the mean over classes.</dd>
<dt>Calibration error (ECE)</dt><dd>How far confidence and accuracy lie apart on average, in 15 bins. Of answers given with
a confidence of 0.8, eight in ten should be right. 0 is best.</dd>
<dt>Negative log-likelihood, Brier score</dt><dd>Penalties on probabilities that miss the truth; 0 is best.</dd>
<dt>Intervals</dt><dd>What the figure would be in other samples of patients like these: all lesions are drawn again with
replacement, each with all its images, and the middle part of the results is shown. They say nothing about other clinics,
cameras or skin types.</dd>
</dl></details>
)";

constexpr std::string_view kLeakyWarning =
    "<p class=\"warning\"><b>Leaky split.</b> Images of one lesion stand in training and in evaluation, so the model "
    "was tested "
    "on what it has seen. Every figure below is too good, and none may be compared with an honest one.</p>\n";

std::string page_header(const ReportInput& input, const std::vector<std::pair<std::string, std::string>>& sections) {
    std::string html = "<header><div>\n<p class=\"eyebrow\">cutis training report</p>\n";
    add(html, "<h1>{}</h1>\n", html_escape(input.title));
    if (!input.facts.empty()) {
        html += "<dl class=\"facts\">\n";
        for (const auto& [name, value] : input.facts) {
            add(html, "<div><dt>{}</dt><dd>{}</dd></div>\n", html_escape(name), html_escape(value));
        }
        html += "</dl>\n";
    }
    html += "<nav>";
    for (const auto& [id, name] : sections) {
        add(html, "<a href=\"#{}\">{}</a>\n", id, name);
    }
    return html + "</nav>\n</div></header>\n";
}

/// What a reader must know about a split before believing its figures.
std::string_view standing(const Evaluation& evaluation, bool leaky) {
    if (leaky) {
        return "";
    }
    if (evaluation.split == "test") {
        return ", none of which the model was trained on";
    }
    if (evaluation.split == "val") {
        return ", which also chose the weights that were kept: figures of a test split would be a little lower";
    }
    return evaluation.split == "train" ? ", on which the model was trained: other images would score lower" : "";
}

std::string results(const ReportInput& input, const Evaluation& first, bool leaky) {
    std::string html = heading("results", "Results", leaky);
    const BootstrapOptions& options = first.intervals.options;
    add(html,
        "<p class=\"lead\">On the {} images of {} lesions of the split <b>{}</b>{}. Below each figure: its {:g} % "
        "interval, "
        "by {} resamples of whole lesions.</p>\n",
        grouped(static_cast<std::int64_t>(first.predictions.size())),
        grouped(static_cast<std::int64_t>(first.predictions.lesions())), html_escape(first.split),
        standing(first, leaky), options.level * 100, grouped(options.resamples));
    html += cards(first, leaky);
    html += kExplanations;
    if (input.evaluations.size() > 1) {
        html += "<h3 style=\"margin-top:22px\">All splits</h3>\n" + splits_table(input.evaluations, input.leaky);
    }
    return html;
}

std::string judgement(const ReportInput& input, const Evaluation& first, bool leaky) {
    const auto val = std::find_if(input.evaluations.begin() + 1, input.evaluations.end(),
                                  [](const Evaluation& evaluation) { return evaluation.split == "val"; });
    std::string html = heading("classes", "Class by class", leaky);
    add(html, "<p class=\"lead\">What the model answers, and where it goes wrong, on the split {}.</p>\n",
        html_escape(first.split));
    html += "<div class=\"grid\">\n<div class=\"panel wide\"><h3>Confusion matrix</h3>\n" + confusion_matrix(first) +
            "</div>\n";
    html += "<div class=\"panel wide\"><h3>Figures of each class</h3>\n" + class_table(first) + "</div>\n";
    html += "<div class=\"panel\"><h3>ROC curves, with the area below each (AUC)</h3>\n" + roc_plot(first) + "</div>\n";
    const ReliabilityBins bins = reliability(first.predictions);
    add(html, "<div class=\"panel\"><h3>Reliability, calibration error {}</h3>\n{}</div>\n", figure_text(bins.ece),
        draw_reliability(bins));
    const std::string melanoma = melanoma_table(first, val == input.evaluations.end() ? nullptr : &*val);
    if (!melanoma.empty()) {
        html += "<div class=\"panel wide\"><h3>Finding melanoma: what a higher sensitivity costs</h3>\n" + melanoma +
                "</div>\n";
    }
    return html + "</div>\n";
}

std::string mistakes(const ReportInput& input, bool leaky) {
    std::string html = heading("mistakes", "The surest mistakes", leaky);
    html +=
        "<p class=\"lead\">The wrong answers that the model gave with the highest probability (orange), and the "
        "probability "
        "that it gave to the truth.</p>\n";
    html += gallery(input.mistakes);
    if (!input.image_attribution.empty()) {
        add(html, "<p class=\"note\">{}</p>\n", html_escape(input.image_attribution));
    }
    return html;
}

std::string repeat(const ReportInput& input) {
    std::string html = heading("repeat", "Configuration", false);
    if (!input.commands.empty()) {
        html += "<div class=\"panel\"><h3>Commands that repeat this run</h3>\n";
        for (const std::string& command : input.commands) {
            html += "<pre>" + html_escape(command) + "</pre>\n";
        }
        html += "</div>\n";
    }
    if (!input.configuration.empty()) {
        // Two tables, so that they can stand side by side where there is room.
        const std::size_t half = (input.configuration.size() + 1) / 2;
        html += "<div class=\"panel columns\">\n";
        for (std::size_t begin = 0; begin < input.configuration.size(); begin += half) {
            html += "<table class=\"settings\"><tbody>\n";
            for (std::size_t i = begin; i < std::min(begin + half, input.configuration.size()); ++i) {
                add(html, "<tr><td>{}</td><td>{}</td></tr>\n", html_escape(input.configuration[i].first),
                    html_escape(input.configuration[i].second));
            }
            html += "</tbody></table>\n";
        }
        html += "</div>\n";
    }
    if (!input.configuration_json.empty()) {
        add(html, "<details><summary>config.json</summary><pre>{}</pre></details>\n",
            html_escape(input.configuration_json));
    }
    return html;
}

std::string page_footer(const ReportInput& input) {
    std::string html = "<footer><div>\n";
    for (const std::string& citation : input.citations) {
        add(html, "<p>{}</p>\n", html_escape(citation));
    }
    return html +
           "<p><b>cutis is research software and not a medical device.</b> Nothing here is a diagnosis, and no figure "
           "here "
           "says how well it would serve a patient.</p>\n</div></footer>\n";
}

}  // namespace

std::string make_report(const ReportInput& input) {
    for (const Evaluation& evaluation : input.evaluations) {
        validate(evaluation.predictions, "report: split " + evaluation.split);
        const std::size_t classes = evaluation.predictions.classes();
        require(
            evaluation.metrics.classes.size() == classes && evaluation.metrics.confusion.size() == classes * classes,
            "report: split {}: figures of {} classes beside predictions of {}", evaluation.split,
            evaluation.metrics.classes.size(), classes);
    }
    const bool leaky = input.leaky || std::any_of(input.evaluations.begin(), input.evaluations.end(),
                                                  [](const Evaluation& evaluation) { return evaluation.leaky; });
    std::vector<std::pair<std::string, std::string>> sections;
    std::string body;
    const auto section = [&](std::string id, std::string name, const std::string& html) {
        sections.emplace_back(std::move(id), std::move(name));
        body += "<section>\n" + html + "</section>\n";
    };
    if (input.evaluations.empty()) {
        body += "<p class=\"notice\">No split has been evaluated yet, so there are no figures to show.</p>\n";
    } else {
        const Evaluation& first = input.evaluations.front();
        section("results", "Results", results(input, first, leaky));
        section("classes", "Class by class", judgement(input, first, leaky));
    }
    if (!input.mistakes.empty()) {
        section("mistakes", "Mistakes", mistakes(input, leaky));
    }
    if (const std::string panels = training_panels(input.history); !panels.empty()) {
        section("training", "Training", heading("training", "Training", leaky) + panels);
    }
    if (!input.class_counts.empty()) {
        section("data", "Data",
                heading("data", "Data", leaky) +
                    "<p class=\"lead\">Images of each class in each part of the data.</p>\n" +
                    class_counts_table(input.class_names, input.class_counts));
    }
    if (!input.configuration.empty() || !input.commands.empty() || !input.configuration_json.empty()) {
        section("repeat", "Configuration", repeat(input));
    }

    std::string html = open_html_page(input.title, kReportStyle, leaky ? "is-leaky" : "");
    html += page_header(input, sections) + "<main>\n";
    html += leaky ? kLeakyWarning : "";
    for (const std::string& notice : input.notices) {
        add(html, "<p class=\"notice\">{}</p>\n", html_escape(notice));
    }
    return html + body + "</main>\n" + page_footer(input) + "</body>\n</html>\n";
}

}  // namespace cutis
