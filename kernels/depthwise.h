#pragma once

#include "kernels/batchnorm.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Depthwise 3x3 convolution, padding 1, stride 1 or 2, NHWC, fp32, with the batchnorms around it joined on.

namespace cutis {

/// x: n x h x w x c; y: n x p() x q() x c; weights: 3 x 3 x c (tap rows first), that is 9 x c.
struct DepthwiseShape {
    int n, h, w, c, stride;
    int p() const { return (h - 1) / stride + 1; }
    int q() const { return (w - 1) / stride + 1; }
};

namespace cpu {

/// y = conv(z, w) with z = on_load(x), or z = x where on_load is null; padding is zero in z. With `statistics`, mean
/// and biased variance of y per channel come along. Bytes: 4 c n (h w + p q); FLOPs: 18 c n p q.
void depthwise_forward(float* y, const float* x, const float* w, const Normalize* on_load,
                       const BatchStatistics* statistics, const DepthwiseShape& shape, Stream stream = {});

/// The gradients of depthwise_forward, both from one sweep over g and x.
/// @param dx      n x h x w x c, or null; with on_load and `before`, the gradient behind on_load's activation (masked),
/// and
///                `before` gets that batchnorm's dgamma and dbeta
/// @param dw      9 x c, overwritten, or null
/// @param g       n x p x q x c, the gradient of y or, with `gradient_on_load`, what dy = a * g + b * y + d is made of
void depthwise_backward(float* dx, float* dw, const float* g, const GradientOnLoad* gradient_on_load, const float* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* w,
                        const DepthwiseShape& shape, Stream stream = {});

}  // namespace cpu

/// The same on a GPU; activations and their gradients are T, fp32 or bf16, else fp32. Arrays start on 16 bytes.
namespace cuda {

template <class T>
void depthwise_forward(T* y, const T* x, const float* w, const Normalize* on_load, const BatchStatistics* statistics,
                       const DepthwiseShape& shape, Stream stream);

/// @param before needs dx
template <class T>
void depthwise_backward(T* dx, float* dw, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* w,
                        const DepthwiseShape& shape, Stream stream);

// Bytes: each value of x and y (g, dx) once, and those again that two tiles share: where strips of rows or tiles of
// columns meet, two rows or columns (stride 2: one) of x, and of g and y in the backward pass. To each block its
// channels' taps and figures; from each the partials of statistics, dw and `before`, which are read once more.

template <class T>
Traffic depthwise_forward_traffic(bool on_load, bool statistics, const DepthwiseShape& shape);

/// Which of depthwise_backward's pointers are not null.
struct DepthwiseBackwardForm {
    bool dx = true, dw = true;
    bool gradient_on_load = false, on_load = false, before = false;
};
template <class T>
Traffic depthwise_backward_traffic(const DepthwiseBackwardForm& form, const DepthwiseShape& shape);

}  // namespace cuda

}  // namespace cutis
