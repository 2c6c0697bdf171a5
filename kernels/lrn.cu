#include "kernels/lrn.h"

#include <algorithm>

#include "kernels/launch.h"
#include "kernels/vector.cuh"

// y = x * (k + alpha / size * sum of neighbours' squares)^-beta. A block takes a tile of some rows (pixels) and up to
// kTile neighbouring channels into shared memory, with the channels that the windows at its ends reach into; every
// value is then read `size` times from there. Loads and stores are 16 bytes a thread; in between neighbouring threads
// take neighbouring channels, so that shared memory serves them without conflicts.
//
//   shared x     | edge |      channels of the tile      | edge |     one row of it; outside 0..c-1 stand zeros
//                        |<-- window of i -->|
//   shared y             |      channels of the tile      |
//
//   Backward, three turns: s and from it dy x s^(-beta - 1), wherever a window of the tile reaches; the sum of these
//   over the windows that hold a channel; dx. Edges are a window wide there, on both sides.
//
//   Bytes: forward 2 sizeof(T), backward 3 sizeof(T) a value, and the edges where c > kTile.
//   FLOPs: forward 2 size + 4 and a power, backward 3 size + 10 and a power: for size 5 and beta = 3/4, whose power is
//   a reciprocal root and a root, far below what a GPU computes while these bytes move.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 512;         // channels of a block at most; a multiple of every vector's width
constexpr int kTileValues = 2048;  // values of a block, edges included

struct Tiling {
    int channels;        // of a tile, without edges
    int before, behind;  // edges
    int rows;            // of a tile
    int tiles;           // along the channels
    __host__ __device__ int width() const { return before + channels + behind; }
};

// Edges of at least so many channels. They are whole 16-byte pieces of shared memory, as the tile's vectors must be.
Tiling tiling_of(int c, int before, int behind) {
    const auto pieces = [](int channels) { return (channels + 3) / 4 * 4; };
    Tiling tiling{c < kTile ? c : kTile, pieces(before), pieces(behind), 1, 1};
    tiling.rows = std::max(1, kTileValues / tiling.width());
    tiling.tiles = (c + tiling.channels - 1) / tiling.channels;
    return tiling;
}

// A block's part of a tensor: rows first_row .. first_row + rows, channels first .. first + channels.
struct Tile {
    std::int64_t first_row;
    int rows, first, channels;
};
__device__ __forceinline__ Tile tile_of_block(const Tiling& tiling, std::int64_t rows, int c) {
    const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x / tiling.tiles) * tiling.rows;
    const int first = static_cast<int>(blockIdx.x % tiling.tiles) * tiling.channels;
    return {first_row, rows - first_row < tiling.rows ? static_cast<int>(rows - first_row) : tiling.rows, first,
            c - first < tiling.channels ? c - first : tiling.channels};
}

// The tile with its edges to shared memory, tiling.width() values a row.
template <class T, int N>
__device__ __forceinline__ void load_tile(float* shared, const T* x, const Tile& tile, const Tiling& tiling, int c) {
    const int vectors = tile.channels / N;
    for (int i = static_cast<int>(threadIdx.x); i < tile.rows * vectors; i += kThreads) {
        const int row = i / vectors, channel = i % vectors * N;
        const Floats<N> values = load<N>(x + (tile.first_row + row) * c + tile.first + channel);
        store<N>(shared + row * tiling.width() + tiling.before + channel, values);
    }
    const int edges = tiling.width() - tile.channels;
    for (int i = static_cast<int>(threadIdx.x); i < tile.rows * edges; i += kThreads) {
        const int row = i / edges, edge = i % edges;
        const int place = edge < tiling.before ? edge : edge + tile.channels;
        const int channel = tile.first + place - tiling.before;
        shared[row * tiling.width() + place] =
            channel >= 0 && channel < c ? to_float(x[(tile.first_row + row) * c + channel]) : 0.0f;
    }
}

template <class T, int N>
__device__ __forceinline__ void store_tile(T* y, const float* shared, const Tile& tile, int c) {
    const int vectors = tile.channels / N;
    for (int i = static_cast<int>(threadIdx.x); i < tile.rows * vectors; i += kThreads) {
        const int row = i / vectors, channel = i % vectors * N;
        store<N>(y + (tile.first_row + row) * c + tile.first + channel,
                 load<N>(shared + row * tile.channels + channel));
    }
}

struct Constants {
    int size, before, behind;
    float factor;  // alpha / size
    float beta, k;
};

// s at a place of shared memory whose window is there.
__device__ __forceinline__ float normaliser(const float* x, const Constants& norm) {
    float sum = 0.0f;
    for (int j = -norm.before; j <= norm.behind; ++j) {
        sum += x[j] * x[j];
    }
    return norm.k + norm.factor * sum;
}
__device__ __forceinline__ float negative_power(float s, float beta) {
    if (beta == 0.75f) {
        const float inverse_root = rsqrtf(s);
        return inverse_root * sqrtf(inverse_root);
    }
    return powf(s, -beta);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(T* y, const T* x, Constants norm, Tiling tiling, std::int64_t rows, int c) {
    float* const shared_x = simt::dynamic_shared<float>();
    float* const shared_y = shared_x + tiling.rows * tiling.width();
    const Tile tile = tile_of_block(tiling, rows, c);
    load_tile<T, N>(shared_x, x, tile, tiling, c);
    __syncthreads();  // the tile is there
    for (int i = static_cast<int>(threadIdx.x); i < tile.rows * tile.channels; i += kThreads) {
        const float* const place = shared_x + i / tile.channels * tiling.width() + tiling.before + i % tile.channels;
        shared_y[i] = *place * negative_power(normaliser(place, norm), norm.beta);
    }
    __syncthreads();  // y is complete
    store_tile<T, N>(y, shared_y, tile, c);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(T* dx, const T* dy, const T* x, Constants norm, Tiling tiling, std::int64_t rows, int c) {
    const int width = tiling.width(), values = tiling.rows * width;
    float* const shared_x = simt::dynamic_shared<float>();
    float* const shared_dy = shared_x + values;
    float* const products = shared_dy + values;  // dy x s^(-beta - 1)
    float* const shared_dx = products + values;  // first dy s^-beta
    const Tile tile = tile_of_block(tiling, rows, c);
    load_tile<T, N>(shared_x, x, tile, tiling, c);
    load_tile<T, N>(shared_dy, dy, tile, tiling, c);
    __syncthreads();  // both tiles are there
    // Channel i is in the windows of i - behind .. i + before.
    const int reached = norm.behind + tile.channels + norm.before;
    for (int i = static_cast<int>(threadIdx.x); i < tile.rows * reached; i += kThreads) {
        const int row = i / reached, channel = i % reached - norm.behind;
        const int place = row * width + tiling.before + channel;
        const float s = normaliser(shared_x + place, norm);
        const float part = shared_dy[place] * negative_power(s, norm.beta);
        products[place] = part * shared_x[place] / s;
        if (channel >= 0 && channel < tile.channels) {
            shared_dx[row * tile.channels + channel] = part;
        }
    }
    __syncthreads();  // the products that a channel's sum takes are other threads'
    for (int i = static_cast<int>(threadIdx.x); i < tile.rows * tile.channels; i += kThreads) {
        const int place = i / tile.channels * width + tiling.before + i % tile.channels;
        float sum = 0.0f;
        for (int j = -norm.behind; j <= norm.before; ++j) {
            sum += products[place + j];
        }
        shared_dx[i] -= 2.0f * norm.factor * norm.beta * shared_x[place] * sum;
    }
    __syncthreads();  // dx is complete
    store_tile<T, N>(dx, shared_dx, tile, c);
}

Constants constants_of(const LocalResponseNorm& norm) {
    return {norm.size,
            norm.channels_before(),
            norm.channels_behind(),
            norm.alpha / static_cast<float>(norm.size),
            norm.beta,
            norm.k};
}

unsigned blocks_of(const Tiling& tiling, std::int64_t rows) {
    return blocks_for(rows, tiling.rows) * static_cast<unsigned>(tiling.tiles);
}

template <class T, int N>
void forward(T* y, const T* x, const LocalResponseNorm& norm, std::int64_t rows, int c, Stream stream) {
    const Tiling tiling = tiling_of(c, norm.channels_before(), norm.channels_behind());
    const std::size_t values =
        static_cast<std::size_t>(tiling.rows) * static_cast<std::size_t>(tiling.width() + tiling.channels);
    launch<forward_kernel<T, N>>(
        {.grid = blocks_of(tiling, rows), .block = kThreads, .shared_bytes = values * sizeof(float)}, stream, y, x,
        constants_of(norm), tiling, rows, c);
}

template <class T, int N>
void backward(T* dx, const T* dy, const T* x, const LocalResponseNorm& norm, std::int64_t rows, int c, Stream stream) {
    const Tiling tiling = tiling_of(c, norm.size - 1, norm.size - 1);
    const std::size_t values =
        static_cast<std::size_t>(tiling.rows) * static_cast<std::size_t>(3 * tiling.width() + tiling.channels);
    launch<backward_kernel<T, N>>(
        {.grid = blocks_of(tiling, rows), .block = kThreads, .shared_bytes = values * sizeof(float)}, stream, dx, dy, x,
        constants_of(norm), tiling, rows, c);
}

// Channels of a row that tiles load beside their own.
int edges_loaded(const Tiling& tiling, int c) {
    int loaded = 0;
    for (int seam = tiling.channels; seam < c; seam += tiling.channels) {
        loaded += std::min(tiling.before, seam) + std::min(tiling.behind, c - seam);
    }
    return loaded;
}

}  // namespace

template <class T>
void local_response_norm_forward(T* y, const T* x, const LocalResponseNorm& norm, std::int64_t rows, int c,
                                 Stream stream) {
    check_local_response_norm(norm, c);
    if (c % kVector<T> == 0) {
        forward<T, kVector<T>>(y, x, norm, rows, c, stream);
    } else {
        forward<T, 1>(y, x, norm, rows, c, stream);
    }
}

template <class T>
void local_response_norm_backward(T* dx, const T* dy, const T* x, const LocalResponseNorm& norm, std::int64_t rows,
                                  int c, Stream stream) {
    check_local_response_norm(norm, c);
    if (c % kVector<T> == 0) {
        backward<T, kVector<T>>(dx, dy, x, norm, rows, c, stream);
    } else {
        backward<T, 1>(dx, dy, x, norm, rows, c, stream);
    }
}

template <class T>
Traffic local_response_norm_forward_traffic(const LocalResponseNorm& norm, std::int64_t rows, int c) {
    const std::int64_t row = std::int64_t{sizeof(T)} * rows;
    const int edges = edges_loaded(tiling_of(c, norm.channels_before(), norm.channels_behind()), c);
    return Traffic::once(2 * row * c) + Traffic{row * edges, 0};
}

template <class T>
Traffic local_response_norm_backward_traffic(const LocalResponseNorm& norm, std::int64_t rows, int c) {
    const std::int64_t row = std::int64_t{sizeof(T)} * rows;
    const int edges = edges_loaded(tiling_of(c, norm.size - 1, norm.size - 1), c);
    return Traffic::once(3 * row * c) + Traffic{2 * row * edges, 0};
}

template Traffic local_response_norm_forward_traffic<float>(const LocalResponseNorm&, std::int64_t, int);
template Traffic local_response_norm_forward_traffic<BFloat16>(const LocalResponseNorm&, std::int64_t, int);
template Traffic local_response_norm_backward_traffic<float>(const LocalResponseNorm&, std::int64_t, int);
template Traffic local_response_norm_backward_traffic<BFloat16>(const LocalResponseNorm&, std::int64_t, int);
template void local_response_norm_forward(float*, const float*, const LocalResponseNorm&, std::int64_t, int, Stream);
template void local_response_norm_forward(BFloat16*, const BFloat16*, const LocalResponseNorm&, std::int64_t, int,
                                          Stream);
template void local_response_norm_backward(float*, const float*, const float*, const LocalResponseNorm&, std::int64_t,
                                           int, Stream);
template void local_response_norm_backward(BFloat16*, const BFloat16*, const BFloat16*, const LocalResponseNorm&,
                                           std::int64_t, int, Stream);

}  // namespace cutis::cuda
