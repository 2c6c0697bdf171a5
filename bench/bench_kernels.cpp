// The kernels of MobileNetV2 on its own shapes (width 1, 224 px, batch 16 unless a flag says otherwise), one by one:
// time, GB/s of the floor that each header states, GFLOP/s.

#include <benchmark/benchmark.h>

#include <array>
#include <string>
#include <vector>

#include "engine/tensor.h"
#include "kernels/batchnorm.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/isa.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "kernels/pointwise.h"

namespace {

using namespace cutis;

constexpr int kBatch = 16;

Tensor noise(std::int64_t elements) {
    Tensor tensor = Tensor::empty({elements});
    PhiloxStream random(1, RandomPurpose::test);
    for (std::int64_t i = 0; i < elements; ++i) {
        tensor.data()[i] = random.uniform(-1.0f, 1.0f);
    }
    return tensor;
}

void report(benchmark::State& state, double bytes, double flops) {
    const auto iterations = static_cast<double>(state.iterations());
    state.counters["GB/s"] = benchmark::Counter(bytes * iterations * 1e-9, benchmark::Counter::kIsRate);
    state.counters["GFLOP/s"] = benchmark::Counter(flops * iterations * 1e-9, benchmark::Counter::kIsRate);
}

// Per-channel arrays of a batchnorm.
struct Norm {
    explicit Norm(int c)
        : mean(noise(c)),
          inv_std(Tensor::full({c}, 1.0f)),
          scale(Tensor::full({c}, 1.0f)),
          shift(noise(c)),
          dgamma(Tensor::zeros({c})),
          dbeta(Tensor::zeros({c})),
          a(noise(c)),
          b(noise(c)),
          d(noise(c)) {}
    Normalize normalize() const { return {scale.data(), shift.data(), Activation::relu6}; }
    NormalizeBackward backward() { return {mean.data(), inv_std.data(), dgamma.data(), dbeta.data()}; }
    GradientOnLoad on_load(const Tensor& y) const { return {y.data(), a.data(), b.data(), d.data()}; }
    Tensor mean, inv_std, scale, shift, dgamma, dbeta, a, b, d;
};

void pointwise_forward(benchmark::State& state) {
    const int side = static_cast<int>(state.range(0)), c = static_cast<int>(state.range(1)),
              k = static_cast<int>(state.range(2));
    const std::int64_t rows = std::int64_t{kBatch} * side * side;
    const Tensor x = noise(rows * c), w = noise(std::int64_t{c} * k);
    Tensor y = Tensor::empty({rows * k}), mean = Tensor::empty({k}), var = Tensor::empty({k});
    const Norm before(c);
    const Normalize normalize = before.normalize();
    const BatchStatistics statistics{mean.data(), var.data()};
    for (auto _ : state) {
        cpu::pointwise_forward(y.data(), x.data(), w.data(), &normalize, &statistics, rows, c, k);
    }
    report(state, 4.0 * static_cast<double>(rows * (c + k)), 2.0 * static_cast<double>(rows) * c * k);
}

void pointwise_backward(benchmark::State& state) {
    const int side = static_cast<int>(state.range(0)), c = static_cast<int>(state.range(1)),
              k = static_cast<int>(state.range(2));
    const std::int64_t rows = std::int64_t{kBatch} * side * side;
    const Tensor x = noise(rows * c), w = noise(std::int64_t{c} * k), g = noise(rows * k), y = noise(rows * k);
    Tensor dx = Tensor::empty({rows * c}), dw = Tensor::empty({std::int64_t{c} * k});
    Norm before(c), after(k);
    const Normalize normalize = before.normalize();
    const NormalizeBackward reduce = before.backward();
    const GradientOnLoad on_load = after.on_load(y);
    for (auto _ : state) {
        cpu::pointwise_backward(dx.data(), dw.data(), g.data(), &on_load, x.data(), &normalize, &reduce, nullptr,
                                w.data(), rows, c, k);
    }
    report(state, 4.0 * static_cast<double>(rows * (2 * k + 2 * c)), 4.0 * static_cast<double>(rows) * c * k);
}

void depthwise_forward(benchmark::State& state) {
    const DepthwiseShape s{kBatch, static_cast<int>(state.range(0)), static_cast<int>(state.range(0)),
                           static_cast<int>(state.range(1)), static_cast<int>(state.range(2))};
    const std::int64_t in = std::int64_t{s.n} * s.h * s.w * s.c, out = std::int64_t{s.n} * s.p() * s.q() * s.c;
    const Tensor x = noise(in), w = noise(9 * s.c);
    Tensor y = Tensor::empty({out}), mean = Tensor::empty({s.c}), var = Tensor::empty({s.c});
    const Norm before(s.c);
    const Normalize normalize = before.normalize();
    const BatchStatistics statistics{mean.data(), var.data()};
    for (auto _ : state) {
        cpu::depthwise_forward(y.data(), x.data(), w.data(), &normalize, &statistics, s);
    }
    report(state, 4.0 * static_cast<double>(in + out), 18.0 * static_cast<double>(out));
}

void depthwise_backward(benchmark::State& state) {
    const DepthwiseShape s{kBatch, static_cast<int>(state.range(0)), static_cast<int>(state.range(0)),
                           static_cast<int>(state.range(1)), static_cast<int>(state.range(2))};
    const std::int64_t in = std::int64_t{s.n} * s.h * s.w * s.c, out = std::int64_t{s.n} * s.p() * s.q() * s.c;
    const Tensor x = noise(in), w = noise(9 * s.c), g = noise(out), y = noise(out);
    Tensor dx = Tensor::empty({in}), dw = Tensor::empty({9 * s.c});
    Norm before(s.c), after(s.c);
    const Normalize normalize = before.normalize();
    const NormalizeBackward reduce = before.backward();
    const GradientOnLoad on_load = after.on_load(y);
    for (auto _ : state) {
        cpu::depthwise_backward(dx.data(), dw.data(), g.data(), &on_load, x.data(), &normalize, &reduce, w.data(), s);
    }
    report(state, 4.0 * static_cast<double>(2 * in + 2 * out), 36.0 * static_cast<double>(out));
}

void batchnorm_normalize(benchmark::State& state) {
    const int c = static_cast<int>(state.range(1));
    const std::int64_t rows = kBatch * state.range(0) * state.range(0);
    const Tensor y = noise(rows * c);
    Tensor z = Tensor::empty({rows * c});
    const Norm norm(c);
    for (auto _ : state) {
        cpu::batchnorm_normalize(z.data(), y.data(), norm.normalize(), nullptr, rows, c);
    }
    report(state, 8.0 * static_cast<double>(rows * c), 4.0 * static_cast<double>(rows * c));
}

void batchnorm_statistics(benchmark::State& state) {
    const int c = static_cast<int>(state.range(1));
    const std::int64_t rows = kBatch * state.range(0) * state.range(0);
    const Tensor y = noise(rows * c);
    Tensor mean = Tensor::empty({c}), var = Tensor::empty({c});
    for (auto _ : state) {
        cpu::batchnorm_statistics(mean.data(), var.data(), y.data(), rows, c);
    }
    report(state, 4.0 * static_cast<double>(rows * c), 4.0 * static_cast<double>(rows * c));
}

void stem(benchmark::State& state) {
    const ConvShape s{kBatch, 224, 224, 3, 32, 3, 3, 2, 1};
    const Tensor x = noise(std::int64_t{s.n} * s.h * s.w * s.c), w = noise(27 * 32);
    const std::int64_t out = std::int64_t{s.n} * s.p() * s.q() * s.k;
    Tensor y = Tensor::empty({out}), mean = Tensor::empty({s.k}), var = Tensor::empty({s.k});
    const BatchStatistics statistics{mean.data(), var.data()};
    for (auto _ : state) {
        cpu::conv_forward(y.data(), x.data(), w.data(), nullptr, s, &statistics);
    }
    report(state, 4.0 * static_cast<double>(x.elements() + out), 54.0 * static_cast<double>(out));
}

// side, channels in, channels out
void pointwise_shapes(benchmark::internal::Benchmark* b) {
    for (const auto& [side, c, k] : std::vector<std::array<int, 3>>{{112, 32, 16},
                                                                    {112, 16, 96},
                                                                    {56, 96, 24},
                                                                    {56, 24, 144},
                                                                    {56, 144, 24},
                                                                    {28, 144, 32},
                                                                    {28, 32, 192},
                                                                    {28, 192, 32},
                                                                    {14, 192, 64},
                                                                    {14, 64, 384},
                                                                    {14, 384, 64},
                                                                    {14, 384, 96},
                                                                    {14, 96, 576},
                                                                    {14, 576, 96},
                                                                    {7, 576, 160},
                                                                    {7, 160, 960},
                                                                    {7, 960, 160},
                                                                    {7, 960, 320},
                                                                    {7, 320, 1280}}) {
        b->Args({side, c, k});
    }
    b->ArgNames({"side", "c", "k"})->UseRealTime()->Unit(benchmark::kMicrosecond);
}

// side of the input, channels, stride
void depthwise_shapes(benchmark::internal::Benchmark* b) {
    for (const auto& [side, c, stride] : std::vector<std::array<int, 3>>{{112, 32, 1},
                                                                         {112, 96, 2},
                                                                         {56, 144, 1},
                                                                         {56, 144, 2},
                                                                         {28, 192, 1},
                                                                         {28, 192, 2},
                                                                         {14, 384, 1},
                                                                         {14, 576, 1},
                                                                         {14, 576, 2},
                                                                         {7, 960, 1}}) {
        b->Args({side, c, stride});
    }
    b->ArgNames({"side", "c", "stride"})->UseRealTime()->Unit(benchmark::kMicrosecond);
}

void norm_shapes(benchmark::internal::Benchmark* b) {
    for (const auto& [side, c] :
         std::vector<std::array<int, 2>>{{112, 96}, {56, 144}, {28, 192}, {14, 576}, {7, 1280}}) {
        b->Args({side, c});
    }
    b->ArgNames({"side", "c"})->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK(stem)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(pointwise_forward)->Apply(pointwise_shapes);
BENCHMARK(pointwise_backward)->Apply(pointwise_shapes);
BENCHMARK(depthwise_forward)->Apply(depthwise_shapes);
BENCHMARK(depthwise_backward)->Apply(depthwise_shapes);
BENCHMARK(batchnorm_statistics)->Apply(norm_shapes);
BENCHMARK(batchnorm_normalize)->Apply(norm_shapes);

}  // namespace

int main(int argc, char** argv) {
    benchmark::AddCustomContext("instruction_set", std::string(isa_name(active_isa())));
    benchmark::AddCustomContext("threads", std::to_string(thread_count()));
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        return 1;
    }
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
