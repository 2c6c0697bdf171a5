#pragma once

#include <cstdint>
#include <string_view>

#include "engine/device.h"

namespace cutis {

/// The two rates that no kernel exceeds for long, as this process measured them.
struct Ceilings {
    double bytes_per_second = 0;  ///< of a copy, counting what is read and what is written
    double flops_per_second = 0;  ///< of a matrix product, two per multiply-add
    std::int64_t copied = 0;      ///< bytes of one side of what was copied
    std::int64_t product = 0;     ///< m, n and k of the product
};

/// Measures them on `device` with the kernels and threads that training uses: a copy larger than the caches, and
/// square products of growing size; of several tries the fastest. Takes about a second.
/// @param precision  of the product: "fp32", "tf32" or "bf16"
Ceilings measure_ceilings(Device device, std::string_view precision);

/// Seconds that a kernel with this work takes at least under the ceilings: the longer of its moving and its computing
/// (Williams, Waterman and Patterson, Roofline, CACM 52:4, 2009).
double least_seconds(double flops, double bytes, const Ceilings& ceilings);

}  // namespace cutis
