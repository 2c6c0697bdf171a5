#include "kernels/reduce.cuh"

// The second stage of sums over rows: the parts of each column are joined. Lanes of a block share a column's parts, so
// that enough loads are under way for the few columns of a narrow tensor; their results meet in shared memory, in the
// lanes' order.
//
//   part      0     1     2     3     4     5 ...
//   lane      0     1    ..   L-1     0     1 ...      a warp reads 32 neighbouring columns of one part
//
//   Bytes: 4 per figure and part, and 4 per result (8 for second, with its factor). Of statistics each lane reads the
//   center, part 0's mean, and each channel the parts' rows where these differ. FLOPs: 1 per figure of a sum, 7 per
//   part of a statistic: memory is the floor, and below a megabyte of partials the launch.

namespace cutis::cuda {
namespace {

constexpr int kColumns = 32;  // of a block: one warp wide, 128 bytes of a part
constexpr int kMostLanes = 32;

// Column i of partials (parts x columns) goes to first[i], those from `split` on to second[i - split].
__global__ void __launch_bounds__(kColumns* kMostLanes)
    sum_parts_kernel(float* first, float* second, const float* factor, const float* partials, int parts,
                     std::int64_t columns, std::int64_t split) {
    SIMT_SHARED(float, of_lanes, [kMostLanes][kColumns]);
    const int x = static_cast<int>(threadIdx.x), lane = static_cast<int>(threadIdx.y);
    const int lanes = static_cast<int>(blockDim.y);
    const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumns + x;
    const bool wanted = column < split || (column < columns && second != nullptr);
    float total = 0.0f;
    if (wanted) {
#pragma unroll 4
        for (int part = lane; part < parts; part += lanes) {
            total += load<1>(partials + part * columns + column)[0];
        }
    }
    of_lanes[lane][x] = total;
    __syncthreads();  // a column's lanes have their sums
    if (lane == 0 && wanted) {
        for (int i = 1; i < lanes; ++i) {
            total += of_lanes[i][x];
        }
        if (column < split) {
            first[column] = total;
        } else {
            second[column - split] = factor != nullptr ? total * load<1>(factor + column - split)[0] : total;
        }
    }
}

struct PartCounts {
    const float* each;  // null: `uniform` holds
    RowsPerPart uniform;
    __device__ __forceinline__ float of(int part) const {
        if (each != nullptr) {
            return load<1>(each + part)[0];
        }
        const std::int64_t before = part * uniform.size, left = uniform.rows - before;
        return static_cast<float>(left < uniform.size ? left : uniform.size);
    }
};

// With n_i, m_i, s_i the rows, mean and spread of part i and k = m_0: sums of n_i, n_i (m_i - k) and
// s_i + n_i (m_i - k)^2 give the whole's. The differences are small where the mean is not, so that fp32 will do.
__global__ void __launch_bounds__(kColumns* kMostLanes)
    join_parts_kernel(float* mean, float* var, const float* partials, int parts, PartCounts counts, int c) {
    SIMT_SHARED(float, of_lanes, [3][kMostLanes][kColumns]);
    const int x = static_cast<int>(threadIdx.x), lane = static_cast<int>(threadIdx.y);
    const int lanes = static_cast<int>(blockDim.y), channel = static_cast<int>(blockIdx.x) * kColumns + x;
    float center = 0.0f, count = 0.0f, first = 0.0f, second = 0.0f;
    if (channel < c) {
        center = load<1>(partials + channel)[0];
#pragma unroll 4
        for (int part = lane; part < parts; part += lanes) {
            const float* const figures = partials + static_cast<std::int64_t>(part) * 2 * c + channel;
            const float rows = counts.of(part), delta = load<1>(figures)[0] - center;
            count += rows;
            first = fmaf(rows, delta, first);
            second += fmaf(rows * delta, delta, load<1>(figures + c)[0]);
        }
    }
    of_lanes[0][lane][x] = count;
    of_lanes[1][lane][x] = first;
    of_lanes[2][lane][x] = second;
    __syncthreads();  // a channel's lanes have their sums
    if (lane == 0 && channel < c) {
        for (int i = 1; i < lanes; ++i) {
            count += of_lanes[0][i][x];
            first += of_lanes[1][i][x];
            second += of_lanes[2][i][x];
        }
        const float offset = first / count;
        mean[channel] = center + offset;
        var[channel] = not_negative(fmaf(-offset, first, second)) / count;
    }
}

// A power of two, about four parts each.
unsigned lanes_for(int parts) {
    int lanes = 1;
    while (lanes < kMostLanes && 4 * lanes < parts) {
        lanes *= 2;
    }
    return static_cast<unsigned>(lanes);
}

void sum_parts(float* first, float* second, const float* factor, const float* partials, int parts, std::int64_t columns,
               std::int64_t split, Stream stream) {
    launch<sum_parts_kernel>({.grid = blocks_for(columns, kColumns), .block = {kColumns, lanes_for(parts)}}, stream,
                             first, second, factor, partials, parts, columns, split);
}

void join_parts(float* mean, float* var, const float* partials, int parts, PartCounts counts, int c, Stream stream) {
    launch<join_parts_kernel>({.grid = blocks_for(c, kColumns), .block = {kColumns, lanes_for(parts)}}, stream, mean,
                              var, partials, parts, counts, c);
}

}  // namespace

void finish_statistics(float* mean, float* var, const float* partials, int parts, RowsPerPart rows, int c,
                       Stream stream) {
    join_parts(mean, var, partials, parts, {nullptr, rows}, c, stream);
}

void finish_statistics(float* mean, float* var, const float* partials, int parts, const float* part_rows, int c,
                       Stream stream) {
    join_parts(mean, var, partials, parts, {part_rows, {}}, c, stream);
}

void finish_sums(float* first, float* second, const float* factor, const float* partials, int parts, int c,
                 Stream stream) {
    sum_parts(first, second, factor, partials, parts, std::int64_t{2} * c, c, stream);
}

void finish_sum(float* sum, const float* partials, int parts, std::int64_t n, Stream stream) {
    sum_parts(sum, nullptr, nullptr, partials, parts, n, n, stream);
}

Traffic finish_statistics_traffic(int parts, bool counted, int c) {
    const std::int64_t channels = 4 * std::int64_t{c};
    const Traffic center{lanes_for(parts) * channels, 0};
    return Traffic::once(2 * parts * channels) + center + Traffic::times(counted ? c : 0, 4 * std::int64_t{parts}) +
           Traffic::once(2 * channels);
}

Traffic finish_sums_traffic(int parts, int c) {
    return Traffic::once((2 * parts + 3) * 4 * std::int64_t{c});
}

Traffic finish_sum_traffic(int parts, std::int64_t n) {
    return Traffic::once((parts + 1) * 4 * n);
}

}  // namespace cutis::cuda
