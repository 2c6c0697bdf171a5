#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/batchnorm.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "kernels/pointwise.h"
#include "tests/support/error_of.h"
#include "tests/support/reference.h"

namespace cutis {
namespace {

using reference::Values;

constexpr int kC = 19;

std::vector<float> draw(std::size_t n, float low, float high) {
    PhiloxStream words(1, RandomPurpose::test);
    std::vector<float> values(n);
    for (float& value : values) {
        value = words.uniform(low, high);
    }
    return values;
}

// A spread of 1 around 1e4: one pass of E[y^2] - E[y]^2 in fp32 would leave nothing of the variance.
void expect_accurate(const std::vector<float>& y, const std::vector<float>& mean, const std::vector<float>& var) {
    const reference::Moments expected = reference::moments(Values(y.begin(), y.end()), static_cast<int>(mean.size()));
    for (std::size_t c = 0; c < mean.size(); ++c) {
        EXPECT_NEAR(static_cast<double>(mean[c]), expected.mean[c],
                    1e-3);  // half a unit in the last place of 1e4 is 5e-4
        EXPECT_NEAR(static_cast<double>(var[c]) / expected.var[c], 1.0, 1e-4);
    }
}

TEST(BatchnormStatistics, StayAccurateFarFromZero) {
    std::vector<float> mean(kC), var(kC);
    for (const std::size_t rows : {2, 100, 5000}) {
        const std::vector<float> y = draw(rows * kC, 1e4f - 1.0f, 1e4f + 1.0f);
        for (const int threads : {1, 3}) {
            const int before = thread_count();
            set_thread_count(threads);
            cpu::batchnorm_statistics(mean.data(), var.data(), y.data(), static_cast<std::int64_t>(rows), kC);
            set_thread_count(before);
            expect_accurate(y, mean, var);
        }
    }
}

// The same from the epilogues of the convolutions, with one-hot weights that pass such values through.
TEST(BatchnormStatistics, StayAccurateFarFromZeroInEpilogues) {
    constexpr int kH = 40, kW = 30, kRows = kH * kW;
    const std::vector<float> x = draw(std::size_t{kRows} * kC, 1e4f - 1.0f, 1e4f + 1.0f);
    std::vector<float> y(x.size()), mean(kC), var(kC);
    const BatchStatistics statistics{mean.data(), var.data()};

    std::vector<float> diagonal(std::size_t{kC} * kC, 0.0f);
    for (std::size_t c = 0; c < kC; ++c) {
        diagonal[c * kC + c] = 1.0f;
    }
    cpu::pointwise_forward(y.data(), x.data(), diagonal.data(), nullptr, &statistics, kRows, kC, kC);
    EXPECT_EQ(y, x);
    expect_accurate(y, mean, var);

    mean.assign(kC, 0.0f);
    cpu::conv_forward(y.data(), x.data(), diagonal.data(), nullptr, {1, kH, kW, kC, kC, 1, 1, 1, 0}, &statistics);
    EXPECT_EQ(y, x);
    expect_accurate(y, mean, var);

    std::vector<float> middle(std::size_t{9} * kC, 0.0f);
    std::fill_n(middle.begin() + 4 * kC, kC, 1.0f);
    mean.assign(kC, 0.0f);
    cpu::depthwise_forward(y.data(), x.data(), middle.data(), nullptr, &statistics, {1, kH, kW, kC, 1});
    EXPECT_EQ(y, x);
    expect_accurate(y, mean, var);
}

TEST(BatchnormStatistics, OfOneValueRepeatedHaveNoVariance) {
    const std::vector<float> y(1000, 1234.567f);
    float mean = 0.0f, var = 1.0f;
    cpu::batchnorm_statistics(&mean, &var, y.data(), 1000, 1);
    EXPECT_EQ(mean, 1234.567f);
    EXPECT_EQ(var, 0.0f);
}

TEST(BatchnormStatistics, OfNoRowsAreRefused) {
    float mean = 0.0f, var = 0.0f;
    const BatchStatistics statistics{&mean, &var};
    EXPECT_TRUE(testing::is_line_with(testing::error_of([&] { cpu::batchnorm_statistics(&mean, &var, nullptr, 0, 1); }),
                                      "batchnorm", "0 rows"));
    EXPECT_TRUE(testing::is_line_with(
        testing::error_of([&] { cpu::pointwise_forward(nullptr, nullptr, nullptr, nullptr, &statistics, 0, 1, 1); }),
        "pointwise", "0 rows"));
    EXPECT_TRUE(testing::is_line_with(
        testing::error_of([&] {
            cpu::depthwise_forward(nullptr, nullptr, nullptr, nullptr, &statistics, {0, 2, 2, 1, 1});
        }),
        "depthwise", "empty batch"));
    EXPECT_TRUE(testing::is_line_with(
        testing::error_of([&] {
            cpu::conv_forward(nullptr, nullptr, nullptr, nullptr, {0, 2, 2, 1, 1, 1, 1, 1, 0}, &statistics);
        }),
        "convolution", "empty batch"));
}

TEST(Batchnorm, FoldsStatisticsIntoScaleAndShift) {
    const float gamma[] = {2.0f, -1.0f}, beta[] = {3.0f, 0.5f}, mean[] = {10.0f, -4.0f}, var[] = {3.75f, 0.0f};
    float scale[2], shift[2], inv_std[2];
    cpu::batchnorm_fold(scale, shift, inv_std, gamma, beta, mean, var, 0.25f, 2);
    EXPECT_EQ(inv_std[0], 0.5f);
    EXPECT_EQ(inv_std[1], 2.0f);
    EXPECT_EQ(scale[0], 1.0f);
    EXPECT_EQ(scale[1], -2.0f);
    EXPECT_EQ(shift[0], -7.0f);
    EXPECT_EQ(shift[1], -7.5f);
}

TEST(Batchnorm, RunningStatisticsTakeTheUnbiasedVariance) {
    float mean[] = {1.0f}, var[] = {2.0f};
    const float batch_mean[] = {5.0f}, batch_var[] = {6.0f};
    cpu::batchnorm_update_running(mean, var, batch_mean, batch_var, 4, 0.5f, 1);
    EXPECT_EQ(mean[0], 3.0f);
    EXPECT_EQ(var[0], 5.0f);  // (2 + 6 * 4 / 3) / 2
    cpu::batchnorm_update_running(mean, var, batch_mean, batch_var, 1, 0.5f, 1);
    EXPECT_EQ(var[0], 5.5f);  // one row: nothing to correct by
}

TEST(Batchnorm, NaNPassesEveryActivation) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), one = 1.0f, zero = 0.0f;
    for (const Activation act : {Activation::identity, Activation::relu, Activation::relu6}) {
        std::vector<float> z(kC, 0.0f), y(kC, nan), ones(kC, one), zeros(kC, zero);
        cpu::batchnorm_normalize(z.data(), y.data(), {ones.data(), zeros.data(), act}, nullptr, 1, kC);
        for (const float value : z) {
            EXPECT_TRUE(std::isnan(value));
        }
    }
}

}  // namespace
}  // namespace cutis
