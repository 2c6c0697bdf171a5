#include "tools/figure_text.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

namespace cutis::testing {
namespace {

TEST(FigureText, RoundsAndDashesWhatIsUndefined) {
    EXPECT_EQ(figure_text(0.74249), "0.742");
    EXPECT_EQ(figure_text(0.74249, 4), "0.7425");
    EXPECT_EQ(figure_text(0.031, 3, true), "+0.031");
    EXPECT_EQ(figure_text(-0.031, 3, true), "-0.031");
    EXPECT_EQ(figure_text(kUndefined), "–");
    EXPECT_EQ(figure_text(kUndefined, 3, true), "–");
    EXPECT_EQ(figure_text(std::numeric_limits<double>::infinity()), "–");
}

TEST(FigureText, PutsIntervalsBehind) {
    EXPECT_EQ(interval_text({0.1, 0.25}), "[0.100, 0.250]");
    EXPECT_EQ(interval_text({-0.1, 0.25}, true), "[-0.100, +0.250]");
    EXPECT_EQ(interval_text({}), "–");
    EXPECT_EQ(figure_text(0.5, Interval{0.25, 0.75}), "0.500 [0.250, 0.750]");
    EXPECT_EQ(figure_text(0.5, Interval{}), "0.500 –");
    EXPECT_EQ(figure_text(kUndefined, Interval{}), "–");
    EXPECT_EQ(figure_text(Difference{0.125, {0, 0.5}}), "+0.125 [+0.000, +0.500]");
    EXPECT_EQ(figure_text(Difference{}), "–");
}

TEST(FigureText, IsNullInJson) {
    EXPECT_EQ(figure_json(0.5, {0.25, 0.75}).dump(), R"({"value":0.5,"low":0.25,"high":0.75})");
    EXPECT_EQ(figure_json(kUndefined, {}).dump(), R"({"value":null,"low":null,"high":null})");
}

}  // namespace
}  // namespace cutis::testing
