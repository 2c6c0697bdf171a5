#pragma once

#include "kernels/activation.h"
#include "kernels/launch.h"
#include "kernels/traffic.h"
#include "kernels/vector.cuh"

/// Sums and statistics over rows of channels, in two deterministic stages without atomics:
///
///   1. Each block of a kernel reduces the rows that it has anyway and writes two figures per channel to scratch:
///      sums, or mean and spread (the sum of squared deviations from that mean). A block's rows are a "part".
///   2. finish_sums or finish_statistics joins the parts of each channel in an order that depends on their number
///   alone.
///
///   partials     part 0    | first[c] | second[c] |
///                part 1    | first[c] | second[c] |        8 c bytes per part, written once and read once
///                ...
///
/// Statistics are never E[y^2] - E[y]^2: a thread takes squares around the first value of the channel that it meets,
/// and parts are joined as Chan, Golub and LeVeque (1979) do.

namespace cutis::cuda {

// ---- a thread

/// x clamped; NaN stays NaN.
__device__ __forceinline__ float clamped(float x, Clamp clamp) {
#if defined(__CUDA_ARCH__)
    float raised, result;  // one instruction each; fmaxf would take the number for NaN
    asm("max.NaN.f32 %0, %1, %2;\n" : "=f"(raised) : "f"(x), "f"(clamp.lo));
    asm("min.NaN.f32 %0, %1, %2;\n" : "=f"(result) : "f"(raised), "f"(clamp.hi));
    return result;
#else
    const float raised = x < clamp.lo ? clamp.lo : x;  // in this order NaN passes
    return raised > clamp.hi ? clamp.hi : raised;
#endif
}
/// Whether an activation's gradient passes at x: strictly inside its clamp.
__device__ __forceinline__ bool passes(float x, Clamp clamp) {
    return x > clamp.lo && x < clamp.hi;
}

/// x, or 0 for a negative one; NaN stays NaN, which fmaxf would take for the 0.
__device__ __forceinline__ float not_negative(float x) {
    return x < 0.0f ? 0.0f : x;
}

/// The statistics of some values of one channel.
struct Moments {
    float count;
    float mean;
    float spread;  ///< sum of squared deviations from the mean
};

/// The statistics of a's and b's values together; either may be empty (count 0, the other figures finite).
__device__ __forceinline__ Moments joined(const Moments& a, const Moments& b) {
    const float count = a.count + b.count;
    if (count == 0.0f) {
        return a;
    }
    const float share = b.count / count, delta = b.mean - a.mean;
    return {count, fmaf(delta, share, a.mean), a.spread + fmaf(delta * delta, a.count * share, b.spread)};
}

/// What a thread keeps of N channels while it meets their values (as stored: rounded<T>): sums around the first value.
template <int N>
struct ShiftedSums {
    Floats<N> center = splat<N>(0.0f), first = splat<N>(0.0f), second = splat<N>(0.0f);

    /// Call once, with the first values, before others are added. Whether these are added too makes no difference.
    __device__ __forceinline__ void start(const Floats<N>& values) { center = values; }
    __device__ __forceinline__ void add(const Floats<N>& values) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const float distance = values[i] - center[i];
            first[i] += distance;
            second[i] = fmaf(distance, distance, second[i]);
        }
    }
    /// Channel i's statistics after `count` values.
    __device__ __forceinline__ Moments moments(int i, float count) const {
        if (count == 0.0f) {
            return {0.0f, 0.0f, 0.0f};
        }
        const float offset = first[i] / count;
        return {count, center[i] + offset, not_negative(fmaf(-offset, first[i], second[i]))};
    }
};

// ---- a warp, a block

/// The sum over the warp's 32 lanes, in all of them, by the same tree every time.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        value += __shfl_xor_sync(0xFFFFFFFFu, value, bits);
    }
    return value;
}

/// The sum over a block of `kThreads` threads (a multiple of 32, along x), in all of them. Every thread calls it; a
/// second call needs a barrier before it.
template <int kThreads>
__device__ __forceinline__ float block_sum(float value) {
    static_assert(kThreads % 32 == 0 && kThreads <= 1024);
    constexpr int kWarps = kThreads / 32;
    SIMT_SHARED(float, of_warps, [kWarps]);
    const int thread = static_cast<int>(threadIdx.x);
    value = warp_sum(value);
    if (thread % 32 == 0) {
        of_warps[thread / 32] = value;
    }
    __syncthreads();  // every warp's sum is there
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kWarps; ++i) {
        sum += of_warps[i];
    }
    return sum;
}

// ---- the second stage (reduce.cu). `partials` is parts x 2 x c; `parts` >= 1.

/// How many rows the parts have: each `size`, the last what is left of `rows`.
struct RowsPerPart {
    std::int64_t size;
    std::int64_t rows;
};

/// mean[c] and biased var[c] from parts' means and spreads. Part 0 has rows.
void finish_statistics(float* mean, float* var, const float* partials, int parts, RowsPerPart rows, int c,
                       Stream stream);
/// The same where parts differ: part i has part_rows[i] rows (device memory), which may be 0; then its figures are not
/// read as more than finite numbers.
void finish_statistics(float* mean, float* var, const float* partials, int parts, const float* part_rows, int c,
                       Stream stream);

/// first[c] = sum of the parts' first figures; second[c] likewise, times factor[c] (1 where factor is null). second may
/// be null.
void finish_sums(float* first, float* second, const float* factor, const float* partials, int parts, int c,
                 Stream stream);

/// The same for one figure per part: partials is parts x n, sum is n.
void finish_sum(float* sum, const float* partials, int parts, std::int64_t n, Stream stream);

/// Bytes of these; `counted`: parts differ. finish_sums with a factor.
Traffic finish_statistics_traffic(int parts, bool counted, int c);
Traffic finish_sums_traffic(int parts, int c);
Traffic finish_sum_traffic(int parts, std::int64_t n);

}  // namespace cutis::cuda
