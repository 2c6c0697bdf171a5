#include "engine/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace cutis {
namespace {

/// The value of a 16-bit float of 1 sign, `exponent_bits` and the rest mantissa bits, by its definition.
double definition(std::uint32_t bits, int exponent_bits) {
    const int mantissa_bits = 15 - exponent_bits;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = static_cast<int>((bits >> mantissa_bits) & ((1u << exponent_bits) - 1u));
    const double fraction = std::ldexp(static_cast<double>(bits & ((1u << mantissa_bits) - 1u)), -mantissa_bits);
    const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1) {
        return fraction == 0.0 ? sign * std::numeric_limits<double>::infinity()
                               : std::numeric_limits<double>::quiet_NaN();
    }
    return exponent == 0 ? sign * std::ldexp(fraction, 1 - bias) : sign * std::ldexp(1.0 + fraction, exponent - bias);
}

struct Format {
    const char* name;
    int exponent_bits;
    float (*widen)(std::uint16_t);
    std::uint16_t (*narrow)(float);
};

class HalfFormats : public ::testing::TestWithParam<Format> {};

TEST_P(HalfFormats, WideningIsTheDefinitionForAll65536Values) {
    const Format& format = GetParam();
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const double expected = definition(bits, format.exponent_bits);
        const float value = format.widen(static_cast<std::uint16_t>(bits));
        if (std::isnan(expected)) {
            ASSERT_TRUE(std::isnan(value)) << bits;
        } else {
            ASSERT_EQ(static_cast<double>(value), expected) << bits;
        }
        ASSERT_EQ(std::signbit(value), (bits & 0x8000u) != 0) << bits;
    }
}

TEST_P(HalfFormats, NarrowingUndoesWideningForAll65536Values) {
    const Format& format = GetParam();
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const std::uint16_t back = format.narrow(format.widen(static_cast<std::uint16_t>(bits)));
        if (std::isnan(definition(bits, format.exponent_bits))) {
            // A quiet NaN returns as it was; a signalling one becomes quiet and keeps its payload.
            const std::uint32_t quiet = 1u << (14 - format.exponent_bits);
            ASSERT_EQ(back, bits | quiet) << bits;
        } else {
            ASSERT_EQ(back, bits);
        }
    }
}

TEST_P(HalfFormats, NarrowingRoundsToTheNearestAndTiesToEven) {
    const Format& format = GetParam();
    const std::uint32_t infinity = ((1u << format.exponent_bits) - 1u) << (15 - format.exponent_bits);
    for (std::uint32_t bits = 0; bits < infinity; ++bits) {
        const double low = definition(bits, format.exponent_bits);
        // Infinity stands where the next step would be: rounding goes there from halfway on.
        const double step = low - definition(bits == 0 ? 0 : bits - 1, format.exponent_bits);
        const double high = bits + 1 == infinity ? low + step : definition(bits + 1, format.exponent_bits);
        const auto middle = static_cast<float>((low + high) / 2);
        ASSERT_EQ(static_cast<double>(middle), (low + high) / 2) << "fp32 holds every middle";
        const std::uint32_t even = bits % 2 == 0 ? bits : bits + 1;
        ASSERT_EQ(format.narrow(middle), even) << bits;
        ASSERT_EQ(format.narrow(std::nextafter(middle, 0.0f)), bits) << bits;
        ASSERT_EQ(format.narrow(std::nextafter(middle, std::numeric_limits<float>::infinity())), bits + 1) << bits;
        ASSERT_EQ(format.narrow(-middle), 0x8000u | even) << bits;
    }
    EXPECT_EQ(format.narrow(std::numeric_limits<float>::infinity()), infinity);
    EXPECT_EQ(format.narrow(std::numeric_limits<float>::max()), infinity);
    EXPECT_EQ(format.narrow(-std::numeric_limits<float>::max()), 0x8000u | infinity);
}

TEST_P(HalfFormats, TheSmallestNumbersVanishWithTheirSign) {
    const Format& format = GetParam();
    EXPECT_EQ(format.narrow(std::numeric_limits<float>::denorm_min()), 0u);
    EXPECT_EQ(format.narrow(-std::numeric_limits<float>::denorm_min()), 0x8000u);
}

INSTANTIATE_TEST_SUITE_P(Both, HalfFormats,
                         ::testing::Values(Format{"f16", 5, f16_to_f32, f32_to_f16},
                                           Format{"bf16", 8, bf16_to_f32, f32_to_bf16}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace cutis
