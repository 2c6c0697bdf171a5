#include "kernels/column_sums.cuh"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/reduce.cuh"

// A bias's gradient. A block takes a run of rows; neighbouring threads take neighbouring chunks of a row, and the rows'
// sums meet in shared memory:
//
//               chunks of a row: kWide threads
//   row 0       | 0        | 1        | 2        ...
//   row 1       | 32       | 33       | 34       ...     each thread: rows r, r + kTall, ...
//   ...                                                  then column by column over the kTall threads, in order
//
//   Bytes: sizeof(T) per value (twice that with y), 4 per column and part written and read.   FLOPs: 1 (5) per value

namespace cutis::cuda {
namespace {

constexpr int kWide = 32, kTall = 8;
constexpr int kFewestRows = 64;   // of a part: eight per thread
constexpr int kMostParts = 1024;  // what the second stage reads in one go

template <class T, int N>
__global__ void __launch_bounds__(kWide* kTall)
    sum_columns_kernel(float* partials, const T* g, const GradientOnLoadT<T> on_load, std::int64_t rows,
                       std::int64_t part_rows, int c) {
    SIMT_SHARED(float, sums, [kTall][kWide * N]);
    const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
    const int column = (static_cast<int>(blockIdx.x) * kWide + x) * N;
    const std::int64_t first = blockIdx.y * part_rows, last = min(rows, first + part_rows);
    Floats<N> sum = splat<N>(0.0f);
    if (column < c) {
        const bool differentiates = on_load.y != nullptr;
        Floats<N> a, b, d;
        if (differentiates) {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                a[i] = on_load.a[column + i];
                b[i] = on_load.b[column + i];
                d[i] = on_load.d[column + i];
            }
        }
        for (std::int64_t row = first + y; row < last; row += kTall) {
            Floats<N> values = load<N>(g + row * c + column);
            if (differentiates) {
                const Floats<N> behind = load<N>(on_load.y + row * c + column);
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    values[i] = fmaf(a[i], values[i], fmaf(b[i], behind[i], d[i]));
                }
            }
#pragma unroll
            for (int i = 0; i < N; ++i) {
                sum[i] += values[i];
            }
        }
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
        sums[y][i * kWide + x] = sum[i];
    }
    __syncthreads();  // a column's sums are other threads'
    for (int i = y; i < N; i += kTall) {
        if (column + i < c) {
            float total = 0.0f;
            for (int j = 0; j < kTall; ++j) {
                total += sums[j][i * kWide + x];
            }
            partials[static_cast<std::int64_t>(blockIdx.y) * c + column + i] = total;
        }
    }
}

}  // namespace

template <class T>
void sum_columns(float* sum, const T* g, const GradientOnLoadT<T>* on_load, std::int64_t rows, int c, Stream stream) {
    if (rows == 0) {
        fill(sum, 0.0f, c, stream);
        return;
    }
    const std::int64_t part_rows = std::max<std::int64_t>(kFewestRows, (rows + kMostParts - 1) / kMostParts);
    const unsigned parts = blocks_for(rows, part_rows);
    const Scratch<float> partials(std::int64_t{parts} * c, stream);
    const GradientOnLoadT<T> gradient = on_load != nullptr ? *on_load : GradientOnLoadT<T>{};
    const auto whole_chunks = [c](const T* array) {
        return c % kVector<T> == 0 && reinterpret_cast<std::uintptr_t>(array) % 16 == 0;
    };
    if (whole_chunks(g) && whole_chunks(gradient.y)) {
        launch<sum_columns_kernel<T, kVector<T>>>(
            {.grid = {blocks_for(c, kWide * kVector<T>), parts}, .block = {kWide, kTall}}, stream, partials.data(), g,
            gradient, rows, part_rows, c);
    } else {
        launch<sum_columns_kernel<T, 1>>({.grid = {blocks_for(c, kWide), parts}, .block = {kWide, kTall}}, stream,
                                         partials.data(), g, gradient, rows, part_rows, c);
    }
    finish_sum(sum, partials.data(), static_cast<int>(parts), c, stream);
}
template void sum_columns(float*, const float*, const GradientOnLoadT<float>*, std::int64_t, int, Stream);
template void sum_columns(float*, const BFloat16*, const GradientOnLoadT<BFloat16>*, std::int64_t, int, Stream);

}  // namespace cutis::cuda
