#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/metrics.h"

namespace cutis {

/// One line of a plot. x and y are of equal length; a point that is not finite leaves a gap.
struct PlotSeries {
    std::string name = {};  ///< in the legend; "" leaves it out there
    std::vector<double> x = {}, y = {};
    std::string colour = {};  ///< "" takes the palette's colour of the series' place
    double width = 2;         ///< pixels of the drawing
    double opacity = 1;
    bool dashed = false;
    bool markers = false;  ///< a dot with a tooltip at every point
    bool line = true;      ///< false: only the dots
    std::vector<std::string> tips = {};  ///< a dot's tooltip, where its name and values are not enough
};

struct PlotRange {
    double low = 0, high = 1;
};

/// A vertical line with a word beside it.
struct PlotMark {
    double x = 0;
    std::string label;
};

struct Plot {
    std::string description;  ///< what a screen reader says instead of the drawing
    std::string x_label, y_label;
    std::vector<PlotSeries> series;
    std::optional<PlotRange> x_range, y_range;  ///< from the data where not given; values outside are drawn at the edge
    bool whole_x = false;                       ///< x counts something: no ticks between whole numbers
    bool logarithmic = false;                   ///< both axes; values must be above 0, others leave a gap
    bool diagonal = false;                      ///< a thin line from the lower left to the upper right corner
    std::vector<PlotMark> marks;
    int width = 410, height = 262;  ///< of the drawing, which scales to the width of its place
};

/// An <svg> element and, for two or more named series, a list <ul class="legend"> below it. All texts are escaped;
/// without a single finite point the drawing says "no data". No script, no style sheet and nothing from outside is
/// needed.
std::string draw_plot(const Plot& plot);

/// Accuracy against confidence as bars with their gap to perfect calibration, and how many images each bin holds.
std::string draw_reliability(const ReliabilityBins& bins);

/// Eight colours that people with any colour vision can tell apart on white (Okabe & Ito 2008, with the yellow
/// darkened); they repeat from the ninth on.
std::string_view palette_colour(std::size_t place);

/// Round numbers (1, 2 or 5 times a power of ten apart) inside [low, high], about `count` of them; empty unless low <
/// high and both are finite.
std::vector<double> nice_ticks(double low, double high, int count = 5);

}  // namespace cutis
