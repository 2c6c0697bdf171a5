#pragma once

#include <cstdint>

#include "kernels/gemm.h"

/// The matrix product of NVIDIA's library, and the choice between it and ours.

namespace cutis::cuda {

/// How pointwise convolutions and linear layers multiply.
///   cublaslt  cuBLASLt's product between separate passes that normalise, add and reduce. In the simt build our own
///             product answers the library's call, so that everything around it runs there too.
///   own       kernels/gemm.cuh's product, with all of that done while tiles are loaded and stored.
enum class MatrixPath { cublaslt, own };

/// What is used where nothing is said, for the whole process: cublaslt until ours is measured to be faster.
MatrixPath matrix_path();
void set_matrix_path(MatrixPath path);

/// As cuda::gemm. The library's algorithm is chosen once per shape, layout, type and alignment; its work space comes
/// from the stream's pool, so that calls may be captured in a graph. fp32 is never computed in tf32 unless asked for.
template <class T, class C>
void matmul(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
            std::int64_t lda, const T* b, std::int64_t ldb, bool accumulate, C* c, std::int64_t ldc,
            MatrixPrecision precision, Stream stream);

}  // namespace cutis::cuda
