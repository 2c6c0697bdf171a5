// The CPU's operations by our kernels and by oneDNN's, which take turns on the same arrays: microseconds, GB/s,
// GFLOP/s, and the vendor's time over ours. Shapes are those of MobileNetV2 and AlexNet (224 px), and of an LSTM over
// MobileNetV2's last map.
//
//   bench_kernels [--batch=N,N..] [--smoke] [Google Benchmark's flags, as in --benchmark_filter=depthwise]
//
// A case is named op/fp32/shape/batch. "chain_" cases are several operations that ours joins into one and that the
// vendor's library runs one by one; all others are the same one operation. Times are medians over rounds of a few
// milliseconds each, with the least and the greatest; the ratio is taken round by round.
// `cutis bench-report` makes a page of --benchmark_out=FILE.json.
//
// --smoke: a small network's shapes and one short round; its times say nothing.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "bench/cpu_cases.h"
#include "bench/program.h"
#include "bench/turns.h"
#include "kernels/error.h"
#include "tools/roofline.h"

namespace {

using namespace cutis;
using namespace cutis::bench;

void measure(::benchmark::State& state, const CpuCase& timed, bool smoke) {
    const CpuPair pair = timed.make();
    Turns turns;
    for (auto _ : state) {
        turns = take_turns(pair.ours, pair.vendor,
                           smoke ? TurnOptions{.least = 1, .most = 1} : TurnOptions{.round_seconds = 4e-3});
        state.SetIterationTime(turns.ours.median());
    }
    report(state, turns);
    state.counters["bytes"] = pair.bytes;
    state.counters["flops"] = pair.flops;
    state.counters["GB/s"] = 1e-9 * pair.bytes / turns.ours.median();
    state.counters["GFLOP/s"] = 1e-9 * pair.flops / turns.ours.median();
}

int run(int argc, char** argv) {
    keep_freed_memory();
    const bool smoke = take_flag(argc, argv, "--smoke");
    const std::vector<int> batches = take_batches(argc, argv, smoke ? 2 : 16);
    take_benchmark_flags(argc, argv);
    add_context({}, smoke);
    add_vendor_context({});
    if (!smoke) {
        const Ceilings ceilings = measure_ceilings({}, "fp32");
        ::benchmark::AddCustomContext("copy_gb_per_s", fmt::format("{:.1f}", 1e-9 * ceilings.bytes_per_second));
        ::benchmark::AddCustomContext("fp32_gflop_per_s", fmt::format("{:.1f}", 1e-9 * ceilings.flops_per_second));
    }
    for (const int batch : batches) {
        const Workload workload = smoke ? Workload{batch, 32, 0.1f} : Workload{batch, 224, 1.0f};
        for (const auto cases : {convolution_cases, other_cases, lstm_cases}) {
            for (const CpuCase& timed : cases(workload)) {
                add_timed_case(fmt::format("{}/fp32/{}/n{}", timed.op, timed.shape, batch), ::benchmark::kMicrosecond,
                               [=](::benchmark::State& state) { measure(state, timed, smoke); });
            }
        }
    }
    return run_cases();
}

}  // namespace

int main(int argc, char** argv) {
    return cutis::bench::guarded("bench_kernels", run, argc, argv);
}
