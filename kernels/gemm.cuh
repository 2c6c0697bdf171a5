#pragma once

#include "kernels/batchnorm.h"
#include "kernels/gemm.h"
#include "kernels/gemm_epilogue.cuh"
#include "kernels/gemm_operand.cuh"
#include "kernels/launch.h"

/// A matrix product c = op(a) * op(b) out of operands (gemm_operand.cuh), tiles in shared memory (gemm_tile.cuh) and an
/// epilogue (gemm_epilogue.cuh); gemm.cu, pointwise.cu and conv.cu put theirs together.
///
/// A block makes 128 x kN values of c (kN 128, or 64 where c is narrow). Depth tiles of 64 bytes go round in a ring of
/// four stages, three of them under way while the fourth is multiplied; one barrier per depth tile:
///
///            wait for t, do what is to be done on load | barrier | start t + 3, multiply t
///   stages   [t + 1] [t + 2] [t - 1: t + 3 from here on] [t]
///
/// Along k the product may be cut into parts, each with its own c in scratch memory, added by sum_splits.
///
///   kN    threads  shared memory (ring, or c's tile in fp32)   FLOPs per byte read into shared memory
///   64    128      52 KiB                                     43 (bf16), 21 (tf32, fp32)
///   128   256      68 KiB                                     64 (bf16), 32 (tf32, fp32)
///
/// Bytes: sizeof(T) * (m k + k n) and sizeof(C) * m n in device memory, at least; a is read from L2 n / kN times, b
/// m / 128 times. FLOPs: 2 m n k. Below about 2 m n k / bytes = 300 (H100, bf16: 990 TFLOP/s at 3.35 TB/s) memory is
/// the floor: all of MobileNetV2's products, whose shorter side is 16 to 320.

namespace cutis::cuda::matrix {

/// m, n, k of one group; how many tiles lie beside each other along n, and how many depth tiles one part of k has.
struct GemmExtent {
    int m, n, k;
    int tiles_n, split_tiles;
};

/// The ring in shared memory; c's tile takes its place in the end. A ring with y's beside g's is one stage shorter.
template <class Tile, class A, class B>
struct Ring {
    using LoaderA = Loader<Tile, Tile::kM, A>;
    using LoaderB = Loader<Tile, Tile::kN, B>;
    static constexpr bool kSecond = A::OnLoad::kSecond || B::OnLoad::kSecond;
    static constexpr int kStages = kSecond ? 3 : 4;
    /// Blocks that registers must leave room for on one multiprocessor. One less with y, whose shared memory takes
    /// more.
    static constexpr int kBlocks = Tile::kBlocks - (kSecond ? 1 : 0);
    static constexpr int kStageBytes = LoaderA::kBytes + LoaderB::kBytes;
    static constexpr int kSharedBytes =
        kStages * kStageBytes > Tile::kOutputBytes ? kStages* kStageBytes : Tile::kOutputBytes;
};

template <class Tile, class A, class B>
__global__ void __launch_bounds__(Tile::kThreads, Ring<Tile, A, B>::kBlocks)
    gemm_kernel(const A a, const B b, const Epilogue<typename Tile::T> epilogue, const GemmExtent extent) {
    using R = Ring<Tile, A, B>;
    unsigned char* const shared = simt::dynamic_shared<unsigned char>();

    // Tiles of one row of c follow each other: they share a, which is the long one, in L2.
    const int tile_m = static_cast<int>(blockIdx.x) / extent.tiles_n;
    const int tile_n = static_cast<int>(blockIdx.x) % extent.tiles_n;
    const int group = static_cast<int>(blockIdx.y), split = static_cast<int>(blockIdx.z);
    typename R::LoaderA loader_a(a, tile_m * Tile::kM, group);
    typename R::LoaderB loader_b(b, tile_n * Tile::kN, group);

    const int first = split * extent.split_tiles;
    const int tiles = min(extent.split_tiles, (extent.k + Tile::kDepth - 1) / Tile::kDepth - first);
    const auto start = [&](int tile, unsigned char* stage) {
        if (tile < tiles) {
            loader_a.start(stage, (first + tile) * Tile::kDepth);
            loader_b.start(stage + R::LoaderA::kBytes, (first + tile) * Tile::kDepth);
        }
        ptx::cp_async_commit();  // also an empty group: the wait counts groups
    };
#pragma unroll 1
    for (int tile = 0; tile < R::kStages - 1; ++tile) {
        start(tile, shared + tile * R::kStageBytes);
    }

    TileSum<Tile, A::kStorage, B::kStorage> sum;
    unsigned char* stage = shared;                                     // of the present tile
    unsigned char* free = shared + (R::kStages - 1) * R::kStageBytes;  // of the tile before it
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
        ptx::cp_async_wait<R::kStages - 2>();  // this thread's part of the tile is here
        loader_a.apply(stage, (first + tile) * Tile::kDepth);
        loader_b.apply(stage + R::LoaderA::kBytes, (first + tile) * Tile::kDepth);
        __syncthreads();  // everybody's part is, and everybody is done with the tile before it
        start(tile + R::kStages - 1, free);
        sum.multiply(stage, stage + R::LoaderA::kBytes);
        free = stage;
        stage += R::kStageBytes;
        if (stage == shared + R::kStages * R::kStageBytes) {
            stage = shared;
        }
    }
    __syncthreads();  // c's tile takes the ring's place
    float* const tile = reinterpret_cast<float*>(shared);
    sum.store(tile);
    __syncthreads();  // rows are read by others than those who made them
    write_tile<Tile>(epilogue, tile, {extent.m, extent.n, tile_m, tile_n, group, static_cast<int>(gridDim.y), split});
}

/// Adds `splits` parts of count = rows * n values in their order: c (ld apart, fp32 or T) = add + bias + their sum.
template <class T>
void sum_splits(const Epilogue<T>& epilogue, const float* parts, int splits, std::int64_t rows, int n, Stream stream);

/// Parts that k is cut into so that `tiles` tiles of c fill the GPU, at least four depth tiles each.
int splits_for(std::int64_t tiles, int depth_tiles);

/// How a product is cut into blocks.
struct ProductPlan {
    std::int64_t tiles_m, tiles_n;
    int depth_tiles, split_tiles, splits;
};
template <class Tile>
ProductPlan plan_product(int m, int n, int k, int groups, bool may_split) {
    ProductPlan plan{blocks_for(m, Tile::kM), blocks_for(n, Tile::kN), static_cast<int>(blocks_for(k, Tile::kDepth)), 1,
                     1};
    const int wanted = may_split ? splits_for(plan.tiles_m * plan.tiles_n * groups, plan.depth_tiles) : 1;
    if (plan.depth_tiles > 0) {
        plan.split_tiles = static_cast<int>(blocks_for(plan.depth_tiles, wanted));
        plan.splits = static_cast<int>(blocks_for(plan.depth_tiles, plan.split_tiles));
    }
    return plan;
}

/// c = a * b for every group. `may_split`: k may be cut where tiles are few; epilogue.sums is none then.
template <class Tile, class A, class B>
void multiply(const A& a, const B& b, const Epilogue<typename Tile::T>& epilogue, int m, int n, int k, int groups,
              bool may_split, Stream stream) {
    const ProductPlan plan = plan_product<Tile>(m, n, k, groups, may_split);
    const int splits = plan.splits;
    const auto launch_product = [&](const Epilogue<typename Tile::T>& to) {
        launch<gemm_kernel<Tile, A, B>>({.grid = dim3(static_cast<unsigned>(plan.tiles_m * plan.tiles_n),
                                                      static_cast<unsigned>(groups), static_cast<unsigned>(splits)),
                                         .block = Tile::kThreads,
                                         .shared_bytes = Ring<Tile, A, B>::kSharedBytes},
                                        stream, a, b, to,
                                        GemmExtent{m, n, k, static_cast<int>(plan.tiles_n), plan.split_tiles});
    };
    if (splits == 1) {
        launch_product(epilogue);
        return;
    }
    const std::int64_t rows = std::int64_t{groups} * m, count = rows * n;
    const Scratch<float> parts(splits * count, stream);
    launch_product({.out = parts.data(),
                    .ld = n,
                    .out_is_float = true,
                    .aligned = n % Tile::kVector == 0,
                    .group_stride = std::int64_t{m} * n,
                    .split_stride = count});
    sum_splits(epilogue, parts.data(), splits, rows, n, stream);
}

/// Parts that a product of m rows writes to epilogue.partials, 2 * columns floats each.
constexpr int tile_parts(std::int64_t m) {
    return static_cast<int>((m + kTileRows - 1) / kTileRows);
}
/// mean[c] and biased var[c] of all rows, from an epilogue's statistics.
void finish_tile_statistics(const BatchStatistics& out, const float* partials, std::int64_t rows, int c, Stream stream);
/// dbeta and dgamma (times inv_std) from an epilogue's gradients.
void finish_tile_gradients(const NormalizeBackward& out, const float* partials, std::int64_t rows, int c,
                           Stream stream);

/// Whether rows of `ld` values from `data` on are whole aligned chunks.
template <class T>
bool in_chunks(const T* data, std::int64_t ld) {
    return ld % kVector<T> == 0 && reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}
inline bool in_chunks(const float* array) {
    return reinterpret_cast<std::uintptr_t>(array) % 16 == 0;
}

inline bool is_aligned(const NormalizeOnLoad& on_load) {
    return in_chunks(on_load.scale) && in_chunks(on_load.shift);
}
template <class T>
bool is_aligned(const DifferentiateOnLoad<T>& on_load) {
    return reinterpret_cast<std::uintptr_t>(on_load.y) % 16 == 0 && in_chunks(on_load.a) && in_chunks(on_load.b) &&
           in_chunks(on_load.d);
}

/// Calls body.operator()<Tile>() with the tile that suits T, the precision and a product of n columns, no wider than
/// kWidest. CUDA cores have one tile: at a sixteenth of the tensor cores' bf16 FLOPs, the narrow one's traffic does not
/// show.
template <class T, int kWidest = 128, class Body>
void for_tile(MatrixPrecision precision, int n, Body&& body) {
    const auto choose = [&]<Math kMath>() {
        if constexpr (kMath != Math::fp32 && kWidest > 64) {
            if (n > 64) {
                body.template operator()<Tile<kMath, 128>>();
                return;
            }
        }
        body.template operator()<Tile<kMath, 64>>();
    };
    if constexpr (sizeof(T) == 2) {
        choose.template operator()<Math::bf16>();
    } else {
        precision == MatrixPrecision::tf32 ? choose.template operator()<Math::tf32>()
                                           : choose.template operator()<Math::fp32>();
    }
}

/// The plain product with any epilogue; explicitly instantiated in gemm.cu.
template <class T>
void gemm_with(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
               std::int64_t lda, const T* b, std::int64_t ldb, const Epilogue<T>& epilogue, bool may_split,
               MatrixPrecision precision, Stream stream);

}  // namespace cutis::cuda::matrix
