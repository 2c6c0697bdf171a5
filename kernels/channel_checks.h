#pragma once

#include <cstdint>

#include "kernels/depthwise.h"

/// Rules of the depthwise and batchnorm kernels, for .cu files: nvcc does not take the library that formats the
/// messages.

namespace cutis::cuda {

/// Error where a size is not positive (n may be 0, but not with statistics) or the stride is not 1 or 2.
void check_depthwise(const DepthwiseShape& shape, bool statistics);
/// The same for the gradients; `before` masks by the activation that on_load names.
void check_depthwise_backward(const DepthwiseShape& shape, bool dx, bool on_load, bool before);

/// Error where there are fewer than `least` rows or no channels.
void check_batchnorm(std::int64_t rows, int c, std::int64_t least);
/// Error unless `fits`: what batchnorm_forward_fits said of `rows`.
void check_batchnorm_fits(bool fits, std::int64_t rows);

}  // namespace cutis::cuda
