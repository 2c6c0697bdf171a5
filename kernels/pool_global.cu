#include "kernels/launch.h"
#include "kernels/pool.h"
#include "kernels/reduce.cuh"
#include "kernels/vector.cuh"

// The global average over channels-last images. A thread owns N neighbouring channels (16 bytes), so that a warp reads
// 512 contiguous bytes of a pixel; a block of 32 x 8 threads takes one image and 32 N channels:
//
//                  channels -->
//   pixel 0    | x=0 x=1 .. x=31 |   y=0         each y sums every eighth pixel in registers,
//   pixel 1    | x=0 x=1 .. x=31 |   y=1         then the eight sums meet in shared memory
//   ..
//   pixel 8    | x=0 x=1 .. x=31 |   y=0
//
//   Backward, the same block spreads dy / hw over the pixels of several images; joined to a batchnorm it masks by the
//   activation and keeps both sums of its channels, which reduce.cu joins over the blocks.
//
//   Bytes that memory must move (values of x: n hw c; of y: n c): forward sizeof(T) (x + y), backward sizeof(T) (y +
//   x), with a batchnorm (y + 2 x). Issued again, and served by the first-level cache: dy, scale, shift and mean by
//   each of the eight threads that share a channel. FLOPs: one a value; with a batchnorm 2 forward and 7 backward:
//   memory is the floor.

namespace cutis::cuda {
namespace {

constexpr int kLanes = 32, kRows = 8;  // of a block

// Adds the eight rows' values of each channel, in their order; row 0 gets the sums.
template <int N>
__device__ __forceinline__ void sum_over_rows(Floats<N>& sum, float (&of_rows)[kRows][kLanes * N]) {
    const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
#pragma unroll
    for (int k = 0; k < N; ++k) {
        of_rows[y][k * kLanes + x] = sum[k];
    }
    __syncthreads();  // all rows' sums are there
    if (y == 0) {
#pragma unroll
        for (int k = 0; k < N; ++k) {
#pragma unroll
            for (int row = 1; row < kRows; ++row) {
                sum[k] += of_rows[row][k * kLanes + x];
            }
        }
    }
}

struct GlobalShape {
    int n, hw, c, slabs;  // a slab is the channels of a block
};

template <class T, int N, bool OnLoad>
__global__ void __launch_bounds__(kLanes* kRows)
    global_forward_kernel(T* y, const T* x, const float* scale, const float* shift, Clamp clamp, GlobalShape s) {
    SIMT_SHARED(float, of_rows, [kRows][kLanes * N]);
    const int image = static_cast<int>(blockIdx.x) / s.slabs, slab = static_cast<int>(blockIdx.x) % s.slabs;
    const int channel = (slab * kLanes + static_cast<int>(threadIdx.x)) * N;
    Floats<N> sum = splat<N>(0.0f);
    if (channel < s.c) {
        Floats<N> a = splat<N>(1.0f), b = splat<N>(0.0f);
        if constexpr (OnLoad) {
            a = load<N>(scale + channel);
            b = load<N>(shift + channel);
        }
        const T* const in = x + static_cast<std::int64_t>(image) * s.hw * s.c + channel;
#pragma unroll 4
        for (int pixel = static_cast<int>(threadIdx.y); pixel < s.hw; pixel += kRows) {
            const Floats<N> values = load<N>(in + static_cast<std::int64_t>(pixel) * s.c);
#pragma unroll
            for (int k = 0; k < N; ++k) {
                sum[k] += OnLoad ? clamped(a[k] * values[k] + b[k], clamp) : values[k];
            }
        }
    }
    sum_over_rows<N>(sum, of_rows);
    if (threadIdx.y == 0 && channel < s.c) {
#pragma unroll
        for (int k = 0; k < N; ++k) {
            sum[k] /= static_cast<float>(s.hw);
        }
        store<N>(y + static_cast<std::int64_t>(image) * s.c + channel, sum);
    }
}

struct GlobalBackwardArguments {
    const float* scale;
    const float* shift;
    const float* mean;
    float* partials;  // parts x 2 x c: sums of g, then of g * (x - mean)
    Clamp clamp;
    GlobalShape shape;
    int images;  // of a part
};

template <class T, int N, bool OnLoad>
__global__ void __launch_bounds__(kLanes* kRows)
    global_backward_kernel(T* dx, const T* dy, const T* x, GlobalBackwardArguments arg) {
    SIMT_SHARED(float, of_rows, [2][kRows][kLanes * N]);
    [[maybe_unused]] constexpr int kUnroll = N > 1 ? 2 : 1;  // two 16-byte loads under way
    const GlobalShape& s = arg.shape;
    const int part = static_cast<int>(blockIdx.x) / s.slabs, slab = static_cast<int>(blockIdx.x) % s.slabs;
    const int channel = (slab * kLanes + static_cast<int>(threadIdx.x)) * N;
    const int begin = part * arg.images, end = min(begin + arg.images, s.n);
    Floats<N> sum = splat<N>(0.0f), product = splat<N>(0.0f);
    if (channel < s.c) {
        Floats<N> a = splat<N>(0.0f), b = splat<N>(0.0f), center = splat<N>(0.0f);
        if constexpr (OnLoad) {
            a = load<N>(arg.scale + channel);
            b = load<N>(arg.shift + channel);
            center = load<N>(arg.mean + channel);
        }
        for (int image = begin; image < end; ++image) {
            Floats<N> share = load<N>(dy + static_cast<std::int64_t>(image) * s.c + channel);
#pragma unroll
            for (int k = 0; k < N; ++k) {
                share[k] = rounded<T>(share[k] / static_cast<float>(s.hw));  // the sums are of what is stored
            }
            const std::int64_t first = static_cast<std::int64_t>(image) * s.hw * s.c + channel;
#pragma unroll kUnroll
            for (int pixel = static_cast<int>(threadIdx.y); pixel < s.hw; pixel += kRows) {
                const std::int64_t at = first + static_cast<std::int64_t>(pixel) * s.c;
                Floats<N> g = share;
                if constexpr (OnLoad) {
                    const Floats<N> values = load<N>(x + at);
#pragma unroll
                    for (int k = 0; k < N; ++k) {
                        g[k] = passes(a[k] * values[k] + b[k], arg.clamp) ? share[k] : 0.0f;
                        sum[k] += g[k];
                        product[k] += g[k] * (values[k] - center[k]);
                    }
                }
                store<N>(dx + at, g);
            }
        }
    }
    if constexpr (OnLoad) {
        sum_over_rows<N>(sum, of_rows[0]);
        sum_over_rows<N>(product, of_rows[1]);
        if (threadIdx.y == 0 && channel < s.c) {
            float* const out = arg.partials + static_cast<std::int64_t>(part) * 2 * s.c + channel;
            store<N>(out, sum);
            store<N>(out + s.c, product);
        }
    }
}

int slabs_of(int c, int n) {
    return static_cast<int>(blocks_for(c, kLanes * n));
}

// About eight blocks for each of 132 multiprocessors: more than run at once, so that none is idle for long; on every
// GPU the same parts.
int images_of_part(int n, int slabs) {
    constexpr int kEnoughBlocks = 1056;
    const int wanted = kEnoughBlocks / slabs;
    return n / (wanted > 0 ? wanted : 1) + 1;
}

}  // namespace

template <class T>
void global_average_pool_forward(T* y, const T* x, const Normalize* on_load, int n, int hw, int c, Stream stream) {
    check_global_pool(hw, c);
    with_vector_width<T>(c, [&]<int N>() {
        const GlobalShape shape{n, hw, c, slabs_of(c, N)};
        const simt::LaunchShape grid{.grid = static_cast<unsigned>(n * shape.slabs), .block = {kLanes, kRows}};
        if (on_load != nullptr) {
            launch<global_forward_kernel<T, N, true>>(grid, stream, y, x, on_load->scale, on_load->shift,
                                                      clamp_of(on_load->act), shape);
        } else {
            const float* const none = nullptr;
            launch<global_forward_kernel<T, N, false>>(grid, stream, y, x, none, none, Clamp{}, shape);
        }
    });
}

template <class T>
void global_average_pool_backward(T* dx, const T* dy, const T* x, const Normalize* on_load,
                                  const NormalizeBackward* before, int n, int hw, int c, Stream stream) {
    check_global_pool_backward(on_load, before, hw, c);
    with_vector_width<T>(c, [&]<int N>() {
        GlobalBackwardArguments arguments{};
        arguments.shape = {n, hw, c, slabs_of(c, N)};
        arguments.images = images_of_part(n, arguments.shape.slabs);
        const int parts = (n + arguments.images - 1) / arguments.images;
        const simt::LaunchShape grid{.grid = static_cast<unsigned>(parts * arguments.shape.slabs),
                                     .block = {kLanes, kRows}};
        if (on_load == nullptr) {
            launch<global_backward_kernel<T, N, false>>(grid, stream, dx, dy, x, arguments);
            return;
        }
        const Scratch<float> partials(std::int64_t{parts} * 2 * c, stream);
        arguments.scale = on_load->scale;
        arguments.shift = on_load->shift;
        arguments.mean = before->mean;
        arguments.partials = partials.data();
        arguments.clamp = clamp_of(on_load->act);
        launch<global_backward_kernel<T, N, true>>(grid, stream, dx, dy, x, arguments);
        finish_sums(before->dbeta, before->dgamma, before->inv_std, partials.data(), parts, c, stream);
    });
}

template <class T>
Traffic global_average_pool_forward_traffic(bool on_load, int n, int hw, int c) {
    return Traffic::once(std::int64_t{sizeof(T)} * n * c * (hw + 1)) +
           Traffic::times(on_load ? std::int64_t{kRows} * n : 0, 8 * std::int64_t{c});
}

template <class T>
Traffic global_average_pool_backward_traffic(bool on_load, int n, int hw, int c) {
    const std::int64_t row = std::int64_t{sizeof(T)} * n * c;
    Traffic traffic = Traffic::once(row * hw) + Traffic::times(kRows, row);
    if (on_load) {
        const int images = images_of_part(n, slabs_of(c, c % kVector<T> == 0 ? kVector<T> : 1));
        const int parts = (n + images - 1) / images;
        traffic += Traffic::once(row * hw) + Traffic::times(std::int64_t{kRows} * parts, 12 * std::int64_t{c});
        traffic += Traffic::once(8 * std::int64_t{parts} * c) + finish_sums_traffic(parts, c);
    }
    return traffic;
}

#define CUTIS_INSTANTIATE(T)                                                                                       \
    template void global_average_pool_forward(T*, const T*, const Normalize*, int, int, int, Stream);              \
    template void global_average_pool_backward(T*, const T*, const T*, const Normalize*, const NormalizeBackward*, \
                                               int, int, int, Stream);                                             \
    template Traffic global_average_pool_forward_traffic<T>(bool, int, int, int);                                  \
    template Traffic global_average_pool_backward_traffic<T>(bool, int, int, int);
CUTIS_INSTANTIATE(float)
CUTIS_INSTANTIATE(BFloat16)
#undef CUTIS_INSTANTIATE

}  // namespace cutis::cuda
