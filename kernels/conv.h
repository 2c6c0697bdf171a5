#pragma once

#include "kernels/batchnorm.h"
#include "kernels/precision.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Dense and grouped two-dimensional convolution (cross-correlation, as everywhere in the field), NHWC, fp32, with the
/// batchnorm behind it joined on.

namespace cutis {

/// x: n x h x w x c; weights: k x r x s x (c / groups); y: n x p() x q() x k. Group g maps channels [g * c / groups,
/// ...) of x to channels [g * k / groups, ...) of y. Stride and padding are the same for rows and columns.
struct ConvShape {
    int n, h, w, c;
    int k, r, s;
    int stride, padding;
    int groups = 1;
    int p() const { return (h + 2 * padding - r) / stride + 1; }
    int q() const { return (w + 2 * padding - s) / stride + 1; }
};

namespace cpu {

/// y = conv(x, w) + bias. bias: k values or null. With `statistics` (may be null), mean and biased variance of y per
/// channel come along. Error where a size is not positive, groups do not divide c and k, or the filter is larger than
/// the padded image. Bytes: 4 * (n h w c + n p q k) and w; FLOPs: 2 * n p q k r s c / groups.
void conv_forward(float* y, const float* x, const float* w, const float* bias, const ConvShape& shape,
                  const BatchStatistics* statistics, Stream stream = {});

/// The gradients of conv_forward; each output is overwritten, and null when not wanted.
/// @param dx  n x h x w x c
/// @param dw  k x r x s x (c / groups)
/// @param db  k
/// @param g   n x p x q x k, the gradient of y or, with `gradient_on_load`, what dy = a * g + b * y + d is made of
void conv_backward(float* dx, float* dw, float* db, const float* g, const GradientOnLoad* gradient_on_load,
                   const float* x, const float* w, const ConvShape& shape, Stream stream = {});

/// What they run in builds without oneDNN: images turned into matrices, and products (im2col).
void conv_forward_im2col(float* y, const float* x, const float* w, const float* bias, const ConvShape& shape,
                         const BatchStatistics* statistics, Stream stream = {});
void conv_backward_im2col(float* dx, float* dw, float* db, const float* g, const GradientOnLoad* gradient_on_load,
                          const float* x, const float* w, const ConvShape& shape, Stream stream = {});

}  // namespace cpu

/// The same on a GPU. T, the type of activations and weights, is fp32 or bf16; bias, statistics, dw and db are fp32.
namespace cuda {

template <class T>
void conv_forward(T* y, const T* x, const T* w, const float* bias, const ConvShape& shape,
                  const BatchStatistics* statistics, MatrixPrecision precision, Stream stream);

template <class T>
void conv_backward(T* dx, float* dw, float* db, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                   const T* w, const ConvShape& shape, MatrixPrecision precision, Stream stream);

// Bytes: a product's (gemm_traffic), whose positions of x (dx: of dy) are read once for each tap that falls inside the
// image.

template <class T>
Traffic conv_forward_traffic(bool bias, bool statistics, const ConvShape& shape, MatrixPrecision precision);

/// Which of conv_backward's pointers are not null.
struct ConvBackwardForm {
    bool dx = true, dw = true, db = true;
    bool gradient_on_load = false;
};
template <class T>
Traffic conv_backward_traffic(const ConvBackwardForm& form, const ConvShape& shape, MatrixPrecision precision);

}  // namespace cuda
}  // namespace cutis
