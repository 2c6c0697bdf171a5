#include "kernels/channel_checks.h"

#include "kernels/error.h"

namespace cutis::cuda {

void check_depthwise(const DepthwiseShape& s, bool statistics) {
    require(s.n >= 0 && s.h >= 1 && s.w >= 1 && s.c >= 1 && (s.stride == 1 || s.stride == 2),
            "depthwise convolution: n {} h {} w {} c {} stride {}; sizes are positive and the stride is 1 or 2", s.n,
            s.h, s.w, s.c, s.stride);
    require(s.n >= 1 || !statistics, "depthwise convolution: statistics of an empty batch");
}

void check_depthwise_backward(const DepthwiseShape& s, bool dx, bool on_load, bool before) {
    check_depthwise(s, false);
    require(on_load || !(dx && before),
            "depthwise convolution: batchnorm gradients are wanted but x is loaded as it is");
}

void check_batchnorm(std::int64_t rows, int c, std::int64_t least) {
    require(rows >= least && c >= 1, "batchnorm: {} rows of {} channels; at least {} rows and one channel are needed",
            rows, c, least);
}

void check_batchnorm_fits(bool fits, std::int64_t rows) {
    require(fits, "batchnorm: a slice of {} rows does not fit a block's shared memory; use the separate passes", rows);
}

}  // namespace cutis::cuda
