#pragma once

#include <cstdint>

#include "kernels/stream.h"

/// Dropout (Srivastava et al. 2014), inverted: what is kept grows by 1 / (1 - probability). The mask is stored nowhere:
/// value i is dropped where word i of PhiloxStream(seed, RandomPurpose::dropout, 0, step_offset), as a uniform number,
/// is below `probability`; the backward pass draws it again, and every device draws the same.

namespace cutis::cpu {

/// y = x / (1 - probability) where kept, else 0. y may be x. 0 <= probability < 1, else Error.
/// @param step_offset  tells the masks of one seed apart: a number that no other step and layer of the run uses
void dropout_forward(float* y, const float* x, float probability, std::uint64_t seed, std::uint64_t step_offset,
                     std::int64_t n, Stream stream = {});

/// dx = dy / (1 - probability) where kept, else 0: the same map. dx may be dy.
void dropout_backward(float* dx, const float* dy, float probability, std::uint64_t seed, std::uint64_t step_offset,
                      std::int64_t n, Stream stream = {});

}  // namespace cutis::cpu
