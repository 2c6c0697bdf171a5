#include "kernels/matrix_checks.h"

#include "kernels/error.h"

namespace cutis::cuda {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 30;

}  // namespace

void check_product(std::int64_t m, std::int64_t n, std::int64_t k) {
    require(m >= 0 && n >= 0 && k >= 0 && m <= kMost && n <= kMost && k <= kMost,
            "matrix product {} x {} x {}: sizes are 0 to 2^30", m, n, k);
}

void check_convolution(const ConvShape& s) {
    require(s.n >= 0 && s.h >= 1 && s.w >= 1 && s.c >= 1 && s.k >= 1 && s.r >= 1 && s.s >= 1 && s.stride >= 1 &&
                s.padding >= 0 && s.groups >= 1,
            "convolution: n {} h {} w {} c {} k {} r {} s {} stride {} padding {} groups {}; sizes are positive and "
            "padding is not negative",
            s.n, s.h, s.w, s.c, s.k, s.r, s.s, s.stride, s.padding, s.groups);
    require(s.c % s.groups == 0 && s.k % s.groups == 0,
            "convolution: {} groups do not divide {} input and {} output channels", s.groups, s.c, s.k);
    require(s.r <= s.h + 2 * s.padding && s.s <= s.w + 2 * s.padding,
            "convolution: the filter {}x{} is larger than the image {}x{} with padding {}", s.r, s.s, s.h, s.w,
            s.padding);
    require(std::int64_t{s.n} * s.h * s.w <= kMost && std::int64_t{s.n} * s.p() * s.q() <= kMost,
            "convolution: {} images of {}x{} pixels; at most 2^30 pixels at a time", s.n, s.h, s.w);
}

void check_rule(bool rule, const char* message) {
    require(rule, "{}", message);
}

}  // namespace cutis::cuda
