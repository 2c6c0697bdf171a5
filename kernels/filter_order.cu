#include "kernels/filter_order.h"

#include "kernels/bfloat16.h"
#include "kernels/launch.h"
#include "kernels/vector.cuh"

// A thread for each channel walks through the taps: its side of 9 values stays in a line of L1 while the other side is
// read or written by neighbouring threads together.
//
//   Bytes: 4 + sizeof(T) per value.   FLOPs: none. 9 c values are some tens of kilobytes at most: bound by the launch.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 64;

template <class T>
__global__ void __launch_bounds__(kThreads) filters_from_taps_kernel(T* filters, const float* w, int taps, int c) {
    const int channel = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    for (int tap = 0; channel < c && tap < taps; ++tap) {
        filters[static_cast<std::int64_t>(channel) * taps + tap] =
            from_float<T>(w[static_cast<std::int64_t>(tap) * c + channel]);
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads) taps_from_filters_kernel(float* w, const T* filters, int taps, int c) {
    const int channel = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    for (int tap = 0; channel < c && tap < taps; ++tap) {
        w[static_cast<std::int64_t>(tap) * c + channel] =
            to_float(filters[static_cast<std::int64_t>(channel) * taps + tap]);
    }
}

}  // namespace

template <class T>
void filters_from_taps(T* filters, const float* w, int taps, int c, Stream stream) {
    launch<filters_from_taps_kernel<T>>({.grid = blocks_for(c, kThreads), .block = kThreads}, stream, filters, w, taps,
                                        c);
}
template <class T>
void taps_from_filters(float* w, const T* filters, int taps, int c, Stream stream) {
    launch<taps_from_filters_kernel<T>>({.grid = blocks_for(c, kThreads), .block = kThreads}, stream, w, filters, taps,
                                        c);
}

template void filters_from_taps(float*, const float*, int, int, Stream);
template void filters_from_taps(BFloat16*, const float*, int, int, Stream);
template void taps_from_filters(float*, const float*, int, int, Stream);
template void taps_from_filters(float*, const BFloat16*, int, int, Stream);

}  // namespace cutis::cuda
