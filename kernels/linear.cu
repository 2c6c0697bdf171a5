#include "kernels/linear.h"

#include "kernels/column_sums.cuh"
#include "kernels/cublaslt.h"
#include "kernels/gemm_traffic.cuh"
#include "kernels/matrix_checks.h"

// The fully connected layer: three matrix products (gemm.cuh, cublaslt.h) and a sum over rows (column_sums.cu). Our own
// product adds the bias as it stores y. For the library's, y starts as the bias, rounded to T, which the product is
// added to: 3 rather than 1 passes over y, sizeof(T) * rows * k bytes each. y is short beside x and w wherever the
// layer takes long, so that a bias does not count as joined on.
//
//   Bytes: forward sizeof(T) (rows c + k c + rows k), dx and dw the same (dw fp32); db sizeof(T) rows k again. Issued:
//   x once for each tile of 128 or 64 columns, w once for each of 128 rows. FLOPs: 2 rows c k for each product. A
//   classifier (256 x 1280 -> 7) is 0.7 MB and 4.6 MFLOP, a fifth of a microsecond of memory: the launches' latency is
//   the floor. AlexNet's 4096 x 4096 at 256 rows reads 34 MB of bf16 weights for 8.6 GFLOP: memory again, 10 us at 3.35
//   TB/s.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;

// Every row of y is the bias.
template <class T>
__global__ void __launch_bounds__(kThreads) repeat_bias_kernel(T* y, const float* bias, std::int64_t count, int k) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i < count) {
        y[i] = from_float<T>(bias[i % k]);
    }
}

}  // namespace

template <class T>
void linear_forward(T* y, const T* x, const T* w, const float* bias, std::int64_t rows, int c, int k,
                    MatrixPrecision precision, Stream stream) {
    check_product(rows, k, c);
    if (!by_cublaslt(false)) {
        matrix::gemm_with<T>(
            Transpose::no, Transpose::yes, rows, k, c, x, c, w, c,
            {.out = y, .ld = k, .out_is_float = sizeof(T) == 4, .aligned = matrix::in_chunks(y, k), .bias = bias}, true,
            precision, stream);
        return;
    }
    if (bias != nullptr) {
        launch<repeat_bias_kernel<T>>({.grid = blocks_for(rows * k, kThreads), .block = kThreads}, stream, y, bias,
                                      rows * k, k);
    }
    matmul(Transpose::no, Transpose::yes, rows, k, c, x, c, w, c, bias != nullptr, y, k, precision, stream);
}

template <class T>
void linear_backward(T* dx, float* dw, float* db, const T* dy, const T* x, const T* w, std::int64_t rows, int c, int k,
                     MatrixPrecision precision, Stream stream) {
    check_product(rows, k, c);
    if (dx != nullptr) {
        plain_product(Transpose::no, Transpose::no, rows, c, k, dy, k, w, c, false, dx, c, precision, stream);
    }
    if (dw != nullptr) {
        plain_product(Transpose::yes, Transpose::no, k, c, rows, dy, k, x, c, false, dw, c, precision, stream);
    }
    if (db != nullptr) {
        sum_columns<T>(db, dy, nullptr, rows, k, stream);
    }
}

template <class T>
Traffic linear_forward_traffic(bool bias, std::int64_t rows, int c, int k, MatrixPrecision precision) {
    if (!by_cublaslt(false)) {
        return matrix::gemm_with_traffic<T>({rows, k, c, 1, true}, {.out_is_float = sizeof(T) == 4, .bias = bias},
                                            precision);
    }
    const std::int64_t y = std::int64_t{sizeof(T)} * rows * k;
    const Traffic start = bias ? Traffic::once(y) + Traffic::times(rows, 4 * std::int64_t{k}) : Traffic{};
    return start + gemm_traffic<T, T>(rows, k, c, bias, precision);
}

template <class T>
Traffic linear_backward_traffic(bool dx, bool dw, bool db, std::int64_t rows, int c, int k, MatrixPrecision precision) {
    return (dx ? gemm_traffic<T, T>(rows, c, k, false, precision) : Traffic{}) +
           (dw ? gemm_traffic<T, float>(k, c, rows, false, precision) : Traffic{}) +
           (db ? sum_columns_traffic<T>(false, rows, k) : Traffic{});
}

template Traffic linear_forward_traffic<float>(bool, std::int64_t, int, int, MatrixPrecision);
template Traffic linear_forward_traffic<BFloat16>(bool, std::int64_t, int, int, MatrixPrecision);
template Traffic linear_backward_traffic<float>(bool, bool, bool, std::int64_t, int, int, MatrixPrecision);
template Traffic linear_backward_traffic<BFloat16>(bool, bool, bool, std::int64_t, int, int, MatrixPrecision);
template void linear_forward(float*, const float*, const float*, const float*, std::int64_t, int, int, MatrixPrecision,
                             Stream);
template void linear_forward(BFloat16*, const BFloat16*, const BFloat16*, const float*, std::int64_t, int, int,
                             MatrixPrecision, Stream);
template void linear_backward(float*, float*, float*, const float*, const float*, const float*, std::int64_t, int, int,
                              MatrixPrecision, Stream);
template void linear_backward(BFloat16*, float*, float*, const BFloat16*, const BFloat16*, const BFloat16*,
                              std::int64_t, int, int, MatrixPrecision, Stream);

}  // namespace cutis::cuda
