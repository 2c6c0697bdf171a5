#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

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
    std::vector<std::int32_t> argmax;
};
Pooled max_pool(const std::vector<float>& x, const PoolShape& s) {
    const auto size = static_cast<std::size_t>(s.n * s.p() * s.q() * s.c);
    Pooled result{std::vector<float>(size), std::vector<std::int32_t>(size)};
    cpu::max_pool_forward(result.y.data(), result.argmax.data(), x.data(), s);
    return result;
}

TEST(MaxPool, OfEqualValuesTheFirstWins) {
    EXPECT_EQ(max_pool({1, 5, 5, 5}, {1, 2, 2, 1, 2, 2, 0}).argmax, (std::vector<std::int32_t>{1}));
}

TEST(MaxPool, PaddingNeverWins) {
    const Pooled result = max_pool({-3, -1, -2, -4}, {1, 2, 2, 1, 3, 2, 1});
    EXPECT_EQ(result.y, (std::vector<float>{-1}));
    EXPECT_EQ(result.argmax, (std::vector<std::int32_t>{1}));
}

TEST(MaxPool, ArgmaxCountsPixelsOfItsOwnImage) {
    // Two images of 2x3 pixels with 2 channels; the largest values sit at different pixels.
    std::vector<float> x(2 * 6 * 2, 0.0f);
    x[2 * 5 + 0] = 1.0f;       // image 0, pixel 5, channel 0
    x[12 + 2 * 1 + 1] = 1.0f;  // image 1, pixel 1, channel 1
    const Pooled result = max_pool(x, {2, 2, 3, 2, 2, 1, 0});
    EXPECT_EQ(result.argmax, (std::vector<std::int32_t>{0, 0, 5, 1, 0, 1, 1, 1}));
    std::vector<float> dx(x.size()), dy(result.y.size(), 1.0f);
    cpu::max_pool_backward(dx.data(), dy.data(), result.argmax.data(), {2, 2, 3, 2, 2, 1, 0});
    EXPECT_EQ(dx[12 + 2 * 1 + 1], 2.0f);  // both windows of image 1 chose it
    EXPECT_EQ(dx[2 * 5 + 0], 1.0f);
}

TEST(MaxPool, NaNWinsAndStays) {
    for (int place = 0; place < 4; ++place) {
        std::vector<float> x = {1, 2, 3, 4};
        x[static_cast<std::size_t>(place)] = kNan;
        const Pooled result = max_pool(x, {1, 2, 2, 1, 2, 2, 0});
        EXPECT_TRUE(std::isnan(result.y[0]));
        EXPECT_EQ(result.argmax[0], place);
    }
}

TEST(MaxPool, WindowsOfMinusInfinityPointInside) {
    const Pooled result = max_pool(std::vector<float>(9, -kInfinity), {1, 3, 3, 1, 3, 1, 1});
    for (const std::int32_t pixel : result.argmax) {
        EXPECT_GE(pixel, 0);
        EXPECT_LT(pixel, 9);
    }
    EXPECT_EQ(result.y, std::vector<float>(9, -kInfinity));
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
