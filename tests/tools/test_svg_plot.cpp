#include "tools/svg_plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/error.h"

namespace cutis {
namespace {

bool holds(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

std::size_t times(const std::string& text, std::string_view part) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
        ++count;
    }
    return count;
}

Plot line(std::vector<double> x, std::vector<double> y) {
    Plot plot;
    plot.x_label = "epoch";
    plot.series.push_back({.name = "loss", .x = std::move(x), .y = std::move(y)});
    return plot;
}

TEST(SvgPlot, TicksAreRoundAndInside) {
    EXPECT_EQ(nice_ticks(0, 10), (std::vector<double>{0, 2, 4, 6, 8, 10}));
    EXPECT_EQ(nice_ticks(0.13, 0.87).size(), 7u);  // 0.2, 0.3, ... 0.8
    EXPECT_EQ(nice_ticks(-1, 1), (std::vector<double>{-1, -0.5, 0, 0.5, 1}));
    for (const auto& [low, high] :
         {std::pair{3.0, 3.001}, {-7e12, 1e13}, {1e-9, 2e-9}, {0.0, 0.97}, {1.0, 1.0 + 4e-16}, {-1e300, 1e300}}) {
        const std::vector<double> ticks = nice_ticks(low, high);
        EXPECT_LE(ticks.size(), 12u);
        for (const double tick : ticks) {
            const double rounding = (high - low) * 1e-6 + std::abs(high) * 1e-15;
            EXPECT_GE(tick, low - rounding);
            EXPECT_LE(tick, high + rounding);
        }
    }
    EXPECT_GE(nice_ticks(3, 3.001).size(), 4u);
    EXPECT_TRUE(nice_ticks(1, 1).empty());
    EXPECT_TRUE(nice_ticks(2, 1).empty());
    EXPECT_TRUE(nice_ticks(NAN, 1).empty());
    EXPECT_TRUE(nice_ticks(0, INFINITY).empty());
    EXPECT_TRUE(nice_ticks(-1e308, 1e308).empty());
}

TEST(SvgPlot, PointsLandWhereTheAxesSay) {
    Plot plot = line({0, 1}, {0, 1});
    plot.x_range = plot.y_range = PlotRange{0, 1};
    plot.width = 200;
    plot.height = 100;
    // Left: 28 and three characters of "0.2" at 6.7; right: 12; bottom: 46; top: 14.
    EXPECT_TRUE(holds(draw_plot(plot), "<path d=\"M48.1 54.0L188.0 14.0\"")) << draw_plot(plot);
}

TEST(SvgPlot, MissingPointsLeaveGaps) {
    const std::string svg = draw_plot(line({1, 2, 3, 4, 5, 6}, {1, 2, NAN, 4, NAN, 1}));
    EXPECT_EQ(times(svg, "L"), 1u);        // of the path: only 1-2 are neighbours
    EXPECT_EQ(times(svg, "<circle"), 2u);  // 4 and 6 stand alone
    EXPECT_FALSE(holds(svg, "nan"));
}

TEST(SvgPlot, OddDataDrawsNoOddNumbers) {
    constexpr double kLargest = std::numeric_limits<double>::max();
    const std::vector<Plot> plots = {
        line({}, {}),
        line({1}, {0.5}),
        line({1}, {0}),
        line({NAN}, {NAN}),
        line({1, 2}, {INFINITY, -INFINITY}),
        line({1, 2, 3}, {7, 7, 7}),
        line({1, 2}, {-kLargest, kLargest}),
        line({0, 5e-324}, {0, 5e-324}),
        line({1, 2, 3}, {1}),
        line({-5, -5}, {-1, -2}),
        Plot{},
    };
    for (std::size_t i = 0; i < plots.size(); ++i) {
        SCOPED_TRACE(i);
        const std::string svg = draw_plot(plots[i]);
        EXPECT_FALSE(holds(svg, "nan")) << svg;
        EXPECT_FALSE(holds(svg, "inf")) << svg;
        EXPECT_EQ(times(svg, "<svg"), times(svg, "</svg>"));
    }
    EXPECT_TRUE(holds(draw_plot(plots[0]), "no data"));
    EXPECT_TRUE(holds(draw_plot(plots[3]), "no data"));
    EXPECT_TRUE(holds(draw_plot(plots[1]), "<circle"));
    Plot empty_range = line({1, 2}, {1, 2});
    empty_range.x_range = PlotRange{1, 1};
    EXPECT_THROW(draw_plot(empty_range), Error);
}

TEST(SvgPlot, TextsAreEscaped) {
    Plot plot = line({1, 2}, {1, 2});
    plot.series[0].name = "<script>\"&'";
    plot.series.push_back({.name = "b", .x = {1, 2}, .y = {2, 1}, .colour = "red\"/><script>"});
    plot.description = plot.x_label = plot.y_label = "<b>\"";
    plot.marks.push_back({1.5, "<i>"});
    const std::string svg = draw_plot(plot);
    for (const char* forbidden : {"<script", "<b>", "<i>"}) {
        EXPECT_FALSE(holds(svg, forbidden)) << forbidden;
    }
    EXPECT_TRUE(holds(svg, "&lt;script&gt;&quot;&amp;&#39;"));
}

TEST(SvgPlot, LegendNamesWhatMustBeToldApart) {
    Plot plot = line({1, 2}, {1, 2});
    EXPECT_FALSE(holds(draw_plot(plot), "legend"));
    plot.series.push_back({.name = "other", .x = {1, 2}, .y = {2, 1}, .dashed = true});
    const std::string svg = draw_plot(plot);
    EXPECT_EQ(times(svg, "<li>"), 2u);
    EXPECT_TRUE(holds(svg, std::string(palette_colour(0))));
    EXPECT_TRUE(holds(svg, std::string(palette_colour(1))));
    EXPECT_TRUE(holds(svg, "stroke-dasharray"));
    EXPECT_EQ(palette_colour(8), palette_colour(0));
}

TEST(SvgPlot, WholeAxesHaveNoFractions) {
    Plot plot = line({1, 2}, {10, 20});
    plot.whole_x = true;
    EXPECT_FALSE(holds(draw_plot(plot), ">1.5<"));
    plot.whole_x = false;
    EXPECT_TRUE(holds(draw_plot(plot), ">1.4<"));
}

TEST(SvgPlot, ReliabilityDrawsFilledBinsOnly) {
    ReliabilityBins bins{{0, 4, 0, 10}, {NAN, 0.4, NAN, 0.9}, {NAN, 0.25, NAN, 1.0}, 0.1};
    const std::string svg = draw_reliability(bins);
    EXPECT_EQ(times(svg, "4 images: mean confidence 0.400, accuracy 0.250"), 3u);  // bar, gap, count
    EXPECT_EQ(times(svg, "10 images"), 3u);
    EXPECT_FALSE(holds(svg, "nan"));
    EXPECT_FALSE(holds(draw_reliability({}), "nan"));
}

}  // namespace
}  // namespace cutis
