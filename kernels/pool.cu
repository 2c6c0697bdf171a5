#include "kernels/pool.h"

#include <algorithm>

#include "kernels/launch.h"
#include "kernels/reduce.cuh"
#include "kernels/vector.cuh"

// Pooling over channels-last images. A thread owns N neighbouring channels (16 bytes) and walks over pixels, so that a
// warp reads 512 contiguous bytes of a pixel and no thread needs another's values, except where pixels are summed by
// several.
//
// Global average, a block of 32 x 8 threads for one image and 32 N channels:
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
// Windows, a thread for one output (forward) or one input pixel (backward) and N channels: windows overlap in the
// cache. Backward passes gather: a pixel asks the windows that hold it, which follow each other, so that nothing is
// added to a shared place and the order of a sum is fixed.
//
//   Bytes that memory must move (values of x: n hw c or n h w c; of y: n c or n p q c):
//
//     global average       forward sizeof(T) (x + y)       backward sizeof(T) (y + x), with a batchnorm (y + 2 x)
//     max                  both ways sizeof(T) (x + y) + y
//     average, adaptive    both ways sizeof(T) (x + y)
//
//   Issued again, and served by the first-level cache: each input of windows for every window that holds it; of a
//   global average dy, scale, shift and mean by each of the eight threads that share a channel. FLOPs: one a value and
//   window; with a batchnorm 2 forward and 7 backward a value: memory is the floor.

namespace cutis::cuda {
namespace {

constexpr int kLanes = 32, kRows = 8;  // of a block that sums pixels
constexpr int kThreads = 256;          // of a block for windows

// N where every pixel's channels are whole vectors, else 1.
template <class T, class Call>
void with_vector_width(int c, Call&& call) {
    if (c % kVector<T> == 0) {
        call.template operator()<kVector<T>>();
    } else {
        call.template operator()<1>();
    }
}

// ---- global average

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

// ---- windows

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

#define CUTIS_INSTANTIATE(T)                                                                                       \
    template void global_average_pool_forward(T*, const T*, const Normalize*, int, int, int, Stream);              \
    template void global_average_pool_backward(T*, const T*, const T*, const Normalize*, const NormalizeBackward*, \
                                               int, int, int, Stream);                                             \
    template void max_pool_forward(T*, std::uint8_t*, const T*, const PoolShape&, Stream);                         \
    template void max_pool_backward(T*, const T*, const std::uint8_t*, const PoolShape&, Stream);                  \
    template void average_pool_forward(T*, const T*, const PoolShape&, Stream);                                    \
    template void average_pool_backward(T*, const T*, const PoolShape&, Stream);                                   \
    template void adaptive_average_pool_forward(T*, const T*, const AdaptivePoolShape&, Stream);                   \
    template void adaptive_average_pool_backward(T*, const T*, const AdaptivePoolShape&, Stream);                  \
    template Traffic global_average_pool_forward_traffic<T>(bool, int, int, int);                                  \
    template Traffic global_average_pool_backward_traffic<T>(bool, int, int, int);                                 \
    template Traffic max_pool_forward_traffic<T>(const PoolShape&);                                                \
    template Traffic max_pool_backward_traffic<T>(const PoolShape&);                                               \
    template Traffic average_pool_forward_traffic<T>(const PoolShape&);                                            \
    template Traffic average_pool_backward_traffic<T>(const PoolShape&);                                           \
    template Traffic adaptive_average_pool_forward_traffic<T>(const AdaptivePoolShape&);                           \
    template Traffic adaptive_average_pool_backward_traffic<T>(const AdaptivePoolShape&);
CUTIS_INSTANTIATE(float)
CUTIS_INSTANTIATE(BFloat16)
#undef CUTIS_INSTANTIATE

}  // namespace cutis::cuda
