#pragma once

#include <cstdint>
#include <span>

#include "kernels/bfloat16.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Channels of several tensors side by side, NHWC, and back: concatenation and its gradient, as GoogLeNet's branches
/// need them. Every tensor has the same rows = n h w.

namespace cutis {

/// One tensor of a concatenation, rows x c; T is const where it is read.
template <class T>
struct ChannelPart {
    T* data;
    int c;
};

namespace cpu {

/// y[rows x sum of c] = the parts' channels, in the parts' order.
void concat_channels(float* y, std::span<const ChannelPart<const float>> parts, std::int64_t rows, Stream stream = {});

/// Each part = its channels of y, the inverse of concat_channels and its gradient. Parts whose data is null are left
/// out.
void split_channels(std::span<const ChannelPart<float>> parts, const float* y, std::int64_t rows, Stream stream = {});

}  // namespace cpu

/// The same on a GPU, T fp32 or bf16; the list itself is in the host's memory. Tensors start on 16 bytes.
namespace cuda {

template <class T>
void concat_channels(T* y, std::span<const ChannelPart<const T>> parts, std::int64_t rows, Stream stream);

template <class T>
void split_channels(std::span<const ChannelPart<T>> parts, const T* y, std::int64_t rows, Stream stream);

/// Bytes: each value read once and written once; `c` channels of all parts whose data is not null.
template <class T>
constexpr Traffic concat_channels_traffic(int c, std::int64_t rows) {
    return Traffic::once(2 * std::int64_t{sizeof(T)} * c * rows);
}
template <class T>
constexpr Traffic split_channels_traffic(int c, std::int64_t rows) {
    return Traffic::once(2 * std::int64_t{sizeof(T)} * c * rows);
}

}  // namespace cuda
}  // namespace cutis
