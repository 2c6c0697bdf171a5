#include "tools/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>

#include "kernels/error.h"
#include "tools/html.h"

namespace cutis {
namespace {

constexpr double kFontSize = 12;
constexpr double kCharacterWidth = 6.7;  // of a digit at that size
constexpr std::string_view kInk = "#3c4856", kAxis = "#8a96a3", kGrid = "#e6eaef";
constexpr std::string_view kBarColour = "#4a94cb", kUnsureColour = "#b5d8ef", kSureColour = "#f0b183",
                           kConfidenceColour = "#b34700", kCountColour = "#a9b4c0";

template <class... Args>
void add(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

/// Data to pixels along one direction.
struct Axis {
    double low = 0, high = 1;   // of the data
    double start = 0, end = 1;  // pixels
    bool logarithmic = false;

    double pixel(double value) const {
        const double inside = std::clamp(value, low, high);
        const double share =
            logarithmic ? std::log(inside / low) / std::log(high / low) : (inside - low) / (high - low);
        return start + share * (end - start);
    }
};

struct Tick {
    double value;
    std::string label;
};

/// Enough decimals to tell ticks `step` apart; powers of ten from a million on.
std::string tick_label(double value, double step) {
    if (value == 0) {
        return "0";
    }
    if (std::abs(value) >= 1e6 || std::abs(value) < 1e-4) {
        return fmt::format("{:.2g}", value);
    }
    return fmt::format("{:.{}f}", value, std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 8));
}

/// Powers of ten, and 2 and 5 between them where there are few.
std::vector<Tick> logarithmic_ticks(const Axis& axis) {
    const bool few = std::log10(axis.high / axis.low) < 2.5;
    std::vector<Tick> ticks;
    for (double power = std::pow(10.0, std::floor(std::log10(axis.low))); power <= axis.high; power *= 10) {
        for (const double digit : {1.0, 2.0, 5.0}) {
            const double value = digit * power;
            if (value >= axis.low * (1 - 1e-9) && value <= axis.high * (1 + 1e-9) && (digit == 1.0 || few)) {
                ticks.push_back({value, fmt::format("{:g}", value)});
            }
        }
    }
    return ticks;
}

std::vector<Tick> linear_ticks(const Axis& axis, bool whole) {
    std::vector<double> values = nice_ticks(axis.low, axis.high);
    if (whole) {
        std::erase_if(values, [](double value) { return value != std::round(value); });
    }
    const double step = values.size() > 1 ? values[1] - values[0] : std::max(std::abs(axis.high), 1e-12);
    std::vector<Tick> ticks;
    for (const double value : values) {
        ticks.push_back({value, tick_label(value, whole ? 1 : step)});
    }
    return ticks;
}

/// The data's range, or 0 to 1 without data. A single value gets room on both sides.
PlotRange range_of(const std::vector<PlotSeries>& series, std::vector<double> PlotSeries::*values) {
    PlotRange range{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
    for (const PlotSeries& line : series) {
        for (std::size_t i = 0; i < std::min(line.x.size(), line.y.size()); ++i) {
            if (std::isfinite(line.x[i]) && std::isfinite(line.y[i])) {
                range.low = std::min(range.low, (line.*values)[i]);
                range.high = std::max(range.high, (line.*values)[i]);
            }
        }
    }
    if (range.low > range.high) {
        return {};
    }
    // Differences of values near the largest double overflow, and a range must stay finite.
    range.low = std::clamp(range.low, -1e300, 1e300);
    range.high = std::clamp(range.high, -1e300, 1e300);
    if (range.high - range.low <= 1e-300 + 1e-12 * std::max(std::abs(range.low), std::abs(range.high))) {
        const double room = range.low == 0 ? 1 : std::abs(range.low) * 0.5;
        return {range.low - room, range.high + room};
    }
    return range;
}

/// A little room above (more where words stand there) and below, without leaving zero where everything is positive.
PlotRange with_room(PlotRange range, bool words_above) {
    const double room = (range.high - range.low) * 0.05;
    return {range.low >= 0 ? std::max(0.0, range.low - room) : range.low - room,
            range.high + (words_above ? 3 : 1) * room};
}

bool has_points(const Plot& plot) {
    return std::any_of(plot.series.begin(), plot.series.end(), [](const PlotSeries& line) {
        for (std::size_t i = 0; i < std::min(line.x.size(), line.y.size()); ++i) {
            if (std::isfinite(line.x[i]) && std::isfinite(line.y[i])) {
                return true;
            }
        }
        return false;
    });
}

std::string colour_of(const PlotSeries& line, std::size_t place) {
    return line.colour.empty() ? std::string(palette_colour(place)) : html_escape(line.colour);
}

std::string open_svg(int width, int height, std::string_view description) {
    return fmt::format(
        "<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" width=\"100%\" "
        "font-size=\"{}\" fill=\"{}\">\n",
        width, height, html_escape(description), kFontSize, kInk);
}

void draw_axes(std::string& svg, const Axis& x, const Axis& y, const std::vector<Tick>& x_ticks,
               const std::vector<Tick>& y_ticks, std::string_view x_label, std::string_view y_label) {
    for (const Tick& tick : y_ticks) {
        const double at = y.pixel(tick.value);
        add(svg, "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>", x.start, x.end, at,
            at, kGrid);
        add(svg, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", x.start - 7, at + 4, tick.label);
    }
    for (const Tick& tick : x_ticks) {
        const double at = x.pixel(tick.value);
        add(svg, "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>", at, at, y.start,
            y.start + 4, kAxis);
        add(svg, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", at, y.start + 18, tick.label);
    }
    add(svg, "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x.start, x.end, y.start,
        y.start, kAxis);
    add(svg, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", (x.start + x.end) / 2, y.start + 36,
        html_escape(x_label));
    add(svg, "<text transform=\"translate(13 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
        (y.start + y.end) / 2, html_escape(y_label));
}

void draw_series(std::string& svg, const PlotSeries& line, std::string_view colour, const Axis& x, const Axis& y) {
    std::string path;
    std::vector<std::size_t> lonely;  // points without a neighbour make no line
    const std::size_t count = std::min(line.x.size(), line.y.size());
    const auto drawn = [&](std::size_t i) {
        return i < count && std::isfinite(line.x[i]) && std::isfinite(line.y[i]) &&
               !(x.logarithmic && (line.x[i] <= 0 || line.y[i] <= 0));
    };
    for (std::size_t i = 0; i < count; ++i) {
        if (!drawn(i)) {
            continue;
        }
        const bool goes_on = i > 0 && drawn(i - 1);
        add(path, "{}{:.1f} {:.1f}", goes_on ? "L" : "M", x.pixel(line.x[i]), y.pixel(line.y[i]));
        if (line.markers || (!goes_on && !drawn(i + 1))) {
            lonely.push_back(i);
        }
    }
    if (line.line) {
        add(svg,
            "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\" "
            "stroke-linejoin=\"round\"{}>"
            "<title>{}</title></path>\n",
            path, colour, line.width, line.opacity, line.dashed ? " stroke-dasharray=\"6 4\"" : "",
            html_escape(line.name));
    }
    for (const std::size_t i : lonely) {
        const std::string tip =
            i < line.tips.size() ? line.tips[i] : fmt::format("{} at {:.6g}: {:.4g}", line.name, line.x[i], line.y[i]);
        add(svg,
            "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\" fill-opacity=\"{}\"><title>{}</title></circle>\n",
            x.pixel(line.x[i]), y.pixel(line.y[i]), line.width + 0.8, colour, line.opacity, html_escape(tip));
    }
}

void draw_mark(std::string& svg, const PlotMark& mark, const Axis& x, const Axis& y) {
    if (!std::isfinite(mark.x) || mark.x < x.low || mark.x > x.high) {
        return;
    }
    const double at = x.pixel(mark.x);
    const bool on_left = at > (x.start + x.end) / 2;
    add(svg, "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" stroke-dasharray=\"3 3\"/>",
        at, at, y.start, y.end, kAxis);
    add(svg, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", at + (on_left ? -5 : 5), y.end + 10,
        on_left ? "end" : "start", html_escape(mark.label));
}

std::string legend(const Plot& plot) {
    std::string items;
    int named = 0;
    for (std::size_t i = 0; i < plot.series.size(); ++i) {
        const PlotSeries& line = plot.series[i];
        if (line.name.empty()) {
            continue;
        }
        ++named;
        add(items,
            "<li><svg width=\"22\" height=\"10\" aria-hidden=\"true\"><line x1=\"1\" x2=\"21\" y1=\"5\" y2=\"5\" "
            "stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\"{}/></svg> {}</li>\n",
            colour_of(line, i), std::max(line.width, 2.0), line.opacity, line.dashed ? " stroke-dasharray=\"6 4\"" : "",
            html_escape(line.name));
    }
    return named < 2 ? "" : "<ul class=\"legend\">\n" + items + "</ul>\n";
}

double label_width(const std::vector<Tick>& ticks) {
    std::size_t longest = 1;
    for (const Tick& tick : ticks) {
        longest = std::max(longest, tick.label.size());
    }
    return static_cast<double>(longest) * kCharacterWidth;
}

}  // namespace

std::string_view palette_colour(std::size_t place) {
    constexpr std::array<std::string_view, 8> kColours = {"#0072b2", "#d55e00", "#009e73", "#b8538f",
                                                          "#e69f00", "#56b4e9", "#3c4856", "#8f7d00"};
    return kColours[place % kColours.size()];
}

std::vector<double> nice_ticks(double low, double high, int count) {
    if (!(low < high) || !std::isfinite(high - low) || count < 1) {
        return {};
    }
    const double raw = (high - low) / count;
    const double power = std::pow(10.0, std::floor(std::log10(raw)));
    const double mantissa = raw / power;
    const double step = power * (mantissa < 1.5 ? 1 : mantissa < 3.5 ? 2 : mantissa < 7.5 ? 5 : 10);
    std::vector<double> ticks;
    // Multiples, not sums of steps, so that no error adds up; the tolerance keeps ends that are ticks themselves. Where
    // rounding eats the step (a range of a few units in the last place), the bound ends the loop.
    const double first = std::ceil(low / step - 1e-9);
    for (int i = 0; i <= 2 * count + 2 && (first + i) * step <= high + step * 1e-9; ++i) {
        ticks.push_back((first + i) * step);
    }
    return ticks;
}

std::string draw_plot(const Plot& plot) {
    std::string svg = open_svg(plot.width, plot.height, plot.description);
    if (!has_points(plot)) {
        add(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">no data</text>\n</svg>\n", plot.width / 2,
            plot.height / 2);
        return svg;
    }
    const PlotRange x_range = plot.x_range.value_or(range_of(plot.series, &PlotSeries::x));
    const PlotRange y_range =
        plot.y_range.value_or(with_room(range_of(plot.series, &PlotSeries::y), !plot.marks.empty()));
    require(x_range.low < x_range.high && y_range.low < y_range.high, "draw_plot: ranges {}..{} and {}..{} are empty",
            x_range.low, x_range.high, y_range.low, y_range.high);
    require(!plot.logarithmic || (x_range.low > 0 && y_range.low > 0),
            "draw_plot: a logarithmic axis begins above 0, not at {} and {}", x_range.low, y_range.low);
    const Axis y{y_range.low, y_range.high, plot.height - 46.0, 14.0, plot.logarithmic};
    const std::vector<Tick> y_ticks = plot.logarithmic ? logarithmic_ticks(y) : linear_ticks(y, false);
    const Axis x{x_range.low, x_range.high, 28.0 + label_width(y_ticks), plot.width - 12.0, plot.logarithmic};
    draw_axes(svg, x, y, plot.logarithmic ? logarithmic_ticks(x) : linear_ticks(x, plot.whole_x), y_ticks, plot.x_label,
              plot.y_label);
    if (plot.diagonal) {
        add(svg,
            "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" stroke-dasharray=\"4 4\"/>\n",
            x.start, x.end, y.start, y.end, kAxis);
    }
    for (const PlotMark& mark : plot.marks) {
        draw_mark(svg, mark, x, y);
    }
    for (std::size_t i = 0; i < plot.series.size(); ++i) {
        draw_series(svg, plot.series[i], colour_of(plot.series[i], i), x, y);
    }
    return svg + "</svg>\n" + legend(plot);
}

std::string draw_reliability(const ReliabilityBins& bins) {
    constexpr int kWidth = 410, kHeight = 366;
    std::string svg = open_svg(kWidth, kHeight, "Reliability diagram: accuracy against confidence");
    const Axis x{0, 1, 54, kWidth - 12.0};
    const Axis y{0, 1, 240, 14};
    const auto shares = [](const Axis& axis) { return linear_ticks(axis, false); };
    draw_axes(svg, x, y, shares(x), shares(y), "", "accuracy");
    const auto most = bins.count.empty() ? 0 : *std::max_element(bins.count.begin(), bins.count.end());
    const Axis height{0, std::max<double>(1, static_cast<double>(most)), kHeight - 46.0, 272};
    const auto count = static_cast<double>(bins.count.size());
    for (std::size_t i = 0; i < bins.count.size(); ++i) {
        if (bins.count[i] == 0) {
            continue;
        }
        const double left = x.pixel(static_cast<double>(i) / count) + 1.5;
        const double width = x.pixel(static_cast<double>(i + 1) / count) - 1.5 - left;
        const double accuracy = y.pixel(bins.accuracy[i]), confidence = y.pixel(bins.confidence[i]);
        const std::string tip = fmt::format("{} images: mean confidence {:.3f}, accuracy {:.3f}", bins.count[i],
                                            bins.confidence[i], bins.accuracy[i]);
        const auto bar = [&](double top, double bottom, std::string_view colour) {
            add(svg,
                "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"><title>{}</title>"
                "</rect>\n",
                left, top, width, std::max(bottom - top, 0.0), colour, tip);
        };
        const bool too_sure = bins.confidence[i] > bins.accuracy[i];
        bar(std::max(accuracy, confidence), y.start, kBarColour);
        bar(std::min(accuracy, confidence), std::max(accuracy, confidence), too_sure ? kSureColour : kUnsureColour);
        add(svg, "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" stroke-width=\"2\"/>\n",
            left, left + width, confidence, confidence, kConfidenceColour);
        bar(height.pixel(static_cast<double>(bins.count[i])), height.start, kCountColour);
    }
    add(svg, "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" stroke-dasharray=\"4 4\"/>\n",
        x.start, x.end, y.start, y.end, kInk);
    draw_axes(svg, x, height, shares(x), {{0, "0"}, {height.high, fmt::format("{}", most)}}, "confidence", "images");
    svg += "</svg>\n<ul class=\"legend\">\n";
    const std::array<std::pair<std::string_view, std::string_view>, 3> fields = {
        {{kBarColour, "accuracy"}, {kSureColour, "too sure of itself"}, {kUnsureColour, "less sure than it could be"}}};
    for (const auto& [colour, name] : fields) {
        add(svg,
            "<li><svg width=\"14\" height=\"12\" aria-hidden=\"true\"><rect width=\"14\" height=\"12\" "
            "fill=\"{}\"/></svg> "
            "{}</li>\n",
            colour, name);
    }
    add(svg,
        "<li><svg width=\"22\" height=\"10\" aria-hidden=\"true\"><line x1=\"1\" x2=\"21\" y1=\"5\" y2=\"5\" "
        "stroke=\"{}\" "
        "stroke-width=\"2\"/></svg> mean confidence</li>\n</ul>\n",
        kConfidenceColour);
    return svg;
}

}  // namespace cutis
