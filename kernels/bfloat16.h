#pragma once

#include <cstdint>

namespace cutis {

/// A bf16 value's bits (the upper half of an fp32 value); a type of its own so that it is not taken for an integer.
/// Conversions: engine/half.h on the CPU, kernels/vector.cuh in CUDA kernels; both round to the nearest, ties to even.
struct alignas(2) BFloat16 {
    std::uint16_t bits;
};

}  // namespace cutis
