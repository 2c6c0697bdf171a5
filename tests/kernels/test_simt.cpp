#include <bit>
#include <cmath>
#include <numeric>

#include "tests/kernels/simt_case.h"

// The CPU's stand-in for a GPU: right programs give right results in every order of their threads.

namespace cutis::testing {
namespace {

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

}  // namespace
}  // namespace cutis::testing
