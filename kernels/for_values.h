#pragma once

#include <cstdint>

#include "kernels/parallel.h"

namespace cutis::cpu {

/// body(i) for i in [0, n) on the kernel threads, vectorised: body may read and write several arrays, each of them only
/// at i, so that two of them may be the same array but must not overlap otherwise.
template <class Body>
void for_values(std::int64_t n, Body&& body) {
    constexpr std::int64_t kGrain = 32768;  // fewer values than this are not worth waking a thread
    parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
#if defined(__clang__)
#pragma clang loop vectorize(assume_safety)
#else
#pragma GCC ivdep
#endif
        for (std::int64_t i = begin; i < end; ++i) {
            body(i);
        }
    });
}

}  // namespace cutis::cpu
