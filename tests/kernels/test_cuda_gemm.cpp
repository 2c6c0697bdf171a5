#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/philox.h"
#include "tests/support/device_array.h"

// The matrix product on a GPU: our own kernels in every layout, type and precision, and the call that a build with
// NVIDIA's libraries hands to cuBLASLt.

namespace cutis::testing {
namespace {

struct Product {
    bool transpose_a, transpose_b;
    std::int64_t m, n, k;
    std::int64_t extra = 0;  // how much longer than needed rows are
    bool accumulate = false;
    std::int64_t offset = 0;  // values between an aligned address and the matrices
};

Transpose transpose(bool yes) {
    return yes ? Transpose::yes : Transpose::no;
}

std::vector<float> small_integers(std::int64_t n, std::uint32_t seed) {
    PhiloxStream words(seed, RandomPurpose::test);
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) {
        value = static_cast<float>(words.below(5)) - 2.0f;
    }
    return values;
}

// Row i, column j of a matrix, as op() sees it.
float at(const std::vector<float>& values, std::int64_t ld, bool transposed, std::int64_t i, std::int64_t j) {
    return values[static_cast<std::size_t>(transposed ? j * ld + i : i * ld + j)];
}

// Sums of small integers are the same in every order, type and precision.
template <class T, class C, class Multiply>
void expect_exact(const Product& p, Multiply&& multiply) {
    SCOPED_TRACE(::testing::Message() << p.m << "x" << p.n << "x" << p.k << " extra " << p.extra << " offset "
                                      << p.offset << " transposed " << p.transpose_a << p.transpose_b << " accumulate "
                                      << p.accumulate);
    const std::int64_t lda = (p.transpose_a ? p.m : p.k) + p.extra, ldb = (p.transpose_b ? p.k : p.n) + p.extra,
                       ldc = p.n + p.extra;
    // The longer part of the last row is not there: a kernel that reads it leaves the array.
    const auto size = [&](std::int64_t rows, std::int64_t ld) { return rows == 0 ? 0 : rows * ld - p.extra; };
    std::vector<float> a = small_integers(size(p.transpose_a ? p.k : p.m, lda), 1);
    std::vector<float> b = small_integers(size(p.transpose_b ? p.n : p.k, ldb), 2);
    const std::vector<float> before = small_integers(size(p.m, ldc), 3);
    std::vector<float> start = before;
    const auto spoil = [&](std::vector<float>& values, std::int64_t width, std::int64_t ld, bool all) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (all || static_cast<std::int64_t>(i) % ld >= width) {
                values[i] = NAN;  // between the rows, or what is overwritten
            }
        }
    };
    spoil(a, lda - p.extra, lda, false);
    spoil(b, ldb - p.extra, ldb, false);
    spoil(start, p.n, ldc, !p.accumulate);
    const auto moved = [&](std::vector<float> values) {
        values.insert(values.begin(), static_cast<std::size_t>(p.offset), NAN);
        return values;
    };
    const DeviceArray<T> device_a(moved(a)), device_b(moved(b));
    const DeviceArray<C> device_c(moved(start));
    multiply(transpose(p.transpose_a), transpose(p.transpose_b), p.m, p.n, p.k, device_a.data() + p.offset, lda,
             device_b.data() + p.offset, ldb, p.accumulate, device_c.data() + p.offset, ldc);
    EXPECT_TRUE(device_a.intact() && device_b.intact() && device_c.intact());
    const std::vector<float> c = device_c.values();
    for (std::size_t i = 0; i < before.size(); ++i) {
        const std::int64_t row = static_cast<std::int64_t>(i) / ldc, column = static_cast<std::int64_t>(i) % ldc;
        const float actual = c[i + static_cast<std::size_t>(p.offset)];
        if (column >= p.n) {
            ASSERT_TRUE(std::isnan(actual)) << "wrote between rows, at " << row << "," << column;
            continue;
        }
        float expected = p.accumulate ? before[i] : 0.0f;
        for (std::int64_t l = 0; l < p.k; ++l) {
            expected += at(a, lda, p.transpose_a, row, l) * at(b, ldb, p.transpose_b, l, column);
        }
        // bf16 holds integers to 256; above, the sum is rounded once.
        ASSERT_EQ(actual, sizeof(C) == 2 ? bf16_to_f32(f32_to_bf16(expected)) : expected) << row << "," << column;
    }
}

// Every form of the product: types of the factors and of c, precisions.
template <class Check>
void in_every_form(Check&& check) {
    for (const MatrixPrecision precision : {MatrixPrecision::fp32, MatrixPrecision::tf32}) {
        SCOPED_TRACE(precision == MatrixPrecision::fp32 ? "fp32" : "tf32");
        check.template operator()<float, float>(
            [=](auto... args) { cuda::gemm<float, float>(args..., precision, Stream{}); });
    }
    SCOPED_TRACE("bf16");
    check.template operator()<BFloat16, BFloat16>(
        [](auto... args) { cuda::gemm<BFloat16, BFloat16>(args..., MatrixPrecision::fp32, Stream{}); });
    check.template operator()<BFloat16, float>(
        [](auto... args) { cuda::gemm<BFloat16, float>(args..., MatrixPrecision::fp32, Stream{}); });
}

constexpr bool kBoth[] = {false, true};

TEST(CudaGemm, IsExactInEveryLayoutTypeAndPrecision) {
    // One value; ragged and whole chunks, more than one tile along m, along n (narrow and wide tiles), several rounds
    // of the ring along k.
    for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
             {1, 1, 1}, {3, 2, 5}, {16, 24, 40}, {135, 20, 7}, {8, 67, 33}, {130, 72, 168}, {33, 136, 64}}) {
        for (const bool transpose_a : kBoth) {
            for (const bool transpose_b : kBoth) {
                const Product product{transpose_a, transpose_b, m, n, k};
                in_every_form([&]<class T, class C>(auto&& multiply) { expect_exact<T, C>(product, multiply); });
            }
        }
    }
}

TEST(CudaGemm, LeavesWhatLiesBetweenRowsAloneAndAddsToC) {
    for (const bool transpose_a : kBoth) {
        for (const bool transpose_b : kBoth) {
            for (const std::int64_t extra : {3, 8}) {  // rows that are not whole chunks, and rows that are
                in_every_form([&]<class T, class C>(auto&& multiply) {
                    expect_exact<T, C>({transpose_a, transpose_b, 40, 16, 24, extra, true}, multiply);
                });
            }
        }
    }
}

TEST(CudaGemm, TakesMatricesThatAreNotAligned) {
    in_every_form([&]<class T, class C>(auto&& multiply) {
        expect_exact<T, C>({false, true, 16, 16, 32, 0, false, 1}, multiply);
        expect_exact<T, C>({true, false, 16, 80, 32, 0, true, 1}, multiply);
    });
}

TEST(CudaGemm, NothingToSumGivesZerosOrLeavesTheSumAsItIs) {
    for (const bool accumulate : kBoth) {
        in_every_form([&]<class T, class C>(auto&& multiply) {
            expect_exact<T, C>({false, false, 3, 5, 0, 0, accumulate}, multiply);
            expect_exact<T, C>({true, true, 3, 5, 0, 0, accumulate}, multiply);
            expect_exact<T, C>({false, true, 3, 0, 4, 0, accumulate}, multiply);
            expect_exact<T, C>({true, false, 0, 5, 4, 0, accumulate}, multiply);
        });
    }
}

// A long k and one tile of c: simt has four multiprocessors, a GPU more, so that k is cut into parts on both.
TEST(CudaGemm, CutsALongProductIntoParts) {
    for (const bool accumulate : kBoth) {
        in_every_form([&]<class T, class C>(auto&& multiply) {
            expect_exact<T, C>({true, false, 24, 16, 1000, 0, accumulate}, multiply);
            expect_exact<T, C>({false, true, 7, 5, 777, 1, accumulate}, multiply);
        });
    }
}

std::vector<float> random_values(std::int64_t n, std::uint32_t seed) {
    PhiloxStream words(seed, RandomPurpose::test);
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) {
        value = words.uniform(-1.0f, 1.0f);
    }
    return values;
}

TEST(CudaGemm, RepeatsBitForBit) {
    constexpr std::int64_t kM = 50, kN = 40, kK = 900;
    in_every_form([&]<class T, class C>(auto&& multiply) {
        const DeviceArray<T> a(random_values(kM * kK, 1)), b(random_values(kN * kK, 2));
        std::vector<float> results[2];
        for (auto& result : results) {
            const DeviceArray<C> c(kM * kN);
            multiply(Transpose::yes, Transpose::no, kM, kN, kK, a.data(), kM, b.data(), kN, false, c.data(), kN);
            result = c.values();
        }
        EXPECT_EQ(results[0], results[1]);
    });
}

// What tf32 cannot hold survives in fp32 and is rounded away in tf32.
TEST(CudaGemm, Fp32IsNotTf32) {
    constexpr std::int64_t kSize = 16;
    const float value = 1.0f + 0x1p-20f;
    std::vector<float> identity(kSize * kSize, 0.0f);
    for (std::int64_t i = 0; i < kSize; ++i) {
        identity[static_cast<std::size_t>(i * kSize + i)] = 1.0f;
    }
    const DeviceArray<float> a(std::vector<float>(kSize * kSize, value)), b(identity), c(kSize * kSize);
    for (const bool transpose_a : kBoth) {
        for (const bool transpose_b : kBoth) {
            const auto product = [&](MatrixPrecision precision) {
                cuda::gemm<float, float>(transpose(transpose_a), transpose(transpose_b), kSize, kSize, kSize, a.data(),
                                         kSize, b.data(), kSize, false, c.data(), kSize, precision, {});
                return c.values();
            };
            EXPECT_EQ(product(MatrixPrecision::fp32), std::vector<float>(kSize * kSize, value));
            EXPECT_EQ(product(MatrixPrecision::tf32), std::vector<float>(kSize * kSize, 1.0f));
        }
    }
}

// tf32 rounds to the nearest: 1 + 3/2^12 lies nearer to 1 + 2^-10 than to 1, and cutting off would give 1.
TEST(CudaGemm, Tf32IsRoundedToTheNearest) {
    constexpr std::int64_t kSize = 16;
    std::vector<float> identity(kSize * kSize, 0.0f);
    for (std::int64_t i = 0; i < kSize; ++i) {
        identity[static_cast<std::size_t>(i * kSize + i)] = 1.0f;
    }
    const DeviceArray<float> a(std::vector<float>(kSize * kSize, 1.0f + 3.0f * 0x1p-12f)), b(identity),
        c(kSize * kSize);
    for (const bool swap : kBoth) {
        for (const bool transposed : kBoth) {
            cuda::gemm<float, float>(transpose(transposed), transpose(transposed), kSize, kSize, kSize,
                                     swap ? b.data() : a.data(), kSize, swap ? a.data() : b.data(), kSize, false,
                                     c.data(), kSize, MatrixPrecision::tf32, {});
            EXPECT_EQ(c.values(), std::vector<float>(kSize * kSize, 1.0f + 0x1p-10f));
        }
    }
}

TEST(CudaGemm, RoundsNoWorseThanItsLength) {
    constexpr std::int64_t kM = 17, kN = 19, kK = 700;
    const std::vector<float> a = random_values(kM * kK, 1), b = random_values(kK * kN, 2);
    const auto worst = [&]<class T>(MatrixPrecision precision) {
        const DeviceArray<T> device_a(a), device_b(b);
        const DeviceArray<float> c(kM * kN);
        cuda::gemm<T, float>(Transpose::no, Transpose::no, kM, kN, kK, device_a.data(), kK, device_b.data(), kN, false,
                             c.data(), kN, precision, {});
        const std::vector<float> left = device_a.values(), right = device_b.values(), actual = c.values();
        double error = 0.0;
        for (std::int64_t i = 0; i < kM; ++i) {
            for (std::int64_t j = 0; j < kN; ++j) {
                double sum = 0.0;
                for (std::int64_t l = 0; l < kK; ++l) {
                    sum += static_cast<double>(at(left, kK, false, i, l)) * at(right, kN, false, l, j);
                }
                error = std::max(error, std::abs(sum - static_cast<double>(at(actual, kN, false, i, j))));
            }
        }
        return error;
    };
    const double length = std::sqrt(static_cast<double>(kK));
    EXPECT_LT(worst.operator()<float>(MatrixPrecision::fp32), 4.0 * 0x1p-24 * length);
    EXPECT_LT(worst.operator()<BFloat16>(MatrixPrecision::fp32), 4.0 * 0x1p-24 * length);  // of values that are bf16
    EXPECT_LT(worst.operator()<float>(MatrixPrecision::tf32), 2.0 * 0x1p-11 * length);
}

TEST(CudaGemm, RefusesWhatItCannotCount) {
    EXPECT_ANY_THROW((cuda::gemm<float, float>(Transpose::no, Transpose::no, std::int64_t{1} << 31, 1, 1, nullptr, 1,
                                               nullptr, 1, false, nullptr, 1, MatrixPrecision::fp32, {})));
    EXPECT_ANY_THROW((cuda::gemm<float, float>(Transpose::no, Transpose::no, 1, -1, 1, nullptr, 1, nullptr, 1, false,
                                               nullptr, 1, MatrixPrecision::fp32, {})));
}

}  // namespace
}  // namespace cutis::testing
