#pragma once

#include <bit>
#include <cstdint>

/// Exponentials in fp32 that compilers vectorise: no calls, no branches.

namespace cutis::cpu {

/// body(j) for the n values of a row, vectorised: it reads and writes arrays at j alone.
template <class Body>
void for_row(int n, Body&& body) {
#if defined(__clang__)
#pragma clang loop vectorize(assume_safety)
#else
#pragma GCC ivdep
#endif
    for (int j = 0; j < n; ++j) {
        body(j);
    }
}

/// e^x = power + power * series. x = m ln 2 + r with |r| <= ln 2 / 2: power is 2^m, series is e^r - 1 (the first term
/// left out is below 2^-25 of the sum). x is in [-87, 87] or NaN, which stays NaN.
struct ExpParts {
    float power, series;
};
inline ExpParts exp_parts(float x) {
    constexpr float kLog2e = 0x1.715476p+0f, kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
    constexpr float kToInteger = 0x1.8p23f;  // adding it rounds to an integer, which then fills the lower bits
    const float shifted = x * kLog2e + kToInteger, m = shifted - kToInteger;
    const float r = (x - m * kLn2High) - m * kLn2Low;
    float series = 1.0f / 5040.0f;
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * (r * r) + r;
    return {std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) << 23) + (127u << 23)), series};
}

/// e^x for x <= 0, within 2 units in the last place; below -87 it is 0.
inline float exp_of_negative(float x) {
    const ExpParts parts = exp_parts(x < -87.0f ? -87.0f : x);
    return x < -87.0f ? 0.0f : parts.power * parts.series + parts.power;
}

/// e^x - 1 without cancellation around 0. Beyond +-87 it stays where it is.
inline float expm1_of(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    const ExpParts parts = exp_parts(x);
    return parts.power * parts.series + (parts.power - 1.0f);
}

}  // namespace cutis::cpu
