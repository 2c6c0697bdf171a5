#pragma once

#include <cstdint>

#include "kernels/simt/scheduler.h"

namespace simt::detail {

/// One lane's words of a warp operation.
struct Lane {
    std::uint32_t in[10];
    std::uint32_t out[4];
};

/// Computes a warp operation for the lanes in `mask`, all of which have given their `in`; returns what is wrong, or
/// null. Lanes outside the mask may be null. Shuffles: in[0..1] value, in[2] source lane. mma: in[0..3] a, in[4..5] b,
/// in[6..9] d.
const char* combine(WarpOp op, unsigned mask, Lane* const* lanes);

}  // namespace simt::detail
