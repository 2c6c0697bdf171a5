#pragma once

#include <cstdint>

#include "kernels/batchnorm.h"
#include "kernels/pool_windows.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Pooling, NHWC, fp32: the global average before a classifier (with the batchnorm before it joined on), and windows.

namespace cutis {

/// x: n x h x w x c; y: n x p() x q() x c. The window is square; padding <= window / 2, so that each window meets the
/// image. With `ceil` (torch's ceil_mode) a last window may reach beyond the padding, as long as it begins before it.
struct PoolShape {
    int n, h, w, c;
    int window, stride, padding;
    bool ceil = false;
    int p() const { return outputs_of(h); }
    int q() const { return outputs_of(w); }
    int outputs_of(int size) const {
        const int steps = size + 2 * padding - window;
        const int up = (steps + stride - 1) / stride;
        return ceil && up * stride < size + padding ? up + 1 : steps / stride + 1;
    }
    PoolAxis rows() const { return {h, p(), window, stride, padding}; }
    PoolAxis columns() const { return {w, q(), window, stride, padding}; }
};

/// x: n x h x w x c; y: n x p x q x c, each of its values the mean of a window (see AdaptiveAxis). The output may be
/// larger than the input.
struct AdaptivePoolShape {
    int n, h, w, c;
    int p, q;
    AdaptiveAxis rows() const { return {h, p}; }
    AdaptiveAxis columns() const { return {w, q}; }
};

/// Throws Error where a shape makes no sense: a size that is not positive, a window larger than the image (with `ceil`,
/// by a stride or more), ..
void check_pool(const PoolShape& shape);
void check_pool(const AdaptivePoolShape& shape);
/// ... or a window of max pooling whose places do not fit into a byte.
constexpr int kMaxPoolWindow = 16;
void check_max_pool(const PoolShape& shape);
/// ... or where there are no pixels or channels, or only one part of a normalisation.
void check_global_pool(int hw, int c);
void check_global_pool_backward(const Normalize* on_load, const NormalizeBackward* before, int hw, int c);

namespace cpu {

/// y[n x c] = mean over hw of z, with z = on_load(x), or z = x where on_load is null. x: n x hw x c.
void global_average_pool_forward(float* y, const float* x, const Normalize* on_load, int n, int hw, int c,
                                 Stream stream = {});

/// dx[n x hw x c] = dy / hw. With on_load, dx is masked by its activation, and `before` (null without on_load) gets
/// that batchnorm's dgamma and dbeta. x is read only with on_load.
void global_average_pool_backward(float* dx, const float* dy, const float* x, const Normalize* on_load,
                                  const NormalizeBackward* before, int n, int hw, int c, Stream stream = {});

/// y = the largest value of each window, NaN if it holds one; marks: that value's place in its window, row * window +
/// column (the first of equal ones), n x p x q x c bytes, which the backward pass needs. Padding never wins.
void max_pool_forward(float* y, std::uint8_t* marks, const float* x, const PoolShape& shape, Stream stream = {});

/// dx = dy where the marks point, summed over the windows that chose the pixel; 0 elsewhere.
void max_pool_backward(float* dx, const float* dy, const std::uint8_t* marks, const PoolShape& shape,
                       Stream stream = {});

/// y = sum of each window / its size: padding counts as zeros (torch's count_include_pad), what is beyond it does not.
void average_pool_forward(float* y, const float* x, const PoolShape& shape, Stream stream = {});

/// dx = sum over the windows that hold the pixel of dy / the window's size.
void average_pool_backward(float* dx, const float* dy, const PoolShape& shape, Stream stream = {});

/// y = mean of each window.
void adaptive_average_pool_forward(float* y, const float* x, const AdaptivePoolShape& shape, Stream stream = {});

/// dx = sum over the windows that hold the pixel of dy / the window's size.
void adaptive_average_pool_backward(float* dx, const float* dy, const AdaptivePoolShape& shape, Stream stream = {});

}  // namespace cpu

/// The same on a GPU, T fp32 or bf16: x, y and their gradients. Arrays of T start on 16 bytes, marks on 8. Sums in
/// fp32, and equal bits when repeated.
namespace cuda {

template <class T>
void global_average_pool_forward(T* y, const T* x, const Normalize* on_load, int n, int hw, int c, Stream stream);

template <class T>
void global_average_pool_backward(T* dx, const T* dy, const T* x, const Normalize* on_load,
                                  const NormalizeBackward* before, int n, int hw, int c, Stream stream);

template <class T>
void max_pool_forward(T* y, std::uint8_t* marks, const T* x, const PoolShape& shape, Stream stream);

template <class T>
void max_pool_backward(T* dx, const T* dy, const std::uint8_t* marks, const PoolShape& shape, Stream stream);

template <class T>
void average_pool_forward(T* y, const T* x, const PoolShape& shape, Stream stream);

template <class T>
void average_pool_backward(T* dx, const T* dy, const PoolShape& shape, Stream stream);

template <class T>
void adaptive_average_pool_forward(T* y, const T* x, const AdaptivePoolShape& shape, Stream stream);

template <class T>
void adaptive_average_pool_backward(T* dx, const T* dy, const AdaptivePoolShape& shape, Stream stream);

// Bytes of the global average: each value once; scale, shift and mean, and dy, by each of the eight threads that share
// a channel; with on_load also the parts' partials.

template <class T>
Traffic global_average_pool_forward_traffic(bool on_load, int n, int hw, int c);
template <class T>
Traffic global_average_pool_backward_traffic(bool on_load, int n, int hw, int c);

// Bytes of windows: the output once, and each input once for every window that holds it (1 more each for the marks).
// Both ways the pairs of a window and a pixel in it are the same. Where channels are not whole vectors, max pooling's
// dy is read by the chosen pixel alone.

template <class T>
Traffic max_pool_forward_traffic(const PoolShape& shape);
template <class T>
Traffic max_pool_backward_traffic(const PoolShape& shape);
template <class T>
Traffic average_pool_forward_traffic(const PoolShape& shape);
template <class T>
Traffic average_pool_backward_traffic(const PoolShape& shape);
template <class T>
Traffic adaptive_average_pool_forward_traffic(const AdaptivePoolShape& shape);
template <class T>
Traffic adaptive_average_pool_backward_traffic(const AdaptivePoolShape& shape);

}  // namespace cuda
}  // namespace cutis
