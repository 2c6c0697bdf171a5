#include <bit>

#include "tests/kernels/simt_case.h"

// Each kind of broken program is caught, with a message that says where.

namespace cutis::testing {
namespace {

__global__ void two_barriers(float*) {
    if (threadIdx.x < 128) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}
__global__ void barrier_without_one(float*) {
    if (threadIdx.x == 77) {
        return;
    }
    __syncthreads();
}
__global__ void half_a_warp(float* out) {
    float v = 1.0f;
    if (threadIdx.x % 32 < 16) {
        v += __shfl_xor_sync(0xFFFFFFFFu, v, 1);
    }
    out[threadIdx.x] = v;
}
__global__ void source_outside_mask(float* out) {
    if (threadIdx.x % 32 < 16) {
        out[threadIdx.x] = __shfl_xor_sync(0xFFFFu, 1.0f, 16);
    }
}
__global__ void caller_outside_mask(float* out) {
    out[threadIdx.x] = __shfl_xor_sync(0xFFFEu, 1.0f, 1);
}
__global__ void unaligned_copy(float* out) {
    ptx::cp_async16(simt::dynamic_shared<float>() + 1, out, true);
}
__global__ void no_dynamic_memory(float* out) {
    out[0] = *simt::dynamic_shared<float>();
}
// The barrier orders a block's own threads; the other block may not have begun.
__global__ void neighbour_too_early(float* out) {
    SIMT_SHARED(float, mine, [kThreads]);
    mine[threadIdx.x] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = simt::map_shared(mine, 1 - simt::cluster_rank())[threadIdx.x];
}
__global__ void cluster_without_one(float*) {
    if (threadIdx.x < 3) {
        simt::cluster_sync();
    }
}

TEST(SimtErrors, TellThreadsAtDifferentBarriers) {
    in_every_order([] {
        const std::string message = broken<two_barriers>();
        EXPECT_SAYS(message, "two_barriers");
        EXPECT_SAYS(message, "different barriers");
        EXPECT_SAYS(message, "test_simt_errors.cpp:");
        EXPECT_SAYS(message, "block (0, 0, 0)");
    });
}
TEST(SimtErrors, TellWhoIsMissingAtABarrier) {
    in_every_order([] {
        const std::string message = broken<barrier_without_one>();
        EXPECT_SAYS(message, "deadlock");
        EXPECT_SAYS(message, "threads 0-76,78-255 wait at __syncthreads");
        EXPECT_SAYS(message, "threads 77 have exited");
    });
}
TEST(SimtErrors, TellLanesThatDoNotCome) {
    in_every_order([] { EXPECT_SAYS(broken<half_a_warp>(), "test_simt_errors.cpp:"); });
}
TEST(SimtErrors, TellShufflesFromOutsideTheMask) {
    in_every_order([] {
        EXPECT_SAYS(broken<source_outside_mask>(), "a shuffle reads a lane outside its mask (mask 0000ffff)");
        EXPECT_SAYS(broken<caller_outside_mask>(), "calls a warp operation with mask 0000fffe, which it is not in");
    });
}
TEST(SimtErrors, TellUnalignedCopies) {
    EXPECT_SAYS(broken<unaligned_copy>(4096), "cp.async of 16 bytes");
}
TEST(SimtErrors, TellMissingDynamicMemory) {
    EXPECT_SAYS(broken<no_dynamic_memory>(), "0 bytes of dynamic shared memory");
}
TEST(SimtErrors, TellWhoIsMissingInACluster) {
    EXPECT_SAYS(broken<cluster_without_one>(), "wait at cluster_sync");
}
TEST(SimtErrors, TellBlocksOfAClusterThatMayNotHaveBegun) {
    in_every_order(
        [] { EXPECT_SAYS(broken<neighbour_too_early>(0, kThreads, 2), "may not have begun yet; cluster_sync first"); });
}

#if !defined(__SANITIZE_ADDRESS__)  // which stops the program at the write itself
__global__ void overruns(float* out) {
    SIMT_SHARED(float, tile, [kThreads]);
    float* const data = tile;
    data[threadIdx.x] = 1.0f;
    if (threadIdx.x == 3) {
        data[*reinterpret_cast<volatile int*>(out)] = 2.0f;
    }
}
TEST(SimtErrors, TellWritesBehindAnArray) {
    DeviceArray<float> out(std::vector<float>{std::bit_cast<float>(kThreads)});
    const cudaError_t error = simt::launch<overruns>({.grid = 1, .block = kThreads}, nullptr, out.data());
    EXPECT_EQ(error, cudaErrorLaunchFailure);
    EXPECT_SAYS(std::string(cudaGetErrorString(error)), "byte 0 behind a shared array of 1024 bytes was written");
}
#endif

TEST(SimtErrors, RefuseShapesThatNoGpuTakes) {
    DeviceArray<float> out(1);
    const auto error = [&](const simt::LaunchShape& shape) {
        return simt::launch<no_dynamic_memory>(shape, nullptr, out.data());
    };
    EXPECT_EQ(error({.grid = 1, .block = 1025}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error({.grid = 0, .block = 32}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error({.grid = {1, 70000}, .block = 32}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error({.grid = 1, .block = 32, .shared_bytes = 228 * 1024}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error({.grid = 3, .block = 32, .cluster = 2}), cudaErrorInvalidConfiguration);
}

}  // namespace
}  // namespace cutis::testing
