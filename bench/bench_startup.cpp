// From the start of a fresh process to the end of its first training step, as `cutis train` takes it: the same code,
// asked to stop behind step 1. On a GPU the driver's context and the loading of kernels are part of it.
//
//   bench_startup [--model NAME] [--device cpu|cuda] [--starts 11] [--smoke] [Google Benchmark's flags]
//   bench_startup --serve MODEL BATCH SIZE [THREADS] [--device cuda]
//       one start per line on stdin, its milliseconds as a line on stdout (bench/peers/pytorch_startup.py)
//
// The data set is a packed file of embedded photographs; it and the program are in the system's cache, since a start
// that is not counted comes first. Counters: us and its least and greatest; us_to_main, until the program's first line
// (libraries have been loaded); images per step.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "bench/program.h"
#include "bench/sample_images.h"
#include "kernels/error.h"
#include "tests/support/temp_dir.h"
#include "tools/device_choice.h"
#include "tools/trainer.h"

namespace {

using namespace cutis;
using namespace cutis::bench;
using Clock = std::chrono::steady_clock;  // one for all processes, on Linux

struct Settings {
    std::string model = "mobilenet_v2", device = "cpu";
    int batch = 32, size = 224, threads = 0, starts = 11;
    float width = 1.0f;
};

constexpr std::string_view kAnswer = "bench_startup: ";

std::int64_t ticks() {
    return Clock::now().time_since_epoch().count();
}

/// The process that is measured: trains, and says when it was in main and when its first step had been taken.
int start_here(char** argv, std::int64_t entered) {
    TrainConfig config;
    config.data = argv[2];
    config.out = argv[3];
    config.model = argv[4];
    config.device = argv[5];
    config.batch_size = whole_number(argv[6], "batch");
    config.threads = whole_number(argv[7], "threads", 0);
    config.width = std::stof(argv[8]);
    config.precision = config.device == "cuda" ? "bf16" : "fp32";
    config.split = "all";
    config.steps = 2;
    train(config, false, [&](std::int64_t) {
        fmt::print("{}{} {}\n", kAnswer, entered, ticks());
        return true;
    });
    return 0;
}

struct Start {
    double milliseconds_to_main, milliseconds;
};

/// One start; throws Error with what the process wrote where it fails.
Start measure_start(const Settings& settings, const std::filesystem::path& data, const std::filesystem::path& out) {
    std::filesystem::remove_all(out);
    std::vector<std::string> words{"bench_startup",
                                   "--child",
                                   data.string(),
                                   out.string(),
                                   settings.model,
                                   settings.device,
                                   std::to_string(settings.batch),
                                   std::to_string(settings.threads),
                                   fmt::format("{}", settings.width)};
    std::vector<char*> arguments;
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    int pipe_ends[2];
    require(pipe2(pipe_ends, O_CLOEXEC) == 0, "pipe: {}", std::strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
    pid_t process = 0;
    const std::int64_t begin = ticks();
    const int error = posix_spawn(&process, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_ends[1]);
    std::string said;
    char block[4096];
    for (ssize_t count; (count = read(pipe_ends[0], block, sizeof block)) > 0;) {
        said.append(block, static_cast<std::size_t>(count));
    }
    close(pipe_ends[0]);
    require(error == 0, "posix_spawn: {}", std::strerror(error));
    int status = 0;
    waitpid(process, &status, 0);
    const std::size_t at = said.find(kAnswer);
    long long entered = 0, stepped = 0;
    require(status == 0 && at != std::string::npos &&
                std::sscanf(said.c_str() + at + kAnswer.size(), "%lld %lld", &entered, &stepped) == 2,
            "a start of {} on {} took no step; it said:\n{}", settings.model, settings.device, said);
    const auto since_begin = [&](std::int64_t then) {
        return std::chrono::duration<double, std::milli>(Clock::duration(then - begin)).count();
    };
    return {since_begin(entered), since_begin(stepped)};
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

void measure(::benchmark::State& state, const Settings& settings, const std::filesystem::path& data,
             const std::filesystem::path& out) {
    measure_start(settings, data, out);
    std::vector<double> whole, to_main;
    for (auto _ : state) {
        for (int i = 0; i < settings.starts; ++i) {
            const Start start = measure_start(settings, data, out);
            whole.push_back(start.milliseconds);
            to_main.push_back(start.milliseconds_to_main);
        }
        state.SetIterationTime(1e-3 * median(whole));
    }
    state.counters["us"] = 1e3 * median(whole);
    state.counters["us_min"] = 1e3 * *std::min_element(whole.begin(), whole.end());
    state.counters["us_max"] = 1e3 * *std::max_element(whole.begin(), whole.end());
    state.counters["us_to_main"] = 1e3 * median(to_main);
    state.counters["images"] = settings.batch;
}

void make_data(const Settings& settings, const std::filesystem::path& path) {
    write_pack(path, read_jpegs(sample_folder()), 2 * settings.batch, settings.size);
}

int run(int argc, char** argv) {
    const std::int64_t entered = ticks();
    if (argc == 9 && std::string_view(argv[1]) == "--child") {
        return start_here(argv, entered);
    }
    const testing::TempDir scratch;
    const std::filesystem::path data = scratch / "sample.cutis", out = scratch / "run";
    Settings settings;
    settings.device = take_value(argc, argv, "--device").value_or(settings.device);
    if (const auto arguments = take_serve(argc, argv)) {
        require(arguments->size() >= 3, "--serve: MODEL BATCH SIZE [THREADS] are wanted");
        settings.model = (*arguments)[0];
        settings.batch = whole_number((*arguments)[1], "--serve: BATCH");
        settings.size = whole_number((*arguments)[2], "--serve: SIZE");
        settings.threads = arguments->size() > 3 ? whole_number((*arguments)[3], "--serve: THREADS") : 0;
        make_data(settings, data);
        return serve_lines([&] { return measure_start(settings, data, out).milliseconds; });
    }
    const bool smoke = take_flag(argc, argv, "--smoke");
    if (smoke) {
        settings.batch = 2;
        settings.size = 32;
        settings.starts = 1;
        settings.width = 0.1f;
    }
    settings.model = take_value(argc, argv, "--model").value_or(settings.model);
    if (const auto starts = take_value(argc, argv, "--starts")) {
        settings.starts = whole_number(*starts, "--starts");
    }
    take_benchmark_flags(argc, argv);
    add_context(choose_device(settings.device), smoke);  // on a GPU this process keeps the driver awake
    make_data(settings, data);
    add_timed_case(fmt::format("startup/{}/{}/{}px/n{}", settings.model, settings.device == "cuda" ? "bf16" : "fp32",
                               settings.size, settings.batch),
                   ::benchmark::kMillisecond, [&](::benchmark::State& state) { measure(state, settings, data, out); });
    return run_cases();
}

}  // namespace

int main(int argc, char** argv) {
    return cutis::bench::guarded("bench_startup", run, argc, argv);
}
