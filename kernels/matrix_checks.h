#pragma once

#include <cstdint>

#include "kernels/conv.h"

/// Rules of the matrix kernels, for .cu files: nvcc does not take the library that formats the messages.

namespace cutis::cuda {

/// Error unless m, n and k are in 0 ... 2^30, which kernels count in ints.
void check_product(std::int64_t m, std::int64_t n, std::int64_t k);

/// Error where a size is not positive (n may be 0), groups do not divide c and k, the filter is larger than the padded
/// image, or pixels of x or y are more than 2^30.
void check_convolution(const ConvShape& shape);

/// Error with this message unless `rule` holds.
void check_rule(bool rule, const char* message);

}  // namespace cutis::cuda
