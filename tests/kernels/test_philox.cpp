#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/philox.h"

namespace cutis {
namespace {

using Words = std::array<std::uint32_t, 4>;

// The known-answer vectors that Random123 ships for philox4x32 with ten rounds.
TEST(Philox, GivesRandom123sKnownAnswers) {
    EXPECT_EQ(philox4x32({0, 0}, {0, 0, 0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
              (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox4x32({0xa4093822, 0x299f31d0}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
              (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformNumbersAreFrom0To1AndNever1) {
    EXPECT_EQ(uniform_from_bits(0), 0.0f);
    EXPECT_EQ(uniform_from_bits(0xff), 0.0f);  // the low eight bits are not used
    EXPECT_EQ(uniform_from_bits(0x80000000u), 0.5f);
    EXPECT_EQ(uniform_from_bits(0xffffffffu), 1.0f - 0x1p-24f);

    PhiloxStream words(1, RandomPurpose::test);
    constexpr int kDraws = 100000;
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < kDraws; ++i) {
        const float value = words.uniform();
        ASSERT_GE(value, 0.0f);
        ASSERT_LT(value, 1.0f);
        sum += static_cast<double>(value);
        squares += static_cast<double>(value) * static_cast<double>(value);
    }
    EXPECT_NEAR(sum / kDraws, 0.5, 0.005);  // five standard errors
    EXPECT_NEAR(squares / kDraws, 1.0 / 3.0, 0.005);
}

TEST(Philox, UniformNumbersKeepToTheirInterval) {
    PhiloxStream words(2, RandomPurpose::test);
    for (int i = 0; i < 10000; ++i) {
        const float value = words.uniform(-3.0f, 5.0f);
        ASSERT_GE(value, -3.0f);
        ASSERT_LT(value, 5.0f);
    }
}

// Chi-squared with n - 1 degrees of freedom: its mean is n - 1, its variance 2 (n - 1).
TEST(Philox, BelowIsUniform) {
    for (const std::uint32_t n : {1u, 2u, 3u, 7u, 10u, 1000u}) {
        PhiloxStream words(3, RandomPurpose::test, n);
        const int draws = static_cast<int>(n) * 200;
        std::vector<int> counts(n);
        for (int i = 0; i < draws; ++i) {
            const std::uint32_t value = words.below(n);
            ASSERT_LT(value, n);
            ++counts[value];
        }
        double chi_squared = 0.0;
        for (const int count : counts) {
            chi_squared += (count - 200.0) * (count - 200.0) / 200.0;
        }
        EXPECT_LE(chi_squared, (n - 1.0) + 5.0 * std::sqrt(2.0 * (n - 1.0)) + 1e-9) << n;
    }
}

// Of 3 * 2^30 values a plain remainder or product would draw a third of them twice as often.
TEST(Philox, BelowIsNotBiasedWhereTheRangeIsNoPowerOfTwo) {
    constexpr std::uint32_t kRange = 3u << 30;
    PhiloxStream words(4, RandomPurpose::test);
    constexpr int kDraws = 30000;
    std::array<int, 3> remainders{}, thirds{};
    for (int i = 0; i < kDraws; ++i) {
        const std::uint32_t value = words.below(kRange);
        ASSERT_LT(value, kRange);
        ++remainders[value % 3];
        ++thirds[value >> 30];
    }
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(remainders[i], kDraws / 3, 450);  // five standard deviations
        EXPECT_NEAR(thirds[i], kDraws / 3, 450);
    }
}

TEST(Philox, NormalNumbersHaveMean0AndVariance1) {
    PhiloxStream words(5, RandomPurpose::test);
    constexpr int kDraws = 100000;
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < kDraws; ++i) {
        const auto value = static_cast<double>(words.normal());
        ASSERT_TRUE(std::isfinite(value));
        sum += value;
        squares += value * value;
    }
    EXPECT_NEAR(sum / kDraws, 0.0, 0.016);
    EXPECT_NEAR(squares / kDraws, 1.0, 0.023);
}

TEST(Philox, StreamsOfOneSeedDifferInEveryPartOfTheirName) {
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32}) {
        std::set<std::uint32_t> firsts;
        std::size_t streams = 0;
        for (const RandomPurpose purpose : {RandomPurpose::weights, RandomPurpose::dropout, RandomPurpose::test}) {
            for (const std::uint32_t a : {0u, 1u}) {
                for (const std::uint64_t b : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32}) {
                    firsts.insert(PhiloxStream(seed, purpose, a, b).next());
                    ++streams;
                }
            }
        }
        EXPECT_EQ(firsts.size(), streams);
    }
}

TEST(Philox, BothHalvesOfTheSeedCount) {
    std::set<std::uint32_t> firsts;
    for (const std::uint64_t seed :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32, (std::uint64_t{1} << 32) + 1}) {
        firsts.insert(PhiloxStream(seed, RandomPurpose::test).next());
    }
    EXPECT_EQ(firsts.size(), 4u);
}

TEST(Philox, SeekFindsTheWordThatReadingOnWouldGive) {
    PhiloxStream reading(6, RandomPurpose::test);
    for (std::uint64_t i = 0; i < 40; ++i) {
        PhiloxStream seeking(6, RandomPurpose::test);
        seeking.next();
        seeking.seek(i);
        const std::uint32_t word = reading.next();
        EXPECT_EQ(seeking.next(), word) << i;
    }
}

}  // namespace
}  // namespace cutis
