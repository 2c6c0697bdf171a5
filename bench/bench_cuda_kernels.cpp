// The CUDA kernels of training steps, one by one, on MobileNetV2's shapes and AlexNet's: microseconds, GB/s of the
// bytes that must move, and percent of the bandwidth that a copy reaches in the same process.
//
//   bench_cuda_kernels [--batch=N,N..] [--smoke] [--once] [Google Benchmark's flags, as in
//   --benchmark_filter=depthwise]
//
// A case is named op.form/type/shape/batch. Its calls are recorded in a CUDA graph, as a training step's are, so
// that what is timed is the GPU's work and not the CPU's launches; the time is the graph's, between two events, over
// its number of calls.
//   us        cold: calls take turns among so many sets of arrays that the second-level cache never holds what comes
//             next; the median of several graphs, with the fastest and the slowest beside it
//   us_warm   one set again and again, where it fits in that cache
//   vendor_us, vendor_us_min, vendor_us_max, vendor_us_warm: the same call by the vendor's library, where it has it:
//   graphs
//             of both take turns; ratio: vendor_us / us
//
// --smoke: a small network's shapes and few calls, for the build that runs kernels on the CPU; its times say nothing.
// --once: every case is called once, without a graph or a clock: for a profiler.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/cuda_cases.h"
#include "bench/program.h"
#include "engine/cuda_device.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/launch.h"

namespace {

using namespace cutis;
using namespace cutis::bench;

struct Options {
    std::vector<int> batches;
    bool smoke = false, once = false;
};

struct Machine {
    std::size_t cache;         // bytes, second level
    double copied_per_second;  // bytes read and written by a copy of arrays far larger than the cache
};

constexpr std::size_t kMostSets = 256;
constexpr double kGraphSeconds = 2e-3;  // what one timed graph should take
constexpr int kGraphs = 15;

std::size_t cache_bytes() {
#ifdef CUTIS_WITH_SIMT
    return 64 * 1024;  // none there; as small as the shapes
#else
    int bytes = 0;
    cuda::check(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, 0), "second-level cache");
    return static_cast<std::size_t>(bytes);
#endif
}

/// Seconds of what is launched in between, by the GPU's clock.
template <class Work>
double seconds_of(Work&& work) {
    CudaEvent begin, end;
    begin.record(gpu());
    work();
    end.record(gpu());
    end.wait();
    return 1e-3 * static_cast<double>(CudaEvent::elapsed(begin, end));
}

/// The faster of the driver's copy and a kernel's, over arrays of eight times the cache.
double copy_bandwidth(std::size_t cache, int repeats) {
    const auto n = static_cast<std::int64_t>(8 * cache / sizeof(float));
    Arrays arrays;
    const Tensor x = arrays.input(n);
    Tensor y = arrays.output(n);
    double best = 0.0;
    for (int i = 0; i < repeats; ++i) {
        const double by_kernel = seconds_of([&] { cuda::scale(y.data(), x.data(), 1.0f, n, stream_of(gpu())); });
        const double by_driver = seconds_of([&] { copy_bytes(y.raw(), gpu(), x.raw(), gpu(), y.bytes()); });
        if (i > 0) {  // the first loads the kernel
            best = std::max(best, arrays.bytes() / std::min(by_kernel, by_driver));
        }
    }
    return best;
}

/// How many sets of arrays it takes for the cache to have lost a set when its turn comes again, within reason: what is
/// smaller than a 128th of the cache never leaves it, and a launch takes longer than its bytes.
std::size_t sets_for_cold(double bytes, std::size_t cache) {
    const double wanted = 2.0 * static_cast<double>(cache) / bytes;
    return wanted <= 1.0 ? 1 : std::min(kMostSets, static_cast<std::size_t>(std::ceil(wanted)) + 1);
}

/// Microseconds per call, sorted: the least, the median and the largest of several graphs.
struct Times {
    std::vector<double> sorted;
    double median() const { return sorted[sorted.size() / 2]; }
};

/// Of graphs in which the sets take turns; one kind of graph for each of the calls, whose launches take turns.
using Call = std::function<void()> PreparedCall::*;
std::vector<Times> microseconds(const std::vector<PreparedCall>& sets, std::size_t turns, int graphs,
                                const std::vector<Call>& calls) {
    std::vector<std::unique_ptr<CudaGraph>> recorded;
    for (const Call call : calls) {
        recorded.push_back(std::make_unique<CudaGraph>(gpu(), [&] {
            for (std::size_t i = 0; i < turns * sets.size(); ++i) {
                (sets[i % sets.size()].*call)();
            }
        }));
        recorded.back()->launch();
    }
    synchronize(gpu());
    std::vector<Times> times(calls.size());
    for (int i = 0; i < graphs; ++i) {
        for (std::size_t k = 0; k < calls.size(); ++k) {
            times[k].sorted.push_back(1e6 * seconds_of([&] { recorded[k]->launch(); }) /
                                      static_cast<double>(turns * sets.size()));
        }
    }
    for (Times& one : times) {
        std::sort(one.sorted.begin(), one.sorted.end());
    }
    return times;
}

/// Whether the vendor's library has the call; where it is not installed, the case's label says so.
bool runs_by_vendor(::benchmark::State& state, const PreparedCall& call) {
    if (!call.run_vendor) {
        return false;
    }
    try {
        call.run_vendor();  // finds its fastest engine
        return true;
    } catch (const Error& error) {
        state.SetLabel(error.what());
        return false;
    }
}

void measure(::benchmark::State& state, const CudaCase& timed, const Machine& machine, bool smoke) {
    std::vector<PreparedCall> sets{timed.make()};
    const double bytes = sets.front().bytes, flops = sets.front().flops;
    sets.front().run();  // loads kernels, and lets libraries make their plans
    synchronize(gpu());
    std::vector<Call> kinds{&PreparedCall::run};
    if (runs_by_vendor(state, sets.front())) {
        kinds.push_back(&PreparedCall::run_vendor);
    }
    const bool vendor = kinds.size() > 1;
    const double once = smoke ? kGraphSeconds : seconds_of([&] { sets.front().run(); });
    const double calls = std::clamp(kGraphSeconds / std::max(once, 1e-7), 1.0, 500.0);
    const auto turns = [&] { return std::max<std::size_t>(1, static_cast<std::size_t>(calls) / sets.size()); };
    const int graphs = smoke ? 1 : kGraphs;
    if (bytes <= static_cast<double>(machine.cache)) {
        const std::vector<Times> warm = microseconds(sets, turns(), graphs, kinds);
        state.counters["us_warm"] = warm[0].median();
        if (vendor) {
            state.counters["vendor_us_warm"] = warm[1].median();
        }
    }
    while (sets.size() < (smoke ? 2 : sets_for_cold(bytes, machine.cache))) {
        sets.push_back(timed.make());
        for (const Call call : kinds) {
            (sets.back().*call)();  // a library's plan may depend on where the arrays lie
        }
    }
    synchronize(gpu());
    std::vector<Times> times;
    for (auto _ : state) {
        times = microseconds(sets, turns(), graphs, kinds);
        state.SetIterationTime(1e-6 * std::max(times[0].median(), 1e-6));
    }
    const double median = times[0].median();
    state.counters["us"] = median;
    state.counters["us_min"] = times[0].sorted.front();
    state.counters["us_max"] = times[0].sorted.back();
    if (vendor) {
        state.counters["vendor_us"] = times[1].median();
        state.counters["vendor_us_min"] = times[1].sorted.front();
        state.counters["vendor_us_max"] = times[1].sorted.back();
        state.counters["ratio"] = times[1].median() / median;
    }
    state.counters["bytes"] = bytes;
    state.counters["flops"] = flops;
    state.counters["GB/s"] = 1e-3 * bytes / median;
    state.counters["%copy"] = 1e8 * bytes / median / machine.copied_per_second;
    state.counters["TFLOP/s"] = 1e-6 * flops / median;
    state.counters["sets"] = static_cast<double>(sets.size());
}

void call_once(::benchmark::State& state, const CudaCase& timed) {
    const PreparedCall call = timed.make();
    for (auto _ : state) {
        call.run();
        synchronize(gpu());
        state.SetIterationTime(1e-12);
    }
}

std::string version_text(int version) {
    return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

int run(int argc, char** argv) {
    Options options;
    options.smoke = take_flag(argc, argv, "--smoke");
    options.once = take_flag(argc, argv, "--once");
    options.batches = take_batches(argc, argv, options.smoke ? 2 : 256);
    take_benchmark_flags(argc, argv);
    require(cuda_device_count() > 0, "no GPU was found (is its driver installed?)");
    const CudaDeviceInfo info = cuda_device_info(0);
    int driver = 0, runtime = 0;
    cuda::check(cudaDriverGetVersion(&driver), "driver");
    cuda::check(cudaRuntimeGetVersion(&runtime), "runtime");
    Machine machine{cache_bytes(), 0.0};
    machine.copied_per_second = copy_bandwidth(machine.cache, options.smoke ? 2 : 20);
    const auto context = [](const char* key, const std::string& value) { ::benchmark::AddCustomContext(key, value); };
    context("cuda", cuda_mode());
    context("device", info.name);
    context("compute_capability", fmt::format("{}.{}", info.major, info.minor));
    context("multiprocessors", std::to_string(info.multiprocessors));
    context("cache_bytes", std::to_string(machine.cache));
    context("cuda_driver", version_text(driver));
    context("cuda_runtime", version_text(runtime));
    context("copy_gb_per_s", fmt::format("{:.1f}", 1e-9 * machine.copied_per_second));
    context("smoke", options.smoke ? "true" : "false");

    for (const int batch : options.batches) {
        const Workload workload = options.smoke ? Workload{batch, 32, 0.1f} : Workload{batch, 224, 1.0f};
        for (const auto cases : {depthwise_cases, matrix_cases, batchnorm_cases, lstm_cases, other_cases}) {
            for (const CudaCase& timed : cases(workload)) {
                const std::string name = fmt::format("{}/{}/{}/n{}", timed.op, timed.type, timed.shape, batch);
                add_timed_case(name, ::benchmark::kMicrosecond, [=](::benchmark::State& state) {
                    options.once ? call_once(state, timed) : measure(state, timed, machine, options.smoke);
                });
            }
        }
    }
    return run_cases();
}

}  // namespace

int main(int argc, char** argv) {
    return cutis::bench::guarded("bench_cuda_kernels", run, argc, argv);
}
