#pragma once

#include "kernels/depthwise.h"
#include "kernels/reduce.cuh"
#include "kernels/simt/ptx.h"

/// How the depthwise kernels cut their work and bring it on chip. A block owns a slice of at most 32 channels and some
/// strips: an image's rows (or a part of them) times a tile of columns. It marches down all its strips together, one
/// row per step. A row comes to shared memory by cp.async, kStages - 1 steps ahead, and each value once; threads then
/// take runs of neighbouring columns from there:
///
///              slice of channels, 64 or 128 bytes of a pixel
///             +----------------------------------------------+
///   row k     | run 0      | run 1      | run 2      | ...   |   being computed, in registers and accumulators
///   row k+1   |                                              |   on its way
///   row k+2   |                                              |   on its way      kStages slots of shared memory,
///   row k+3   |                                              |   on its way      used in turn
///             +----------------------------------------------+
///               ^ thread = 4 channels of one run (of each strip)
///
/// One barrier a step says both that row k is there and that nobody reads row k - 1 any more, whose slot is then
/// filled.

namespace cutis::cuda {

inline constexpr int kSliceChannels = 32;
/// Blocks that a grid should have at least, and rows that make a strip worth its halo: a fixed number (four for each of
/// 132 multiprocessors), so that the order of sums does not depend on the GPU.
inline constexpr int kEnoughBlocks = 528;
inline constexpr int kFewestRows = 8;

/// Rows of shared memory that are computed or on their way.
template <class T>
inline constexpr int kStages = sizeof(T) == 2 ? 4 : 3;

/// Values of one copy to shared memory, and of a thread: 16 bytes and four channels, or one by one where c is odd.
template <class T, bool kVectors>
inline constexpr int kChunk = kVectors ? kVector<T> : 1;
template <bool kVectors>
inline constexpr int kOwn = kVectors ? 4 : 1;

struct DepthwiseTiling {
    int slice;          ///< chunks of a pixel in a slice
    int slices;         ///< of a pixel
    int runs;           ///< of columns, in a tile
    int column_tiles;   ///< of an image
    int rows;           ///< of a strip
    int row_strips;     ///< of an image
    int strips;         ///< of a block
    int groups;         ///< of strips: blocks for one slice and tile of columns
    int groups_of_own;  ///< threads that share a run: slice values / own values

    int threads_per_strip() const { return runs * groups_of_own; }
    int threads() const { return (strips * threads_per_strip() + 31) / 32 * 32; }
    int parts() const { return column_tiles * groups; }
    int blocks() const { return parts() * slices; }
};

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

/// For n images of rows x columns, c channels; a thread's run has `run` columns, a block at most `most_threads`.
inline DepthwiseTiling depthwise_tiling(int n, int rows, int columns, int c, int chunk, int own, int run,
                                        int most_threads) {
    DepthwiseTiling t{};
    const int chunks = c / chunk, most = kSliceChannels / chunk;
    t.slices = static_cast<int>(ceil_div(chunks, most));
    t.slice = static_cast<int>(ceil_div(chunks, t.slices));
    t.slice += chunk > 1 && t.slices > 1 ? t.slice % 2 : 0;  // whole 32-byte sectors
    t.slices = static_cast<int>(ceil_div(chunks, t.slice));
    t.groups_of_own = t.slice * chunk / own;

    const int most_runs = most_threads / t.groups_of_own, wanted_runs = static_cast<int>(ceil_div(columns, run));
    t.column_tiles = static_cast<int>(ceil_div(wanted_runs, most_runs));
    t.runs = static_cast<int>(ceil_div(wanted_runs, t.column_tiles));
    t.column_tiles = static_cast<int>(ceil_div(wanted_runs, t.runs));

    // Few images: cut them into strips of rows. Many small ones: several a block.
    const std::int64_t blocks = std::int64_t{n} * t.column_tiles * t.slices;
    const std::int64_t most_strips = rows / kFewestRows > 1 ? rows / kFewestRows : 1;
    const std::int64_t wanted = blocks > 0 ? ceil_div(kEnoughBlocks, blocks) : 1;
    t.rows = static_cast<int>(ceil_div(rows, wanted < most_strips ? wanted : most_strips));
    t.row_strips = static_cast<int>(ceil_div(rows, t.rows));
    const std::int64_t spare = blocks * t.row_strips / kEnoughBlocks;
    const int fit = most_threads / (t.runs * t.groups_of_own);
    t.strips = spare < 1 ? 1 : spare < fit ? static_cast<int>(spare) : fit;
    t.groups = static_cast<int>(ceil_div(std::int64_t{n} * t.row_strips, t.strips));
    return t;
}

/// Pixels that all tiles of n images of height x width load together, the seams' `halo` rows and columns twice.
inline std::int64_t depthwise_pixels_loaded(const DepthwiseTiling& t, int n, int height, int width, int halo) {
    return std::int64_t{n} * (height + std::int64_t{t.row_strips - 1} * halo) *
           (width + std::int64_t{t.column_tiles - 1} * halo);
}

/// Where a thread stands.
struct DepthwisePlace {
    int slice, part;
    int member;  ///< threads of one number of channels: strip * runs + run
    int strip;   ///< of the block
    std::int64_t image;
    int row, row_end;  ///< of the strip: row == row_end where it has none
    int tile_column;   ///< the tile's first
    int run, own;      ///< its run, and which channels of the slice it has
    int channel;       ///< its first, of all
    bool works;        ///< it has channels and a strip
    // As a copier of a strip's rows: one chunk of every few columns.
    int copy_column, copy_step, copy_chunk, copy_channel;
    bool copies;
};

template <int kChunkValues, int kOwnValues>
__device__ __forceinline__ DepthwisePlace depthwise_place(const DepthwiseTiling& t, int n, int rows, int c, int run) {
    DepthwisePlace place;
    const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
    place.slice = block % t.slices;  // neighbouring slices at about the same time: they share lines and DRAM pages
    place.part = block / t.slices;
    place.tile_column = place.part % t.column_tiles * t.runs * run;
    const int per_strip = t.runs * t.groups_of_own;
    place.strip = thread / per_strip;
    const int in_strip = thread - place.strip * per_strip;
    place.run = in_strip / t.groups_of_own;
    place.own = in_strip - place.run * t.groups_of_own;
    place.member = place.strip * t.runs + place.run;

    const std::int64_t strip = static_cast<std::int64_t>(place.part / t.column_tiles) * t.strips + place.strip;
    place.image = strip / t.row_strips;
    place.row = static_cast<int>(strip - place.image * t.row_strips) * t.rows;
    place.row_end = min(place.row + t.rows, rows);
    const bool has_strip = place.strip < t.strips && place.image < n;
    if (!has_strip) {
        place.image = 0;
        place.row = place.row_end = 0;
    }
    const int first_channel = place.slice * t.slice * kChunkValues;
    place.channel = first_channel + place.own * kOwnValues;
    place.works = has_strip && place.channel < c;

    place.copy_chunk = in_strip % t.slice;
    place.copy_column = in_strip / t.slice;
    place.copy_step = per_strip / t.slice;
    place.copy_channel = first_channel + place.copy_chunk * kChunkValues;
    place.copies = has_strip && place.copy_channel < c;
    return place;
}

/// One row of a tile in shared memory for each strip: `columns` pixels of a slice. Of bf16 pixels (64 bytes) every
/// kEach-th is followed by a gap of one, so that two neighbouring runs do not start in the same banks.
template <class T, int kChunkValues, int kEach>
struct TileRow {
    static constexpr bool kGaps = sizeof(T) == 2 && kChunkValues > 1 && kEach % 2 == 0;

    int columns;
    int pixel;  ///< values of a slice

    static constexpr __host__ __device__ int place_of(int column) { return kGaps ? column + column / kEach : column; }
    __host__ __device__ int strip_values() const { return (place_of(columns - 1) + 1) * pixel; }
};

/// Starts the copies of this thread's chunks of one row of its strip from each of `tensors` (n x height x width x c,
/// one shape) to the row in shared memory that begins at the target of the same place. Columns outside [0, width)
/// become zero, and all columns unless `inside`.
template <int kChunkValues, class Row, class T, int kTensors>
__device__ __forceinline__ void fetch_row(T* const (&targets)[kTensors], const T* const (&tensors)[kTensors],
                                          const Row& shape, int row, bool inside, int first_column, int height,
                                          int width, int c, const DepthwisePlace& place) {
    if (!place.copies) {
        return;
    }
    int column = first_column + place.copy_column;
    std::int64_t offset = ((place.image * height + row) * width + column) * c + place.copy_channel;
    const int strip = place.strip * shape.strip_values() + place.copy_chunk * kChunkValues;
#pragma unroll 1
    for (int i = place.copy_column; i < shape.columns; i += place.copy_step) {
        const bool wanted = inside && column >= 0 && column < width;
#pragma unroll
        for (int k = 0; k < kTensors; ++k) {
            const T* const source = tensors[k] + (wanted ? offset : 0);
            T* const target = targets[k] + strip + shape.place_of(i) * shape.pixel;
            if constexpr (kChunkValues > 1) {
                ptx::cp_async16(target, source, wanted);
            } else {
                store<1>(target, wanted ? load<1>(source) : splat<1>(0.0f));
            }
        }
        column += place.copy_step;
        offset += place.copy_step * c;
    }
}

/// Copies figures of the slice's channels to shared memory: `rows` rows of c values.
__device__ __forceinline__ void fetch_coefficients(float* to, const float* from, int rows, int slice_values,
                                                   int first_channel, int c) {
    for (int i = static_cast<int>(threadIdx.x); i < slice_values; i += static_cast<int>(blockDim.x)) {
        if (first_channel + i < c) {
#pragma unroll 3
            for (int row = 0; row < rows; ++row) {
                to[row * slice_values + i] = load<1>(from + static_cast<std::int64_t>(row) * c + first_channel + i)[0];
            }
        }
    }
}

/// Adds up kFigures figures per channel over the block's members, in their order, and stores them to
/// out[figure * c + channel]. `buffer`: members * slice_values * kFigures floats of shared memory that nobody reads or
/// writes any more. Threads that do not work give zeros.
template <int kOwnValues, int kFigures>
__device__ __forceinline__ void store_block_sums(float* out, const Floats<kOwnValues> (&figures)[kFigures],
                                                 float* buffer, const DepthwisePlace& place, const DepthwiseTiling& t,
                                                 int slice_values, int first_channel, int c) {
    const int members = t.strips * t.runs;
    __syncthreads();  // nobody reads what the buffer held
    if (place.strip < t.strips) {
#pragma unroll
        for (int f = 0; f < kFigures; ++f) {
            store<kOwnValues>(buffer + (f * members + place.member) * slice_values + place.own * kOwnValues,
                              figures[f]);
        }
    }
    __syncthreads();  // a channel's figures are other threads'
    for (int i = static_cast<int>(threadIdx.x); i < kFigures * slice_values; i += static_cast<int>(blockDim.x)) {
        const int f = i / slice_values, channel = i - f * slice_values;
        if (first_channel + channel < c) {
            float sum = 0.0f;
            for (int m = 0; m < members; ++m) {
                sum += buffer[(f * members + m) * slice_values + channel];
            }
            store<1>(out + static_cast<std::int64_t>(f) * c + first_channel + channel, splat<1>(sum));
        }
    }
}

}  // namespace cutis::cuda
