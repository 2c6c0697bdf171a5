#pragma once

#include <bit>
#include <cstdint>

#include "kernels/bfloat16.h"

namespace cutis {

// IEEE 754 binary16 ("f16", 1+5+10 bits), as raw bits; bf16 is in kernels/bfloat16.h. Narrowing rounds to the
// nearest, ties to even; what is too large becomes infinity; a NaN stays one (quiet, its upper payload kept). Widening
// is exact.

constexpr float f16_to_f32(std::uint16_t bits) {
    const std::uint32_t sign = (bits & 0x8000u) << 16;
    const std::uint32_t magnitude = bits & 0x7FFFu;
    if (magnitude >= 0x7C00u) {  // infinity and NaN: the exponent is all ones on both sides
        return std::bit_cast<float>(sign | 0x7F800000u | ((magnitude & 0x3FFu) << 13));
    }
    if (magnitude >= 0x0400u) {  // normal: the exponent's bias is 15 here and 127 there
        return std::bit_cast<float>(sign | ((magnitude << 13) + ((127u - 15u) << 23)));
    }
    const float subnormal = static_cast<float>(magnitude) * 0x1.0p-24f;
    return sign != 0 ? -subnormal : subnormal;
}

constexpr std::uint16_t f32_to_f16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        return static_cast<std::uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x1FFu));
    }
    if (magnitude >= 0x477FF000u) {  // 65520, halfway between the largest finite 65504 and the next step, and above
        return static_cast<std::uint16_t>(sign | 0x7C00u);
    }
    if (magnitude >= 0x38800000u) {  // 2^-14 and above: normal
        const std::uint32_t rebased = magnitude - ((127u - 15u) << 23);
        return static_cast<std::uint16_t>(sign | ((rebased + 0xFFFu + ((rebased >> 13) & 1u)) >> 13));
    }
    const std::uint32_t exponent = magnitude >> 23;
    if (exponent < 102) {  // below 2^-25, half of the smallest subnormal
        return static_cast<std::uint16_t>(sign);
    }
    // Subnormal: the 24-bit significand counted in units of 2^-24.
    const std::uint32_t shift = 126 - exponent;
    const std::uint32_t significand = (magnitude & 0x7FFFFFu) | 0x800000u;
    const std::uint32_t odd = (significand >> shift) & 1u;
    return static_cast<std::uint16_t>(sign | ((significand + (1u << (shift - 1)) - 1u + odd) >> shift));
}

}  // namespace cutis
