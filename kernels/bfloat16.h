#pragma once

#include <bit>
#include <cstdint>

namespace cutis {

/// A bf16 value's bits (1+8+7, the upper half of an fp32 value); a type of its own so that it is not taken for an
/// integer.
struct alignas(2) BFloat16 {
    std::uint16_t bits;
};

// Conversions on the CPU; kernels/vector.cuh has those of CUDA kernels. Widening is exact. Narrowing rounds to the
// nearest, ties to even; what is too large becomes infinity; a NaN stays one (quiet, its upper payload kept).

constexpr float bf16_to_f32(std::uint16_t bits) {
    return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

constexpr std::uint16_t f32_to_bf16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
        return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
    }
    // Half a unit less one, plus one where the kept part is odd: carries exactly when the nearest, or the even one,
    // lies above.
    return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace cutis
