#include <cstdlib>

#include "tests/kernels/simt_case.h"

// Programs that race, and one that does without a line of it.

namespace cutis::testing {
namespace {

// Races: shared memory starts as NaN and the orders differ, so at least one order shows each of them. Under the thread
// sanitizer they are reported as races and end the program, hence not run there.
#if !defined(__SANITIZE_THREAD__)
__global__ void read_before_barrier(float* out) {
    SIMT_SHARED(float, tile, [kThreads]);
    tile[threadIdx.x] = 1.0f;
    out[threadIdx.x] = tile[(threadIdx.x + 1) % kThreads];
}
__global__ void read_lower_before_barrier(float* out) {
    SIMT_SHARED(float, tile, [kThreads]);
    tile[threadIdx.x] = 1.0f;
    out[threadIdx.x] = threadIdx.x > 0 ? tile[threadIdx.x - 1] : 1.0f;
}
__global__ void read_without_wait(float* out) {
    float* const tile = simt::dynamic_shared<float>();
    out[threadIdx.x] = 1.0f;
    __syncthreads();
    if (threadIdx.x < 64) {
        ptx::cp_async16(tile + threadIdx.x * 4, out + threadIdx.x * 4, true);
    }
    ptx::cp_async_commit();
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

template <auto Kernel>
int orders_that_show_it(unsigned shared_bytes = 0, unsigned cluster = 1) {
    int shown = 0;
    in_every_order([&] {
        DeviceArray<float> out(kThreads);
        simt::launch<Kernel>({.grid = cluster, .block = kThreads, .shared_bytes = shared_bytes, .cluster = cluster},
                             nullptr, out.data());
        const bool refused = cudaGetLastError() != cudaSuccess;
        shown += refused || out.values() != std::vector<float>(kThreads, 1.0f) ? 1 : 0;
    });
    return shown;
}

TEST(SimtRaces, ShowInSomeOrder) {
    EXPECT_GT(orders_that_show_it<read_before_barrier>(), 0);
    EXPECT_GT(orders_that_show_it<read_lower_before_barrier>(), 0);
    EXPECT_GT(orders_that_show_it<read_without_wait>(4096), 0);
}

// Right, and wrong without any of its barriers, waits and commits.
constexpr int kFirstLine = __LINE__;
__global__ void copy_and_exchange(float* out) {
    float* const copied = simt::dynamic_shared<float>();
    float* const made = copied + kThreads;
    out[threadIdx.x] = 1.0f;
    made[threadIdx.x] = 0.5f;
    simt::cluster_sync();
    const float other = simt::map_shared(made, 1 - simt::cluster_rank())[255 - threadIdx.x];
    if (threadIdx.x < 64) {
        ptx::cp_async16(copied + threadIdx.x * 4, out + threadIdx.x * 4, true);
    }
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncthreads();
    const float sum = copied[255 - threadIdx.x] - 0.5f + other;
    simt::cluster_sync();
    out[threadIdx.x] = sum;
}

TEST(SimtRaces, AreMadeByLeavingALineOut) {
    const simt::Options before = simt::options();
    const auto orders = [](int line, bool weaken) {
        simt::options().leave_out = {"kernels/test_simt_races.cpp", kFirstLine + line, weaken};
        return orders_that_show_it<copy_and_exchange>(4096, 2);
    };
    EXPECT_EQ(orders(2, false), 0) << "a line without a barrier";
    for (const int line : {6, 11, 12, 13}) {
        EXPECT_GT(orders(line, false), 0) << "line " << line;
    }
    for (const int line : {6, 12}) {
        EXPECT_GT(orders(line, true), 0) << "line " << line;
    }
    EXPECT_EQ(orders(13, true), 0) << "a block's barrier has no weaker form";
    simt::options().leave_out = {"other/test_simt_races.cpp", kFirstLine + 13, false};
    EXPECT_EQ(orders_that_show_it<copy_and_exchange>(4096, 2), 0);
    simt::options() = before;
}
#endif

// What the thread sanitizer must see, in the order forward and whatever the values are: each program races, and the
// sanitizer ends the process that runs it.
#if defined(__SANITIZE_THREAD__)
__global__ void threads_that_never_wait(float* out) {
    if (threadIdx.x == 5 || threadIdx.x == 7) {
        out[0] = 1.0f;
    }
}
__global__ void same_thread_of_every_block(float* out) {
    if (threadIdx.x == 0) {
        out[0] = 1.0f;
    }
}
__global__ void missing_barrier(float* out) {
    SIMT_SHARED(float, tile, [kThreads]);
    tile[threadIdx.x] = 1.0f;
    out[threadIdx.x] = tile[threadIdx.x ^ 2];
}
__global__ void missing_second_barrier(float* out) {
    SIMT_SHARED(float, tile, [kThreads]);
    tile[threadIdx.x] = 1.0f;
    __syncthreads();
    const float other = tile[threadIdx.x ^ 2];
    tile[threadIdx.x] = other;
    out[threadIdx.x] = other;
}

template <auto Kernel>
void end_after(unsigned blocks) {
    DeviceArray<float> out(kThreads);
    simt::launch<Kernel>({.grid = blocks, .block = kThreads}, nullptr, out.data());
    std::exit(0);
}

TEST(SimtRaces, AreReported) {
    ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
    const auto reported = ::testing::ExitedWithCode(66);
    EXPECT_EXIT(end_after<threads_that_never_wait>(1), reported, "data race");
    EXPECT_EXIT(end_after<same_thread_of_every_block>(2), reported, "data race");
    EXPECT_EXIT(end_after<missing_barrier>(1), reported, "data race");
    EXPECT_EXIT(end_after<missing_second_barrier>(1), reported, "data race");
}
#endif

}  // namespace
}  // namespace cutis::testing
