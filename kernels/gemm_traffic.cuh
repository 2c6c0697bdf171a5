#pragma once

#include "kernels/gemm.cuh"
#include "kernels/traffic.h"

/// Bytes that products of gemm.cuh move, for the predictions of their callers.

namespace cutis::cuda::matrix {

/// One factor, all groups together.
struct FactorTraffic {
    std::int64_t values;    ///< that one pass over it reads: what lies outside is not read, what overlaps is read again
    std::int64_t distinct;  ///< of them at different places
    Storage storage;
    int figures = 0;      ///< arrays per column that are applied on load
    bool second = false;  ///< y, which lies as the values do
};

/// What the epilogue does beside storing values.
struct EpilogueTraffic {
    bool out_is_float = false;
    bool bias = false, add = false;
    ColumnSums sums = ColumnSums::none;
};

/// sizes of one group's product c[m x n] = a[m x k] * b[k x n].
struct ProductSizes {
    std::int64_t m, n, k;
    int groups = 1;
    bool may_split = false;
};

/// Bytes of the figures that are applied to a factor on load: for each depth tile, every thread reads those of its
/// chunk. `extent`: of the factor along m or n; a row of chunks has Tile::kThreads / kChunks threads for it.
template <class Tile, int kExtent>
Traffic figures_traffic(const FactorTraffic& factor, std::int64_t extent, std::int64_t other_tiles,
                        const ProductSizes& p, const ProductPlan& plan) {
    if (factor.figures == 0) {
        return {};
    }
    const bool by_depth = factor.storage == Storage::depth_contiguous;
    const std::int64_t tiles = (extent + kExtent - 1) / kExtent;
    const int chunks = by_depth ? kDepthBytes / kChunkBytes : kExtent / Tile::kVector;
    const std::int64_t columns = by_depth ? p.k * tiles : extent * plan.depth_tiles;
    const std::int64_t figures = 4 * std::int64_t{factor.figures} * p.groups;
    return {columns * other_tiles * (Tile::kThreads / chunks) * figures, (by_depth ? p.k : extent) * figures};
}

/// Bytes of multiply<Tile>.
template <class Tile>
Traffic product_traffic(const ProductSizes& p, const FactorTraffic& a, const FactorTraffic& b,
                        const EpilogueTraffic& epilogue) {
    if (p.m == 0 || p.n == 0) {
        return {};
    }
    constexpr std::int64_t kSize = sizeof(typename Tile::T), kRowThreads = 2 * Tile::kVector;
    const ProductPlan plan =
        plan_product<Tile>(static_cast<int>(p.m), static_cast<int>(p.n), static_cast<int>(p.k), p.groups, p.may_split);
    const auto factor = [&](const FactorTraffic& f, std::int64_t times) {
        const std::int64_t size = (f.second ? 2 : 1) * kSize;
        return Traffic{times * size * f.values, size * f.distinct};
    };
    Traffic traffic = factor(a, plan.tiles_n) + factor(b, plan.tiles_m);
    traffic += figures_traffic<Tile, Tile::kM>(a, p.m, plan.tiles_n, p, plan);
    traffic += figures_traffic<Tile, Tile::kN>(b, p.n, plan.tiles_m, p, plan);

    const std::int64_t columns = p.n * p.groups, values = p.m * columns;
    const std::int64_t size = epilogue.out_is_float ? 4 : kSize;
    const Traffic stored = Traffic::once((epilogue.add ? 2 : 1) * size * values);
    if (plan.splits > 1) {
        return traffic + Traffic::once(2 * 4 * plan.splits * values) + stored +
               Traffic::times(epilogue.bias ? p.m : 0, 4 * columns);
    }
    // Figures per column: by every thread of a tile that has the column.
    const bool gradients = epilogue.sums == ColumnSums::gradients;
    traffic += stored + Traffic::once(gradients ? kSize * values : 0);
    traffic +=
        Traffic::times(plan.tiles_m * kRowThreads, 4 * columns * ((epilogue.bias ? 1 : 0) + (gradients ? 3 : 0)));
    return traffic + Traffic::once(epilogue.sums != ColumnSums::none ? 8 * plan.tiles_m * columns : 0);
}

/// Bytes of gemm_with: contiguous factors. What is transposed changes nothing.
template <class T>
Traffic gemm_with_traffic(const ProductSizes& p, const EpilogueTraffic& epilogue, MatrixPrecision precision);

/// Bytes of finish_tile_statistics, finish_tile_gradients.
Traffic finish_tile_statistics_traffic(std::int64_t rows, int c);
Traffic finish_tile_gradients_traffic(std::int64_t rows, int c);

}  // namespace cutis::cuda::matrix
