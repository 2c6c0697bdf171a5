#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tools/metrics.h"

namespace cutis {

/// A figure that was taken several times; NaN where it was not taken.
struct BenchSpread {
    double median = kUndefined, least = kUndefined, most = kUndefined;
    bool known() const { return median == median; }
};

/// One case of a benchmark: one operation or step on one shape.
struct BenchCase {
    std::string name;    ///< "depthwise_forward/fp32/112x112x96s2/n16": the part before the first '/' is the operation
    std::string type;    ///< "fp32", "tf32", "bf16" where the name says so, else ""
    BenchSpread us;      ///< microseconds of ours
    BenchSpread vendor;  ///< microseconds of the vendor's, on the same arrays in the same process
    BenchSpread ratio;   ///< the vendor's time over ours, taken pair by pair: above 1 ours is the faster one
    double us_warm = kUndefined;  ///< of ours with everything in the cache, where that was measured apart
    double bytes = 0, flops = 0;  ///< of one call, as the operation's definition has it; 0: not counted

    /// The operation: the name up to its first '/'.
    std::string_view operation() const;
};

/// What one program measured on one device.
struct BenchRun {
    std::string file;
    std::string device;        ///< what the cases ran on
    std::string peer;          ///< who stands beside it: "oneDNN 2.6.3", "cuDNN 9.2"; "" where nobody does
    std::string date, build;   ///< as the file has them
    bool meaningless = false;  ///< a dry run, or kernels on the CPU in a GPU's place: its times say nothing
    double copy_bytes_per_second = kUndefined;                  ///< ceilings that the same process measured
    std::vector<std::pair<std::string, double>> flop_ceilings;  ///< FLOP/s by type: {"fp32", 1.4e11}
    std::vector<BenchCase> cases;                               ///< in the order of the file

    /// FLOP/s that products of `type` reach; NaN where it was not measured.
    double flops_per_second(std::string_view type) const;
    /// Seconds that the case takes at least under the ceilings; NaN where neither bytes nor ceilings are known.
    double least_seconds(const BenchCase& one) const;
    /// That in percent of what ours took: 100 is the roof.
    double roof_percent(const BenchCase& one) const;
};

/// Reads Google Benchmark's JSON. A case's time is its counter `us` (with us_min, us_max, us_warm) where there is one,
/// else the real time of its repetitions: median, least and greatest, or median and one standard deviation both ways
/// where only aggregates were kept. The vendor's are the counters vendor_us, vendor_us_min, vendor_us_max and ratio,
/// ratio_min, ratio_max; work is in the counters bytes and flops. Of the context are read: device (else the number of
/// threads and the instruction set), vendor, smoke, cuda, copy_gb_per_s and fp32_gflop_per_s (tf32, bf16 likewise).
/// Throws Error naming the file for what is no such JSON, and for a case without a time.
BenchRun read_bench_results(const std::filesystem::path& path);

/// exp of the mean logarithm of values above 0; NaN without any.
double geometric_mean(const std::vector<double>& values);

/// One case in two runs.
struct BenchChange {
    std::string name;
    BenchSpread before, after;   ///< microseconds
    double factor = kUndefined;  ///< after / before, of the medians: above 1 is slower
    enum class Verdict { slower, faster, within_spread } verdict = Verdict::within_spread;
};
struct BenchComparison {
    std::vector<BenchChange> changes;         ///< the slowest change first
    std::vector<std::string> gone, appeared;  ///< names of cases that only one of them has
};
/// A change counts where the two runs' ranges do not overlap and the medians differ by more than `tolerance` (0.03:
/// three percent).
BenchComparison compare_bench_results(const BenchRun& before, const BenchRun& after, double tolerance);

}  // namespace cutis
