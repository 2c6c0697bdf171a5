#pragma once

#include <cstdint>

#include "kernels/stream.h"

/// The fully connected layer, fp32: x is rows x c, w is k x c, y is rows x k.

namespace cutis::cpu {

/// y = x * w^T + bias; bias: k values or null. FLOPs: 2 * rows * c * k.
void linear_forward(float* y, const float* x, const float* w, const float* bias, std::int64_t rows, int c, int k,
                    Stream stream = {});

/// dx = dy * w, dw = dy^T * x, db = sum of dy over the rows; each is overwritten, and null when not wanted.
void linear_backward(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w,
                     std::int64_t rows, int c, int k, Stream stream = {});

}  // namespace cutis::cpu
