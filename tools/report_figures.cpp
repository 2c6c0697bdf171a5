#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "tools/figure_text.h"
#include "tools/html.h"
#include "tools/report_parts.h"
#include "tools/svg_plot.h"

namespace cutis::report {
namespace {

template <class... Args>
void add(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

/// A figure of `Metrics` with its interval, under the name that people read.
struct NamedFigure {
    std::string_view name;
    double Metrics::*value;
    Interval MetricIntervals::*interval;  // null: none is computed
};

constexpr NamedFigure kFigures[] = {
    {"Balanced accuracy", &Metrics::balanced_accuracy, &MetricIntervals::balanced_accuracy},
    {"Accuracy", &Metrics::accuracy, &MetricIntervals::accuracy},
    {"Macro F1", &Metrics::macro_f1, &MetricIntervals::macro_f1},
    {"Macro AUC", &Metrics::macro_auc, &MetricIntervals::macro_auc},
    {"Melanoma sensitivity", &Metrics::melanoma_sensitivity, &MetricIntervals::melanoma_sensitivity},
    {"Melanoma sensitivity at specificity 0.90", &Metrics::melanoma_sensitivity_at_90,
     &MetricIntervals::melanoma_sensitivity_at_90},
    {"Melanoma sensitivity at specificity 0.95", &Metrics::melanoma_sensitivity_at_95,
     &MetricIntervals::melanoma_sensitivity_at_95},
    {"Calibration error", &Metrics::ece, &MetricIntervals::ece},
    {"Negative log-likelihood", &Metrics::nll, nullptr},
    {"Brier score", &Metrics::brier, nullptr},
};

bool is_card(const NamedFigure& item) {
    return item.interval != nullptr && item.name.find("at specificity") == std::string_view::npos;
}

bool is_melanoma(const NamedFigure& item) {
    return item.name.starts_with("Melanoma");
}

/// White at share 0 to the full colour at 1.
std::string shade(double share, std::array<int, 3> full) {
    const double depth = std::pow(std::clamp(share, 0.0, 1.0), 0.7);  // small shares stay visible
    const auto channel = [&](int value) { return static_cast<int>(std::lround(255 + (value - 255) * depth)); };
    return fmt::format("#{:02x}{:02x}{:02x}", channel(full[0]), channel(full[1]), channel(full[2]));
}

std::string with_interval(double value, const Interval& interval) {
    return std::isnan(interval.low) ? figure_text(value)
                                    : fmt::format("{} <small>{}</small>", figure_text(value), range_text(interval));
}

}  // namespace

std::string range_text(const Interval& interval) {
    return std::isnan(interval.low) ? std::string(kUndefinedText)
                                    : fmt::format("{:.3f} to {:.3f}", interval.low, interval.high);
}

std::string grouped(std::int64_t number) {
    const std::string digits = fmt::format("{}", number);
    const std::size_t sign = number < 0 ? 1 : 0;
    std::string result;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > sign && (digits.size() - i) % 3 == 0) {
            result += ',';
        }
        result += digits[i];
    }
    return result;
}

std::string heading(std::string_view id, std::string_view text, bool leaky) {
    return fmt::format("<h2 id=\"{}\">{}{}</h2>\n", id, html_escape(text),
                       leaky ? "<span class=\"leaky\">leaky split</span>" : "");
}

std::string cards(const Evaluation& evaluation, bool leaky) {
    std::string html = "<div class=\"cards\">\n";
    bool first = true;
    for (const NamedFigure& item : kFigures) {
        const double value = evaluation.metrics.*item.value;
        if (!is_card(item) || (is_melanoma(item) && std::isnan(value))) {
            continue;
        }
        const Interval interval = evaluation.intervals.*item.interval;
        add(html, "<div class=\"card{}\"><p class=\"name\">{}</p><p class=\"value\">{}</p><p class=\"range\">{}{}</p>",
            first ? " first" : "", item.name, figure_text(value), range_text(interval),
            leaky ? " <span class=\"leaky\">leaky</span>" : "");
        html += "<div class=\"scale\">";
        if (!std::isnan(interval.low)) {
            add(html, "<i style=\"left:{:.2f}%;width:{:.2f}%\"></i>", interval.low * 100,
                std::max((interval.high - interval.low) * 100, 0.5));
        }
        if (std::isfinite(value)) {
            add(html, "<b style=\"left:{:.2f}%\"></b>", std::clamp(value, 0.0, 1.0) * 100);
        }
        html += "</div></div>\n";
        first = false;
    }
    return html + "</div>\n";
}

std::string splits_table(const std::vector<Evaluation>& evaluations, bool leaky) {
    std::string html = "<div class=\"panel\"><div class=\"scroll\"><table>\n<thead><tr><th>Figure</th>";
    for (const Evaluation& evaluation : evaluations) {
        add(html, "<th>{}{}</th>", html_escape(evaluation.split),
            leaky || evaluation.leaky ? "<span class=\"leaky\">leaky</span>" : "");
    }
    html += "</tr></thead>\n<tbody>\n";
    for (const NamedFigure& item : kFigures) {
        if (is_melanoma(item) && std::all_of(evaluations.begin(), evaluations.end(), [&](const Evaluation& evaluation) {
                return std::isnan(evaluation.metrics.*item.value);
            })) {
            continue;
        }
        add(html, "<tr><td>{}</td>", item.name);
        for (const Evaluation& evaluation : evaluations) {
            add(html, "<td>{}</td>",
                with_interval(evaluation.metrics.*item.value,
                              item.interval == nullptr ? Interval{} : evaluation.intervals.*item.interval));
        }
        html += "</tr>\n";
    }
    html += "<tr><td>Images</td>";
    for (const Evaluation& evaluation : evaluations) {
        add(html, "<td>{}</td>", grouped(static_cast<std::int64_t>(evaluation.predictions.size())));
    }
    html += "</tr>\n<tr><td>Lesions</td>";
    for (const Evaluation& evaluation : evaluations) {
        add(html, "<td>{}</td>", grouped(static_cast<std::int64_t>(evaluation.predictions.lesions())));
    }
    return html + "</tr>\n</tbody></table></div></div>\n";
}

std::string confusion_matrix(const Evaluation& evaluation) {
    const std::vector<std::string>& names = evaluation.predictions.class_names;
    const std::size_t classes = names.size();
    // Column heads stand upright where they would not fit side by side.
    const bool upright = classes > 12 || std::any_of(names.begin(), names.end(), [](const std::string& name) {
                             return shortened(name, 7) != name;
                         });
    const std::size_t letters = upright ? 16 : 7;
    std::string html;
    add(html,
        "<div class=\"scroll\"><table class=\"confusion{}\" style=\"--classes:{}\">\n<thead><tr><th>truth "
        "\xE2\x86\x93</th>",
        upright ? " upright" : "", classes);
    for (const std::string& name : names) {
        add(html, "<th title=\"{}\"><span>{}</span></th>", html_escape(name), html_escape(shortened(name, letters)));
    }
    html += "</tr></thead>\n<tbody>\n";
    for (std::size_t truth = 0; truth < classes; ++truth) {
        add(html, "<tr><th title=\"{}\">{}</th>", html_escape(names[truth]),
            html_escape(shortened(names[truth], letters)));
        const auto support = static_cast<double>(evaluation.metrics.classes[truth].support);
        for (std::size_t predicted = 0; predicted < classes; ++predicted) {
            const std::int64_t count = evaluation.metrics.confusion[truth * classes + predicted];
            const double share = support > 0 ? static_cast<double>(count) / support : 0;
            const bool hit = truth == predicted;
            const std::string_view ink = share > (hit ? 0.38 : 0.5) ? "#fff" : count == 0 ? "#7d8996" : "#1c2632";
            add(html, "<td style=\"background:{};color:{}\" title=\"{}\">{}<small>{}</small></td>",
                hit ? shade(share, {8, 82, 148}) : shade(share, {196, 78, 0}), ink,
                html_escape(fmt::format("{} images of {} called {}", count, names[truth], names[predicted])),
                grouped(count), support > 0 ? fmt::format("{:.0f}\u00A0%", 100 * share) : std::string(kUndefinedText));
        }
        html += "</tr>\n";
    }
    return html +
           "</tbody></table></div>\n<p class=\"note\">Rows: the truth; columns: the model's answer. Number of images, "
           "and "
           "their share of the row; blue is right, orange is wrong.</p>\n";
}

std::string class_table(const Evaluation& evaluation) {
    std::string html =
        "<div "
        "class=\"scroll\"><table>\n<thead><tr><th>Class</th><th>Images</th><th>Sensitivity</th><th>Specificity</th>"
        "<th>Precision</th><th>F1</th><th>AUC</th></tr></thead>\n<tbody>\n";
    bool without_width = false;
    for (std::size_t k = 0; k < evaluation.metrics.classes.size(); ++k) {
        const ClassMetrics& c = evaluation.metrics.classes[k];
        const ClassIntervals i =
            k < evaluation.intervals.classes.size() ? evaluation.intervals.classes[k] : ClassIntervals{};
        without_width =
            without_width || i.sensitivity.low == i.sensitivity.high || i.specificity.low == i.specificity.high;
        add(html, "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            html_escape(shortened(evaluation.predictions.class_names[k], 40)), grouped(c.support),
            with_interval(c.sensitivity, i.sensitivity), with_interval(c.specificity, i.specificity),
            figure_text(c.precision), with_interval(c.f1, i.f1), with_interval(c.auc, i.auc));
    }
    html += "</tbody></table></div>\n";
    if (without_width) {
        html +=
            "<p class=\"note\">An interval without width is no certainty: where all images of a class are right, or "
            "all "
            "wrong, drawing them again cannot tell how far others would differ.</p>\n";
    }
    return html;
}

std::string roc_plot(const Evaluation& evaluation) {
    Plot plot;
    plot.description = "ROC curve of each class against the rest";
    plot.x_label = "1 \xE2\x88\x92 specificity";
    plot.y_label = "sensitivity";
    plot.x_range = plot.y_range = PlotRange{0, 1};
    plot.diagonal = true;
    plot.height = 366;
    for (std::size_t k = 0; k < evaluation.predictions.classes(); ++k) {
        const RocCurve curve = roc_curve(evaluation.predictions, static_cast<int>(k));
        if (curve.threshold.empty()) {
            continue;
        }
        PlotSeries line;
        line.name = fmt::format("{} {:.3f}", evaluation.predictions.class_names[k], curve.auc);
        line.colour = palette_colour(k);
        line.dashed = k >= 8;  // the palette starts again
        line.width = 1.8;
        constexpr double kGrid = 800;  // finer than the drawing: thousands of points would only make the page larger
        double last_x = -1, last_y = -1;
        for (std::size_t i = 0; i < curve.threshold.size(); ++i) {
            const double x = std::round(curve.false_positive_rate[i] * kGrid) / kGrid;
            const double y = std::round(curve.true_positive_rate[i] * kGrid) / kGrid;
            if (x != last_x || y != last_y) {
                line.x.push_back(last_x = x);
                line.y.push_back(last_y = y);
            }
        }
        plot.series.push_back(std::move(line));
    }
    return draw_plot(plot);
}

std::string melanoma_table(const Evaluation& evaluation, const Evaluation* val) {
    const int melanoma = melanoma_class(evaluation.predictions.class_names);
    if (melanoma < 0) {
        return "";
    }
    const ClassMetrics& plain = evaluation.metrics.classes[static_cast<std::size_t>(melanoma)];
    std::string html;
    add(html,
        "<div class=\"scroll\"><table>\n<thead><tr><th>An image is called melanoma</th><th>Sensitivity</th>"
        "<th>Specificity</th></tr></thead>\n<tbody>\n<tr><td>where melanoma is the most probable class</td><td>{}</td>"
        "<td>{}</td></tr>\n",
        figure_text(plain.sensitivity), figure_text(plain.specificity));
    if (val != nullptr && val->predictions.class_names == evaluation.predictions.class_names) {
        const RocCurve curve = roc_curve(val->predictions, melanoma);
        for (const double specificity : {0.90, 0.95}) {
            const double threshold = operating_point(curve, specificity).threshold;
            if (!std::isfinite(threshold)) {
                continue;
            }
            const OperatingPoint point = operating_point_at(evaluation.predictions, melanoma, threshold);
            add(html,
                "<tr><td>from a probability of {:.3f} on, chosen on {} for a specificity of "
                "{:.2f}</td><td>{}</td><td>{}</td>"
                "</tr>\n",
                threshold, html_escape(val->split), specificity, figure_text(point.sensitivity),
                figure_text(point.specificity));
        }
    }
    const MetricIntervals& i = evaluation.intervals;
    add(html,
        "<tr><td>at specificity 0.90 of this split's own ROC curve</td><td>{}</td><td>\xE2\x89\xA5 0.90</td></tr>\n",
        with_interval(evaluation.metrics.melanoma_sensitivity_at_90, i.melanoma_sensitivity_at_90));
    add(html,
        "<tr><td>at specificity 0.95 of this split's own ROC curve</td><td>{}</td><td>\xE2\x89\xA5 0.95</td></tr>\n",
        with_interval(evaluation.metrics.melanoma_sensitivity_at_95, i.melanoma_sensitivity_at_95));
    return html + "</tbody></table></div>\n";
}

}  // namespace cutis::report
