#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/batchnorm.h"
#include "kernels/concat.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/gather.h"
#include "kernels/lrn.h"
#include "kernels/pool.h"
#include "kernels/softmax_cross_entropy.h"
#include "tests/support/device_array.h"
#include "tests/support/device_values.h"

// What the table of op cases leaves out: tensors without elements, and conversions bit by bit.

namespace cutis::testing {
namespace {

constexpr int kC = 16;

// ---- nothing to do: no launch fails, nothing is written, and sums over nothing are zero.

template <class T>
class CudaNothing : public ::testing::Test {
  protected:
    void TearDown() override {
        cuda::check(cudaDeviceSynchronize(), "kernels");
        EXPECT_TRUE(none_.intact());
        EXPECT_TRUE(figures_.intact());
    }
    T* none() const { return none_.data(); }
    float* figures() const { return figures_.data(); }
    // Expects `n` zeros in what a call wrote as figures per channel.
    void expect_zeros(std::int64_t n) const {
        const std::vector<float> values = figures_.values();
        for (std::int64_t i = 0; i < n; ++i) {
            EXPECT_EQ(values[static_cast<std::size_t>(i)], 0.0f) << i;
        }
    }

    const DeviceArray<T> weights_{std::vector<float>(std::size_t{9} * kC * kC, 1.0f)};
    const DeviceArray<float> ones_{std::vector<float>(std::size_t{9} * kC, 1.0f)};
    const Normalize on_load_{ones_.data(), ones_.data(), Activation::relu6};

  private:
    const DeviceArray<T> none_{0};
    const DeviceArray<float> figures_{std::int64_t{9} * kC * kC};
};
using Types = ::testing::Types<float, BFloat16>;
TYPED_TEST_SUITE(CudaNothing, Types);

TYPED_TEST(CudaNothing, OfValues) {
    using T = TypeParam;
    const T* const in = this->none();
    cuda::fill(this->none(), 1.0f, 0, {});
    cuda::add(this->none(), in, in, 0, {});
    cuda::scale(this->none(), in, 2.0f, 0, {});
    cuda::axpy(this->none(), 2.0f, in, 0, {});
    cuda::activation_forward(this->none(), in, Activation::relu, 0, {});
    cuda::activation_backward(this->none(), in, in, Activation::relu, 0, {});
    cuda::cast(this->none(), static_cast<const float*>(this->figures()), 0, {});
    cuda::cast(this->figures(), in, 0, {});
    cuda::dropout_forward(this->none(), in, 0.5f, 1, {}, 0, {});
    cuda::dropout_backward(this->none(), in, 0.5f, 1, {}, 0, {});
    cuda::softmax(this->figures(), in, 0, 5, {});
}

TYPED_TEST(CudaNothing, OfRows) {
    using T = TypeParam;
    const T* const in = this->none();
    const std::array<ChannelPart<const T>, 2> parts{{{in, 8}, {in, 8}}};
    cuda::concat_channels<T>(this->none(), parts, 0, {});
    cuda::gather_rows<T>(this->none(), this->none(), nullptr, 0, 5, {});
    cuda::gather_rows<T>(this->none(), this->none(), nullptr, 3, 0, {});
    const std::array<ChannelPart<T>, 2> out{{{this->none(), 8}, {nullptr, 8}}};
    cuda::split_channels<T>(out, in, 0, {});
    cuda::concat_channels<T>(this->none(), std::span<const ChannelPart<const T>>{}, 3, {});
    cuda::split_channels<T>(std::span<const ChannelPart<T>>{}, in, 3, {});
    cuda::local_response_norm_forward(this->none(), in, {}, 0, kC, {});
    cuda::local_response_norm_backward(this->none(), in, in, {}, 0, kC, {});
    cuda::batchnorm_normalize(this->none(), in, this->on_load_, nullptr, 0, kC, {});
    const float* const one = this->ones_.data();
    cuda::batchnorm_apply_gradient(this->none(), in, GradientOnLoadT<T>{in, one, one, one}, &this->on_load_, 0, kC, {});
    EXPECT_ANY_THROW(cuda::batchnorm_statistics(this->figures(), this->figures(), in, 0, kC, {}));
}

TYPED_TEST(CudaNothing, OfImagesInAPool) {
    using T = TypeParam;
    const T* const in = this->none();
    const DeviceValues<std::uint8_t> marks(std::vector<std::uint8_t>{});
    cuda::max_pool_forward(this->none(), marks.data(), in, PoolShape{0, 5, 5, kC, 3, 2, 1}, {});
    cuda::max_pool_backward(this->none(), in, marks.data(), PoolShape{0, 5, 5, kC, 3, 2, 1}, {});
    cuda::average_pool_forward(this->none(), in, PoolShape{0, 5, 5, kC, 3, 2, 1}, {});
    cuda::average_pool_backward(this->none(), in, PoolShape{0, 5, 5, kC, 3, 2, 1}, {});
    cuda::adaptive_average_pool_forward(this->none(), in, AdaptivePoolShape{0, 5, 5, kC, 2, 3}, {});
    cuda::adaptive_average_pool_backward(this->none(), in, AdaptivePoolShape{0, 5, 5, kC, 2, 3}, {});
    cuda::global_average_pool_forward(this->none(), in, &this->on_load_, 0, 25, kC, {});
    cuda::global_average_pool_backward<T>(this->none(), in, nullptr, nullptr, nullptr, 0, 25, kC, {});
    const NormalizeBackward before{this->ones_.data(), this->ones_.data(), this->figures(), this->figures() + kC};
    cuda::global_average_pool_backward(this->none(), in, in, &this->on_load_, &before, 0, 25, kC, {});
    this->expect_zeros(2 * kC);
}

TYPED_TEST(CudaNothing, OfImagesInAConvolution) {
    using T = TypeParam;
    const T* const in = this->none();
    for (const ConvShape& s : {ConvShape{0, 5, 5, kC, kC, 3, 3, 2, 1}, ConvShape{0, 5, 5, kC, kC, 1, 1, 1, 0},
                               ConvShape{0, 5, 5, kC, kC, 3, 3, 1, 1, 2}}) {
        const std::int64_t dw = std::int64_t{kC} * s.r * s.s * (kC / s.groups);
        cuda::conv_forward<T>(this->none(), in, this->weights_.data(), this->ones_.data(), s, nullptr, {}, {});
        cuda::conv_backward<T>(this->none(), this->figures(), nullptr, in, nullptr, in, this->weights_.data(), s, {},
                               {});
        this->expect_zeros(dw);
        cuda::conv_backward<T>(nullptr, nullptr, this->figures(), in, nullptr, in, this->weights_.data(), s, {}, {});
        this->expect_zeros(kC);
        const BatchStatistics statistics{this->figures(), this->figures()};
        EXPECT_ANY_THROW(
            cuda::conv_forward<T>(this->none(), in, this->weights_.data(), nullptr, s, &statistics, {}, {}));
    }
}

TYPED_TEST(CudaNothing, OfImagesInADepthwiseConvolution) {
    using T = TypeParam;
    const T* const in = this->none();
    for (const int stride : {1, 2}) {
        const DepthwiseShape s{0, 5, 5, kC, stride};
        cuda::depthwise_forward<T>(this->none(), in, this->ones_.data(), &this->on_load_, nullptr, s, {});
        const NormalizeBackward before{this->ones_.data(), this->ones_.data(), this->figures() + 9 * kC,
                                       this->figures() + 10 * kC};
        cuda::depthwise_backward<T>(this->none(), this->figures(), in, nullptr, in, &this->on_load_, &before,
                                    this->ones_.data(), s, {});
        this->expect_zeros(11 * kC);
        const BatchStatistics statistics{this->figures(), this->figures()};
        EXPECT_ANY_THROW(cuda::depthwise_forward<T>(this->none(), in, this->ones_.data(), nullptr, &statistics, s, {}));
    }
}

// ---- conversions

std::vector<float> values_to_convert() {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    std::vector<float> values = {0.0f,
                                 -0.0f,
                                 1.0f,
                                 -1.0f,
                                 kInfinity,
                                 -kInfinity,
                                 std::numeric_limits<float>::max(),
                                 std::numeric_limits<float>::denorm_min(),
                                 std::numeric_limits<float>::min()};
    // Around every way to round: below, at and above half a unit, on an even and on an odd value, carrying into the
    // exponent.
    for (const std::uint32_t base : {0x3F800000u, 0x3F810000u, 0x3FFF0000u, 0xBF800000u, 0x00010000u, 0x7F7F0000u}) {
        for (const std::uint32_t rest : {0x0000u, 0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
            values.push_back(std::bit_cast<float>(base + rest));
        }
    }
    return values;
}

TEST(CudaCast, RoundsToTheNearestTiesToEven) {
    const std::vector<float> all = values_to_convert();
    for (const std::size_t n : {std::size_t{1}, std::size_t{7}, std::size_t{8}, all.size()}) {
        const std::vector<float> values(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n));
        const DeviceArray<float> wide(values), again(static_cast<std::int64_t>(n)), same(static_cast<std::int64_t>(n));
        const DeviceArray<BFloat16> narrow(static_cast<std::int64_t>(n)), copy(static_cast<std::int64_t>(n));
        cuda::cast(narrow.data(), static_cast<const float*>(wide.data()), static_cast<std::int64_t>(n), {});
        cuda::cast(again.data(), static_cast<const BFloat16*>(narrow.data()), static_cast<std::int64_t>(n), {});
        cuda::cast(same.data(), static_cast<const float*>(wide.data()), static_cast<std::int64_t>(n), {});
        cuda::cast(copy.data(), static_cast<const BFloat16*>(narrow.data()), static_cast<std::int64_t>(n), {});
        std::vector<float> expected;
        for (const float value : values) {
            expected.push_back(bf16_to_f32(f32_to_bf16(value)));
        }
        EXPECT_EQ(narrow.values(), expected);
        EXPECT_EQ(again.values(), expected);
        EXPECT_EQ(copy.values(), expected);
        EXPECT_EQ(same.values(), values);
        EXPECT_TRUE(narrow.intact() && again.intact() && same.intact() && copy.intact());
    }
}

TEST(CudaCast, NanStaysNan) {
    for (const std::uint32_t bits : {0x7FC00000u, 0xFFC00000u, 0x7F800001u, 0x7FFFFFFFu, 0xFF800001u}) {
        const DeviceArray<float> wide(std::vector<float>(9, std::bit_cast<float>(bits))), again(9);
        const DeviceArray<BFloat16> narrow(9);
        cuda::cast(narrow.data(), static_cast<const float*>(wide.data()), 9, {});
        cuda::cast(again.data(), static_cast<const BFloat16*>(narrow.data()), 9, {});
        for (const float value : again.values()) {
            EXPECT_TRUE(std::isnan(value)) << bits;
        }
    }
}

// ---- cross entropy: what the table cannot say about what is in device memory

struct CrossEntropyRun {
    CrossEntropyRun(const std::vector<float>& logits, const std::vector<std::int32_t>& labels,
                    const std::vector<float>& weights, float factor, bool factor_on_device) {
        const int n = static_cast<int>(labels.size()), c = static_cast<int>(logits.size()) / n;
        const DeviceArray<float> z(logits), w(weights), loss_array(1), losses_array(n), probabilities(n * c),
            gradient(n * c), scale(std::vector<float>{factor});
        const DeviceValues<std::int32_t> device_labels(labels);
        const CrossEntropyOptions options{weights.empty() ? nullptr : w.data(), 0.0f, 0.0f};
        cuda::softmax_cross_entropy_forward(loss_array.data(), losses_array.data(), probabilities.data(),
                                            static_cast<const float*>(z.data()), device_labels.data(), options, n, c,
                                            {});
        const float* const p = probabilities.data();
        if (factor_on_device) {
            const float* const on_device = scale.data();
            cuda::softmax_cross_entropy_backward(gradient.data(), on_device, p, device_labels.data(), options, n, c,
                                                 {});
        } else {
            cuda::softmax_cross_entropy_backward(gradient.data(), factor, p, device_labels.data(), options, n, c, {});
        }
        loss = loss_array.values()[0];
        losses = losses_array.values();
        dlogits = gradient.values();
    }
    float loss;
    std::vector<float> losses, dlogits;
};

TEST(CudaCrossEntropy, TheGradientFromAboveMayBeOnTheHostOrOnTheDevice) {
    const std::vector<float> logits = {1, 2, 3, 1, 0, -1};
    const std::vector<std::int32_t> labels = {2, 0};
    const CrossEntropyRun once(logits, labels, {}, 1.0f, false), host(logits, labels, {}, 4.0f, false),
        device(logits, labels, {}, 4.0f, true);
    EXPECT_EQ(host.dlogits, device.dlogits);
    for (std::size_t i = 0; i < logits.size(); ++i) {
        EXPECT_EQ(host.dlogits[i], 4.0f * once.dlogits[i]);
    }
}

TEST(CudaCrossEntropy, ALabelThatIsNoClassMakesLossAndGradientsNan) {
    for (const std::int32_t wrong : {-1, 3, 1 << 30}) {
        const CrossEntropyRun run({1, 2, 3, 1, 0, -1}, {2, wrong}, {}, 1.0f, false);
        EXPECT_TRUE(std::isnan(run.loss));
        EXPECT_NEAR(run.losses[0], 0.407606f, 1e-6f);
        EXPECT_TRUE(std::isnan(run.losses[1]));
        for (const float value : run.dlogits) {
            EXPECT_TRUE(std::isnan(value));
        }
    }
}

TEST(CudaCrossEntropy, WeightsThatSumToNothingMakeThemNan) {
    const CrossEntropyRun run({1, 2, 3, 1, 0, -1}, {2, 2}, {1, 1, 0}, 1.0f, false);
    EXPECT_TRUE(std::isnan(run.loss));
    for (const float value : run.dlogits) {
        EXPECT_TRUE(std::isnan(value));
    }
}

// ---- batchnorm's running statistics

TEST(CudaRunningStatistics, MoveAsTheCpusDo) {
    const std::vector<float> mean = {0.5f, -1.0f, 3.0f}, var = {1.0f, 0.25f, 2.0f};
    for (const std::int64_t rows : {1, 2, 100}) {
        std::vector<float> running_mean = {1.0f, 2.0f, 3.0f}, running_var = {4.0f, 5.0f, 6.0f};
        const DeviceArray<float> device_mean(running_mean), device_var(running_var), batch_mean(mean), batch_var(var);
        cpu::batchnorm_update_running(running_mean.data(), running_var.data(), mean.data(), var.data(), rows, 0.1f, 3);
        cuda::batchnorm_update_running(device_mean.data(), device_var.data(), batch_mean.data(), batch_var.data(), rows,
                                       0.1f, 3, {});
        for (std::size_t i = 0; i < mean.size(); ++i) {
            EXPECT_FLOAT_EQ(device_mean.values()[i], running_mean[i]) << rows;
            EXPECT_FLOAT_EQ(device_var.values()[i], running_var[i]) << rows;
        }
        EXPECT_TRUE(device_mean.intact() && device_var.intact());
    }
}

// ---- dropout: where its masks come from

TEST(CudaDropout, TheStepIsReadOnTheDevice) {
    constexpr std::int64_t kN = 1003;
    const std::vector<float> ones(kN, 1.0f);
    const DeviceArray<float> x(ones);
    DeviceValues<StepState> state(StepState{.step = 7});
    const auto masked_by_state = [&](std::uint64_t base, std::uint64_t stride) {
        const DeviceArray<float> y(kN);
        cuda::dropout_forward(y.data(), static_cast<const float*>(x.data()), 0.5f, 11, {state.data(), base, stride}, kN,
                              {});
        EXPECT_TRUE(y.intact());
        return y.values();
    };
    const auto masked_on_cpu = [&](std::uint64_t offset) {
        std::vector<float> y(kN);
        cpu::dropout_forward(y.data(), ones.data(), 0.5f, 11, offset, kN);
        return y;
    };
    EXPECT_EQ(masked_by_state(0, 1), masked_on_cpu(7));
    EXPECT_EQ(masked_by_state(2, 3), masked_on_cpu(23));
    state.set({StepState{.step = 8}});
    EXPECT_EQ(masked_by_state(0, 1), masked_on_cpu(8));
}

}  // namespace
}  // namespace cutis::testing
