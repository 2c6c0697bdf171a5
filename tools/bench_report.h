#pragma once

#include <span>
#include <string>

#include "tools/bench_results.h"

namespace cutis {

/// One HTML page, self-contained and without a script: for each device a summary, a roofline plot with our kernels and
/// the peer's as points, and a table, the worst ratio first and what has no peer behind it, the furthest from its roof
/// first. Runs on one device against one peer share a section.
std::string bench_page(std::span<const BenchRun> runs);

/// What two runs of one program have in common, side by side: the slowest change first.
std::string bench_comparison_page(const BenchRun& before, const BenchRun& after, const BenchComparison& comparison,
                                  double tolerance);

/// The same in a terminal: a summary for each device and its `worst` first lines.
std::string bench_text(std::span<const BenchRun> runs, std::size_t worst);
std::string bench_comparison_text(const BenchComparison& comparison);

}  // namespace cutis
