#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numeric>
#include <string>

#include "kernels/simt/ptx.h"
#include "tests/support/device_array.h"

// The CPU's stand-in for a GPU itself: right programs give right results in every order, and each kind of broken
// program is caught, with a message that says where.

namespace cutis::testing {
namespace {

constexpr int kThreads = 256;

class InOrder {
  public:
    explicit InOrder(simt::Order order, unsigned seed = 1) : before_(simt::options()) {
        simt::options().order = order;
        simt::options().seed = seed;
    }
    ~InOrder() { simt::options() = before_; }

  private:
    simt::Options before_;
};

template <class Body>
void in_every_order(Body&& body) {
    for (const simt::Order order :
         {simt::Order::forward, simt::Order::reverse, simt::Order::random, simt::Order::warps}) {
        SCOPED_TRACE("order " + std::to_string(static_cast<int>(order)));
        const InOrder scope(order);
        body();
    }
}

// The message of a launch that must fail, and that the next launch is not disturbed.
template <auto Kernel>
std::string broken(unsigned shared_bytes = 0, unsigned threads = kThreads, unsigned cluster = 1) {
    DeviceArray<float> out(1024);
    const cudaError_t error = simt::launch<Kernel>(
        {.grid = cluster, .block = threads, .shared_bytes = shared_bytes, .cluster = cluster}, nullptr, out.data());
    const std::string message = cudaGetErrorString(error);
    EXPECT_EQ(error, cudaErrorLaunchFailure) << message;
    EXPECT_EQ(cudaGetLastError(), error);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_NE(message.find("kernel "), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
}

#define EXPECT_SAYS(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

// ---- right programs

__global__ void whoami(float* out) {
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] = static_cast<float>(thread * 100 + block);
}

TEST(Simt, GivesEveryThreadItsIndices) {
    in_every_order([] {
        DeviceArray<float> out(3 * 2 * 2 * 5 * 3 * 2);
        ASSERT_EQ(simt::launch<whoami>({.grid = {3, 2, 2}, .block = {5, 3, 2}}, nullptr, out.data()), cudaSuccess);
        const std::vector<float> values = out.values();
        for (std::size_t i = 0; i < values.size(); ++i) {
            EXPECT_EQ(values[i], static_cast<float>(i % 30 * 100 + i / 30));
        }
        EXPECT_TRUE(out.intact());
    });
}

__global__ void sum_block(float* out, const float* in, int n) {
    SIMT_SHARED(float, part, [kThreads]);
    float sum = 0.0f;
    for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
        sum += in[i];
    }
    part[threadIdx.x] = sum;
    for (unsigned step = kThreads / 2; step > 0; step /= 2) {
        __syncthreads();
        if (threadIdx.x < step) {
            part[threadIdx.x] += part[threadIdx.x + step];
        }
    }
    if (threadIdx.x == 0) {
        out[blockIdx.x] = part[0];
    }
}

TEST(Simt, SumsThroughSharedMemory) {
    std::vector<float> in(1000);
    std::iota(in.begin(), in.end(), 1.0f);
    const DeviceArray<float> device(in);
    in_every_order([&] {
        DeviceArray<float> out(40);
        ASSERT_EQ(simt::launch<sum_block>({.grid = 40, .block = kThreads}, nullptr, out.data(), device.data(), 1000),
                  cudaSuccess);
        EXPECT_EQ(out.values(), std::vector<float>(40, 500500.0f));
    });
}

__global__ void shuffles(float* out) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    float v = static_cast<float>(lane);
    v += 100.0f * __shfl_xor_sync(0xFFFFFFFFu, static_cast<float>(lane), 1);
    v += 10000.0f * __shfl_down_sync(0xFFFFFFFFu, static_cast<float>(lane), 2, 8);
    v += 1000000.0f * static_cast<float>(__popc(__ballot_sync(0xFFFFFFFFu, lane % 2)));
    if (lane < 16) {
        v += static_cast<float>(__shfl_sync(0xFFFFu, 0.25 * lane, 3));
    }
    out[threadIdx.x] = v;
}

TEST(Simt, ExchangesValuesInAWarp) {
    in_every_order([] {
        DeviceArray<float> out(64);
        ASSERT_EQ(simt::launch<shuffles>({.grid = 1, .block = 64}, nullptr, out.data()), cudaSuccess);
        const std::vector<float> values = out.values();
        for (int i = 0; i < 64; ++i) {
            const int lane = i % 32, down = lane % 8 + 2 < 8 ? lane + 2 : lane;
            const double expected = lane + 100.0 * (lane ^ 1) + 10000.0 * down + 16e6 + (lane < 16 ? 0.75 : 0.0);
            EXPECT_EQ(values[static_cast<std::size_t>(i)], static_cast<float>(expected)) << i;
        }
    });
}

__global__ void copies_async(float* out, const float* in, int n) {
    float* const tile = simt::dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x) * 4;
    ptx::cp_async16(tile + i, i < n ? in + i : in, i < n);
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncthreads();
    out[threadIdx.x] = tile[4 * kThreads - 1 - threadIdx.x];
}

TEST(Simt, CopiesAsynchronously) {
    std::vector<float> in(1024);
    std::iota(in.begin(), in.end(), 0.0f);
    const DeviceArray<float> device(in);
    in_every_order([&] {
        DeviceArray<float> out(kThreads);
        ASSERT_EQ(simt::launch<copies_async>({.grid = 1, .block = kThreads, .shared_bytes = 4096}, nullptr, out.data(),
                                             device.data(), 1000),
                  cudaSuccess);
        const std::vector<float> values = out.values();
        for (std::size_t i = 0; i < values.size(); ++i) {
            EXPECT_EQ(values[i], 1023 - i < 1000 ? static_cast<float>(1023 - i) : 0.0f);
        }
    });
}

// One warp multiplies a 16 x K tile by a K x 8 one; all fragments come straight from the layouts in ptx.h.
__global__ void multiply_tf32(float* out, const float* a, const float* b) {
    const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
    const std::uint32_t fa[4] = {ptx::to_tf32(a[g * 8 + t]), ptx::to_tf32(a[(g + 8) * 8 + t]),
                                 ptx::to_tf32(a[g * 8 + t + 4]), ptx::to_tf32(a[(g + 8) * 8 + t + 4])};
    const std::uint32_t fb[2] = {ptx::to_tf32(b[t * 8 + g]), ptx::to_tf32(b[(t + 4) * 8 + g])};
    float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    ptx::mma_m16n8k8_tf32(d, fa, fb);
    for (int i = 0; i < 4; ++i) {
        out[(g + (i / 2) * 8) * 8 + t * 2 + i % 2] = d[i];
    }
}

__global__ void multiply_bf16(float* out, const BFloat16* a, const BFloat16* b) {
    BFloat16* const tile = simt::dynamic_shared<BFloat16>();  // a: 16 x 16, then b: 16 x 8
    const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
    for (int i = lane; i < 256; i += 32) {
        tile[i] = a[i];
    }
    for (int i = lane; i < 128; i += 32) {
        tile[256 + i] = b[i];
    }
    __syncwarp();
    std::uint32_t fa[4], fb[4];
    ptx::ldmatrix_x4(fa, tile + lane % 16 * 16 + lane / 16 * 8);
    ptx::ldmatrix_x4_trans(fb, tile + 256 + lane % 16 * 8);
    const std::uint32_t fragment[2] = {fb[0], fb[1]};
    float d[4] = {};
    ptx::mma_m16n8k16_bf16(d, fa, fragment);
    for (int i = 0; i < 4; ++i) {
        out[(g + (i / 2) * 8) * 8 + t * 2 + i % 2] = d[i];
    }
}

TEST(Simt, MultipliesTiles) {
    const auto pattern = [](int n) {
        std::vector<float> values(static_cast<std::size_t>(n));
        for (int i = 0; i < n; ++i) {
            values[static_cast<std::size_t>(i)] = static_cast<float>((i * 7 + i / 5) % 9 - 4);
        }
        return values;
    };
    for (const int k : {8, 16}) {
        const std::vector<float> a = pattern(16 * k), b = pattern(k * 8);
        DeviceArray<float> out(128);
        if (k == 8) {
            const DeviceArray<float> da(a), db(b);
            ASSERT_EQ(simt::launch<multiply_tf32>({.grid = 1, .block = 32}, nullptr, out.data(), da.data(), db.data()),
                      cudaSuccess);
        } else {
            const DeviceArray<BFloat16> da(a), db(b);
            ASSERT_EQ(simt::launch<multiply_bf16>({.grid = 1, .block = 32, .shared_bytes = 768}, nullptr, out.data(),
                                                  da.data(), db.data()),
                      cudaSuccess);
        }
        const std::vector<float> values = out.values();
        for (int i = 0; i < 16; ++i) {
            for (int j = 0; j < 8; ++j) {
                float expected = k == 8 ? 1.0f : 0.0f;
                for (int l = 0; l < k; ++l) {
                    expected += a[static_cast<std::size_t>(i * k + l)] * b[static_cast<std::size_t>(l * 8 + j)];
                }
                EXPECT_EQ(values[static_cast<std::size_t>(i * 8 + j)], expected) << k << " " << i << " " << j;
            }
        }
    }
}

TEST(Simt, RoundsToTf32AsTheInstructionDoes) {
    EXPECT_EQ(ptx::to_tf32(1.0f), 0x3F800000u);
    EXPECT_EQ(ptx::to_tf32(std::bit_cast<float>(0x3F800FFFu)), 0x3F800000u);
    EXPECT_EQ(ptx::to_tf32(std::bit_cast<float>(0x3F801000u)), 0x3F802000u) << "ties go away from zero";
    EXPECT_EQ(ptx::to_tf32(-std::bit_cast<float>(0x3F801000u)), 0xBF802000u);
    EXPECT_EQ(ptx::to_tf32(INFINITY), 0x7F800000u);
    EXPECT_TRUE(std::isnan(std::bit_cast<float>(ptx::to_tf32(NAN))));
}

// Each block of a cluster reads the next one's shared memory.
__global__ void neighbours(float* out) {
    SIMT_SHARED(float, mine, [32]);
    mine[threadIdx.x] = static_cast<float>(blockIdx.x * 100 + threadIdx.x);
    simt::cluster_sync();
    const float* const next = simt::map_shared(mine, (simt::cluster_rank() + 1) % simt::cluster_size());
    out[blockIdx.x * 32 + threadIdx.x] = next[threadIdx.x];
    simt::cluster_sync();
}

TEST(Simt, RunsTheBlocksOfAClusterTogether) {
    in_every_order([] {
        DeviceArray<float> out(8 * 32);
        ASSERT_EQ(simt::launch<neighbours>({.grid = 8, .block = 32, .cluster = 4}, nullptr, out.data()), cudaSuccess);
        const std::vector<float> values = out.values();
        for (int i = 0; i < 8 * 32; ++i) {
            const int block = i / 32, next = block / 4 * 4 + (block + 1) % 4;
            EXPECT_EQ(values[static_cast<std::size_t>(i)], static_cast<float>(next * 100 + i % 32));
        }
    });
}

__global__ void count_up(float* out) {
    atomicAdd(out, 1.0f);
}

TEST(Simt, CountsAtomicallyOverManyBlocks) {
    DeviceArray<float> out(std::vector<float>{0.0f});
    ASSERT_EQ(simt::launch<count_up>({.grid = 50, .block = 64}, nullptr, out.data()), cudaSuccess);
    EXPECT_EQ(out.values()[0], 3200.0f);
}

template <class T, int N>
__global__ void named(T*) {}

TEST(Simt, NamesKernelsWithTheirArguments) {
    const std::string name = simt::kernel_name<named<float, 3>>();
    EXPECT_SAYS(name, "named<float, 3>");
    EXPECT_EQ(name.find("anonymous"), std::string::npos) << name;
}

// ---- broken programs

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
        EXPECT_SAYS(message, "test_simt.cpp:");
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
    in_every_order([] { EXPECT_SAYS(broken<half_a_warp>(), "test_simt.cpp:"); });
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
    in_every_order([] {
        EXPECT_SAYS(broken<neighbour_too_early>(0, kThreads, 2), "may not have begun yet; cluster_sync first");
    });
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
        return simt::launch<count_up>(shape, nullptr, out.data());
    };
    EXPECT_EQ(error({.grid = 1, .block = 1025}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error({.grid = 0, .block = 32}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error({.grid = {1, 70000}, .block = 32}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error({.grid = 1, .block = 32, .shared_bytes = 228 * 1024}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error({.grid = 3, .block = 32, .cluster = 2}), cudaErrorInvalidConfiguration);
}

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
        simt::options().leave_out = {"kernels/test_simt.cpp", kFirstLine + line, weaken};
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
    simt::options().leave_out = {"other/test_simt.cpp", kFirstLine + 13, false};
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

// ---- the runtime

__global__ void add_one(float* out, int n) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) {
        out[i] += 1.0f;
    }
}

class RuntimeStreams : public ::testing::TestWithParam<bool> {
  protected:
    RuntimeStreams() : before_(simt::options()) {
        simt::options().lazy_streams = GetParam();
        cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
    }
    ~RuntimeStreams() override {
        cudaStreamDestroy(stream_);
        simt::options() = before_;
    }
    simt::Options before_;
    cudaStream_t stream_ = nullptr;
};

TEST_P(RuntimeStreams, RunGraphsAgainAndAgain) {
    DeviceArray<float> out(std::vector<float>(5, 0.0f));
    ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), cudaSuccess);
    float* scratch = nullptr;
    ASSERT_EQ(cudaMallocAsync(&scratch, 20, stream_), cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(scratch, out.data(), 20, cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
    ASSERT_EQ(simt::launch<add_one>({.grid = 1, .block = 32}, stream_, scratch, 5), cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(out.data(), scratch, 20, cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
    ASSERT_EQ(cudaFreeAsync(scratch, stream_), cudaSuccess);
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
    EXPECT_EQ(out.values(), std::vector<float>(5, 0.0f)) << "capturing runs nothing";
    cudaGraphExec_t executable = nullptr;
    ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    for (int i = 0; i < 3; ++i) {
        ASSERT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
    }
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(out.values(), std::vector<float>(5, 3.0f));
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
}

TEST_P(RuntimeStreams, RefuseInCaptureWhatCudaRefuses) {
    DeviceArray<float> out(std::vector<float>(5, 0.0f));
    ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), cudaSuccess);
    void* memory = nullptr;
    EXPECT_NE(cudaMalloc(&memory, 20), cudaSuccess);
    EXPECT_NE(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_NE(simt::launch<add_one>({.grid = 1, .block = 32}, nullptr, out.data(), 5), cudaSuccess)
        << "the null stream";
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    cudaGetLastError();
}

TEST_P(RuntimeStreams, KeepOrderBetweenStreamsByEvents) {
    cudaStream_t other = nullptr;
    ASSERT_EQ(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
    cudaEvent_t event = nullptr;
    ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    void* pinned = nullptr;
    ASSERT_EQ(cudaHostAlloc(&pinned, 20, cudaHostAllocDefault), cudaSuccess);
    DeviceArray<float> out(std::vector<float>(5, 0.0f));
    ASSERT_EQ(simt::launch<add_one>({.grid = 1, .block = 32}, stream_, out.data(), 5), cudaSuccess);
    ASSERT_EQ(cudaEventRecord(event, stream_), cudaSuccess);
    ASSERT_EQ(simt::launch<add_one>({.grid = 1, .block = 32}, stream_, out.data(), 5), cudaSuccess);
    ASSERT_EQ(cudaStreamWaitEvent(other, event, 0), cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(pinned, out.data(), 20, cudaMemcpyDeviceToHost, other), cudaSuccess);
    const float* const copy = static_cast<const float*>(pinned);
    if (GetParam()) {
        EXPECT_TRUE(std::isnan(copy[0])) << "lazy streams have run nothing yet";
    }
    ASSERT_EQ(cudaStreamSynchronize(other), cudaSuccess);
    EXPECT_EQ(copy[0], GetParam() ? 1.0f : 2.0f);
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(out.values(), std::vector<float>(5, 2.0f));
    cudaFreeHost(pinned);
    cudaEventDestroy(event);
    cudaStreamDestroy(other);
}

INSTANTIATE_TEST_SUITE_P(EagerAndLazy, RuntimeStreams, ::testing::Bool());

TEST(Runtime, TellsHostFromDeviceMemory) {
    DeviceArray<float> device(4);
    float host[4] = {};
    EXPECT_EQ(cudaMemcpy(host, device.data(), sizeof host, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(host, host, sizeof host, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(device.data(), host, 4096, cudaMemcpyHostToDevice), cudaErrorInvalidValue) << "too long";
    EXPECT_EQ(cudaFree(host), cudaErrorInvalidValue);
    cudaGetLastError();
}

TEST(Launch, NamesTheKernelAndItsShape) {
    std::string message;
    try {
        cuda::launch<add_one>({.grid = 1, .block = 2000}, {}, static_cast<float*>(nullptr), 0);
    } catch (const std::exception& error) {
        message = error.what();
    }
    EXPECT_SAYS(message, "add_one <<<(1, 1, 1), (2000, 1, 1), 0 bytes>>>");
    EXPECT_SAYS(message, "1 to 1024 threads");
}

TEST(Launch, OfAnEmptyGridIsNone) {
    cuda::launch<add_one>({.grid = 0, .block = 32}, {}, static_cast<float*>(nullptr), 0);
}

}  // namespace
}  // namespace cutis::testing
