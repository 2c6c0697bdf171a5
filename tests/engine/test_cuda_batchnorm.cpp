#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/cuda_device.h"
#include "engine/ops.h"
#include "kernels/batchnorm.h"
#include "kernels/launch.h"
#include "tests/support/numeric_gradient.h"

// The batchnorm op on a GPU against the CPU's, where a slice of channels fits on chip (one kernel reads y once) and
// where it does not (statistics, fold and normalise apart).

namespace cutis::testing {
namespace {

constexpr Device kGpu{DeviceKind::cuda, 0};

// The sum of dy * x on any device.
Variable weighted_sum_on_device(const Variable& x, const Tensor& dy) {
    return record("weighted sum", Tensor::full({}, 0.0f, x.value().device()), {x},
                  [x, dy](const Tensor&) { x.accumulate(cast(dy, x.value().dtype())); });
}

struct Result {
    std::vector<std::pair<const char*, std::vector<float>>> arrays;
};

Tensor on_cpu_as_floats(const Tensor& tensor) {
    return cast(tensor, DType::f32).to(Device{});
}

Result run(Device device, DType type, const Shape& shape, Activation act, bool with_residual) {
    const Shape channels{shape[-1]};
    const auto on_device = [&](const Shape& of, std::uint64_t seed, double low, double high) {
        return to_tensor(random_values(of.elements(), seed, low, high), of).to(device);
    };
    const auto value = [&](std::uint64_t seed, double low, double high) {
        return Variable(cast(on_device(shape, seed, low, high), type), true);
    };
    const Variable y = value(1, -2.0, 2.0), gamma(on_device(channels, 2, 0.5, 2.0), true),
                   beta(on_device(channels, 3, -1.0, 2.0), true);
    const Variable residual = with_residual ? value(4, -1.0, 1.0) : Variable();
    BatchNormState state{on_device(channels, 5, -0.5, 0.5), on_device(channels, 6, 0.5, 1.5)};
    const Variable z = batchnorm(y, gamma, beta, state, act, residual, true);
    weighted_sum_on_device(z, on_device(shape, 7, -1.0, 1.0)).backward();
    Result result;
    const auto keep = [&](const char* name, const Tensor& tensor) {
        const Tensor here = on_cpu_as_floats(tensor);
        result.arrays.emplace_back(name, std::vector<float>(here.values().begin(), here.values().end()));
    };
    keep("z", z.value());
    keep("running mean", state.running_mean);
    keep("running variance", state.running_var);
    keep("dgamma", gamma.grad());
    keep("dbeta", beta.grad());
    keep("dy", y.grad());
    if (with_residual) {
        keep("dresidual", residual.grad());
    }
    return result;
}

#ifdef CUTIS_WITH_SIMT
std::vector<std::string> launched;

bool was_launched(const std::string& kernel) {
    return std::ranges::any_of(launched,
                               [&](const std::string& name) { return name.find(kernel) != std::string::npos; });
}
#endif

void expect_as_on_cpu(const Shape& shape, Activation act, bool with_residual, DType type, [[maybe_unused]] bool fits) {
    SCOPED_TRACE(to_string(shape) + (type == DType::bf16 ? " bf16" : " fp32"));
    const Result expected = run(Device{}, DType::f32, shape, act, with_residual);
#ifdef CUTIS_WITH_SIMT
    launched.clear();
    simt::detail::set_launch_observer({nullptr, [](const char* kernel) { launched.emplace_back(kernel); }});
#endif
    const Result actual = run(kGpu, type, shape, act, with_residual);
#ifdef CUTIS_WITH_SIMT
    simt::detail::set_launch_observer({});
    EXPECT_EQ(was_launched("single_read_kernel"), fits);
    EXPECT_EQ(was_launched("statistics_kernel"), !fits);
    EXPECT_EQ(was_launched("fold_kernel"), !fits);
#endif
    ASSERT_EQ(actual.arrays.size(), expected.arrays.size());
    for (std::size_t i = 0; i < expected.arrays.size(); ++i) {
        const auto& [name, values] = expected.arrays[i];
        float largest = 1.0f;
        for (const float value : values) {
            largest = std::max(largest, std::abs(value));
        }
        ASSERT_EQ(actual.arrays[i].second.size(), values.size()) << name;
        for (std::size_t j = 0; j < values.size(); ++j) {
            ASSERT_NEAR(actual.arrays[i].second[j], values[j], (type == DType::bf16 ? 0x1p-5f : 0x1p-17f) * largest)
                << name << " " << j;
        }
    }
}

TEST(CudaBatchNormOp, ReadsOnceWhatFitsOnChip) {
    expect_as_on_cpu({2, 3, 2, 17}, Activation::relu6, true, DType::f32, true);
    expect_as_on_cpu({1, 2, 1, 1}, Activation::identity, false, DType::f32, true);
    expect_as_on_cpu({3, 7, 7, 24}, Activation::relu, false, DType::f32, true);
    expect_as_on_cpu({1, 2048, 3, 4}, Activation::identity, true, DType::f32, true);  // the last that fit
}

TEST(CudaBatchNormOp, TakesSeparatePassesBeyondThat) {
    expect_as_on_cpu({1, 6145, 1, 4}, Activation::relu6, true, DType::f32, false);
    expect_as_on_cpu({1, 24577, 1, 1}, Activation::identity, false, DType::f32, false);
}

// Without an activation no rounding decides about a gradient.
TEST(CudaBatchNormOp, TakesBfloat16) {
    expect_as_on_cpu({3, 5, 5, 16}, Activation::identity, true, DType::bf16, true);
    expect_as_on_cpu({2, 3, 2, 9}, Activation::identity, false, DType::bf16, true);
    expect_as_on_cpu({1, 6145, 1, 8}, Activation::identity, false, DType::bf16, false);
}

}  // namespace
}  // namespace cutis::testing
