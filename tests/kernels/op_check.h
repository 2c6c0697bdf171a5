#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/philox.h"
#include "tests/kernels/op_cases.h"

/// What the tests of the op table share, on the CPU and on a GPU: inputs, and when a result is right.

namespace cutis::testing {

using Buffers = std::vector<std::vector<float>>;

enum class Draw { integers, random };

std::vector<float> draw(std::int64_t n, float low, float high, Draw kind, PhiloxStream& words);
Buffers draw_inputs(const OpCase& op, Draw kind, std::uint32_t seed);
Arrays widen(const Buffers& buffers);

/// Random inputs for which no value sits within `distance` of the end of a clamp, or of another maximum, where rounding
/// or a central difference could step over it. `change`, if any, is applied to them first (rounding to bf16).
using Change = std::function<void(Buffers&)>;
Buffers draw_away_from_kinks(const OpCase& op, std::uint32_t seed, double distance = 2e-5, const Change& change = {});

double largest(const Values& values);
/// What rounding may do to sums of `terms` products: it grows with their square root.
double tolerance(const OpCase& op, std::int64_t terms, double scale);
/// Passes where the values are equal, or closer than `allowed` unless that is negative; names the first that is not.
::testing::AssertionResult agree(const std::vector<float>& actual, const Values& expected, double allowed);

}  // namespace cutis::testing
