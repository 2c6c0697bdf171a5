#pragma once

#include <cstdint>

#include "kernels/batchnorm.h"
#include "kernels/precision.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Pointwise (1x1) convolution, a GEMM in NHWC: y[rows x k] = x[rows x c] * w[k x c]^T, with the batchnorms around it
/// joined on. fp32.

namespace cutis::cpu {

/// y = z * w^T with z = on_load(x), or z = x where on_load is null. With `statistics`, the mean and biased variance of
/// y's columns come along. Bytes: 4 * rows * (c + k) and w; FLOPs: 2 * rows * c * k.
void pointwise_forward(float* y, const float* x, const float* w, const Normalize* on_load,
                       const BatchStatistics* statistics, std::int64_t rows, int c, int k, Stream stream = {});

/// The gradients of pointwise_forward.
/// @param dx        rows x c, or null when not wanted. With on_load it is the gradient behind on_load's activation
/// (masked);
///                  `before` then gets that batchnorm's dgamma and dbeta. Without, `dx_add` (rows x c, may be null) is
///                  added.
/// @param dw        k x c, overwritten, or null when not wanted
/// @param g         rows x k, the gradient of y, or, with `gradient_on_load`, what dy = a * g + b * y + d is made of
/// @param x         as in the forward pass, as is on_load
/// @param before    outputs for the batchnorm of on_load; null where on_load is null or dx is not wanted
void pointwise_backward(float* dx, float* dw, const float* g, const GradientOnLoad* gradient_on_load, const float* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* dx_add, const float* w,
                        std::int64_t rows, int c, int k, Stream stream = {});

}  // namespace cutis::cpu

/// The same on a GPU. T, the type of activations and weights, is fp32 or bf16; parameters, statistics and dw are fp32.
/// Sums are fp32; a normalised x and a differentiated g are rounded to T before they are multiplied. matrix_path()
/// (cublaslt.h) chooses between the library's product with separate passes and our own with all passes joined on.
namespace cutis::cuda {

template <class T>
void pointwise_forward(T* y, const T* x, const T* w, const Normalize* on_load, const BatchStatistics* statistics,
                       std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream);

template <class T>
void pointwise_backward(T* dx, float* dw, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                        const Normalize* on_load, const NormalizeBackward* before, const T* dx_add, const T* w,
                        std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream);

// Bytes of the path that matrix_path() gives. Ours: a product's (gemm_traffic), and on its way the figures of on_load
// and gradient_on_load by every thread for every depth tile, y beside g, x for `before`, and partials. The library's:
// the passes around it, and our own product in the place of cuBLASLt's; the runtime's copy of dx_add is not in it.

template <class T>
Traffic pointwise_forward_traffic(bool on_load, bool statistics, std::int64_t rows, int c, int k,
                                  MatrixPrecision precision);

/// Which of pointwise_backward's pointers are not null.
struct PointwiseBackwardForm {
    bool dx = true, dw = true;
    bool gradient_on_load = false, on_load = false, before = false, dx_add = false;
};
template <class T>
Traffic pointwise_backward_traffic(const PointwiseBackwardForm& form, std::int64_t rows, int c, int k,
                                   MatrixPrecision precision);

}  // namespace cutis::cuda
