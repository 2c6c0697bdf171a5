#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/philox.h"
#include "kernels/pool.h"
#include "tests/support/error_of.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Pooled {
    std::vector<float> y;
    std::vector<std::uint8_t> marks;
};
Pooled max_pool(const std::vector<float>& x, const PoolShape& s) {
    const auto size = static_cast<std::size_t>(s.n * s.p() * s.q() * s.c);
    Pooled result{std::vector<float>(size), std::vector<std::uint8_t>(size)};
    cpu::max_pool_forward(result.y.data(), result.marks.data(), x.data(), s);
    return result;
}

TEST(MaxPool, OfEqualValuesTheFirstWins) {
    EXPECT_EQ(max_pool({1, 5, 5, 5}, {1, 2, 2, 1, 2, 2, 0}).marks, (std::vector<std::uint8_t>{1}));
}

TEST(MaxPool, PaddingNeverWins) {
    const Pooled result = max_pool({-3, -1, -2, -4}, {1, 2, 2, 1, 3, 2, 1});
    EXPECT_EQ(result.y, (std::vector<float>{-1}));
    EXPECT_EQ(result.marks, (std::vector<std::uint8_t>{5}));  // the window begins before the image
}

TEST(MaxPool, MarksArePlacesInTheirOwnWindow) {
    // Two images of 2x3 pixels with 2 channels; the largest values sit at different pixels.
    std::vector<float> x(2 * 6 * 2, 0.0f);
    x[2 * 5 + 0] = 1.0f;       // image 0, pixel 5, channel 0
    x[12 + 2 * 1 + 1] = 1.0f;  // image 1, pixel 1, channel 1
    const Pooled result = max_pool(x, {2, 2, 3, 2, 2, 1, 0});
    EXPECT_EQ(result.marks, (std::vector<std::uint8_t>{0, 0, 3, 0, 0, 1, 0, 0}));
    std::vector<float> dx(x.size()), dy(result.y.size(), 1.0f);
    cpu::max_pool_backward(dx.data(), dy.data(), result.marks.data(), {2, 2, 3, 2, 2, 1, 0});
    EXPECT_EQ(dx[12 + 2 * 1 + 1], 2.0f);  // both windows of image 1 chose it
    EXPECT_EQ(dx[2 * 5 + 0], 1.0f);
}

TEST(MaxPool, NaNWinsAndStays) {
    for (int place = 0; place < 4; ++place) {
        std::vector<float> x = {1, 2, 3, 4};
        x[static_cast<std::size_t>(place)] = kNan;
        const Pooled result = max_pool(x, {1, 2, 2, 1, 2, 2, 0});
        EXPECT_TRUE(std::isnan(result.y[0]));
        EXPECT_EQ(result.marks[0], place);
    }
}

TEST(MaxPool, WindowsOfMinusInfinityPointInside) {
    const Pooled result = max_pool(std::vector<float>(9, -kInfinity), {1, 3, 3, 1, 3, 1, 1});
    // Each window's first place that is no padding.
    EXPECT_EQ(result.marks, (std::vector<std::uint8_t>{4, 3, 3, 1, 0, 0, 1, 0, 0}));
    EXPECT_EQ(result.y, std::vector<float>(9, -kInfinity));
}

// Rows of windows share what they read; here with more rows than are taken at a time, in every position, and one NaN.
TEST(MaxPool, OfManyRowsIsTheDefinition) {
    for (const PoolShape& s :
         {PoolShape{1, 23, 9, 70, 3, 2, 1}, PoolShape{2, 17, 8, 19, 3, 1, 1}, PoolShape{1, 20, 21, 33, 5, 1, 2},
          PoolShape{1, 24, 24, 5, 4, 3, 2}, PoolShape{1, 40, 33, 16, 16, 2, 8}, PoolShape{3, 9, 9, 8, 2, 3, 0},
          PoolShape{1, 13, 13, 64, 3, 2, 0, true}}) {
        SCOPED_TRACE(::testing::Message() << s.h << "x" << s.w << " c " << s.c << " window " << s.window << " stride "
                                          << s.stride << " padding " << s.padding);
        PhiloxStream random(3, RandomPurpose::test);
        std::vector<float> x(static_cast<std::size_t>(s.n * s.h * s.w * s.c));
        for (float& value : x) {
            value = std::max(0.0f, std::round(random.uniform(-4.0f, 9.0f)));  // many are equal
        }
        x[x.size() / 3] = kNan;
        const Pooled result = max_pool(x, s);
        std::vector<float> dx(x.size()), dy(result.y.size()), expected_dx(x.size(), 0.0f);
        std::size_t at = 0;
        for (int n = 0; n < s.n; ++n) {
            for (int p = 0; p < s.p(); ++p) {
                for (int q = 0; q < s.q(); ++q) {
                    for (int c = 0; c < s.c; ++c, ++at) {
                        const Span rows = s.rows().inputs_of(p), columns = s.columns().inputs_of(q);
                        std::size_t best = 0;
                        int mark = -1;
                        for (int h = rows.begin; h < rows.end; ++h) {
                            for (int w = columns.begin; w < columns.end; ++w) {
                                const auto i = static_cast<std::size_t>(((n * s.h + h) * s.w + w) * s.c + c);
                                if (mark < 0 || (!std::isnan(x[best]) && !(x[i] <= x[best]))) {
                                    best = i;
                                    mark = (h - s.rows().origin_of(p)) * s.window + w - s.columns().origin_of(q);
                                }
                            }
                        }
                        ASSERT_EQ(result.marks[at], mark) << "image " << n << " window " << p << ", " << q;
                        ASSERT_TRUE(result.y[at] == x[best] || std::isnan(x[best]));
                        dy[at] = std::round(random.uniform(-9.0f, 9.0f));
                        expected_dx[best] += dy[at];
                    }
                }
            }
        }
        cpu::max_pool_backward(dx.data(), dy.data(), result.marks.data(), s);
        EXPECT_EQ(dx, expected_dx);
    }
}

TEST(MaxPool, RefusesWindowsWhoseMarksAreNoBytes) {
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 cpu::max_pool_forward(nullptr, nullptr, nullptr, PoolShape{1, 20, 20, 1, 17, 1, 0});
                             }),
                             "max pooling", "17", "16"));
}

TEST(Pool, RefusesShapesThatMakeNoSense) {
    const auto refusal = [](const PoolShape& shape) {
        const std::string message = error_of([&] { cpu::max_pool_forward(nullptr, nullptr, nullptr, shape); });
        EXPECT_EQ(message, error_of([&] { cpu::max_pool_backward(nullptr, nullptr, nullptr, shape); }));
        EXPECT_EQ(message, error_of([&] { cpu::average_pool_forward(nullptr, nullptr, shape); }));
        EXPECT_EQ(message, error_of([&] { cpu::average_pool_backward(nullptr, nullptr, shape); }));
        return message;
    };
    EXPECT_TRUE(is_line_with(refusal({1, 4, 4, 0, 2, 2, 0}), "pooling", "c 0"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 4, 1, 2, 0, 0}), "stride 0"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 4, 1, 3, 2, 2}), "padding 2", "half the window 3"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 2, 1, 5, 2, 1}), "window 5", "4x2"));
    EXPECT_TRUE(is_line_with(refusal({1, 2, 1, 1, 3, 2, 0, true}), "window 3", "2x1"));  // torch refuses it too
}

TEST(GlobalAveragePool, RefusesEmptyImagesAndHalfAFusion) {
    float value = 1.0f;
    const Normalize on_load{&value, &value, Activation::relu};
    EXPECT_TRUE(is_line_with(error_of([&] { cpu::global_average_pool_forward(&value, &value, nullptr, 1, 0, 1); }),
                             "average pooling", "0 pixels"));
    EXPECT_TRUE(is_line_with(
        error_of([&] { cpu::global_average_pool_backward(&value, &value, &value, nullptr, nullptr, 1, 0, 1); }),
        "0 pixels"));
    EXPECT_TRUE(is_line_with(
        error_of([&] { cpu::global_average_pool_backward(&value, &value, &value, &on_load, nullptr, 1, 1, 1); }),
        "average pooling", "both"));
}

}  // namespace
}  // namespace cutis
