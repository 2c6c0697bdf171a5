#include "kernels/gemm.cuh"

#include <algorithm>

#include "kernels/gemm_traffic.cuh"
#include "kernels/matrix_checks.h"

// The plain matrix product, and the sum over the parts of a product that was cut along k. Tiles, shared memory and
// floors: gemm.cuh.
//
// sum_splits   bytes: 4 * splits * m n and c once    FLOPs: splits * m n          memory is the floor; splits_for makes
// join_tiles   bytes: 8 * tiles * n, and a 32nd      FLOPs: 2 (10) * tiles * n    few parts, so that L2 serves them

namespace cutis::cuda {
namespace matrix {
namespace {

constexpr int kSumThreads = 256;

template <class T>
__global__ void __launch_bounds__(kSumThreads)
    sum_splits_kernel(const Epilogue<T> epilogue, const float* parts, int splits, std::int64_t count, int n) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kSumThreads + threadIdx.x;
    if (i >= count) {
        return;
    }
    float sum = 0.0f;
    for (int split = 0; split < splits; ++split) {
        sum += parts[split * count + i];
    }
    const std::int64_t row = i / n;
    const int column = static_cast<int>(i - row * n);
    const std::int64_t at = row * epilogue.ld + column;
    if (epilogue.bias != nullptr) {
        sum += epilogue.bias[column];
    }
    if (epilogue.out_is_float) {
        sum += epilogue.add != nullptr ? static_cast<const float*>(epilogue.add)[at] : 0.0f;
        static_cast<float*>(epilogue.out)[at] = sum;
    } else {
        sum += epilogue.add != nullptr ? to_float(static_cast<const T*>(epilogue.add)[at]) : 0.0f;
        static_cast<T*>(epilogue.out)[at] = from_float<T>(sum);
    }
}

// kJoined neighbouring tiles' parts become one where there are more than kMostParts: the second stage has few blocks.
constexpr int kMostParts = 512, kJoined = 32;

template <bool kStatistics>
__global__ void __launch_bounds__(kSumThreads)
    join_tiles_kernel(float* wider, const float* partials, int parts, std::int64_t rows, int c) {
    const int channel = static_cast<int>(blockIdx.y) * kSumThreads + static_cast<int>(threadIdx.x);
    if (channel >= c) {
        return;
    }
    const int first = static_cast<int>(blockIdx.x) * kJoined, last = min(first + kJoined, parts);
    Moments all{0.0f, 0.0f, 0.0f};
    float sum = 0.0f, second = 0.0f;
    for (int part = first; part < last; ++part) {
        const float* const figures = partials + static_cast<std::int64_t>(part) * 2 * c + channel;
        if constexpr (kStatistics) {
            const std::int64_t left = rows - static_cast<std::int64_t>(part) * kTileRows;
            all = joined(all, {static_cast<float>(left < kTileRows ? left : kTileRows), figures[0], figures[c]});
        } else {
            sum += figures[0];
            second += figures[c];
        }
    }
    float* const out = wider + static_cast<std::int64_t>(blockIdx.x) * 2 * c + channel;
    out[0] = kStatistics ? all.mean : sum;
    out[c] = kStatistics ? all.spread : second;
}

template <Storage kStorage, class T>
auto plain_operand(const T* data, std::int64_t ld, std::int64_t width, std::int64_t depth) {
    constexpr bool kDepthContiguous = kStorage == Storage::depth_contiguous;
    const int rows = static_cast<int>(kDepthContiguous ? width : depth);
    const int cols = static_cast<int>(kDepthContiguous ? depth : width);
    return Operand<MatrixView<T>, AsItIs, kStorage>{
        {data, ld, rows, cols}, {}, in_chunks(data, ld) && cols % kVector<T> == 0};
}

}  // namespace

template <class T>
void sum_splits(const Epilogue<T>& epilogue, const float* parts, int splits, std::int64_t rows, int n, Stream stream) {
    launch<sum_splits_kernel<T>>({.grid = blocks_for(rows * n, kSumThreads), .block = kSumThreads}, stream, epilogue,
                                 parts, splits, rows * n, n);
}
template void sum_splits(const Epilogue<float>&, const float*, int, std::int64_t, int, Stream);
template void sum_splits(const Epilogue<BFloat16>&, const float*, int, std::int64_t, int, Stream);

int splits_for(std::int64_t tiles, int depth_tiles) {
    constexpr int kLeastDepthTiles = 4;          // as many as the ring has stages: below, a block mostly waits
    constexpr std::int64_t kEnoughBlocks = 264;  // two for each of 132 multiprocessors; on every GPU the same parts
    return static_cast<int>(std::max<std::int64_t>(
        1, std::min<std::int64_t>(kEnoughBlocks / std::max<std::int64_t>(1, tiles), depth_tiles / kLeastDepthTiles)));
}

namespace {

// Calls finish(partials, parts, rows per part) with at most kMostParts parts, or an nth of the tiles.
template <bool kStatistics, class Finish>
void finish_tiles(const float* partials, std::int64_t rows, int c, Stream stream, Finish&& finish) {
    const int tiles = tile_parts(rows);
    if (tiles <= kMostParts) {
        finish(partials, tiles, RowsPerPart{kTileRows, rows});
        return;
    }
    const unsigned parts = blocks_for(tiles, kJoined);
    const Scratch<float> wider(std::int64_t{2} * parts * c, stream);
    launch<join_tiles_kernel<kStatistics>>({.grid = {parts, blocks_for(c, kSumThreads)}, .block = kSumThreads}, stream,
                                           wider.data(), partials, tiles, rows, c);
    finish(wider.data(), static_cast<int>(parts), RowsPerPart{std::int64_t{kJoined} * kTileRows, rows});
}

}  // namespace

void finish_tile_statistics(const BatchStatistics& out, const float* partials, std::int64_t rows, int c,
                            Stream stream) {
    finish_tiles<true>(partials, rows, c, stream, [&](const float* figures, int parts, RowsPerPart part_rows) {
        finish_statistics(out.mean, out.var, figures, parts, part_rows, c, stream);
    });
}

void finish_tile_gradients(const NormalizeBackward& out, const float* partials, std::int64_t rows, int c,
                           Stream stream) {
    finish_tiles<false>(partials, rows, c, stream, [&](const float* figures, int parts, RowsPerPart) {
        finish_sums(out.dbeta, out.dgamma, out.inv_std, figures, parts, c, stream);
    });
}

namespace {

// Bytes of finish_tiles, where `finish` is what the second stage moves for so many parts.
template <class Finish>
Traffic finish_tiles_traffic(std::int64_t rows, int c, Finish&& finish) {
    const int tiles = tile_parts(rows);
    if (tiles <= kMostParts) {
        return finish(tiles);
    }
    const int parts = static_cast<int>(blocks_for(tiles, kJoined));
    return Traffic::once(8 * std::int64_t{c} * (tiles + parts)) + finish(parts);
}

}  // namespace

Traffic finish_tile_statistics_traffic(std::int64_t rows, int c) {
    return finish_tiles_traffic(rows, c, [c](int parts) { return finish_statistics_traffic(parts, false, c); });
}

Traffic finish_tile_gradients_traffic(std::int64_t rows, int c) {
    return finish_tiles_traffic(rows, c, [c](int parts) { return finish_sums_traffic(parts, c); });
}

template <class T>
Traffic gemm_with_traffic(const ProductSizes& p, const EpilogueTraffic& epilogue, MatrixPrecision precision) {
    const FactorTraffic a{p.m * p.k, p.m * p.k, Storage::depth_contiguous};
    const FactorTraffic b{p.k * p.n, p.k * p.n, Storage::depth_contiguous};
    Traffic traffic;
    for_tile<T>(precision, static_cast<int>(p.n),
                [&]<class Tile>() { traffic = product_traffic<Tile>(p, a, b, epilogue); });
    return traffic;
}
template Traffic gemm_with_traffic<float>(const ProductSizes&, const EpilogueTraffic&, MatrixPrecision);
template Traffic gemm_with_traffic<BFloat16>(const ProductSizes&, const EpilogueTraffic&, MatrixPrecision);

template <class T>
void gemm_with(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
               std::int64_t lda, const T* b, std::int64_t ldb, const Epilogue<T>& epilogue, bool may_split,
               MatrixPrecision precision, Stream stream) {
    check_product(m, n, k);
    const auto with_b = [&](const auto& left) {
        const auto multiply_by = [&](const auto& right) {
            for_tile<T>(precision, static_cast<int>(n), [&]<class Tile>() {
                multiply<Tile>(left, right, epilogue, static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), 1,
                               may_split, stream);
            });
        };
        if (transpose_b == Transpose::yes) {
            multiply_by(plain_operand<Storage::depth_contiguous>(b, ldb, n, k));
        } else {
            multiply_by(plain_operand<Storage::width_contiguous>(b, ldb, n, k));
        }
    };
    if (transpose_a == Transpose::yes) {
        with_b(plain_operand<Storage::width_contiguous>(a, lda, m, k));
    } else {
        with_b(plain_operand<Storage::depth_contiguous>(a, lda, m, k));
    }
}
template void gemm_with(Transpose, Transpose, std::int64_t, std::int64_t, std::int64_t, const float*, std::int64_t,
                        const float*, std::int64_t, const Epilogue<float>&, bool, MatrixPrecision, Stream);
template void gemm_with(Transpose, Transpose, std::int64_t, std::int64_t, std::int64_t, const BFloat16*, std::int64_t,
                        const BFloat16*, std::int64_t, const Epilogue<BFloat16>&, bool, MatrixPrecision, Stream);

}  // namespace matrix

template <class T, class C>
void gemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
          std::int64_t lda, const T* b, std::int64_t ldb, bool accumulate, C* c, std::int64_t ldc,
          MatrixPrecision precision, Stream stream) {
    matrix::gemm_with<T>(transpose_a, transpose_b, m, n, k, a, lda, b, ldb,
                         {.out = c,
                          .ld = ldc,
                          .out_is_float = std::is_same_v<C, float>,
                          .aligned = matrix::in_chunks(c, ldc) && ldc % kVector<T> == 0 && n % kVector<T> == 0,
                          .add = accumulate ? c : nullptr},
                         true, precision, stream);
}
template <class T, class C>
Traffic gemm_traffic(std::int64_t m, std::int64_t n, std::int64_t k, bool accumulate, MatrixPrecision precision) {
    return matrix::gemm_with_traffic<T>({m, n, k, 1, true},
                                        {.out_is_float = std::is_same_v<C, float>, .add = accumulate}, precision);
}
template Traffic gemm_traffic<float, float>(std::int64_t, std::int64_t, std::int64_t, bool, MatrixPrecision);
template Traffic gemm_traffic<BFloat16, BFloat16>(std::int64_t, std::int64_t, std::int64_t, bool, MatrixPrecision);
template Traffic gemm_traffic<BFloat16, float>(std::int64_t, std::int64_t, std::int64_t, bool, MatrixPrecision);

template void gemm(Transpose, Transpose, std::int64_t, std::int64_t, std::int64_t, const float*, std::int64_t,
                   const float*, std::int64_t, bool, float*, std::int64_t, MatrixPrecision, Stream);
template void gemm(Transpose, Transpose, std::int64_t, std::int64_t, std::int64_t, const BFloat16*, std::int64_t,
                   const BFloat16*, std::int64_t, bool, BFloat16*, std::int64_t, MatrixPrecision, Stream);
template void gemm(Transpose, Transpose, std::int64_t, std::int64_t, std::int64_t, const BFloat16*, std::int64_t,
                   const BFloat16*, std::int64_t, bool, float*, std::int64_t, MatrixPrecision, Stream);

}  // namespace cutis::cuda
