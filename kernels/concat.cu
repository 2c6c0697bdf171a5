#include "kernels/concat.h"

#include <algorithm>

#include "kernels/launch.h"

// Rows of channels are copied piece by piece, 16 bytes to a thread where every part is made of such pieces, else value
// by value. Neighbouring threads take neighbouring pieces of y, so that y is read or written in one stream and each
// part in runs of its channels:
//
//   y, row 0   | part 0: c0 | part 1: c1 | part 2: c2 |     threads 0 1 2 3 ..  along the row, then the next row
//   y, row 1   | part 0     | part 1     | part 2     |
//                    |
//   part 0     | row 0: c0 | row 1: c0 | ..
//
//   Bytes: 2 sizeof(T) a value of y: each is read once and written once. No FLOPs: a copy's time is the floor.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kParts = 8;  // of one launch; longer lists take several
constexpr int kPiecesOfBlock = 1024;

// Parts of one launch, in pieces: part i holds pieces end[i - 1] .. end[i] of the launch's share of a row.
struct Group {
    void* data[kParts];
    int end[kParts];  // of parts that are not there, the last one's
};

template <class Piece, bool Split>
__global__ void __launch_bounds__(kThreads)
    channels_kernel(Group group, Piece* y, std::int64_t y_stride, std::int64_t rows, int rows_of_block) {
    const int width = group.end[kParts - 1];
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * rows_of_block;
    const int count = static_cast<int>(rows - first < rows_of_block ? rows - first : rows_of_block) * width;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
        const std::int64_t row = first + i / width;
        const int piece = i % width;
        void* data = group.data[0];
        int begin = 0, end = group.end[0];
#pragma unroll
        for (int part = 1; part < kParts; ++part) {
            if (piece >= group.end[part - 1]) {
                data = group.data[part];
                begin = group.end[part - 1];
                end = group.end[part];
            }
        }
        Piece* const in_y = y + row * y_stride + piece;
        Piece* const in_part = static_cast<Piece*>(data) + row * (end - begin) + (piece - begin);
        if constexpr (Split) {
            if (data != nullptr) {
                *in_part = *in_y;
            }
        } else {
            *in_y = *in_part;
        }
    }
}

// Pieces of the size of `Piece`; T is the values' type, const or not.
template <class Piece, bool Split, class T>
void copy_pieces(std::span<const ChannelPart<T>> parts, void* y, std::int64_t width, std::int64_t rows, Stream stream) {
    constexpr int kValues = sizeof(Piece) / sizeof(T);
    auto* begin = static_cast<Piece*>(y);
    for (std::size_t first = 0; first < parts.size(); first += kParts) {
        Group group{};
        int end = 0;
        for (std::size_t i = 0; i < kParts; ++i) {
            if (first + i < parts.size()) {
                group.data[i] = const_cast<void*>(static_cast<const void*>(parts[first + i].data));
                end += parts[first + i].c / kValues;
            }
            group.end[i] = end;
        }
        if (end > 0) {
            const int rows_of_block = std::max(1, kPiecesOfBlock / end);
            launch<channels_kernel<Piece, Split>>({.grid = blocks_for(rows, rows_of_block), .block = kThreads}, stream,
                                                  group, begin, width / kValues, rows, rows_of_block);
        }
        begin += end;
    }
}

template <bool Split, class T>
void copy_channels(std::span<const ChannelPart<T>> parts, void* y, std::int64_t rows, Stream stream) {
    std::int64_t width = 0;
    bool whole = true;  // every part is a number of 16-byte pieces
    for (const ChannelPart<T>& part : parts) {
        width += part.c;
        whole = whole && part.c * sizeof(T) % sizeof(uint4) == 0;
    }
    if (whole) {
        copy_pieces<uint4, Split>(parts, y, width, rows, stream);
    } else {
        copy_pieces<std::remove_const_t<T>, Split>(parts, y, width, rows, stream);
    }
}

}  // namespace

template <class T>
void concat_channels(T* y, std::span<const ChannelPart<const T>> parts, std::int64_t rows, Stream stream) {
    copy_channels<false>(parts, y, rows, stream);
}

template <class T>
void split_channels(std::span<const ChannelPart<T>> parts, const T* y, std::int64_t rows, Stream stream) {
    copy_channels<true>(parts, const_cast<T*>(y), rows, stream);
}

template void concat_channels(float*, std::span<const ChannelPart<const float>>, std::int64_t, Stream);
template void concat_channels(BFloat16*, std::span<const ChannelPart<const BFloat16>>, std::int64_t, Stream);
template void split_channels(std::span<const ChannelPart<float>>, const float*, std::int64_t, Stream);
template void split_channels(std::span<const ChannelPart<BFloat16>>, const BFloat16*, std::int64_t, Stream);

}  // namespace cutis::cuda
