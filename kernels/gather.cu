#include "kernels/gather.h"

#include "kernels/launch.h"

// Rows are copied piece by piece, a thread for each piece of y: 16 bytes where rows are made of such pieces, else a
// value. Neighbouring threads copy neighbouring pieces, so that y is written in one stream and x is read in runs of a
// row:
//
//   y   | row 0: p0 p1 p2 | row 1: p0 p1 p2 | ..      threads 0 1 2 | 3 4 5 | ..
//            |                   |
//   x   .. | row index[0]: p0 p1 p2 | ..
//
//   Bytes: 2 sizeof(T) a value and 4 a row; the index once more for every piece, from the first-level cache. No FLOPs.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;

template <class Piece>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(Piece* y, const Piece* x, const std::int32_t* index, std::int64_t pieces, int width) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= pieces) {
        return;
    }
    const std::int64_t row = i / width;
    const int piece = static_cast<int>(i - row * width);
    const std::int64_t from = index[row];
    y[i] = from >= 0 ? x[from * width + piece] : Piece{};
}

// Pieces of a row of c values of T: of 16 bytes, or values.
template <class T>
constexpr bool is_whole(int c) {
    return c * sizeof(T) % sizeof(uint4) == 0;
}

template <class Piece, class T>
void gather(T* y, const T* x, const std::int32_t* index, std::int64_t rows, int c, Stream stream) {
    const int width = static_cast<int>(c * sizeof(T) / sizeof(Piece));
    const std::int64_t pieces = rows * width;
    launch<gather_kernel<Piece>>({.grid = blocks_for(pieces, kThreads), .block = kThreads}, stream,
                                 reinterpret_cast<Piece*>(y), reinterpret_cast<const Piece*>(x), index, pieces, width);
}

}  // namespace

template <class T>
void gather_rows(T* y, const T* x, const std::int32_t* index, std::int64_t rows, int c, Stream stream) {
    is_whole<T>(c) ? gather<uint4>(y, x, index, rows, c, stream) : gather<T>(y, x, index, rows, c, stream);
}

template <class T>
Traffic gather_rows_traffic(std::int64_t taken, std::int64_t rows, int c) {
    const std::int64_t row = std::int64_t{sizeof(T)} * c;
    return Traffic::once(row * (taken + rows)) + Traffic{4 * rows * (is_whole<T>(c) ? row / 16 : c), 4 * rows};
}

template void gather_rows(float*, const float*, const std::int32_t*, std::int64_t, int, Stream);
template void gather_rows(BFloat16*, const BFloat16*, const std::int32_t*, std::int64_t, int, Stream);
template Traffic gather_rows_traffic<float>(std::int64_t, std::int64_t, int);
template Traffic gather_rows_traffic<BFloat16>(std::int64_t, std::int64_t, int);

}  // namespace cutis::cuda
