#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cutis::cpu {

/// Sums over rows that several threads collect for one tensor of c channels: fp32 inside a block of rows (in the row
/// kernels), fp64 between blocks, threads joined in their order. Two figures per channel.
///
/// Statistics (mean, var) take squares around a center that each thread reads from the data; centers may differ, the
/// join corrects for it (Chan, Golub and LeVeque 1979).
class ChannelSums {
  public:
    ChannelSums(int threads, int c);

    /// Per-thread fp32 accumulators of the current block, c values each; zero at the start of a block.
    float* first(int thread) { return part(thread).block.data(); }
    float* second(int thread) { return part(thread).block.data() + c_; }
    bool has_center(int thread) const { return parts_[static_cast<std::size_t>(thread)].has_center; }
    /// The thread's center, copied from `row` (c values) at its first block and kept.
    const float* center(int thread, const float* row);
    /// Adds the block's accumulators to the thread's fp64 sums and clears them; `rows` is how many rows the block held.
    void end_block(int thread, std::int64_t rows);

    /// mean[c] and biased var[c] of everything seen (statistics), at least one row.
    void finish_statistics(float* mean, float* var) const;
    /// The plain sums: first[c], second[c] * factor[c] (factor may be null for 1; second may be null).
    void finish_sums(float* first, float* second, const float* factor) const;

  private:
    struct Part {
        std::vector<float> block;   // first, second
        std::vector<double> total;  // first, second
        std::vector<float> center;
        std::int64_t rows = 0;
        bool has_center = false;
    };
    Part& part(int thread) { return parts_[static_cast<std::size_t>(thread)]; }

    int c_;
    std::vector<Part> parts_;
};

/// sum[c] = the sum of x (rows x c) over its rows, on all kernel threads.
void sum_rows(float* sum, const float* x, std::int64_t rows, int c);

/// Rows of a tensor with c channels that fit in about 128 KiB: what a thread sums in fp32 before it goes to fp64.
std::int64_t rows_per_block(int c);

/// Whether a tensor of so many values is better stored past the caches: it will not be there any more when it is read.
bool too_large_to_cache(std::int64_t values);

}  // namespace cutis::cpu
