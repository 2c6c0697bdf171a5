#pragma once

#include <cstdint>

#include "kernels/precision.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// The fully connected layer, fp32: x is rows x c, w is k x c, y is rows x k.

namespace cutis::cpu {

/// y = x * w^T + bias; bias: k values or null. FLOPs: 2 * rows * c * k.
void linear_forward(float* y, const float* x, const float* w, const float* bias, std::int64_t rows, int c, int k,
                    Stream stream = {});

/// dx = dy * w, dw = dy^T * x, db = sum of dy over the rows; each is overwritten, and null when not wanted.
void linear_backward(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w,
                     std::int64_t rows, int c, int k, Stream stream = {});

}  // namespace cutis::cpu

/// The same on a GPU, T fp32 or bf16; bias, dw and db are fp32. Multiplied as matrix_path() (cublaslt.h) says; before
/// the library's product the bias is rounded to T.
namespace cutis::cuda {

template <class T>
void linear_forward(T* y, const T* x, const T* w, const float* bias, std::int64_t rows, int c, int k,
                    MatrixPrecision precision, Stream stream);

template <class T>
void linear_backward(T* dx, float* dw, float* db, const T* dy, const T* x, const T* w, std::int64_t rows, int c, int k,
                     MatrixPrecision precision, Stream stream);

// Bytes of the path that matrix_path() gives, with our own product in the place of cuBLASLt's.

template <class T>
Traffic linear_forward_traffic(bool bias, std::int64_t rows, int c, int k, MatrixPrecision precision);
template <class T>
Traffic linear_backward_traffic(bool dx, bool dw, bool db, std::int64_t rows, int c, int k, MatrixPrecision precision);

}  // namespace cutis::cuda
