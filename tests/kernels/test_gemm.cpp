#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "tests/support/guarded.h"

namespace cutis {
namespace {

using cpu::Transpose;
using testing::Guarded;

struct Product {
    Transpose transpose_a, transpose_b;
    std::int64_t m, n, k, extra;  // extra: how much longer than needed rows are
    bool accumulate;
};

// Small integers: every order of summation gives the same bits.
void expect_exact(const Product& p) {
    SCOPED_TRACE(::testing::Message() << p.m << "x" << p.n << "x" << p.k << " extra " << p.extra << " transposed "
                                      << (p.transpose_a == Transpose::yes) << (p.transpose_b == Transpose::yes)
                                      << " accumulate " << p.accumulate);
    const bool ta = p.transpose_a == Transpose::yes, tb = p.transpose_b == Transpose::yes;
    const std::int64_t lda = (ta ? p.m : p.k) + p.extra, ldb = (tb ? p.k : p.n) + p.extra, ldc = p.n + p.extra;
    PhiloxStream words(1, RandomPurpose::test);
    const auto fill = [&](Guarded<float>& values) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            values.data()[i] = static_cast<float>(words.below(7)) - 3.0f;
        }
    };
    Guarded<float> a(static_cast<std::size_t>((ta ? p.k : p.m) * lda)),
        b(static_cast<std::size_t>((tb ? p.n : p.k) * ldb)), c(static_cast<std::size_t>(p.m * ldc));
    fill(a);
    fill(b);
    fill(c);
    if (!p.accumulate) {
        for (std::int64_t i = 0; i < p.m; ++i) {
            std::fill_n(c.data() + i * ldc, p.n, std::numeric_limits<float>::quiet_NaN());
        }
    }
    const std::vector<float> before = c.values();
    cpu::gemm(p.transpose_a, p.transpose_b, p.m, p.n, p.k, a.data(), lda, b.data(), ldb, p.accumulate, c.data(), ldc);
    EXPECT_TRUE(c.intact());
    for (std::int64_t i = 0; i < p.m; ++i) {
        for (std::int64_t j = 0; j < ldc; ++j) {
            const float old = before[static_cast<std::size_t>(i * ldc + j)];
            float expected = old;
            if (j < p.n) {
                expected = p.accumulate ? old : 0.0f;
                for (std::int64_t l = 0; l < p.k; ++l) {
                    expected += a.data()[ta ? l * lda + i : i * lda + l] * b.data()[tb ? j * ldb + l : l * ldb + j];
                }
            }
            ASSERT_EQ(c.data()[i * ldc + j], expected) << i << "," << j;
        }
    }
}

TEST(Gemm, IsExactOnRaggedShapesInEveryLayout) {
    for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
             {1, 1, 1}, {2, 3, 5}, {7, 33, 9}, {6, 32, 64}, {13, 31, 257}, {100, 17, 40}, {5, 70, 300}}) {
        for (const Transpose transpose_a : {Transpose::no, Transpose::yes}) {
            for (const Transpose transpose_b : {Transpose::no, Transpose::yes}) {
                for (const std::int64_t extra : {0, 3}) {
                    for (const bool accumulate : {false, true}) {
                        expect_exact({transpose_a, transpose_b, m, n, k, extra, accumulate});
                    }
                }
            }
        }
    }
}

TEST(Gemm, NothingToSumGivesZerosOrLeavesTheSumAsItIs) {
    for (const bool accumulate : {false, true}) {
        expect_exact({Transpose::no, Transpose::no, 3, 5, 0, 2, accumulate});
        expect_exact({Transpose::no, Transpose::yes, 3, 0, 4, 2, accumulate});
        expect_exact({Transpose::yes, Transpose::no, 0, 5, 4, 2, accumulate});
    }
}

TEST(Gemm, IsTheSameInsideAParallelRegion) {
    constexpr std::int64_t kSize = 50;
    std::vector<float> a(kSize * kSize), b(kSize * kSize);
    PhiloxStream words(2, RandomPurpose::test);
    for (std::size_t i = 0; i < a.size(); ++i) {
        a[i] = static_cast<float>(words.below(7)) - 3.0f;
        b[i] = static_cast<float>(words.below(7)) - 3.0f;
    }
    const auto product = [&](std::vector<float>& c) {
        c.assign(a.size(), 0.0f);
        cpu::gemm(Transpose::no, Transpose::no, kSize, kSize, kSize, a.data(), kSize, b.data(), kSize, false, c.data(),
                  kSize);
    };
    std::vector<float> outside;
    product(outside);
    const int before = thread_count();
    set_thread_count(4);
    std::vector<std::vector<float>> inside(4);
    parallel_region([&](int thread, int) { product(inside[static_cast<std::size_t>(thread)]); });
    set_thread_count(before);
    for (const auto& c : inside) {
        EXPECT_EQ(c, outside);
    }
}

TEST(Gemm, RoundsNoWorseThanItsLength) {
    constexpr std::int64_t kM = 9, kN = 11, kK = 1000;
    std::vector<float> a(kM * kK), b(kK * kN), c(kM * kN);
    PhiloxStream words(3, RandomPurpose::test);
    for (float& value : a) {
        value = words.uniform(-1.0f, 1.0f);
    }
    for (float& value : b) {
        value = words.uniform(-1.0f, 1.0f);
    }
    cpu::gemm(Transpose::no, Transpose::no, kM, kN, kK, a.data(), kK, b.data(), kN, false, c.data(), kN);
    for (std::size_t i = 0; i < kM; ++i) {
        for (std::size_t j = 0; j < kN; ++j) {
            double expected = 0.0;
            for (std::size_t l = 0; l < kK; ++l) {
                expected += static_cast<double>(a[i * kK + l]) * static_cast<double>(b[l * kN + j]);
            }
            EXPECT_NEAR(static_cast<double>(c[i * kN + j]), expected, 8.0 * 0x1p-24 * std::sqrt(1000.0) * 10.0);
        }
    }
}

}  // namespace
}  // namespace cutis
