#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "kernels/philox.h"
#include "tests/support/device_array.h"
#include "tests/support/device_values.h"

// One call for all parameters: tensors of many sizes, each with its own learning rate, decay and count of steps, the
// bf16 copies, and what the gradients' norm does to a step. test_cuda_ops.cpp holds the rules to their definitions.

namespace cutis::testing {
namespace {

std::vector<float> random_values(std::int64_t n, std::uint32_t seed, float low = -1.0f, float high = 1.0f) {
    PhiloxStream words(seed, RandomPurpose::test);
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) {
        value = words.uniform(low, high);
    }
    return values;
}

// Ragged, empty, whole chunks and more than one of them.
const std::vector<std::int64_t> kSizes = {1, 7, 0, 16, cuda::kChunkValues, cuda::kChunkValues + 5, 3};

struct Tensor {
    explicit Tensor(std::int64_t n, std::uint32_t seed)
        : w(random_values(n, seed)),
          g(random_values(n, seed + 1)),
          first(random_values(n, seed + 2)),
          second(random_values(n, seed + 3, 0.5f, 1.5f)),
          narrow(n),
          updates(static_cast<float>(seed % 3)),
          lr(0.5f + static_cast<float>(seed % 4)),
          decay(seed % 2 == 0 ? 0.0f : 2.0f) {}

    cuda::OptimizerParameter parameter() const {
        return {.weight = w.data(),
                .gradient = g.data(),
                .first = first.data(),
                .second = second.data(),
                .narrow_weight = narrow.data(),
                .updates = updates.data(),
                .n = static_cast<std::int64_t>(w.size()),
                .lr = lr,
                .weight_decay = decay};
    }

    DeviceArray<float> w, g, first, second;
    DeviceArray<BFloat16> narrow;
    DeviceValues<float> updates;
    float lr, decay;
};

class CudaOptimizer : public ::testing::Test {
  protected:
    CudaOptimizer() {
        std::vector<cuda::OptimizerParameter> parameters;
        for (const std::int64_t n : kSizes) {
            tensors_.push_back(std::make_unique<Tensor>(
                n, 10 * static_cast<std::uint32_t>(tensors_.size()) + static_cast<std::uint32_t>(tensors_.size())));
            parameters.push_back(tensors_.back()->parameter());
        }
        parameters_ = std::make_unique<DeviceValues<cuda::OptimizerParameter>>(parameters);
        chunks_ = std::make_unique<DeviceValues<cuda::TensorChunk>>(cuda::chunks_of(kSizes));
    }

    cuda::OptimizerTable table() const {
        return {parameters_->data(), static_cast<int>(kSizes.size()), chunks_->data(),
                static_cast<int>(chunks_->values().size())};
    }

    // What a step leaves of every tensor: `on_gpu` for all at once, `on_cpu(w, first, second, g, tensor, step)` for
    // each, where `step` counts from 1.
    template <class OnGpu, class OnCpu>
    void expect_same(float gradient_factor, OnGpu&& on_gpu, OnCpu&& on_cpu) {
        struct State {
            std::vector<float> w, first, second, g;
            int step;
        };
        std::vector<State> before;
        for (const auto& tensor : tensors_) {
            before.push_back({tensor->w.values(), tensor->first.values(), tensor->second.values(), tensor->g.values(),
                              static_cast<int>(tensor->updates.values()[0]) + 1});
            for (float& value : before.back().g) {
                value *= gradient_factor;
            }
        }
        on_gpu();
        for (std::size_t i = 0; i < tensors_.size(); ++i) {
            SCOPED_TRACE(::testing::Message() << "tensor " << i << " of " << kSizes[i] << " values");
            State& expected = before[i];
            const Tensor& tensor = *tensors_[i];
            if (kSizes[i] > 0) {
                on_cpu(expected.w.data(), expected.first.data(), expected.second.data(), expected.g.data(), tensor,
                       expected.step);
            }
            const std::vector<float> w = tensor.w.values(), narrow = tensor.narrow.values();
            expect_near(w, expected.w, "weight");
            expect_near(tensor.first.values(), expected.first, "first");
            expect_near(tensor.second.values(), expected.second, "second");
            for (std::size_t j = 0; j < w.size(); ++j) {
                ASSERT_EQ(narrow[j], bf16_to_f32(f32_to_bf16(w[j]))) << "narrow weight " << j;
            }
            EXPECT_EQ(tensor.updates.values()[0], static_cast<float>(expected.step));
            EXPECT_TRUE(tensor.w.intact() && tensor.first.intact() && tensor.second.intact() && tensor.narrow.intact());
        }
    }

    static void expect_near(const std::vector<float>& actual, const std::vector<float>& expected, const char* what) {
        ASSERT_EQ(actual.size(), expected.size());
        for (std::size_t i = 0; i < actual.size(); ++i) {
            ASSERT_NEAR(actual[i], expected[i], 1e-5f * (1.0f + std::abs(expected[i]))) << what << " " << i;
        }
    }

    std::vector<std::unique_ptr<Tensor>> tensors_;
    std::unique_ptr<DeviceValues<cuda::OptimizerParameter>> parameters_;
    std::unique_ptr<DeviceValues<cuda::TensorChunk>> chunks_;
};

constexpr float kScheduled = 0.25f;  // the schedule's factor

TEST_F(CudaOptimizer, SgdStepsEveryTensorByItsOwnFactors) {
    const DeviceValues<StepState> state(StepState{.lr_factor = static_cast<double>(kScheduled)});
    const SgdOptions options{.lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f, .nesterov = true};
    for (int step = 0; step < 3; ++step) {  // counts start at 0, 1 and 2
        expect_same(
            1.0f, [&] { cuda::sgd_step(table(), options, state.data(), nullptr, {}); },
            [&](float* w, float* first, float*, const float* g, const Tensor& tensor, int number) {
                SgdOptions own = options;
                own.lr = options.lr * tensor.lr * kScheduled;
                own.weight_decay *= tensor.decay;
                cpu::sgd_step(w, first, g, own, number == 1, static_cast<std::int64_t>(tensor.w.size()));
            });
    }
}

TEST_F(CudaOptimizer, RmspropStepsEveryTensorByItsOwnFactors) {
    const RmspropOptions options{.lr = 0.05f, .alpha = 0.9f, .eps = 1e-3f, .weight_decay = 0.01f, .momentum = 0.9f};
    expect_same(
        1.0f, [&] { cuda::rmsprop_step(table(), options, nullptr, nullptr, {}); },
        [&](float* w, float* first, float* second, const float* g, const Tensor& tensor, int) {
            RmspropOptions own = options;
            own.lr *= tensor.lr;
            own.weight_decay *= tensor.decay;
            cpu::rmsprop_step(w, second, first, g, own, static_cast<std::int64_t>(tensor.w.size()));
        });
}

TEST_F(CudaOptimizer, AdamwCountsEveryTensorsSteps) {
    const DeviceValues<StepState> state(StepState{.lr_factor = static_cast<double>(kScheduled)});
    const DeviceValues<cuda::GradientScale> scale(cuda::GradientScale{.factor = 0.5f});
    const AdamwOptions options{.lr = 0.1f, .beta1 = 0.8f, .beta2 = 0.95f, .eps = 1e-3f, .weight_decay = 0.05f};
    for (int step = 0; step < 2; ++step) {
        expect_same(
            0.5f, [&] { cuda::adamw_step(table(), options, state.data(), scale.data(), {}); },
            [&](float* w, float* first, float* second, const float* g, const Tensor& tensor, int number) {
                AdamwOptions own = options;
                own.lr = options.lr * tensor.lr * kScheduled;
                own.weight_decay *= tensor.decay;
                cpu::adamw_step(w, first, second, g, own, number, static_cast<std::int64_t>(tensor.w.size()));
            });
    }
}

TEST_F(CudaOptimizer, TheNormIsOfAllGradientsAndClipsAboveItsLimit) {
    double squares = 0.0;
    for (const auto& tensor : tensors_) {
        for (const float value : tensor->g.values()) {
            squares += static_cast<double>(value) * static_cast<double>(value);
        }
    }
    const DeviceValues<cuda::GradientScale> scale(cuda::GradientScale{});
    const double norm = 0.5 * std::sqrt(squares);
    cuda::gradient_scale(scale.data(), table(), 0.5f, 1e9f, {});
    EXPECT_NEAR(scale.values()[0].norm, norm, 1e-9 * norm);
    EXPECT_EQ(scale.values()[0].factor, 0.5f);
    cuda::gradient_scale(scale.data(), table(), 0.5f, 2.0f, {});
    EXPECT_NEAR(scale.values()[0].norm, norm, 1e-9 * norm);
    EXPECT_NEAR(static_cast<double>(scale.values()[0].factor), 0.5 * 2.0 / (norm + 1e-6), 1e-6);
}

TEST_F(CudaOptimizer, ANormThatIsNotFiniteLeavesEverythingAsItWas) {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        const Tensor& last = *tensors_.back();
        std::vector<float> gradients = last.g.values();
        gradients.back() = bad;
        cuda::check(
            cudaMemcpy(last.g.data(), gradients.data(), gradients.size() * sizeof(float), cudaMemcpyHostToDevice),
            "gradient");
        const DeviceValues<cuda::GradientScale> scale(cuda::GradientScale{});
        cuda::gradient_scale(scale.data(), table(), 1.0f, 1.0f, {});
        EXPECT_TRUE(std::isnan(scale.values()[0].factor));
        std::vector<std::vector<float>> before;
        for (const auto& tensor : tensors_) {
            before.push_back(tensor->w.values());
            before.push_back(tensor->first.values());
            before.push_back(tensor->second.values());
            before.push_back(tensor->updates.values());
        }
        cuda::adamw_step(table(), {.lr = 0.1f}, nullptr, scale.data(), {});
        cuda::sgd_step(table(), {.lr = 0.1f}, nullptr, scale.data(), {});
        cuda::rmsprop_step(table(), {.lr = 0.1f}, nullptr, scale.data(), {});
        std::size_t i = 0;
        for (const auto& tensor : tensors_) {
            EXPECT_EQ(tensor->w.values(), before[i++]);
            EXPECT_EQ(tensor->first.values(), before[i++]);
            EXPECT_EQ(tensor->second.values(), before[i++]);
            EXPECT_EQ(tensor->updates.values(), before[i++]);
        }
    }
}

TEST_F(CudaOptimizer, AveragesEveryTensor) {
    std::vector<cuda::AveragedTensor> tensors;
    std::vector<std::vector<float>> expected;
    for (const auto& tensor : tensors_) {
        tensors.push_back({tensor->first.data(), tensor->w.data(), static_cast<std::int64_t>(tensor->w.size())});
        expected.push_back(tensor->first.values());
        cpu::ema_update(expected.back().data(), tensor->w.values().data(), 0.9f,
                        static_cast<std::int64_t>(tensor->w.size()));
    }
    const DeviceValues<cuda::AveragedTensor> table_of_averages(tensors);
    const DeviceValues<StepState> state(StepState{.ema_decay = 0.9f});
    cuda::ema_update(table_of_averages.data(), chunks_->data(), static_cast<int>(chunks_->values().size()),
                     state.data(), {});
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
        expect_near(tensors_[i]->first.values(), expected[i], "average");
        EXPECT_TRUE(tensors_[i]->first.intact());
    }
}

TEST_F(CudaOptimizer, NoParametersAreNoStepAndANormOfZero) {
    const DeviceValues<cuda::GradientScale> scale(cuda::GradientScale{.norm = 5.0, .factor = 5.0f});
    cuda::gradient_scale(scale.data(), {}, 0.25f, 1.0f, {});
    EXPECT_EQ(scale.values()[0].norm, 0.0);
    EXPECT_EQ(scale.values()[0].factor, 0.25f);
    EXPECT_NO_THROW(cuda::sgd_step({}, {.lr = 0.1f}, nullptr, nullptr, {}));
    EXPECT_NO_THROW(cuda::rmsprop_step({}, {.lr = 0.1f}, nullptr, nullptr, {}));
    EXPECT_NO_THROW(cuda::adamw_step({}, {.lr = 0.1f}, nullptr, nullptr, {}));
    EXPECT_NO_THROW(cuda::ema_update(nullptr, nullptr, 0, nullptr, {}));
    cuda::check(cudaDeviceSynchronize(), "optimizer");
}

}  // namespace
}  // namespace cutis::testing
