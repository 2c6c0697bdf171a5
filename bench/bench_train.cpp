// Whole training steps by our kernels and by the vendor's library behind the same calls (kernels/backend.h), which take
// turns in one process: forward, loss, backward, SGD with momentum.
//
//   bench_train [--models=NAME,..] [--shapes=BATCHxSIZE,..] [--device=cpu|cuda] [--precision=fp32|tf32|bf16] [--smoke]
//               [Google Benchmark's flags]
//   bench_train --serve MODEL BATCH SIZE [THREADS] [--device D] [--precision P] [--backend native|vendor]
//
// A case is named training_step/model/precision/size/batch: microseconds of ours and of the vendor's, medians over
// rounds of one step each, with the least and the greatest; the ratio is taken round by round. Without models: all of
// the table. --serve: one step per line on stdin, its milliseconds as a line on stdout, for peers in another process
// (bench/peers). --smoke: narrow networks, two images and one round; its times say nothing.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bench/program.h"
#include "bench/training_step.h"
#include "bench/turns.h"
#include "engine/cuda_device.h"
#include "engine/on_device.h"
#include "engine/storage.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "kernels/parallel.h"
#include "models/model.h"
#include "tools/build_info.h"
#include "tools/device_choice.h"

namespace {

using namespace cutis;
using namespace cutis::bench;

struct Shape2 {
    int batch, size;
};

struct Settings {
    std::vector<std::string> models;
    std::vector<Shape2> shapes;
    Device device;
    std::string precision = "fp32";
    bool smoke = false;
};

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
        if (c == separator) {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    return parts;
}

void measure(::benchmark::State& state, const StepOptions& options, bool smoke) {
    const bool has_vendor = on::has_vendor(options.device);
    release_cached_memory();
    const std::unique_ptr<TrainingStep> ours = make_training_step(options);
    std::unique_ptr<TrainingStep> vendor;
    if (has_vendor) {
        StepOptions by_vendor = options;
        by_vendor.backend = Backend::vendor;
        vendor = make_training_step(by_vendor);
    }
    Turns turns;
    for (auto _ : state) {
        turns = take_turns([&] { ours->run(); },
                           vendor ? std::function<void()>([&] { vendor->run(); }) : std::function<void()>(),
                           // two steps before the clock: a GPU records its graph in the second
                           smoke ? TurnOptions{.warm_up = 2, .least = 1, .most = 1, .seconds = 0}
                                 : TurnOptions{.warm_up = 3, .least = 5, .most = 21, .seconds = 20});
        state.SetIterationTime(turns.ours.median());
    }
    report(state, turns);
    state.counters["flops"] = ours->flops();
    state.counters["images/s"] = options.batch / turns.ours.median();
}

int serve_steps(std::vector<std::string> arguments) {
    std::vector<char*> pointers{nullptr};
    for (std::string& argument : arguments) {
        pointers.push_back(argument.data());
    }
    int argc = static_cast<int>(pointers.size());
    StepOptions options;
    options.device = choose_device(take_value(argc, pointers.data(), "--device").value_or("cpu"));
    options.precision = take_value(argc, pointers.data(), "--precision").value_or("fp32");
    options.backend = choose_backend(take_value(argc, pointers.data(), "--backend").value_or("native"), options.device);
    require(argc == 4 || argc == 5, "--serve: MODEL BATCH SIZE [THREADS] was expected");
    options.model = pointers[1];
    options.batch = whole_number(pointers[2], "--serve MODEL BATCH");
    options.size = whole_number(pointers[3], "--serve MODEL BATCH SIZE");
    if (argc == 5) {
        set_thread_count(whole_number(pointers[4], "--serve MODEL BATCH SIZE THREADS"));
    }
    const std::unique_ptr<TrainingStep> step = make_training_step(options);
    step->run();
    return serve([&] { step->run(); });
}

Settings settings_of(int& argc, char** argv) {
    Settings settings;
    settings.smoke = take_flag(argc, argv, "--smoke");
    settings.device = choose_device(take_value(argc, argv, "--device").value_or("auto"));
    settings.precision = take_value(argc, argv, "--precision").value_or("fp32");
    const bool gpu = settings.device.kind == DeviceKind::cuda;
    const std::string shapes = settings.smoke ? "2x64" : gpu ? "64x224,256x224" : "16x224";
    for (const std::string& shape : split(take_value(argc, argv, "--shapes").value_or(shapes), ',')) {
        const std::vector<std::string> numbers = split(shape, 'x');
        require(numbers.size() == 2, "--shapes: '{}' is not BATCHxSIZE", shape);
        settings.shapes.push_back({whole_number(numbers[0], "--shapes"), whole_number(numbers[1], "--shapes")});
    }
    if (const auto models = take_value(argc, argv, "--models")) {
        settings.models = split(*models, ',');
    } else {
        for (const ModelEntry& entry : model_table()) {
            settings.models.emplace_back(entry.name);
        }
    }
    return settings;
}

int run(int argc, char** argv) {
    keep_freed_memory();
    if (auto arguments = take_serve(argc, argv)) {
        return serve_steps(std::move(*arguments));
    }
    const Settings settings = settings_of(argc, argv);
    take_benchmark_flags(argc, argv);
    add_context(settings.device, settings.smoke);
    add_vendor_context(settings.device);
    for (const std::string& model : settings.models) {
        const int least = make_model(model, {})->least_size();
        for (const Shape2& shape : settings.shapes) {
            const StepOptions options{.model = model,
                                      .batch = shape.batch,
                                      .size = std::max(shape.size, least),
                                      .device = settings.device,
                                      .precision = settings.precision,
                                      .width = settings.smoke ? 0.1f : 1.0f};
            add_timed_case(
                fmt::format("training_step/{}/{}/{}px/n{}", model, settings.precision, options.size, options.batch),
                ::benchmark::kMillisecond, [=](::benchmark::State& state) { measure(state, options, settings.smoke); });
        }
    }
    return run_cases();
}

}  // namespace

int main(int argc, char** argv) {
    return cutis::bench::guarded("bench_train", run, argc, argv);
}
