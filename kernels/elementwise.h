#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/bfloat16.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Value by value, fp32, n values. Every output may be one of the inputs.

namespace cutis::cpu {

/// x = value, n times.
void fill(float* x, float value, std::int64_t n, Stream stream = {});

/// y = x as another type; narrowing rounds to the nearest, ties to even. y must not overlap x.
void cast(BFloat16* y, const float* x, std::int64_t n, Stream stream = {});
void cast(float* y, const BFloat16* x, std::int64_t n, Stream stream = {});

/// z = a + b.
void add(float* z, const float* a, const float* b, std::int64_t n, Stream stream = {});

/// y = factor * x.
void scale(float* y, const float* x, float factor, std::int64_t n, Stream stream = {});

/// y += factor * x.
void axpy(float* y, float factor, const float* x, std::int64_t n, Stream stream = {});

/// y = act(x). NaN stays NaN.
void activation_forward(float* y, const float* x, Activation act, std::int64_t n, Stream stream = {});

/// dx = dy where act passes x (strictly inside its clamp), else 0.
void activation_backward(float* dx, const float* dy, const float* x, Activation act, std::int64_t n,
                         Stream stream = {});

}  // namespace cutis::cpu

/// The same on a GPU, T fp32 or bf16; arithmetic is fp32. Arrays start on 16 bytes.
namespace cutis::cuda {

template <class T>
void fill(T* x, float value, std::int64_t n, Stream stream);

template <class T>
void add(T* z, const T* a, const T* b, std::int64_t n, Stream stream);

template <class T>
void scale(T* y, const T* x, float factor, std::int64_t n, Stream stream);

template <class T>
void axpy(T* y, float factor, const T* x, std::int64_t n, Stream stream);

template <class T>
void activation_forward(T* y, const T* x, Activation act, std::int64_t n, Stream stream);

template <class T>
void activation_backward(T* dx, const T* dy, const T* x, Activation act, std::int64_t n, Stream stream);

/// y = x as the other type: fp32 to bf16, rounded to the nearest, ties to even, or bf16 to fp32.
template <class To, class From>
void cast(To* y, const From* x, std::int64_t n, Stream stream);

// Bytes: each value of each array once.

template <class T>
constexpr Traffic fill_traffic(std::int64_t n) {
    return Traffic::once(std::int64_t{sizeof(T)} * n);
}
template <class T>
constexpr Traffic add_traffic(std::int64_t n) {
    return Traffic::once(3 * std::int64_t{sizeof(T)} * n);
}
template <class T>
constexpr Traffic scale_traffic(std::int64_t n) {
    return Traffic::once(2 * std::int64_t{sizeof(T)} * n);
}
template <class T>
constexpr Traffic axpy_traffic(std::int64_t n) {
    return Traffic::once(3 * std::int64_t{sizeof(T)} * n);
}
template <class T>
constexpr Traffic activation_forward_traffic(std::int64_t n) {
    return Traffic::once(2 * std::int64_t{sizeof(T)} * n);
}
template <class T>
constexpr Traffic activation_backward_traffic(std::int64_t n) {
    return Traffic::once(3 * std::int64_t{sizeof(T)} * n);
}
template <class To, class From>
constexpr Traffic cast_traffic(std::int64_t n) {
    return Traffic::once(std::int64_t{sizeof(To) + sizeof(From)} * n);
}

}  // namespace cutis::cuda
