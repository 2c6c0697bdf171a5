#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/stream.h"

/// Value by value, fp32, n values. Every output may be one of the inputs.

namespace cutis::cpu {

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

/// The same on a GPU, T fp32 or bf16.
namespace cutis::cuda {

template <class T>
void add(T* z, const T* a, const T* b, std::int64_t n, Stream stream);

}  // namespace cutis::cuda
