// The whole training step of MobileNetV2: forward, loss, backward, SGD with momentum.
//
//   bench_step [Google Benchmark's options]      fused and plain, 224 px / batch 16 and 96 px / batch 32
//   bench_step --serve BATCH SIZE [THREADS]      one fused step per line on stdin, its milliseconds as a line on
//   stdout: for
//                                                benchmarks that take turns with a peer (bench/peers/pytorch_step.py)

#include <benchmark/benchmark.h>
#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "engine/ops.h"
#include "kernels/isa.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "layers/optimizer.h"
#include "models/model.h"

namespace {

using namespace cutis;

class TrainingStep {
  public:
    TrainingStep(int batch, int size, bool fused)
        : model_(make_model("mobilenet_v2", ModelOptions{})),
          optimizer_(OptimizerConfig{.weight_decay = 1e-4f}, {{model_->parts().parameters, 0.01f}}),
          images_(Tensor::empty({batch, size, size, 3})),
          labels_(Tensor::empty({batch}, DType::i32)) {
        PhiloxStream random(1, RandomPurpose::test);
        for (std::int64_t i = 0; i < images_.elements(); ++i) {
            images_.data()[i] = random.normal();
        }
        for (int i = 0; i < batch; ++i) {
            labels_.data<std::int32_t>()[i] = i % 7;
        }
        context_.training = true;
        context_.fused = fused;
    }

    float run() {
        Variable loss = cross_entropy(model_->forward(Variable(images_), context_), labels_);
        const float value = *std::as_const(loss).value().data();
        loss.backward();
        optimizer_.step(1.0);
        optimizer_.clear_gradients();
        ++context_.step;
        return value;
    }

  private:
    std::unique_ptr<Model> model_;
    Optimizer optimizer_;
    Tensor images_, labels_;
    ForwardContext context_;
};

void step(benchmark::State& state) {
    const int batch = static_cast<int>(state.range(0)), size = static_cast<int>(state.range(1));
    release_cached_memory();
    TrainingStep training(batch, size, state.range(2) != 0);
    training.run();
    for (auto _ : state) {
        benchmark::DoNotOptimize(training.run());
    }
    state.counters["images/s"] =
        benchmark::Counter(static_cast<double>(state.iterations() * batch), benchmark::Counter::kIsRate);
    state.counters["peak MB"] = static_cast<double>(cpu_memory_use().peak_in_use) / 1e6;
}
BENCHMARK(step)
    ->ArgNames({"batch", "size", "fused"})
    ->Args({16, 224, 1})
    ->Args({16, 224, 0})
    ->Args({32, 96, 1})
    ->Args({32, 96, 0})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->Repetitions(5)
    ->ReportAggregatesOnly();

int serve(int batch, int size) {
    TrainingStep training(batch, size, true);
    training.run();
    for (std::string line; std::getline(std::cin, line);) {
        const auto begin = std::chrono::steady_clock::now();
        training.run();
        const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
        std::printf("%.4f\n", taken.count());
        std::fflush(stdout);
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    // As the program does: blocks that libraries allocate per call stay with the process.
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    if (argc >= 4 && std::string_view(argv[1]) == "--serve") {
        if (argc > 4) {
            set_thread_count(std::atoi(argv[4]));
        }
        return serve(std::atoi(argv[2]), std::atoi(argv[3]));
    }
    benchmark::AddCustomContext("instruction_set", std::string(isa_name(active_isa())));
    benchmark::AddCustomContext("threads", std::to_string(thread_count()));
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        return 1;
    }
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
