#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/batchnorm.h"
#include "kernels/error.h"
#include "tests/support/device_array.h"

namespace cutis::testing {
namespace {

constexpr float kEps = 1e-5f;

std::vector<float> random_values(std::int64_t n, float mean, float spread, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(mean, spread);
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) {
        value = normal(random);
    }
    return values;
}

// The single-read form against the separate passes: what both store must agree to rounding.
template <class T>
void expect_single_read_agrees(std::int64_t rows, int c, Activation act, bool with_residual, float tolerance) {
    SCOPED_TRACE(::testing::Message() << rows << " rows, " << c << " channels");
    const DeviceArray<T> y(random_values(rows * c, 3.0f, 0.5f, 1)), residual(random_values(rows * c, 0.0f, 1.0f, 2));
    const DeviceArray<float> gamma(random_values(c, 1.0f, 0.3f, 3)), beta(random_values(c, 0.5f, 0.5f, 4));
    DeviceArray<float> parts[5] = {DeviceArray<float>(c), DeviceArray<float>(c), DeviceArray<float>(c),
                                   DeviceArray<float>(c), DeviceArray<float>(c)};
    DeviceArray<float> single[5] = {DeviceArray<float>(c), DeviceArray<float>(c), DeviceArray<float>(c),
                                    DeviceArray<float>(c), DeviceArray<float>(c)};
    const DeviceArray<T> expected(rows * c), z(rows * c);
    const T* const added = with_residual ? residual.data() : nullptr;

    cuda::batchnorm_statistics(parts[0].data(), parts[1].data(), static_cast<const T*>(y.data()), rows, c, {});
    cuda::batchnorm_fold(parts[2].data(), parts[3].data(), parts[4].data(), gamma.data(), beta.data(), parts[0].data(),
                         parts[1].data(), kEps, c, {});
    cuda::batchnorm_normalize(expected.data(), static_cast<const T*>(y.data()), {parts[2].data(), parts[3].data(), act},
                              added, rows, c, {});
    ASSERT_TRUE(cuda::batchnorm_forward_fits<T>(rows, c));
    cuda::batchnorm_forward(z.data(),
                            {single[0].data(), single[1].data(), single[2].data(), single[3].data(), single[4].data()},
                            static_cast<const T*>(y.data()), gamma.data(), beta.data(), kEps, act, added, rows, c, {});

    for (int k = 0; k < 5; ++k) {
        const std::vector<float> a = parts[k].values(), b = single[k].values();
        for (std::size_t i = 0; i < a.size(); ++i) {
            ASSERT_NEAR(a[i], b[i], 2e-4f * (1.0f + std::abs(a[i]))) << "figure " << k << " of channel " << i;
        }
        EXPECT_TRUE(single[k].intact());
    }
    const std::vector<float> a = expected.values(), b = z.values();
    for (std::size_t i = 0; i < a.size(); ++i) {
        ASSERT_NEAR(a[i], b[i], tolerance * (1.0f + std::abs(a[i]))) << "value " << i;
    }
    EXPECT_TRUE(z.intact());
}

TEST(CudaBatchnorm, SingleReadAgreesWithTheSeparatePasses) {
    for (const auto& [rows, c] : std::vector<std::pair<int, int>>{{2, 1}, {49, 16}, {300, 24}, {777, 7}, {513, 8}}) {
        expect_single_read_agrees<float>(rows, c, Activation::relu6, rows % 2 == 0, 1e-3f);
        expect_single_read_agrees<BFloat16>(rows, c, Activation::identity, rows % 2 != 0, 2e-2f);
    }
}

TEST(CudaBatchnorm, SingleReadSaysWhatDoesNotFit) {
    EXPECT_TRUE(cuda::batchnorm_forward_fits<float>(6144, 8));
    EXPECT_FALSE(cuda::batchnorm_forward_fits<float>(6145, 8));
    EXPECT_TRUE(cuda::batchnorm_forward_fits<BFloat16>(6144, 8));
    EXPECT_FALSE(cuda::batchnorm_forward_fits<float>(0, 8));
    const DeviceArray<float> y(8);
    EXPECT_THROW(cuda::batchnorm_forward(y.data(), {}, static_cast<const float*>(y.data()), nullptr, nullptr, kEps,
                                         Activation::relu, nullptr, 1 << 20, 8, {}),
                 Error);
}

// E[y^2] - E[y]^2 in fp32 would lose all of a spread that is small beside the mean.
TEST(CudaBatchnorm, StatisticsOfASmallSpreadOnALargeMean) {
    constexpr std::int64_t kRows = 3000;
    constexpr int kChannels = 5;
    const std::vector<float> values = random_values(kRows * kChannels, 4000.0f, 0.25f, 7);
    const DeviceArray<float> y(values), mean(kChannels), var(kChannels);
    cuda::batchnorm_statistics(mean.data(), var.data(), static_cast<const float*>(y.data()), kRows, kChannels, {});
    for (int c = 0; c < kChannels; ++c) {
        double sum = 0.0, squares = 0.0;
        for (std::int64_t row = 0; row < kRows; ++row) {
            sum += static_cast<double>(values[static_cast<std::size_t>(row * kChannels + c)]);
        }
        const double average = sum / static_cast<double>(kRows);
        for (std::int64_t row = 0; row < kRows; ++row) {
            const double distance =
                static_cast<double>(values[static_cast<std::size_t>(row * kChannels + c)]) - average;
            squares += distance * distance;
        }
        const auto i = static_cast<std::size_t>(c);
        EXPECT_NEAR(static_cast<double>(mean.values()[i]), average, 1e-3);
        EXPECT_NEAR(static_cast<double>(var.values()[i]), squares / static_cast<double>(kRows), 1e-4);
    }
}

// NaN must not pass for a clamped number.
TEST(CudaBatchnorm, NanStaysNan) {
    const DeviceArray<float> y(std::vector<float>{std::nanf(""), 1.0f}), one(std::vector<float>{1.0f}),
        zero(std::vector<float>{0.0f}), z(2);
    cuda::batchnorm_normalize(z.data(), static_cast<const float*>(y.data()),
                              {one.data(), zero.data(), Activation::relu6}, nullptr, 2, 1, {});
    EXPECT_TRUE(std::isnan(z.values()[0]));
    EXPECT_EQ(z.values()[1], 1.0f);
}

TEST(CudaBatchnorm, NoRows) {
    const DeviceArray<float> one(std::vector<float>{1.0f}), z(1);
    EXPECT_NO_THROW(cuda::batchnorm_normalize(z.data(), static_cast<const float*>(z.data()),
                                              {one.data(), one.data(), Activation::relu}, nullptr, 0, 1, {}));
    EXPECT_THROW(cuda::batchnorm_statistics(z.data(), z.data(), static_cast<const float*>(one.data()), 0, 1, {}),
                 Error);
}

}  // namespace
}  // namespace cutis::testing
