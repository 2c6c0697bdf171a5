#pragma once

#include "kernels/gemm_tile.cuh"
#include "kernels/reduce.cuh"

/// What becomes of a block's tile of c: it lies in shared memory in fp32, and each thread takes the same kVector
/// columns of every few rows, so that stores are whole chunks and sums over rows are a thread's own until the end.
///
///     columns ->   | thread 0 | thread 1 | ...     row 0
///                  | thread 8 | thread 9 | ...     row 1      (kN 64, bf16: 8 threads a row)
///                  ...                             sums over a column: a thread's rows, then the threads' in order

namespace cutis::cuda::matrix {

enum class ColumnSums { none, statistics, gradients };

/// All pointers but `out` may be null. Columns of group i start at i * n of the arrays with one value per column.
template <class T>
struct Epilogue {
    void* out;
    std::int64_t ld;
    bool out_is_float;              ///< out is fp32, else T
    bool aligned;                   ///< rows of out, add and x are whole aligned chunks
    std::int64_t group_stride = 0;  ///< from one group's out to the next's
    std::int64_t split_stride = 0;  ///< from one part of k's out to the next's
    const float* bias = nullptr;    ///< per column
    const void* add = nullptr;      ///< lies as out does, of its type

    ColumnSums sums = ColumnSums::none;
    /// The parts of reduce.cuh, one per row of tiles; a tile's rows are kTileRows, the last's what is left.
    ///   statistics: mean and spread of the tile's values as stored
    ///   gradients:  sum of g and of g * (x - mean), where g, the values where the activation passes scale * x + shift
    ///               and else 0, is also what is stored
    float* partials = nullptr;
    const T* x = nullptr;  ///< gradients: lies as out does
    const float* scale = nullptr;
    const float* shift = nullptr;
    const float* mean = nullptr;
    Clamp clamp = {0.0f, 0.0f};
};

/// m x n of c, and where the block's tile of it is.
struct TilePlace {
    int m, n;
    int tile_m, tile_n, group, groups, split;
};

namespace detail {

template <int N, class T>
__device__ __forceinline__ Floats<N> load_row(const T* row, int width, bool aligned) {
    if (aligned) {
        return cuda::load<N>(row);
    }
    Floats<N> values;
#pragma unroll
    for (int e = 0; e < N; ++e) {
        values[e] = e < width ? to_float(row[e]) : 0.0f;
    }
    return values;
}
template <int N, class T>
__device__ __forceinline__ void store_row(T* row, const Floats<N>& values, int width, bool aligned) {
    if (aligned) {
        cuda::store<N>(row, values);
        return;
    }
#pragma unroll
    for (int e = 0; e < N; ++e) {
        if (e < width) {
            row[e] = from_float<T>(values[e]);
        }
    }
}

}  // namespace detail

/// Stores the tile that lies in `tile` (shared memory, Tile::kRowFloats apart), which is overwritten.
template <class Tile>
__device__ __forceinline__ void write_tile(const Epilogue<typename Tile::T>& epilogue, float* tile,
                                           const TilePlace& place) {
    using T = typename Tile::T;
    constexpr int N = Tile::kVector;
    constexpr int kThreadsPerRow = Tile::kN / N, kRowStep = Tile::kThreads / kThreadsPerRow;
    const int thread = static_cast<int>(threadIdx.x);
    const int first_row = thread / kThreadsPerRow, tile_column = thread % kThreadsPerRow * N;
    const int column = place.tile_n * Tile::kN + tile_column;
    const int width = max(0, min(N, place.n - column));
    const int rows = min(Tile::kM, place.m - place.tile_m * Tile::kM);
    const int channel = place.group * place.n + column;

    const auto per_channel = [&](const float* array) { return detail::load_row<N>(array + channel, width, false); };
    const bool is_gradient = epilogue.sums == ColumnSums::gradients;
    // What the sums of a column are taken around: its first value (statistics), the given mean (gradients).
    Floats<N> center = splat<N>(0.0f), scale = center, shift = center, bias = center, first = center, second = center;
    if (epilogue.bias != nullptr) {
        bias = per_channel(epilogue.bias);
    }
    if (is_gradient) {
        center = per_channel(epilogue.mean);
        scale = per_channel(epilogue.scale);
        shift = per_channel(epilogue.shift);
    } else if (epilogue.sums == ColumnSums::statistics) {
#pragma unroll
        for (int e = 0; e < N; ++e) {
            center[e] = rounded<T>(tile[tile_column + e] + bias[e]);
        }
    }

    std::int64_t at = place.split * epilogue.split_stride + place.group * epilogue.group_stride +
                      (static_cast<std::int64_t>(place.tile_m) * Tile::kM + first_row) * epilogue.ld + column;
    if (width > 0) {
        for (int row = first_row; row < rows; row += kRowStep, at += kRowStep * epilogue.ld) {
            Floats<N> values = cuda::load<N>(tile + row * Tile::kRowFloats + tile_column);
#pragma unroll
            for (int e = 0; e < N; ++e) {
                values[e] += bias[e];
            }
            if (epilogue.add != nullptr) {
                const Floats<N> add =
                    epilogue.out_is_float
                        ? detail::load_row<N>(static_cast<const float*>(epilogue.add) + at, width, epilogue.aligned)
                        : detail::load_row<N>(static_cast<const T*>(epilogue.add) + at, width, epilogue.aligned);
#pragma unroll
                for (int e = 0; e < N; ++e) {
                    values[e] += add[e];
                }
            }
            if (epilogue.sums != ColumnSums::none) {
                Floats<N> x;
                if (is_gradient) {
                    x = detail::load_row<N>(epilogue.x + at, width, epilogue.aligned);
                }
#pragma unroll
                for (int e = 0; e < N; ++e) {
                    values[e] = rounded<T>(values[e]);
                    if (is_gradient) {
                        values[e] = passes(fmaf(scale[e], x[e], shift[e]), epilogue.clamp) ? values[e] : 0.0f;
                        first[e] += values[e];
                        second[e] = fmaf(values[e], x[e] - center[e], second[e]);
                    } else {
                        const float distance = values[e] - center[e];
                        first[e] += distance;
                        second[e] = fmaf(distance, distance, second[e]);
                    }
                }
            }
            if (epilogue.out_is_float) {
                detail::store_row<N>(static_cast<float*>(epilogue.out) + at, values, width, epilogue.aligned);
            } else {
                detail::store_row<N>(static_cast<T*>(epilogue.out) + at, values, width, epilogue.aligned);
            }
        }
    }
    if (epilogue.sums == ColumnSums::none) {
        return;
    }

    // Columns' sums: [2][kRowStep][kN] over the tile, whose values nobody needs any more.
    __syncthreads();  // the tile has been read
    cuda::store<N>(tile + first_row * Tile::kN + tile_column, first);
    cuda::store<N>(tile + (kRowStep + first_row) * Tile::kN + tile_column, second);
    if (first_row == 0) {
        cuda::store<N>(tile + 2 * kRowStep * Tile::kN + tile_column, center);
    }
    __syncthreads();  // a column's sums are other threads'
    const int own = place.tile_n * Tile::kN + thread;
    if (thread < Tile::kN && own < place.n) {
        float total = 0.0f, total_second = 0.0f;
        for (int i = 0; i < kRowStep; ++i) {
            total += tile[i * Tile::kN + thread];
            total_second += tile[(kRowStep + i) * Tile::kN + thread];
        }
        const int channels = place.groups * place.n;
        float* const out =
            epilogue.partials + static_cast<std::int64_t>(place.tile_m) * 2 * channels + place.group * place.n + own;
        if (is_gradient) {
            out[0] = total;
            out[channels] = total_second;
        } else {
            const float count = static_cast<float>(rows);
            out[0] = tile[2 * kRowStep * Tile::kN + thread] + total / count;
            out[channels] = not_negative(total_second - total * (total / count));
        }
    }
}

}  // namespace cutis::cuda::matrix
