#include "tests/kernels/traffic_probe.h"

#include "kernels/launch.h"
#include "kernels/simt/ptx.h"

namespace cutis::testing {
namespace {

__global__ void atomics_kernel(int* sum, float* total) {
    atomicAdd(sum + threadIdx.x % 4, 1);
    atomicAdd(total, 1.0f);
}

__global__ void async_copies_kernel(uint4* out, const uint4* in) {
    SIMT_SHARED(uint4, tile, [32]);
    const unsigned i = threadIdx.x;
    ptx::cp_async16(&tile[i], in + i, i % 2 == 0);
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    if (i % 2 == 0) {
        out[i] = tile[i];
    }
}

__global__ void struct_copies_kernel(Wide* out, const Wide* in) {
    out[threadIdx.x] = *in;
    __syncthreads();  // thread 0's copy is there
    if (threadIdx.x == 0) {
        *out = Wide{};
    }
}

}  // namespace

void launch_atomics(int* sum, float* total) {
    cuda::launch<atomics_kernel>({.grid = 1, .block = 32}, {}, sum, total);
}
void launch_async_copies(uint4* out, const uint4* in) {
    cuda::launch<async_copies_kernel>({.grid = 1, .block = 32}, {}, out, in);
}
void launch_struct_copies(Wide* out, const Wide* in) {
    cuda::launch<struct_copies_kernel>({.grid = 1, .block = 32}, {}, out, in);
}

}  // namespace cutis::testing
