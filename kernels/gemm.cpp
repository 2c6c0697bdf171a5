#include "kernels/gemm.h"

#include <algorithm>

#include "kernels/error.h"
#include "kernels/parallel.h"

#if defined(CUTIS_WITH_ONEDNN)
#include <dnnl.h>
#else
#include "kernels/simd/rows.h"
#endif

// oneDNN's sgemm takes a few rows times a transposed matrix at a tenth of its speed (measured with 2.6.3: 16 x 4096
// times 4096 x 4096, a linear layer's or an LSTM step's product, at 5 GFLOP/s of 85). The same product the other way
// round, c^T = b a^T, runs at 32 GFLOP/s with the transposition of c behind it.

namespace cutis::cpu {
namespace {

constexpr int kPackSlot = kScratchSlots - 1;

#if defined(CUTIS_WITH_ONEDNN)

constexpr std::int64_t kFewRows = 64, kManyColumns = 256;

void sgemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
           std::int64_t lda, const float* b, std::int64_t ldb, bool accumulate, float* c, std::int64_t ldc) {
    const dnnl_status_t status =
        dnnl_sgemm(transpose_a == Transpose::yes ? 'T' : 'N', transpose_b == Transpose::yes ? 'T' : 'N', m, n, k, 1.0f,
                   a, lda, b, ldb, accumulate ? 1.0f : 0.0f, c, ldc);
    require(status == dnnl_success, "gemm {} x {} x {}: oneDNN's sgemm failed with status {}", m, n, k,
            static_cast<int>(status));
}

// c[m x n] (+)= a * b^T by way of its transpose.
void gemm_few_rows(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
                   std::int64_t ldb, bool accumulate, float* c, std::int64_t ldc) {
    float* const transposed = thread_scratch(kPackSlot, n * m);
    sgemm(Transpose::no, Transpose::yes, n, m, k, b, ldb, a, lda, false, transposed, m);
    constexpr std::int64_t kTile = 16;  // rows of the transposed product that stay in the first-level cache
    for (std::int64_t first = 0; first < n; first += kTile) {
        const std::int64_t end = std::min(first + kTile, n);
        for (std::int64_t i = 0; i < m; ++i) {
            float* const row = c + i * ldc;
            for (std::int64_t j = first; j < end; ++j) {
                row[j] = transposed[j * m + i] + (accumulate ? row[j] : 0.0f);
            }
        }
    }
}

#else

// A panel of b, kDepth x 2 vectors, stays in the first-level cache while all rows of a pass by.
constexpr std::int64_t kDepth = 256;
constexpr std::int64_t kPanelRows = 6;

struct Strided {
    const float* data;
    std::int64_t row, col;
    const float* at(std::int64_t i, std::int64_t j) const { return data + i * row + j * col; }
};

void gemm_rows(std::int64_t m, std::int64_t n, std::int64_t k, Strided a, Strided b, bool accumulate, float* c,
               std::int64_t ldc) {
    const auto& kernels = simd::row_kernels();
    const std::int64_t width = 2 * kernels.lanes;
    float* const pack = thread_scratch(kPackSlot, kDepth * width);
    for (std::int64_t k0 = 0; k0 < k; k0 += kDepth) {
        const std::int64_t depth = std::min(kDepth, k - k0);
        for (std::int64_t n0 = 0; n0 < n; n0 += width) {
            const std::int64_t columns = std::min(width, n - n0);
            for (std::int64_t i = 0; i < depth; ++i) {
                for (std::int64_t j = 0; j < width; ++j) {
                    pack[i * width + j] = j < columns ? *b.at(k0 + i, n0 + j) : 0.0f;
                }
            }
            for (std::int64_t m0 = 0; m0 < m; m0 += kPanelRows) {
                const std::int64_t rows = std::min(kPanelRows, m - m0);
                kernels.gemm_panel(c + m0 * ldc + n0, ldc, a.at(m0, k0), a.row, a.col, pack, static_cast<int>(rows),
                                   static_cast<int>(columns), static_cast<int>(depth), accumulate || k0 > 0);
            }
        }
    }
}

#endif

}  // namespace

void gemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          std::int64_t lda, const float* b, std::int64_t ldb, bool accumulate, float* c, std::int64_t ldc, Stream) {
    if (m == 0 || n == 0) {
        return;
    }
    if (k == 0) {
        if (!accumulate) {
            for (std::int64_t i = 0; i < m; ++i) {
                std::fill_n(c + i * ldc, n, 0.0f);
            }
        }
        return;
    }
#if defined(CUTIS_WITH_ONEDNN)
    if (transpose_a == Transpose::no && transpose_b == Transpose::yes && m <= kFewRows && n >= kManyColumns) {
        gemm_few_rows(m, n, k, a, lda, b, ldb, accumulate, c, ldc);
    } else {
        sgemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, accumulate, c, ldc);
    }
#else
    const Strided left = transpose_a == Transpose::yes ? Strided{a, 1, lda} : Strided{a, lda, 1};
    const Strided right = transpose_b == Transpose::yes ? Strided{b, 1, ldb} : Strided{b, ldb, 1};
    constexpr std::int64_t kGrainFlops = 1 << 16;
    parallel_for(m, std::max<std::int64_t>(kPanelRows, kGrainFlops / (n * k)),
                 [&](std::int64_t begin, std::int64_t end, int) {
                     gemm_rows(end - begin, n, k, {left.at(begin, 0), left.row, left.col}, right, accumulate,
                               c + begin * ldc, ldc);
                 });
#endif
}

}  // namespace cutis::cpu
