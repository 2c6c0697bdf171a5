#include "kernels/concat.h"

#include <algorithm>

#include "kernels/parallel.h"

// Copies of a few hundred bytes, one for each row and part. Bytes: 8 a value.

namespace cutis::cpu {
namespace {

// body(row of y, row) on all threads, rows in contiguous pieces.
template <class Body>
void for_rows(std::int64_t rows, std::int64_t width, Body&& body) {
    parallel_for(rows, std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(width, 1)),
                 [&](std::int64_t begin, std::int64_t end, int) {
                     for (std::int64_t row = begin; row < end; ++row) {
                         body(row * width, row);
                     }
                 });
}

template <class Part>
std::int64_t width_of(std::span<const Part> parts) {
    std::int64_t width = 0;
    for (const Part& part : parts) {
        width += part.c;
    }
    return width;
}

}  // namespace

void concat_channels(float* y, std::span<const ChannelPart<const float>> parts, std::int64_t rows, Stream) {
    for_rows(rows, width_of(parts), [&](std::int64_t at, std::int64_t row) {
        for (const auto& part : parts) {
            std::copy_n(part.data + row * part.c, part.c, y + at);
            at += part.c;
        }
    });
}

void split_channels(std::span<const ChannelPart<float>> parts, const float* y, std::int64_t rows, Stream) {
    for_rows(rows, width_of(parts), [&](std::int64_t at, std::int64_t row) {
        for (const auto& part : parts) {
            if (part.data != nullptr) {
                std::copy_n(y + at, part.c, part.data + row * part.c);
            }
            at += part.c;
        }
    });
}

}  // namespace cutis::cpu
