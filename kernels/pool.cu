#include "kernels/pool.h"

#include <algorithm>

#include "kernels/launch.h"
#include "kernels/vector.cuh"

// Pooling of windows over channels-last images. A thread owns N neighbouring channels (16 bytes) of one output
// (forward) or one input pixel (backward) and walks over pixels, so that a warp reads 512 contiguous bytes of a pixel
// and no thread needs another's values: windows overlap in the cache. Backward passes gather: a pixel asks the windows
// that hold it, which follow each other, so that nothing is added to a shared place and the order of a sum is fixed.
//
//   Bytes that memory must move (values of x: n h w c; of y: n p q c):
//
//     max                  both ways sizeof(T) (x + y) + y
//     average, adaptive    both ways sizeof(T) (x + y)
//
//   Issued again, and served by the first-level cache: each input for every window that holds it. FLOPs: one a value
//   and window: memory is the floor.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;

// The n images' pixels as a grid: each image has blocks of its own, so that what a thread divides fits in 32 bits.
struct WindowGrid {
    unsigned blocks_per_image;
    int vectors_per_pixel, vectors;  // of N channels; of an image
};
WindowGrid window_grid(std::int64_t pixels, int c, int n) {
    const int vectors = static_cast<int>(pixels * (c / n));
    return {blocks_for(vectors, kThreads), c / n, vectors};
}

// The calling thread's place.
struct Place {
    bool inside;
    int channel, pixel;
    std::int64_t image;
};
template <int N>
__device__ __forceinline__ Place place_of(const WindowGrid& grid) {
    const int vector = static_cast<int>(blockIdx.x % grid.blocks_per_image) * kThreads + static_cast<int>(threadIdx.x);
    return {vector < grid.vectors, vector % grid.vectors_per_pixel * N, vector / grid.vectors_per_pixel,
            static_cast<std::int64_t>(blockIdx.x / grid.blocks_per_image)};
}

// Of N channels, as numbers; a byte each in memory.
template <int N>
struct Marks {
    int v[N];
};
__device__ __forceinline__ unsigned packed_marks(const int* v) {
    return static_cast<unsigned>(v[0]) | static_cast<unsigned>(v[1]) << 8 | static_cast<unsigned>(v[2]) << 16 |
           static_cast<unsigned>(v[3]) << 24;
}
__device__ __forceinline__ void unpack_marks(int* v, unsigned packed) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        v[k] = static_cast<int>(packed >> (8 * k) & 0xFFu);
    }
}
template <int N>
__device__ __forceinline__ void store_marks(std::uint8_t* p, const Marks<N>& marks) {
    static_assert(N == 1 || N == 4 || N == 8);
    if constexpr (N == 8) {
        *reinterpret_cast<uint2*>(p) = make_uint2(packed_marks(marks.v), packed_marks(marks.v + 4));
    } else if constexpr (N == 4) {
        *reinterpret_cast<unsigned*>(p) = packed_marks(marks.v);
    } else {
        *p = static_cast<std::uint8_t>(marks.v[0]);
    }
}
template <int N>
__device__ __forceinline__ Marks<N> load_marks(const std::uint8_t* p) {
    Marks<N> marks;
    if constexpr (N == 8) {
        const uint2 packed = *reinterpret_cast<const uint2*>(p);
        unpack_marks(marks.v, packed.x);
        unpack_marks(marks.v + 4, packed.y);
    } else if constexpr (N == 4) {
        unpack_marks(marks.v, *reinterpret_cast<const unsigned*>(p));
    } else {
        marks.v[0] = *p;
    }
    return marks;
}

// Two axes, PoolAxis or AdaptiveAxis.
template <class Axis>
struct Windows {
    Axis rows, columns;
    int c;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    max_forward_kernel(T* y, std::uint8_t* marks, const T* x, Windows<PoolAxis> s, WindowGrid grid) {
    const Place place = place_of<N>(grid);
    if (!place.inside) {
        return;
    }
    const int p = place.pixel / s.columns.outputs, q = place.pixel % s.columns.outputs;
    const Span rows = s.rows.inputs_of(p), columns = s.columns.inputs_of(q);
    const T* const in = x + place.image * s.rows.size * s.columns.size * s.c + place.channel;
    const int window = s.rows.window;
    int row_mark = (rows.begin - s.rows.origin_of(p)) * window + columns.begin - s.columns.origin_of(q);
    Floats<N> largest = splat<N>(__uint_as_float(0xFF800000u));  // -inf
    Marks<N> chosen;
#pragma unroll
    for (int k = 0; k < N; ++k) {
        chosen.v[k] = row_mark;  // where all values are -inf
    }
    for (int h = rows.begin; h < rows.end; ++h, row_mark += window) {
        int mark = row_mark;
        const int end = h * s.columns.size + columns.end;
        for (int pixel = h * s.columns.size + columns.begin; pixel < end; ++pixel, ++mark) {
            const Floats<N> values = load<N>(in + static_cast<std::int64_t>(pixel) * s.c);
#pragma unroll
            for (int k = 0; k < N; ++k) {
                const bool larger = !(values[k] <= largest[k]) && largest[k] == largest[k];  // the first NaN wins
                largest[k] = larger ? values[k] : largest[k];
                chosen.v[k] = larger ? mark : chosen.v[k];
            }
        }
    }
    const std::int64_t at = (place.image * s.rows.outputs * s.columns.outputs + place.pixel) * s.c + place.channel;
    store<N>(y + at, largest);
    store_marks<N>(marks + at, chosen);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    max_backward_kernel(T* dx, const T* dy, const std::uint8_t* marks, Windows<PoolAxis> s, WindowGrid grid) {
    const Place place = place_of<N>(grid);
    if (!place.inside) {
        return;
    }
    const int h = place.pixel / s.columns.size, w = place.pixel % s.columns.size;
    const Span rows = s.rows.outputs_of(h), columns = s.columns.outputs_of(w);
    const std::int64_t first = place.image * s.rows.outputs * s.columns.outputs;
    const int window = s.rows.window, stride = s.rows.stride;
    int row_mark = (h - s.rows.origin_of(rows.begin)) * window + w - s.columns.origin_of(columns.begin);
    Floats<N> sum = splat<N>(0.0f);
    for (int p = rows.begin; p < rows.end; ++p, row_mark -= stride * window) {
        int here = row_mark;  // this pixel's place in window (p, q)
        for (int q = columns.begin; q < columns.end; ++q, here -= stride) {
            const std::int64_t at = (first + p * s.columns.outputs + q) * s.c + place.channel;
            const Marks<N> chosen = load_marks<N>(marks + at);
            if constexpr (N == 1) {
                if (chosen.v[0] == here) {
                    sum[0] += load<1>(dy + at)[0];
                }
            } else {  // one of the channels has mostly chosen this pixel
                const Floats<N> gradient = load<N>(dy + at);
#pragma unroll
                for (int k = 0; k < N; ++k) {
                    sum[k] += chosen.v[k] == here ? gradient[k] : 0.0f;
                }
            }
        }
    }
    store<N>(dx + (place.image * s.rows.size * s.columns.size + place.pixel) * s.c + place.channel, sum);
}

// What the sum of window (p, q) is divided by.
template <class Axis>
__device__ __forceinline__ float area_of(const Windows<Axis>& s, int p, int q) {
    return static_cast<float>(s.rows.divisor(p) * s.columns.divisor(q));
}

template <class T, int N, class Axis>
__global__ void __launch_bounds__(kThreads) average_forward_kernel(T* y, const T* x, Windows<Axis> s, WindowGrid grid) {
    const Place place = place_of<N>(grid);
    if (!place.inside) {
        return;
    }
    const Span rows = s.rows.inputs_of(place.pixel / s.columns.outputs);
    const Span columns = s.columns.inputs_of(place.pixel % s.columns.outputs);
    const T* const in = x + place.image * s.rows.size * s.columns.size * s.c + place.channel;
    Floats<N> sum = splat<N>(0.0f);
    for (int h = rows.begin; h < rows.end; ++h) {
        for (int w = columns.begin; w < columns.end; ++w) {
            const Floats<N> values = load<N>(in + static_cast<std::int64_t>(h * s.columns.size + w) * s.c);
#pragma unroll
            for (int k = 0; k < N; ++k) {
                sum[k] += values[k];
            }
        }
    }
    const float area = area_of(s, place.pixel / s.columns.outputs, place.pixel % s.columns.outputs);
#pragma unroll
    for (int k = 0; k < N; ++k) {
        sum[k] /= area;
    }
    store<N>(y + (place.image * s.rows.outputs * s.columns.outputs + place.pixel) * s.c + place.channel, sum);
}

template <class T, int N, class Axis>
__global__ void __launch_bounds__(kThreads)
    average_backward_kernel(T* dx, const T* dy, Windows<Axis> s, WindowGrid grid) {
    const Place place = place_of<N>(grid);
    if (!place.inside) {
        return;
    }
    const Span rows = s.rows.outputs_of(place.pixel / s.columns.size);
    const Span columns = s.columns.outputs_of(place.pixel % s.columns.size);
    const std::int64_t first = place.image * s.rows.outputs * s.columns.outputs;
    Floats<N> sum = splat<N>(0.0f);
    for (int p = rows.begin; p < rows.end; ++p) {
        for (int q = columns.begin; q < columns.end; ++q) {
            const Floats<N> gradient = load<N>(dy + (first + p * s.columns.outputs + q) * s.c + place.channel);
            const float area = area_of(s, p, q);
#pragma unroll
            for (int k = 0; k < N; ++k) {
                sum[k] += gradient[k] / area;
            }
        }
    }
    store<N>(dx + (place.image * s.rows.size * s.columns.size + place.pixel) * s.c + place.channel, sum);
}

template <class Shape>
auto windows_of(const Shape& s) {
    return Windows<decltype(s.rows())>{s.rows(), s.columns(), s.c};
}

template <class T, class Shape>
void average_forward(T* y, const T* x, const Shape& s, Stream stream) {
    check_pool(s);
    const auto windows = windows_of(s);
    with_vector_width<T>(s.c, [&]<int N>() {
        const WindowGrid grid = window_grid(std::int64_t{windows.rows.outputs} * windows.columns.outputs, s.c, N);
        launch<average_forward_kernel<T, N, decltype(s.rows())>>(
            {.grid = grid.blocks_per_image * static_cast<unsigned>(s.n), .block = kThreads}, stream, y, x, windows,
            grid);
    });
}

template <class T, class Shape>
void average_backward(T* dx, const T* dy, const Shape& s, Stream stream) {
    check_pool(s);
    const auto windows = windows_of(s);
    with_vector_width<T>(s.c, [&]<int N>() {
        const WindowGrid grid = window_grid(std::int64_t{s.h} * s.w, s.c, N);
        launch<average_backward_kernel<T, N, decltype(s.rows())>>(
            {.grid = grid.blocks_per_image * static_cast<unsigned>(s.n), .block = kThreads}, stream, dx, dy, windows,
            grid);
    });
}
}  // namespace

template <class T>
void max_pool_forward(T* y, std::uint8_t* marks, const T* x, const PoolShape& s, Stream stream) {
    check_max_pool(s);
    with_vector_width<T>(s.c, [&]<int N>() {
        const WindowGrid grid = window_grid(std::int64_t{s.p()} * s.q(), s.c, N);
        launch<max_forward_kernel<T, N>>(
            {.grid = grid.blocks_per_image * static_cast<unsigned>(s.n), .block = kThreads}, stream, y, marks, x,
            windows_of(s), grid);
    });
}

template <class T>
void max_pool_backward(T* dx, const T* dy, const std::uint8_t* marks, const PoolShape& s, Stream stream) {
    check_max_pool(s);
    with_vector_width<T>(s.c, [&]<int N>() {
        const WindowGrid grid = window_grid(std::int64_t{s.h} * s.w, s.c, N);
        launch<max_backward_kernel<T, N>>(
            {.grid = grid.blocks_per_image * static_cast<unsigned>(s.n), .block = kThreads}, stream, dx, dy, marks,
            windows_of(s), grid);
    });
}

template <class T>
void average_pool_forward(T* y, const T* x, const PoolShape& shape, Stream stream) {
    average_forward(y, x, shape, stream);
}

template <class T>
void average_pool_backward(T* dx, const T* dy, const PoolShape& shape, Stream stream) {
    average_backward(dx, dy, shape, stream);
}

template <class T>
void adaptive_average_pool_forward(T* y, const T* x, const AdaptivePoolShape& shape, Stream stream) {
    average_forward(y, x, shape, stream);
}

template <class T>
void adaptive_average_pool_backward(T* dx, const T* dy, const AdaptivePoolShape& shape, Stream stream) {
    average_backward(dx, dy, shape, stream);
}

namespace {

// Of one axis: inputs in windows, each as often as it is in one, and once.
struct InWindows {
    std::int64_t pairs = 0, inputs = 0;
};
template <class Axis>
InWindows in_windows(const Axis& axis) {
    InWindows count;
    int end = 0;  // of the windows so far
    for (int output = 0; output < axis.outputs; ++output) {
        const Span window = axis.inputs_of(output);
        count.pairs += window.size();
        count.inputs += window.end - std::max(window.begin, end);
        end = window.end;
    }
    return count;
}

// Forward: an input's `value` bytes for each pair, an output's once. Backward the other way round.
template <class Shape>
Traffic windows_traffic(const Shape& s, std::int64_t value, std::int64_t of_output) {
    const InWindows rows = in_windows(s.rows()), columns = in_windows(s.columns());
    const std::int64_t channels = std::int64_t{s.n} * s.c;
    return Traffic{rows.pairs * columns.pairs * channels * value, rows.inputs * columns.inputs * channels * value} +
           Traffic::once(std::int64_t{s.rows().outputs} * s.columns().outputs * channels * of_output);
}
template <class Shape>
Traffic windows_backward_traffic(const Shape& s, std::int64_t value, std::int64_t of_output) {
    const std::int64_t pairs = in_windows(s.rows()).pairs * in_windows(s.columns()).pairs;
    const std::int64_t outputs = std::int64_t{s.rows().outputs} * s.columns().outputs;
    const std::int64_t channels = std::int64_t{s.n} * s.c;
    return Traffic{pairs * channels * of_output, outputs * channels * of_output} +
           Traffic::once(std::int64_t{s.h} * s.w * channels * value);
}

}  // namespace

template <class T>
Traffic max_pool_forward_traffic(const PoolShape& s) {
    return windows_traffic(s, sizeof(T), sizeof(T) + 1);
}
template <class T>
Traffic max_pool_backward_traffic(const PoolShape& s) {
    if (s.c % kVector<T> == 0) {
        return windows_backward_traffic(s, sizeof(T), sizeof(T) + 1);
    }
    return windows_backward_traffic(s, sizeof(T), 1) +
           Traffic::once(std::int64_t{s.n} * s.p() * s.q() * s.c * std::int64_t{sizeof(T)});
}
template <class T>
Traffic average_pool_forward_traffic(const PoolShape& s) {
    return windows_traffic(s, sizeof(T), sizeof(T));
}
template <class T>
Traffic average_pool_backward_traffic(const PoolShape& s) {
    return windows_backward_traffic(s, sizeof(T), sizeof(T));
}
template <class T>
Traffic adaptive_average_pool_forward_traffic(const AdaptivePoolShape& s) {
    return windows_traffic(s, sizeof(T), sizeof(T));
}
template <class T>
Traffic adaptive_average_pool_backward_traffic(const AdaptivePoolShape& s) {
    return windows_backward_traffic(s, sizeof(T), sizeof(T));
}

#define CUTIS_INSTANTIATE(T)                                                                      \
    template void max_pool_forward(T*, std::uint8_t*, const T*, const PoolShape&, Stream);        \
    template void max_pool_backward(T*, const T*, const std::uint8_t*, const PoolShape&, Stream); \
    template void average_pool_forward(T*, const T*, const PoolShape&, Stream);                   \
    template void average_pool_backward(T*, const T*, const PoolShape&, Stream);                  \
    template void adaptive_average_pool_forward(T*, const T*, const AdaptivePoolShape&, Stream);  \
    template void adaptive_average_pool_backward(T*, const T*, const AdaptivePoolShape&, Stream); \
    template Traffic max_pool_forward_traffic<T>(const PoolShape&);                               \
    template Traffic max_pool_backward_traffic<T>(const PoolShape&);                              \
    template Traffic average_pool_forward_traffic<T>(const PoolShape&);                           \
    template Traffic average_pool_backward_traffic<T>(const PoolShape&);                          \
    template Traffic adaptive_average_pool_forward_traffic<T>(const AdaptivePoolShape&);          \
    template Traffic adaptive_average_pool_backward_traffic<T>(const AdaptivePoolShape&);
CUTIS_INSTANTIATE(float)
CUTIS_INSTANTIATE(BFloat16)
#undef CUTIS_INSTANTIATE

}  // namespace cutis::cuda
