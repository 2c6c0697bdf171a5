#pragma once

#include <cstdint>

#include "kernels/stream.h"

namespace cutis::cpu {

enum class Transpose { no, yes };

/// c[m x n] (+)= op(a)[m x k] * op(b)[k x n], row-major fp32, leading dimensions in floats. `accumulate` adds to c,
/// else c is overwritten (and may hold anything, NaN included). Inside a parallel region it runs on the calling thread,
/// outside it uses all kernel threads. oneDNN's sgemm where the build has it, else panels of our own (about half as
/// fast). m, n or k of 0 are fine: k = 0 gives zeros.
void gemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          std::int64_t lda, const float* b, std::int64_t ldb, bool accumulate, float* c, std::int64_t ldc,
          Stream stream = {});

}  // namespace cutis::cpu
