#include "tools/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "tools/html.h"
#include "tools/report_style.h"
#include "tools/svg_plot.h"

namespace cutis {
namespace {

constexpr std::string_view kOurs = "#0072b2", kPeers = "#d55e00", kRoof = "#3c4856";

constexpr std::string_view kBenchStyle = R"css(
.ratio { position: relative; display: inline-block; width: 120px; height: 12px; border-radius: 3px; background: #eef1f4;
  vertical-align: -1px; }
.ratio i { position: absolute; top: 0; bottom: 0; border-radius: 3px; background: #3f9e72; }
.ratio i.behind { background: #d9713c; }
.ratio::after { content: ""; position: absolute; left: 50%; top: -2px; bottom: -2px; width: 1px; background: #3c4856; }
td.slower { color: #a84300; font-weight: 600; }
td.faster { color: #1c7048; font-weight: 600; }
td:first-child { overflow-wrap: anywhere; }
.card .range { overflow-wrap: anywhere; }
.panel.roof svg.plot { width: 100%; max-width: 1060px; }
)css";

template <class... Args>
void add(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

// What runs on one device against one peer have in common.
struct Section {
    std::string title;
    std::vector<const BenchRun*> runs;
    struct Line {
        const BenchRun* run;
        const BenchCase* one;
    };
    std::vector<Line> lines;  // the worst first
};

std::vector<Section> sections_of(std::span<const BenchRun> runs) {
    std::vector<Section> sections;
    for (const BenchRun& run : runs) {
        const std::string title = run.peer.empty() ? run.device : fmt::format("{} against {}", run.device, run.peer);
        auto found = std::find_if(sections.begin(), sections.end(),
                                  [&](const Section& section) { return section.title == title; });
        if (found == sections.end()) {
            found = sections.insert(sections.end(), Section{title, {}, {}});
        }
        found->runs.push_back(&run);
        for (const BenchCase& one : run.cases) {
            found->lines.push_back({&run, &one});
        }
    }
    for (Section& section : sections) {
        std::stable_sort(section.lines.begin(), section.lines.end(), [](const auto& a, const auto& b) {
            const double ratio_a = a.one->ratio.median, ratio_b = b.one->ratio.median;
            if (a.one->ratio.known() != b.one->ratio.known()) {
                return a.one->ratio.known();
            }
            if (a.one->ratio.known()) {
                return ratio_a < ratio_b;
            }
            const double roof_a = a.run->roof_percent(*a.one), roof_b = b.run->roof_percent(*b.one);
            return std::isnan(roof_b) ? !std::isnan(roof_a) : roof_a < roof_b;
        });
    }
    return sections;
}

std::string digits(double value, int decimals = 3) {
    if (!std::isfinite(value)) {
        return "–";
    }
    const int whole = value == 0 ? 0 : static_cast<int>(std::floor(std::log10(std::abs(value))));
    return fmt::format("{:.{}f}", value, std::clamp(decimals - 1 - whole, 0, 6));
}

std::string spread_cell(const BenchSpread& spread) {
    if (!spread.known()) {
        return "<td>–</td>";
    }
    const bool single = spread.least == spread.most;
    return fmt::format(
        "<td>{}{}</td>", digits(spread.median),
        single ? "" : fmt::format(" <small>{} to {}</small>", digits(spread.least), digits(spread.most)));
}

std::string percent_cell(double value) {
    return std::isfinite(value) ? fmt::format("<td>{:.0f}</td>", value) : "<td>–</td>";
}

// A bar from the middle, which stands for 1: a quarter at the left end, four times at the right one.
std::string ratio_bar(double ratio) {
    const double share = std::clamp(std::log2(ratio) / 4, -0.5, 0.5);
    return fmt::format("<span class=\"ratio\"><i{} style=\"left:{:.1f}%;width:{:.1f}%\"></i></span>",
                       share < 0 ? " class=\"behind\"" : "", share < 0 ? 100 * (0.5 + share) : 50.0,
                       100 * std::abs(share));
}

struct Summary {
    double ratio = kUndefined, worst_ratio = kUndefined, roof = kUndefined;
    std::size_t cases = 0, with_peer = 0, ahead = 0, behind = 0;
    std::string worst_name;
};

Summary summary_of(const Section& section) {
    Summary summary;
    std::vector<double> ratios, roofs;
    for (const auto& [run, one] : section.lines) {
        ++summary.cases;
        if (one->ratio.known()) {
            ratios.push_back(one->ratio.median);
            ++summary.with_peer;
            // Counted where the whole spread lies on one side.
            summary.ahead += one->ratio.least > 1 ? 1 : 0;
            summary.behind += one->ratio.most < 1 ? 1 : 0;
            if (!(summary.worst_ratio <= one->ratio.median)) {
                summary.worst_ratio = one->ratio.median;
                summary.worst_name = one->name;
            }
        }
        if (const double roof = run->roof_percent(*one); std::isfinite(roof)) {
            roofs.push_back(roof);
        }
    }
    summary.ratio = geometric_mean(ratios);
    if (!roofs.empty()) {
        std::sort(roofs.begin(), roofs.end());
        summary.roof = roofs[roofs.size() / 2];
    }
    return summary;
}

std::string card(std::string_view name, std::string_view value, std::string_view below, bool first = false) {
    return fmt::format(
        "<div class=\"card{}\"><p class=\"name\">{}</p><p class=\"value\">{}</p><p class=\"range\">{}</p></div>\n",
        first ? " first" : "", name, value, html_escape(below));
}

std::string cards(const Section& section) {
    const Summary s = summary_of(section);
    std::string html = "<div class=\"cards\">\n";
    if (s.with_peer > 0) {
        html += card("speed beside the peer, geometric mean", digits(s.ratio) + " ×",
                     fmt::format("of {} cases", s.with_peer), true);
        html += card("ahead, behind", fmt::format("{} / {}", s.ahead, s.behind),
                     fmt::format("{} within the spread", s.with_peer - s.ahead - s.behind));
        html += card("worst case", digits(s.worst_ratio) + " ×", s.worst_name);
    }
    if (std::isfinite(s.roof)) {
        html += card("of the roof, median", fmt::format("{:.0f} %", s.roof),
                     "what copy bandwidth and products of this run allow");
    }
    const BenchRun& run = *section.runs.front();
    if (std::isfinite(run.copy_bytes_per_second)) {
        std::string rates;
        for (const auto& [type, rate] : run.flop_ceilings) {
            rates += fmt::format("{}{} {} GFLOP/s", rates.empty() ? "" : ", ", type, digits(rate * 1e-9));
        }
        html += card("copy bandwidth", digits(run.copy_bytes_per_second * 1e-9) + " GB/s", rates);
    }
    return html + "</div>\n";
}

// GFLOP/s over FLOPs per byte, with the roof above. What computes nothing (a copy) has no place in it.
std::string roofline(const Section& section) {
    PlotSeries ours{.name = "cutis", .colour = std::string(kOurs), .width = 2.6, .opacity = 0.75, .line = false};
    PlotSeries peer{.name = section.runs.front()->peer.empty() ? "peer" : section.runs.front()->peer,
                    .colour = std::string(kPeers),
                    .width = 2.6,
                    .opacity = 0.6,
                    .line = false};
    ours.markers = peer.markers = true;
    double least_x = 1, most_x = 1, most_y = 0, least_y = INFINITY;
    for (const auto& [run, one] : section.lines) {
        if (one->flops <= 0 || one->bytes <= 0) {
            continue;
        }
        const double intensity = one->flops / one->bytes;
        least_x = std::min(least_x, intensity);
        most_x = std::max(most_x, intensity);
        const auto place = [&](PlotSeries& series, double us, std::string_view whose) {
            const double rate = 1e-3 * one->flops / us;
            series.x.push_back(intensity);
            series.y.push_back(rate);
            series.tips.push_back(fmt::format("{}, {}: {} µs, {} GFLOP/s", whose, one->name, digits(us), digits(rate)));
            most_y = std::max(most_y, rate);
            least_y = std::min(least_y, rate);
        };
        place(ours, one->us.median, "cutis");
        if (one->vendor.known()) {
            place(peer, one->vendor.median, peer.name);
        }
    }
    if (ours.x.empty()) {
        return "";
    }
    Plot plot;
    plot.description = "Roofline: GFLOP/s over FLOPs per byte";
    plot.x_label = "FLOPs per byte";
    plot.y_label = "GFLOP/s";
    plot.logarithmic = true;
    plot.width = 1060;
    plot.height = 460;
    const PlotRange x{least_x / 1.5, most_x * 1.5};
    for (const auto& [type, rate] : section.runs.front()->flop_ceilings) {
        const double slope = section.runs.front()->copy_bytes_per_second;
        PlotSeries roof{.name = "roof, " + type, .colour = std::string(kRoof), .width = 1.5, .dashed = type != "fp32"};
        if (std::isfinite(slope)) {
            const double knee = std::clamp(rate / slope, x.low, x.high);
            roof.x = {x.low, knee, x.high};
            roof.y = {1e-9 * std::min(rate, slope * x.low), 1e-9 * std::min(rate, slope * knee),
                      1e-9 * std::min(rate, slope * x.high)};
        } else {
            roof.x = {x.low, x.high};
            roof.y = {1e-9 * rate, 1e-9 * rate};
        }
        most_y = std::max(most_y, roof.y.back());
        least_y = std::min(least_y, roof.y.front());
        plot.series.push_back(std::move(roof));
    }
    plot.series.push_back(std::move(peer));
    plot.series.push_back(std::move(ours));
    std::erase_if(plot.series, [](const PlotSeries& series) { return series.x.empty(); });
    plot.x_range = x;
    plot.y_range = PlotRange{least_y / 1.5, most_y * 1.5};
    return "<div class=\"panel wide roof\"><h3>How far the roof is</h3>\n" + draw_plot(plot) +
           "<p class=\"note\">Each dot is a case; the line is what copy bandwidth (slope) and matrix products (flat) "
           "reached "
           "in the same process. Dots above it found their data in a cache. Point at a dot for its name.</p></div>\n";
}

std::string table(const Section& section) {
    const bool with_peer = std::any_of(section.lines.begin(), section.lines.end(),
                                       [](const Section::Line& line) { return line.one->ratio.known(); });
    const bool with_warm = std::any_of(section.lines.begin(), section.lines.end(),
                                       [](const Section::Line& line) { return std::isfinite(line.one->us_warm); });
    std::string html =
        "<div class=\"panel wide\"><h3>Every case</h3><div class=\"scroll\"><table><thead><tr><th>case</th>";
    html += with_peer ? "<th>ratio</th><th></th>" : "";
    html += "<th>ours, µs</th>";
    html += with_warm ? "<th>in cache, µs</th>" : "";
    html += with_peer ? "<th>peer, µs</th>" : "";
    html += "<th>GB/s</th><th>% of copy</th><th>GFLOP/s</th><th>% of roof</th></tr></thead><tbody>\n";
    for (const auto& [run, one] : section.lines) {
        add(html, "<tr><td>{}</td>", html_escape(one->name));
        if (with_peer) {
            html += spread_cell(one->ratio);
            html += one->ratio.known() ? "<td>" + ratio_bar(one->ratio.median) + "</td>" : "<td></td>";
        }
        html += spread_cell(one->us);
        if (with_warm) {
            add(html, "<td>{}</td>", digits(one->us_warm));
        }
        html += with_peer ? spread_cell(one->vendor) : "";
        const double seconds = 1e-6 * one->us.median;
        const double bytes_per_second = one->bytes > 0 ? one->bytes / seconds : kUndefined;
        add(html, "<td>{}</td>", digits(1e-9 * bytes_per_second));
        html += percent_cell(100 * bytes_per_second / run->copy_bytes_per_second);
        add(html, "<td>{}</td>", one->flops > 0 ? digits(1e-9 * one->flops / seconds) : "–");
        html += percent_cell(run->roof_percent(*one)) + "</tr>\n";
    }
    return html + "</tbody></table></div></div>\n";
}

// One line per operation, the worst mean first: where ours wins and where it loses.
std::string by_operation(const Section& section) {
    struct Operation {
        std::string_view name;
        std::vector<double> ratios, roofs;
    };
    std::vector<Operation> operations;
    for (const auto& [run, one] : section.lines) {
        if (!one->ratio.known()) {
            continue;
        }
        auto found = std::find_if(operations.begin(), operations.end(),
                                  [&](const Operation& other) { return other.name == one->operation(); });
        if (found == operations.end()) {
            found = operations.insert(operations.end(), Operation{one->operation(), {}, {}});
        }
        found->ratios.push_back(one->ratio.median);  // lines come sorted: the worst first
        if (const double roof = run->roof_percent(*one); std::isfinite(roof)) {
            found->roofs.push_back(roof);
        }
    }
    if (operations.size() < 2) {
        return "";
    }
    std::stable_sort(operations.begin(), operations.end(), [](const Operation& a, const Operation& b) {
        return geometric_mean(a.ratios) < geometric_mean(b.ratios);
    });
    std::string html =
        "<div class=\"panel wide\"><h3>By operation</h3><div class=\"scroll\"><table><thead><tr><th>operation</th>"
        "<th>cases</th><th>ratio, geometric mean</th><th></th><th>worst</th><th>best</th><th>% of roof, median</th>"
        "</tr></thead><tbody>\n";
    for (Operation& operation : operations) {
        const double mean = geometric_mean(operation.ratios);
        std::sort(operation.roofs.begin(), operation.roofs.end());
        add(html, "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>{}</tr>\n",
            html_escape(operation.name), operation.ratios.size(), digits(mean), ratio_bar(mean),
            digits(operation.ratios.front()), digits(operation.ratios.back()),
            percent_cell(operation.roofs.empty() ? kUndefined : operation.roofs[operation.roofs.size() / 2]));
    }
    return html + "</tbody></table></div></div>\n";
}

std::string page_header(std::string_view title, std::span<const BenchRun> runs) {
    std::string html = "<header><div>\n<p class=\"eyebrow\">cutis benchmark</p>\n";
    add(html, "<h1>{}</h1>\n<dl class=\"facts\">\n", html_escape(title));
    for (const BenchRun& run : runs) {
        add(html, "<div><dt>{}</dt><dd>{}{}{}</dd></div>\n", html_escape(run.file), html_escape(run.date),
            run.build.empty() ? "" : ", revision ", html_escape(run.build));
    }
    return html + "</dl>\n</div></header>\n<main>\n";
}

std::string meaningless_notice(std::span<const BenchRun> runs) {
    for (const BenchRun& run : runs) {
        if (run.meaningless) {
            return fmt::format(
                "<p class=\"warning\"><b>Dry run.</b> {} comes from tiny shapes, or from CUDA kernels that ran on a "
                "CPU: "
                "its times show that the programs work, and say nothing about speed.</p>\n",
                html_escape(run.file));
        }
    }
    return "";
}

constexpr std::string_view kFoot =
    "<footer><div><p>Times are medians, with the fastest and the slowest beside them. A ratio is the peer's time over "
    "ours, pair by pair in one process: above 1 ours is faster. Roof: the longer of bytes over copy bandwidth and "
    "FLOPs over "
    "product rate (Williams, Waterman and Patterson, Roofline, CACM 52:4, "
    "2009).</p></div></footer>\n</body>\n</html>\n";

std::string_view verdict_text(BenchChange::Verdict verdict) {
    return verdict == BenchChange::Verdict::slower   ? "slower"
           : verdict == BenchChange::Verdict::faster ? "faster"
                                                     : "within the spread";
}

std::size_t count(const BenchComparison& comparison, BenchChange::Verdict verdict) {
    return static_cast<std::size_t>(
        std::count_if(comparison.changes.begin(), comparison.changes.end(),
                      [&](const BenchChange& change) { return change.verdict == verdict; }));
}

double mean_factor(const BenchComparison& comparison) {
    std::vector<double> factors;
    for (const BenchChange& change : comparison.changes) {
        factors.push_back(change.factor);
    }
    return geometric_mean(factors);
}

std::string names_panel(std::string_view title, const std::vector<std::string>& names) {
    std::string html;
    for (const std::string& name : names) {
        html += (html.empty() ? "" : "<br/>") + html_escape(name);
    }
    return html.empty() ? "" : fmt::format("<div class=\"panel\"><h3>{}</h3><p>{}</p></div>\n", title, html);
}

std::string span_text(const BenchSpread& spread) {
    return spread.least == spread.most
               ? digits(spread.median)
               : fmt::format("{} ({} to {})", digits(spread.median), digits(spread.least), digits(spread.most));
}

}  // namespace

std::string bench_page(std::span<const BenchRun> runs) {
    const std::vector<Section> sections = sections_of(runs);
    const std::string title = sections.size() == 1 ? sections.front().title : "Benchmarks";
    std::string html = open_html_page(title, fmt::format("{}{}", kReportStyle, kBenchStyle));
    html += page_header(title, runs) + meaningless_notice(runs);
    for (const Section& section : sections) {
        html += "<section>\n";
        if (sections.size() > 1) {
            add(html, "<h2>{}</h2>\n", html_escape(section.title));
        }
        html += cards(section) + by_operation(section) + roofline(section) + table(section) + "</section>\n";
    }
    return html + "</main>\n" + std::string(kFoot);
}

std::string bench_comparison_page(const BenchRun& before, const BenchRun& after, const BenchComparison& comparison,
                                  double tolerance) {
    const std::string title = "Before and after, " + after.device;
    std::string html = open_html_page(title, fmt::format("{}{}", kReportStyle, kBenchStyle));
    const BenchRun both[] = {before, after};
    html += page_header(title, both) + meaningless_notice(both);
    if (before.device != after.device) {
        add(html, "<p class=\"warning\"><b>Two devices.</b> Before: {}. After: {}.</p>\n", html_escape(before.device),
            html_escape(after.device));
    }
    html += "<div class=\"cards\">\n";
    html += card("time after over before, geometric mean", digits(mean_factor(comparison)),
                 fmt::format("of {} cases", comparison.changes.size()), true);
    html += card("slower", std::to_string(count(comparison, BenchChange::Verdict::slower)),
                 fmt::format("ranges apart, and more than {:g} %", 100 * tolerance));
    html += card("faster", std::to_string(count(comparison, BenchChange::Verdict::faster)), "likewise");
    html +=
        "</div>\n<div class=\"panel wide\"><div class=\"scroll\"><table><thead><tr><th>case</th><th>after / before</th>"
        "<th>before, µs</th><th>after, µs</th><th></th></tr></thead><tbody>\n";
    for (const BenchChange& change : comparison.changes) {
        const bool counts = change.verdict != BenchChange::Verdict::within_spread;
        add(html, "<tr><td>{}</td><td>{}</td>{}{}<td{}>{}</td></tr>\n", html_escape(change.name), digits(change.factor),
            spread_cell(change.before), spread_cell(change.after),
            counts ? fmt::format(" class=\"{}\"", verdict_text(change.verdict)) : "", verdict_text(change.verdict));
    }
    html += "</tbody></table></div></div>\n";
    html += names_panel("Only before", comparison.gone) + names_panel("Only after", comparison.appeared);
    return html + "</main>\n" + std::string(kFoot);
}

std::string bench_text(std::span<const BenchRun> runs, std::size_t worst) {
    std::string text;
    for (const Section& section : sections_of(runs)) {
        const Summary s = summary_of(section);
        add(text, "{}{}: {} cases\n", text.empty() ? "" : "\n", section.title, s.cases);
        if (s.with_peer > 0) {
            add(text, "  {} times as fast as the peer (geometric mean of {}); {} ahead, {} behind\n", digits(s.ratio),
                s.with_peer, s.ahead, s.behind);
        }
        if (std::isfinite(s.roof)) {
            add(text, "  {:.0f} % of the roof (median)\n", s.roof);
        }
        for (std::size_t i = 0; i < std::min(worst, section.lines.size()); ++i) {
            const auto& [run, one] = section.lines[i];
            const double roof = run->roof_percent(*one);
            add(text, "  {:<54} {:>12} µs{}{}\n", one->name, digits(one->us.median),
                one->ratio.known() ? fmt::format("  {} x", span_text(one->ratio)) : "",
                std::isfinite(roof) ? fmt::format("  {:.0f} % of the roof", roof) : "");
        }
        if (section.lines.size() > worst) {
            add(text, "  .. and {} more\n", section.lines.size() - worst);
        }
    }
    return text;
}

std::string bench_comparison_text(const BenchComparison& comparison) {
    std::string text;
    for (const BenchChange& change : comparison.changes) {
        if (change.verdict != BenchChange::Verdict::within_spread) {
            add(text, "  {:<54} {} times the time, {} -> {} µs\n", change.name, digits(change.factor),
                span_text(change.before), span_text(change.after));
        }
    }
    add(text, "{} cases: {} slower, {} faster, the others within the spread; geometric mean of after / before {}\n",
        comparison.changes.size(), count(comparison, BenchChange::Verdict::slower),
        count(comparison, BenchChange::Verdict::faster), digits(mean_factor(comparison)));
    return text;
}

}  // namespace cutis
