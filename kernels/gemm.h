#pragma once

#include <cstdint>

#include "kernels/precision.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

namespace cutis {

enum class Transpose { no, yes };

namespace cpu {

using cutis::Transpose;

/// c[m x n] (+)= op(a)[m x k] * op(b)[k x n], row-major fp32, leading dimensions in floats. `accumulate` adds to c,
/// else c is overwritten (and may hold anything, NaN included). Inside a parallel region it runs on the calling thread,
/// outside it uses all kernel threads. oneDNN's sgemm where the build has it, else panels of our own (about half as
/// fast). m, n or k of 0 are fine: k = 0 gives zeros.
void gemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          std::int64_t lda, const float* b, std::int64_t ldb, bool accumulate, float* c, std::int64_t ldc,
          Stream stream = {});

}  // namespace cpu

namespace cuda {

/// The same on a GPU, by kernels of our own: T is fp32 or bf16, c is of the same type or fp32. m, n and k are below
/// 2^31. Fast where both leading dimensions and both matrices' rows are whole 16-byte accesses, right everywhere. Few
/// tiles with a long k are cut along k; the parts are added in a fixed order, so that the same call gives the same
/// bits.
template <class T, class C>
void gemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
          std::int64_t lda, const T* b, std::int64_t ldb, bool accumulate, C* c, std::int64_t ldc,
          MatrixPrecision precision, Stream stream);

/// Bytes: a once for each tile of columns, b once for each of rows (kernels/gemm.cuh), c once; parts where k is cut.
template <class T, class C>
Traffic gemm_traffic(std::int64_t m, std::int64_t n, std::int64_t k, bool accumulate, MatrixPrecision precision);

}  // namespace cuda
}  // namespace cutis
