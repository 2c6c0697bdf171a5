#pragma once

#include <cstdint>

#include "kernels/simt/simt.h"

/// Kernels whose bytes are known, one for each way to global memory, compiled as those of the library are that
/// traffic_tests counts. Each is launched with one block of 32 threads.

namespace cutis::testing {

/// Thread i adds to sum[i % 4] (integers) and to total (a float): reads and writes 8 bytes each.
void launch_atomics(int* sum, float* total);
/// Thread i copies 16 bytes (in a struct) from in[i] to out[i] through shared memory and cp.async; odd ones none.
void launch_async_copies(uint4* out, const uint4* in);
/// Thread i copies a struct of 48 bytes from in[0] to out[i]; thread 0 then clears out[0].
struct Wide {
    std::int64_t values[6];
};
void launch_struct_copies(Wide* out, const Wide* in);

}  // namespace cutis::testing
