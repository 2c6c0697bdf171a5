#pragma once

#include "kernels/simt/ptx.h"
#include "kernels/vector.cuh"

/// One block's tile of a matrix product: how its factors lie in shared memory, and how warps multiply them.
///
///               n: kN                       One depth tile of a factor is 64 bytes deep: 32 bf16 or 16 fp32 values.
///             +--------+                    It lies in shared memory as it lies in global memory, in chunks of 16
///             |   b    | kDepth             bytes:
///             +--------+
///   +------+  +--------+                      depth_contiguous   a row of 4 chunks for each m (or n)
///   |  a   |  |   c    | m: 128               width_contiguous   a row of kM (or kN) values for each k
///   +------+  +--------+
///    kDepth                                 so that copies are 16 bytes wide whichever factor is transposed.
///
/// So that the eight addresses of an ldmatrix phase, the eight rows of a float4 read and the 32 words of a tf32
/// fragment fall on different banks, short rows are swizzled (a chunk's number is XORed with bits of its row's) and
/// long rows are padded, by 16 bytes (bf16: eight rows at one chunk) or 32 (fp32: four rows at eight columns).

namespace cutis::cuda::matrix {

/// What multiplies: tensor cores on bf16 or tf32 values, or CUDA cores in fp32.
enum class Math { bf16, tf32, fp32 };

enum class Storage { depth_contiguous, width_contiguous };

inline constexpr int kChunkBytes = 16;
inline constexpr int kDepthBytes = 64;
inline constexpr int kTileRows = 128;

/// 128 x kN values of c per block, 2 * kN threads. Tensor cores: warps of 64 x 32 values, two of them along m. CUDA
/// cores: 8 x 8 values per thread.
template <Math kMath_, int kN_>
struct Tile {
    using T = std::conditional_t<kMath_ == Math::bf16, BFloat16, float>;
    static constexpr Math kMath = kMath_;
    static constexpr int kM = kTileRows;
    static constexpr int kN = kN_;
    static constexpr int kVector = 16 / static_cast<int>(sizeof(T));
    static constexpr int kDepth = kDepthBytes / static_cast<int>(sizeof(T));
    static constexpr int kThreads = 2 * kN;
    static constexpr int kBlocks = kN > 64 || kMath == Math::fp32 ? 2 : 3;  // on one multiprocessor
    static constexpr int kPadding = sizeof(T) == 2 ? 16 : 32;
    // A row of c's tile in shared memory: eight floats longer, so that the 16 lanes of one phase of a fragment's store
    // (float2 at row g, column 2 t) fall on different banks.
    static constexpr int kRowFloats = kN + 8;
    static constexpr int kOutputBytes = kM * kRowFloats * 4;
};

/// One stage of one factor in shared memory, kExtent values along m or n.
template <class Tile, int kExtent, Storage kStorage>
struct SharedTile {
    using T = typename Tile::T;
    static constexpr bool kDepthContiguous = kStorage == Storage::depth_contiguous;
    static constexpr int kRows = kDepthContiguous ? kExtent : Tile::kDepth;
    static constexpr int kChunks = kDepthContiguous ? kDepthBytes / kChunkBytes : kExtent / Tile::kVector;

    static constexpr int kRowBytes = kChunks * kChunkBytes + (kDepthContiguous ? 0 : Tile::kPadding);

    __device__ static __forceinline__ unsigned char* chunk(unsigned char* stage, int row, int chunk) {
        return stage + row * kRowBytes + (kDepthContiguous ? chunk ^ (row >> 1 & 3) : chunk) * kChunkBytes;
    }
    /// One fp32 value.
    __device__ static __forceinline__ float value(unsigned char* stage, int row, int column) {
        static_assert(!kDepthContiguous);
        return *reinterpret_cast<float*>(stage + row * kRowBytes + column * 4);
    }
};

/// A thread's part of the tile of c on tensor cores: a warp's 64 x 32 values as 4 x 4 fragments of 16 x 8.
template <class Tile, Storage kStorageA, Storage kStorageB>
struct TensorCoreSum {
    using A = SharedTile<Tile, Tile::kM, kStorageA>;
    using B = SharedTile<Tile, Tile::kN, kStorageB>;
    static constexpr bool kBf16 = Tile::kMath == Math::bf16;
    static constexpr int kFragmentsM = 4, kFragmentsN = 4;

    float sum[kFragmentsM][kFragmentsN][4] = {};

    __device__ __forceinline__ void multiply(unsigned char* a_stage, unsigned char* b_stage) {
        const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
        const int m0 = warp % 2 * 64, n0 = warp / 2 * 32;
#pragma unroll
        for (int step = 0; step < 2; ++step) {  // 32 bytes of depth: one mma
            unsigned a[kFragmentsM][4], b[kFragmentsN][2];
#pragma unroll
            for (int i = 0; i < kFragmentsM; ++i) {
                load_a(a[i], a_stage, m0 + i * 16, step, lane);
            }
#pragma unroll
            for (int j = 0; j < kFragmentsN; j += 2) {
                load_b(b[j], b[j + 1], b_stage, n0 + j * 8, step, lane);
            }
#pragma unroll
            for (int i = 0; i < kFragmentsM; ++i) {
#pragma unroll
                for (int j = 0; j < kFragmentsN; ++j) {
                    if constexpr (kBf16) {
                        ptx::mma_m16n8k16_bf16(sum[i][j], a[i], b[j]);
                    } else {
                        ptx::mma_m16n8k8_tf32(sum[i][j], a[i], b[j]);
                    }
                }
            }
        }
    }

    __device__ __forceinline__ void store(float* tile) const {
        const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
        const int m0 = warp % 2 * 64 + lane / 4, n0 = warp / 2 * 32 + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < kFragmentsM; ++i) {
#pragma unroll
            for (int j = 0; j < kFragmentsN; ++j) {
                float* const out = tile + (m0 + i * 16) * Tile::kRowFloats + n0 + j * 8;
                *reinterpret_cast<float2*>(out) = make_float2(sum[i][j][0], sum[i][j][1]);
                *reinterpret_cast<float2*>(out + 8 * Tile::kRowFloats) = make_float2(sum[i][j][2], sum[i][j][3]);
            }
        }
    }

  private:
    template <int N>
    __device__ static __forceinline__ void round_to_tf32(unsigned (&words)[N]) {
        if constexpr (!kBf16) {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                words[i] = ptx::to_tf32(__uint_as_float(words[i]));
            }
        }
    }

    // a[0..3]: rows m..m+7 and m+8..m+15 of the step's first 16 bytes of depth, then of the second.
    __device__ static __forceinline__ void load_a(unsigned (&a)[4], unsigned char* stage, int m, int step, int lane) {
        if constexpr (A::kDepthContiguous) {
            ptx::ldmatrix_x4(a, A::chunk(stage, m + lane % 16, step * 2 + lane / 16));
        } else if constexpr (kBf16) {
            ptx::ldmatrix_x4_trans(a, A::chunk(stage, step * 16 + lane / 16 * 8 + lane % 8, m / 8 + lane / 8 % 2));
        } else {
            const int k = step * 8 + lane % 4, row = m + lane / 4;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                a[i] = __float_as_uint(A::value(stage, k + i / 2 * 4, row + i % 2 * 8));
            }
        }
        round_to_tf32(a);
    }

    // Two fragments side by side: columns n..n+7 and n+8..n+15.
    __device__ static __forceinline__ void load_b(unsigned (&left)[2], unsigned (&right)[2], unsigned char* stage,
                                                  int n, int step, int lane) {
        unsigned b[4];
        if constexpr (B::kDepthContiguous) {
            ptx::ldmatrix_x4(b, B::chunk(stage, n + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
        } else if constexpr (kBf16) {
            ptx::ldmatrix_x4_trans(b, B::chunk(stage, step * 16 + lane % 16, n / 8 + lane / 16));
        } else {
            const int k = step * 8 + lane % 4, column = n + lane / 4;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                b[i] = __float_as_uint(B::value(stage, k + i % 2 * 4, column + i / 2 * 8));
            }
        }
        round_to_tf32(b);
        left[0] = b[0];
        left[1] = b[1];
        right[0] = b[2];
        right[1] = b[3];
    }
};

/// A thread's part on CUDA cores: 8 x 8 values. Four steps of depth are read at once: 16 reads of 16 bytes for 256
/// multiply-adds, whichever way the factors are stored.
template <class Tile, Storage kStorageA, Storage kStorageB>
struct CudaCoreSum {
    using A = SharedTile<Tile, Tile::kM, kStorageA>;
    using B = SharedTile<Tile, Tile::kN, kStorageB>;
    static constexpr int kLanesM = Tile::kM / 8, kLanesN = Tile::kN / 8;
    static_assert(kLanesM * kLanesN == Tile::kThreads);

    float sum[8][8] = {};

    __device__ __forceinline__ void multiply(unsigned char* a_stage, unsigned char* b_stage) {
        const int lane_n = static_cast<int>(threadIdx.x) % kLanesN, lane_m = static_cast<int>(threadIdx.x) / kLanesN;
#pragma unroll
        for (int step = 0; step < Tile::kDepth / 4; ++step) {
            float a[4][8], b[4][8];
            load<A, kLanesM>(a, a_stage, lane_m, step);
            load<B, kLanesN>(b, b_stage, lane_n, step);
#pragma unroll
            for (int k = 0; k < 4; ++k) {
#pragma unroll
                for (int i = 0; i < 8; ++i) {
#pragma unroll
                    for (int j = 0; j < 8; ++j) {
                        sum[i][j] = fmaf(a[k][i], b[k][j], sum[i][j]);
                    }
                }
            }
        }
    }

    __device__ __forceinline__ void store(float* tile) const {
        const int lane_n = static_cast<int>(threadIdx.x) % kLanesN, lane_m = static_cast<int>(threadIdx.x) / kLanesN;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                tile[place<A, kLanesM>(lane_m, i) * Tile::kRowFloats + place<B, kLanesN>(lane_n, j)] = sum[i][j];
            }
        }
    }

  private:
    // Which m (or n) of the tile a thread's i-th value is: what it reads without bank conflicts.
    template <class Shared, int kLanes>
    __device__ static __forceinline__ int place(int lane, int i) {
        return Shared::kDepthContiguous ? lane + kLanes * i : 4 * (lane + kLanes * (i / 4)) + i % 4;
    }

    template <class Shared, int kLanes>
    __device__ static __forceinline__ void load(float (&values)[4][8], unsigned char* stage, int lane, int step) {
        if constexpr (Shared::kDepthContiguous) {
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                const float4 chunk = *reinterpret_cast<float4*>(Shared::chunk(stage, lane + kLanes * i, step));
                values[0][i] = chunk.x;
                values[1][i] = chunk.y;
                values[2][i] = chunk.z;
                values[3][i] = chunk.w;
            }
        } else {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
#pragma unroll
                for (int i = 0; i < 8; i += 4) {
                    const float4 chunk =
                        *reinterpret_cast<float4*>(Shared::chunk(stage, step * 4 + k, lane + kLanes * (i / 4)));
                    values[k][i] = chunk.x;
                    values[k][i + 1] = chunk.y;
                    values[k][i + 2] = chunk.z;
                    values[k][i + 3] = chunk.w;
                }
            }
        }
    }
};

template <class Tile, Storage kStorageA, Storage kStorageB>
using TileSum = std::conditional_t<Tile::kMath == Math::fp32, CudaCoreSum<Tile, kStorageA, kStorageB>,
                                   TensorCoreSum<Tile, kStorageA, kStorageB>>;

}  // namespace cutis::cuda::matrix
