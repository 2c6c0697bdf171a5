#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Local response normalisation across channels (Krizhevsky, Sutskever and Hinton 2012, section 3.3), with the
/// constants of torch.nn.LocalResponseNorm, which divides alpha by the window's size. Tensors are rows x c, rows = n h
/// w.
///
///   s[i] = k + alpha / size * sum of x[j]^2 over the window i - size / 2 <= j <= i + (size - 1) / 2 inside 0..c-1
///   y[i] = x[i] * s[i]^-beta

namespace cutis {

struct LocalResponseNorm {
    int size = 5;
    float alpha = 1e-4f;
    float beta = 0.75f;
    float k = 1.0f;
    int channels_before() const { return size / 2; }
    int channels_behind() const { return (size - 1) / 2; }
};

/// Throws Error unless 1 <= size <= 1024, k > 0, alpha >= 0 and c >= 1.
void check_local_response_norm(const LocalResponseNorm& norm, int c);

namespace cpu {

/// y must not be x.
void local_response_norm_forward(float* y, const float* x, const LocalResponseNorm& norm, std::int64_t rows, int c,
                                 Stream stream = {});

/// dx[i] = dy[i] s[i]^-beta - 2 alpha beta / size x[i] * sum of dy[j] x[j] s[j]^(-beta - 1) over the j whose windows
/// hold i. s is computed again. dx must be neither x nor dy.
void local_response_norm_backward(float* dx, const float* dy, const float* x, const LocalResponseNorm& norm,
                                  std::int64_t rows, int c, Stream stream = {});

}  // namespace cpu

/// The same on a GPU, T fp32 or bf16. Tensors start on 16 bytes.
namespace cuda {

template <class T>
void local_response_norm_forward(T* y, const T* x, const LocalResponseNorm& norm, std::int64_t rows, int c,
                                 Stream stream);

template <class T>
void local_response_norm_backward(T* dx, const T* dy, const T* x, const LocalResponseNorm& norm, std::int64_t rows,
                                  int c, Stream stream);

/// Bytes: each value of each tensor once; of inputs those again that windows across a seam between tiles of 512
/// channels reach.
template <class T>
Traffic local_response_norm_forward_traffic(const LocalResponseNorm& norm, std::int64_t rows, int c);
template <class T>
Traffic local_response_norm_backward_traffic(const LocalResponseNorm& norm, std::int64_t rows, int c);

}  // namespace cuda
}  // namespace cutis
