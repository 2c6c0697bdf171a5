#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Between a depthwise filter as this library keeps it, taps x c with all channels of a tap side by side, and as
/// vendors' libraries take it, c x taps in the type of the activations.

namespace cutis::cuda {

/// filters[c x taps] from w[taps x c]; T fp32 or bf16, rounded to the nearest.
template <class T>
void filters_from_taps(T* filters, const float* w, int taps, int c, Stream stream);
/// w[taps x c] from filters[c x taps].
template <class T>
void taps_from_filters(float* w, const T* filters, int taps, int c, Stream stream);

// Bytes: each value of both arrays once.

template <class T>
constexpr Traffic filters_from_taps_traffic(int taps, int c) {
    return Traffic::once(std::int64_t{sizeof(T) + sizeof(float)} * taps * c);
}
template <class T>
constexpr Traffic taps_from_filters_traffic(int taps, int c) {
    return filters_from_taps_traffic<T>(taps, c);
}

}  // namespace cutis::cuda
