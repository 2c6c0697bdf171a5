// A network's answer to one batch, in evaluation mode, fp32: images/s with nothing but the network in the time.
//
//   bench_inference [--device cpu|cuda] [--model NAME] [--smoke] [Google Benchmark's flags]
//   bench_inference --serve MODEL BATCH SIZE [THREADS] [--device cuda]
//       one batch per line on stdin, its milliseconds as a line on stdout (bench/peers/onnxruntime_infer.py)
//
// On a GPU the input lies in its memory already, and the time ends when the logits are there.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "bench/program.h"
#include "engine/autograd.h"
#include "engine/cuda_device.h"
#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "models/model.h"
#include "tools/device_choice.h"

namespace {

using namespace cutis;
using namespace cutis::bench;

class Inference {
  public:
    Inference(const std::string& model, int batch, int size, float width, Device device)
        : device_(device), model_(make_model(model, ModelOptions{.width = width})) {
        Tensor images = Tensor::empty({batch, size, size, 3});
        PhiloxStream random(1, RandomPurpose::test);
        for (std::int64_t i = 0; i < images.elements(); ++i) {
            images.data()[i] = random.normal();
        }
        model_->parts().move_to(device);
        images_ = images.to(device);
    }

    void run() {
        const NoGrad no_grad;
        const Variable logits = model_->forward(Variable(images_), ForwardContext{});
        synchronize(device_);
        ::benchmark::DoNotOptimize(logits);
    }

  private:
    Device device_;
    std::unique_ptr<Model> model_;
    Tensor images_;
};

void add_case(const std::string& model, int batch, int size, float width, Device device, bool smoke) {
    ::benchmark::RegisterBenchmark(fmt::format("inference/{}/fp32/{}px/n{}", model, size, batch).c_str(),
                                   [=](::benchmark::State& state) {
                                       Inference inference(model, batch, size, width, device);
                                       inference.run();
                                       for (auto _ : state) {
                                           inference.run();
                                       }
                                       state.counters["images/s"] =
                                           ::benchmark::Counter(static_cast<double>(state.iterations() * batch),
                                                                ::benchmark::Counter::kIsRate);
                                   })
        ->UseRealTime()
        ->Unit(::benchmark::kMillisecond)
        ->MinTime(smoke ? 1e-4 : 0.2)
        ->Repetitions(smoke ? 1 : 7);
}

int run(int argc, char** argv) {
    keep_freed_memory();
    const Device device = choose_device(take_value(argc, argv, "--device").value_or("cpu"));
    if (const auto arguments = take_serve(argc, argv)) {
        require(arguments->size() >= 3, "--serve: MODEL BATCH SIZE [THREADS] are wanted");
        if (arguments->size() > 3) {
            set_thread_count(whole_number((*arguments)[3], "--serve: THREADS"));
        }
        Inference inference((*arguments)[0], whole_number((*arguments)[1], "--serve: BATCH"),
                            whole_number((*arguments)[2], "--serve: SIZE"), 1.0f, device);
        inference.run();
        return serve([&] { inference.run(); });
    }
    const bool smoke = take_flag(argc, argv, "--smoke");
    const auto only = take_value(argc, argv, "--model");
    take_benchmark_flags(argc, argv);
    add_context(device, smoke);
    std::vector<std::string> models{"mobilenet_v2", "mobilenet_v2_lstm49", "alexnet", "resnet18"};
    if (only) {
        models = {*only};
    } else if (smoke) {
        models.resize(2);
    }
    for (const std::string& model : models) {
        for (const int batch : {1, smoke ? 2 : 32}) {
            add_case(model, batch, smoke ? 32 : 224, smoke ? 0.1f : 1.0f, device, smoke);
        }
    }
    return run_cases();
}

}  // namespace

int main(int argc, char** argv) {
    return cutis::bench::guarded("bench_inference", run, argc, argv);
}
