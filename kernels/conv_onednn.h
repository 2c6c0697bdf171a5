#pragma once

#include "kernels/conv.h"

/// The dense convolutions that oneDNN serves, behind conv_forward and conv_backward. Shapes have been checked by the
/// caller.

namespace cutis::cpu::onednn {

/// Whether this build hands `shape` to oneDNN: dense filters larger than 1x1 over 16 or more channels.
bool serves(const ConvShape& shape);

/// As cpu::conv_forward; bias may be null.
void conv_forward(float* y, const float* x, const float* w, const float* bias, const ConvShape& shape);

/// As cpu::conv_backward; dx and dw may be null.
void conv_backward(float* dx, float* dw, const float* dy, const float* x, const float* w, const ConvShape& shape);

}  // namespace cutis::cpu::onednn
