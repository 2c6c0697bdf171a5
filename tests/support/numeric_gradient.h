#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/autograd.h"
#include "kernels/philox.h"
#include "tests/support/reference.h"

/// Gradients of float64 definitions by central differences, and what a test needs to hold an op's own against them.

namespace cutis::testing {

using reference::Values;

/// `n` numbers, uniform in [low, high), each exactly an fp32 value, so that an op and its definition get the same
/// input.
inline Values random_values(std::int64_t n, std::uint64_t seed, double low = -1.0, double high = 1.0) {
    PhiloxStream random(seed, RandomPurpose::test);
    Values values(static_cast<std::size_t>(n));
    for (double& value : values) {
        value = static_cast<double>(random.uniform(static_cast<float>(low), static_cast<float>(high)));
    }
    return values;
}

inline Tensor to_tensor(const Values& values, const Shape& shape) {
    return Tensor::from(std::vector<float>(values.begin(), values.end()), shape);
}

/// A function of several arrays, whole arrays by value.
using Definition = std::function<Values(const std::vector<Values>&)>;

/// The gradient of sum(dy * f(inputs)) by inputs[which]. The step is small enough not to reach a kink that
/// reference::nearest_kink() calls far away (kFarFromKinks).
inline Values numeric_gradient(const Definition& f, std::vector<Values> inputs, std::size_t which, const Values& dy) {
    constexpr double kStep = 1e-6;
    const auto sum = [&] {
        const Values y = f(inputs);
        double total = 0.0;
        for (std::size_t i = 0; i < y.size(); ++i) {
            total += dy[i] * y[i];
        }
        return total;
    };
    Values gradient(inputs[which].size());
    for (std::size_t i = 0; i < gradient.size(); ++i) {
        const double value = inputs[which][i];
        inputs[which][i] = value + kStep;
        const double above = sum();
        inputs[which][i] = value - kStep;
        const double below = sum();
        inputs[which][i] = value;
        gradient[i] = (above - below) / (2.0 * kStep);
    }
    return gradient;
}

/// Distance to every kink that neither the step above nor an fp32 rounding error bridges.
inline constexpr double kFarFromKinks = 2e-5;

/// Whether every value agrees within tolerance * max(its own size, the root mean square of all).
inline ::testing::AssertionResult are_near(std::span<const float> actual, const Values& expected, double tolerance) {
    if (actual.size() != expected.size()) {
        return ::testing::AssertionFailure() << actual.size() << " values, expected " << expected.size();
    }
    double squares = 0.0;
    for (const double value : expected) {
        squares += value * value;
    }
    const double size = std::sqrt(squares / std::max<double>(1.0, static_cast<double>(expected.size())));
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
        if (!(error <= tolerance * std::max({std::abs(expected[i]), size, 1e-6}))) {
            return ::testing::AssertionFailure()
                   << "value " << i << " of " << expected.size() << " is " << actual[i] << ", expected " << expected[i]
                   << " (root mean square " << size << ")";
        }
    }
    return ::testing::AssertionSuccess();
}

inline Values to_values(const Tensor& tensor) {
    return {tensor.values().begin(), tensor.values().end()};
}

/// sum(dy * x), a scalar: the loss that makes dy the gradient of x.
inline Variable weighted_sum(const Variable& x, const Values& dy) {
    double total = 0.0;
    for (std::size_t i = 0; i < dy.size(); ++i) {
        total += dy[i] * static_cast<double>(x.value().values()[i]);
    }
    return record("weighted sum", Tensor::full({}, static_cast<float>(total)), {x}, [x, dy](const Tensor& above) {
        Tensor dx = Tensor::empty(x.shape());
        for (std::size_t i = 0; i < dy.size(); ++i) {
            dx.data()[i] = *above.data() * static_cast<float>(dy[i]);
        }
        x.accumulate(dx);
    });
}

}  // namespace cutis::testing
