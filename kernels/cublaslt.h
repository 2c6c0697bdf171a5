#pragma once

#include <cstdint>

#include "kernels/gemm.h"

/// The matrix product of NVIDIA's library, and the choice between it and ours.

namespace cutis::cuda {

/// How pointwise convolutions, linear layers and an LSTM's products over all steps multiply.
///   cublaslt   cuBLASLt's product between separate passes that normalise, add and reduce. In the simt build our own
///              product answers the library's call, so that everything around it runs there too.
///   own        kernels/gemm.cuh's product, with all of that done while tiles are loaded and stored.
///   automatic  own where a normalisation, a statistic or an addition is joined on, cublaslt for a product alone, if
///              the library is installed.
enum class MatrixPath { automatic, cublaslt, own };

/// What is used where nothing is said, for the whole process: the environment's CUTIS_MATRIX_PATH (automatic, cublaslt
/// or own), else automatic. The reason is a count of bytes, not a measurement: with batchnorm joined on, the passes
/// around the library's product move about twice the bytes of ours (pointwise.cu), and MobileNetV2's products are all
/// bound by memory; a product alone has nothing to save, and there the library's is the better tuned one. Other values
/// of CUTIS_MATRIX_PATH: Error.
MatrixPath matrix_path();
void set_matrix_path(MatrixPath path);

/// Whether the library can be loaded: libcublasLt of the CUDA version that this build was made with, found by the
/// dynamic linker when it is first asked for. Nothing else of cutis needs it.
bool cublaslt_found();

/// Whether a product goes to the library; `joined`: something would be done while its tiles are loaded or stored. By
/// Backend::vendor all do.
bool by_cublaslt(bool joined);

/// As cuda::gemm, by the library. Its algorithm is chosen once per shape, layout, type and alignment; its work space
/// comes from the stream's pool, so that calls may be captured in a graph. fp32 is never computed in tf32 unless asked
/// for; sums are fp32, and the same call gives the same bits. Error where the library is not found.
template <class T, class C>
void matmul(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
            std::int64_t lda, const T* b, std::int64_t ldb, bool accumulate, C* c, std::int64_t ldc,
            MatrixPrecision precision, Stream stream);

/// As cuda::gemm, by the library or by our own kernels: a product with nothing joined on.
template <class T, class C>
void plain_product(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                   const T* a, std::int64_t lda, const T* b, std::int64_t ldb, bool accumulate, C* c, std::int64_t ldc,
                   MatrixPrecision precision, Stream stream) {
    if (by_cublaslt(false)) {
        matmul(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, accumulate, c, ldc, precision, stream);
    } else {
        gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, accumulate, c, ldc, precision, stream);
    }
}

}  // namespace cutis::cuda
