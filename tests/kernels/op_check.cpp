#include "tests/kernels/op_check.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace cutis::testing {

std::vector<float> draw(std::int64_t n, float low, float high, Draw kind, PhiloxStream& words) {
    std::vector<float> values(static_cast<std::size_t>(n));
    const float first = std::ceil(low), choices = std::floor(high) - first + 1.0f;
    for (float& value : values) {
        value = kind == Draw::integers ? first + static_cast<float>(words.below(static_cast<std::uint32_t>(choices)))
                                       : words.uniform(low, high);
    }
    return values;
}

Buffers draw_inputs(const OpCase& op, Draw kind, std::uint32_t seed) {
    PhiloxStream words(seed, RandomPurpose::test);
    Buffers inputs;
    for (const Operand& input : op.inputs) {
        inputs.push_back(draw(input.size, input.low, input.high, kind, words));
    }
    return inputs;
}

Arrays widen(const Buffers& buffers) {
    Arrays wide;
    for (const auto& buffer : buffers) {
        wide.emplace_back(buffer.begin(), buffer.end());
    }
    return wide;
}

Buffers draw_away_from_kinks(const OpCase& op, std::uint32_t seed, double distance, const Change& change) {
    for (std::uint32_t attempt = 0; attempt < 200; ++attempt) {
        Buffers inputs = draw_inputs(op, Draw::random, seed + 1000 * attempt);
        reference::reset_kinks();
        if (change) {
            change(inputs);
        }
        op.define(widen(inputs));
        if (reference::nearest_kink() > distance) {
            return inputs;
        }
    }
    throw std::runtime_error("no inputs away from kinks for " + op.op + " " + op.shape);
}

double largest(const Values& values) {
    double result = 0.0;
    for (const double value : values) {
        result = std::max(result, std::abs(value));
    }
    return result;
}

double tolerance(const OpCase& op, std::int64_t terms, double scale) {
    return 8.0 * 0x1p-24 * std::sqrt(static_cast<double>(terms)) * std::max({1.0, op.magnitude, scale});
}

::testing::AssertionResult agree(const std::vector<float>& actual, const Values& expected, double allowed) {
    if (actual.size() != expected.size()) {
        return ::testing::AssertionFailure() << actual.size() << " values, " << expected.size() << " expected";
    }
    for (std::size_t i = 0; i < actual.size(); ++i) {
        const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
        const bool good = allowed < 0.0 ? actual[i] == static_cast<float>(expected[i]) : difference <= allowed;
        if (!good) {
            return ::testing::AssertionFailure()
                   << "value " << i << " of " << actual.size() << " is " << actual[i] << ", expected " << expected[i]
                   << ", difference " << difference << ", allowed " << std::max(allowed, 0.0);
        }
    }
    return ::testing::AssertionSuccess();
}

}  // namespace cutis::testing
