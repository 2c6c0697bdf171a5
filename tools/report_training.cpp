#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "kernels/error.h"
#include "tools/figure_text.h"
#include "tools/html.h"
#include "tools/report_parts.h"
#include "tools/svg_plot.h"

namespace cutis::report {
namespace {

constexpr std::size_t kMostPoints = 300;  // of a line of step losses

template <class... Args>
void add(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

/// Sorted by `key`, without what has no finite key, and of equal keys the last.
template <class Record>
std::vector<Record> in_order(std::vector<Record> records, double Record::*key) {
    std::erase_if(records, [&](const Record& record) { return !std::isfinite(record.*key); });
    std::stable_sort(records.begin(), records.end(), [&](const Record& a, const Record& b) { return a.*key < b.*key; });
    std::vector<Record> result;
    for (const Record& record : records) {
        if (!result.empty() && result.back().*key == record.*key) {
            result.back() = record;
        } else {
            result.push_back(record);
        }
    }
    return result;
}

PlotSeries epoch_line(const std::vector<TrainingEpoch>& epochs, double TrainingEpoch::*value, std::string name,
                      std::size_t colour) {
    PlotSeries line;
    line.name = std::move(name);
    line.colour = palette_colour(colour);
    line.markers = epochs.size() <= 60;
    for (const TrainingEpoch& epoch : epochs) {
        line.x.push_back(epoch.epoch);
        line.y.push_back(epoch.*value);
    }
    return line;
}

bool any_finite(const PlotSeries& line) {
    return std::any_of(line.y.begin(), line.y.end(), [](double y) { return std::isfinite(y); });
}

/// Losses of steps, averaged in at most `kMostPoints` groups; the step's loss of a small batch is mostly noise.
PlotSeries step_line(const std::vector<TrainingStep>& steps, double epochs_per_step) {
    PlotSeries line;
    line.name = "training, by step";
    line.colour = palette_colour(0);
    line.opacity = 0.35;
    line.width = 1.2;
    const std::size_t group = std::max<std::size_t>(1, (steps.size() + kMostPoints - 1) / kMostPoints);
    for (std::size_t begin = 0; begin < steps.size(); begin += group) {
        double x = 0, y = 0, count = 0;
        for (std::size_t i = begin; i < std::min(begin + group, steps.size()); ++i) {
            if (std::isfinite(steps[i].loss)) {
                x += steps[i].step;
                y += steps[i].loss;
                ++count;
            }
        }
        line.x.push_back(count > 0 ? x / count * epochs_per_step : kUndefined);
        line.y.push_back(count > 0 ? y / count : kUndefined);
    }
    return line;
}

PlotRange zero_to_largest(const std::vector<PlotSeries>& lines) {
    double largest = 0;
    for (const PlotSeries& line : lines) {
        for (const double y : line.y) {
            largest = std::isfinite(y) ? std::max(largest, y) : largest;
        }
    }
    return {0, largest > 0 ? std::min(largest, 1e300) * 1.15 : 1};
}

std::string panel(std::string_view title, const Plot& plot) {
    return fmt::format("<div class=\"panel\"><h3>{}</h3>\n{}</div>\n", html_escape(title), draw_plot(plot));
}

}  // namespace

std::string training_panels(const TrainingHistory& history) {
    const std::vector<TrainingEpoch> epochs = in_order(history.epochs, &TrainingEpoch::epoch);
    const std::vector<TrainingStep> steps = in_order(history.steps, &TrainingStep::step);
    // Steps stand among epochs where an epoch says how many steps it took; else they are counted as such.
    double epochs_per_step = 0;
    for (const TrainingEpoch& epoch : epochs) {
        epochs_per_step = epoch.last_step > 0 ? epoch.epoch / epoch.last_step : epochs_per_step;
    }
    const bool by_epoch = epochs_per_step > 0 || !epochs.empty();

    Plot base;
    base.x_label = by_epoch ? "epoch" : "step";
    base.whole_x = true;
    if (std::isfinite(history.best_epoch)) {
        base.marks.push_back({history.best_epoch, fmt::format("epoch {:g} kept", history.best_epoch)});
    }
    std::string html;
    const auto add_panel = [&](std::string_view title, std::string_view y_label, std::vector<PlotSeries> lines,
                               bool from_zero = false) {
        std::erase_if(lines, [](const PlotSeries& line) { return !any_finite(line); });
        if (lines.empty()) {
            return;
        }
        Plot plot = base;
        plot.description = fmt::format("{} over the training", title);
        plot.y_label = y_label;
        plot.series = std::move(lines);
        if (from_zero) {
            plot.y_range = zero_to_largest(plot.series);
        }
        html += panel(title, plot);
    };

    std::vector<PlotSeries> losses;
    if (!steps.empty() && (epochs_per_step > 0 || !by_epoch)) {
        losses.push_back(step_line(steps, by_epoch ? epochs_per_step : 1));
    }
    losses.push_back(epoch_line(epochs, &TrainingEpoch::train_loss, "training", 0));
    losses.push_back(epoch_line(epochs, &TrainingEpoch::val_loss, "validation", 1));
    add_panel("Loss", "loss", std::move(losses));
    // On a validation set with as many images of each class the two are equal: a dashed line shows both.
    PlotSeries accuracy = epoch_line(epochs, &TrainingEpoch::val_accuracy, "accuracy", 2);
    accuracy.dashed = true;
    add_panel("Validation", "share",
              {epoch_line(epochs, &TrainingEpoch::val_balanced_accuracy, "balanced accuracy", 1), std::move(accuracy)});
    add_panel("Learning rate", "learning rate",
              {epoch_line(epochs, &TrainingEpoch::learning_rate, "learning rate", 3)});
    add_panel("Speed", "images/s", {epoch_line(epochs, &TrainingEpoch::images_per_second, "images/s", 6)}, true);
    return html.empty() ? "" : "<div class=\"grid\">\n" + html + "</div>\n";
}

std::string class_counts_table(const std::vector<std::string>& class_names, const std::vector<ClassCounts>& counts) {
    std::int64_t largest = 1;
    std::vector<std::int64_t> totals(class_names.size(), 0);
    for (const ClassCounts& part : counts) {
        require(part.images.size() == class_names.size(), "report: {} class counts of part \"{}\" for {} classes",
                part.images.size(), part.part, class_names.size());
        for (std::size_t k = 0; k < totals.size(); ++k) {
            totals[k] += std::max<std::int64_t>(part.images[k], 0);
            largest = std::max(largest, totals[k]);
        }
    }
    const std::int64_t all = std::accumulate(totals.begin(), totals.end(), std::int64_t{0});
    std::string html =
        "<div class=\"panel\"><div class=\"scroll\"><table class=\"counts\">\n<thead><tr><th>Class</th><th></th>";
    for (std::size_t part = 0; part < counts.size(); ++part) {
        add(html, "<th><span class=\"swatch\" style=\"background:{}\"></span> {}</th>", palette_colour(part),
            html_escape(counts[part].part));
    }
    html += "<th>all</th><th class=\"share\">share</th></tr></thead>\n<tbody>\n";
    for (std::size_t k = 0; k < class_names.size(); ++k) {
        add(html, "<tr><td>{}</td><td class=\"bar\"><div class=\"stack\">", html_escape(shortened(class_names[k], 40)));
        for (std::size_t part = 0; part < counts.size(); ++part) {
            add(html, "<span style=\"width:{:.2f}%;background:{}\"></span>",
                100.0 * static_cast<double>(std::max<std::int64_t>(counts[part].images[k], 0)) /
                    static_cast<double>(largest),
                palette_colour(part));
        }
        html += "</div></td>";
        for (const ClassCounts& part : counts) {
            add(html, "<td>{}</td>", grouped(part.images[k]));
        }
        add(html, "<td>{}</td><td class=\"share\">{}</td></tr>\n", grouped(totals[k]),
            all > 0 ? fmt::format("{:.1f}\u00A0%", 100.0 * static_cast<double>(totals[k]) / static_cast<double>(all))
                    : "");
    }
    return html + "</tbody></table></div></div>\n";
}

std::string gallery(const std::vector<Mistake>& mistakes) {
    std::string html = "<div class=\"gallery\">\n";
    for (const Mistake& mistake : mistakes) {
        const std::string address = image_data_uri(mistake.image);
        html += "<figure>";
        if (address.empty()) {
            html += "<div class=\"missing\">no image</div>";
        } else {
            add(html, "<img src=\"{}\" alt=\"{}\" loading=\"lazy\"/>", address,
                html_escape(fmt::format("dermatoscopic image {}", mistake.image_id)));
        }
        add(html,
            "<figcaption><span class=\"wrong\">{} {}</span><br/>truth: <b>{}</b> {}<br/><span class=\"id\">{}</span>"
            "</figcaption></figure>\n",
            html_escape(shortened(mistake.predicted, 40)), figure_text(mistake.confidence),
            html_escape(shortened(mistake.truth, 40)), figure_text(mistake.truth_probability),
            html_escape(shortened(mistake.image_id, 60)));
    }
    return html + "</div>\n";
}

}  // namespace cutis::report
