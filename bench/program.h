#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device.h"

/// What the benchmark programs have in common: flags of their own beside Google Benchmark's, the context that stands in
/// their JSON, and taking turns with a peer.

namespace cutis::bench {

/// Takes "--name" out of the arguments; whether it was there.
bool take_flag(int& argc, char** argv, std::string_view name);
/// Takes "--name VALUE" or "--name=VALUE" out of the arguments. Throws Error where the value is missing.
std::optional<std::string> take_value(int& argc, char** argv, std::string_view name);
/// A whole number of at least `least`; throws Error naming `what` otherwise.
int whole_number(std::string_view text, std::string_view what, int least = 1);

/// Batch sizes of "--batch=N,N..", or `otherwise` alone.
std::vector<int> take_batches(int& argc, char** argv, int otherwise);

/// Arguments that are left behind "--serve", which is taken out with them; nothing where it is not there.
std::optional<std::vector<std::string>> take_serve(int& argc, char** argv);

/// Google Benchmark's own flags, behind ours. Throws Error where one is left that nobody knows.
void take_benchmark_flags(int& argc, char** argv);
/// A case that takes its time itself and states it (SetIterationTime), once.
void add_timed_case(const std::string& name, ::benchmark::TimeUnit unit,
                    std::function<void(::benchmark::State&)> measure);
/// Runs the cases that were added; for `return run_cases();` at the end of a program.
int run_cases();

/// Context of Google Benchmark's JSON, as `cutis bench-report` reads it: device, threads, instruction set, revision,
/// how CUDA kernels were compiled, and whether this is a dry run, whose times say nothing.
void add_context(Device device, bool smoke);

/// The vendor's library that stands beside ours on `device`, where this build has one.
void add_vendor_context(Device device);

/// Blocks that libraries allocate per call stay with the process, as in the program itself.
void keep_freed_memory();

namespace detail {
bool next_line();
void answer(double milliseconds);
}  // namespace detail

/// A program's main: what `run` returns, or 1 with one line on stderr for what it throws.
int guarded(const char* name, int (*run)(int argc, char** argv), int argc, char** argv);

/// What `--serve` does: each line on stdin asks for one measurement, whose milliseconds, from `measure()`, follow as a
/// line on stdout. So a peer in another process takes turns with ours (bench/peers/turns.py). Ends with stdin.
int serve_lines(auto&& measure) {
    while (detail::next_line()) {
        detail::answer(measure());
    }
    return 0;
}

/// `serve_lines` of the time that `work()` takes.
int serve(auto&& work) {
    return serve_lines([&] {
        const auto begin = std::chrono::steady_clock::now();
        work();
        return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    });
}

}  // namespace cutis::bench
