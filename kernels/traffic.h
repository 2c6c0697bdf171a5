#pragma once

#include <cstdint>

namespace cutis::cuda {

/// Bytes of global memory that a call's kernels move, predicted from its shape. Every launcher `f` of kernels/*.h has a
/// function `f_traffic` beside its contract that gives them; what is optional is a bool there. The simt build counts
/// what kernels really do and holds each prediction to it within 5 % (docs/simt.md).
struct Traffic {
    /// Every load and store of every thread: what is read again (halos, partials, figures that a whole warp reads)
    /// counts again. Caches serve the difference to `distinct`.
    std::int64_t issued = 0;
    /// Bytes of different addresses that each kernel reads, and that it writes, scratch included, summed over the
    /// kernels: what memory must move at least where nothing stays in a cache from one kernel to the next.
    std::int64_t distinct = 0;

    /// Each byte once.
    static constexpr Traffic once(std::int64_t bytes) { return {bytes, bytes}; }
    /// The same bytes again and again.
    static constexpr Traffic times(std::int64_t times, std::int64_t bytes) {
        return {times * bytes, times > 0 ? bytes : 0};
    }

    constexpr Traffic& operator+=(const Traffic& other) {
        issued += other.issued;
        distinct += other.distinct;
        return *this;
    }
    friend constexpr Traffic operator+(Traffic a, const Traffic& b) { return a += b; }
};

}  // namespace cutis::cuda
