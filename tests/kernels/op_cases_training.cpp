#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "kernels/philox.h"
#include "kernels/softmax_cross_entropy.h"
#include "tests/kernels/op_cases.h"
#ifdef CUTIS_WITH_CUDA
#include "tests/support/device_values.h"
#endif

namespace cutis::testing {
namespace {

using namespace reference;

constexpr std::uint64_t kSeed = 0x123456789abcdef0u;

OpCase dropout_case(std::int64_t n, float probability) {
    constexpr std::uint64_t kStep = 0x700000005u;
    // The mask as dropout.h states it.
    std::vector<bool> kept(static_cast<std::size_t>(n));
    PhiloxStream words(kSeed, RandomPurpose::dropout, 0, kStep);
    for (std::size_t i = 0; i < kept.size(); ++i) {
        kept[i] = words.uniform() >= probability;
    }
    const bool power_of_two = probability == 0.0f || probability == 0.5f;
    return {.op = "dropout",
            .shape = fmt::format("percent{}_n{}", std::lround(probability * 100.0f), n),
            .inputs = {{.name = "x", .size = n, .differentiable = true, .activation = true}},
            .outputs = {{.name = "y", .size = n, .exact = power_of_two, .activation = true}},
            .run = [=](const Inputs& in,
                       const Outputs& out) { cpu::dropout_forward(out[0], in[0], probability, kSeed, kStep, n); },
            .define = [=](const Arrays& in) { return Arrays{dropout(in[0], kept, static_cast<double>(probability))}; },
            .backward = [=](const Inputs&, const float* dy,
                            const Outputs& grad) { cpu::dropout_backward(grad[0], dy, probability, kSeed, kStep, n); },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::dropout_forward(out.get<T>(0), in.get<const T>(0), probability, kSeed, {nullptr, kStep}, n, {});
            }),
            .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays&, const T* dy, const DeviceArrays& grad) {
                cuda::dropout_backward(grad.get<T>(0), dy, probability, kSeed, {nullptr, kStep}, n, {});
            }),
            .linear = power_of_two,
            .flops = 2.0 * static_cast<double>(n)};
}

// Optimisers: three steps with one gradient, from a state as earlier steps leave it.
constexpr int kSteps = 3;

#ifdef CUTIS_WITH_CUDA
// body(labels, class weights or null), both in device memory, and waits.
template <class Body>
void with_labels_on_gpu(const std::vector<std::int32_t>& labels, const std::vector<float>& weights, Body&& body) {
    const DeviceValues<std::int32_t> device_labels(labels);
    const DeviceValues<float> device_weights(weights);
    body(device_labels.data(), weights.empty() ? nullptr : device_weights.data());
    cuda::check(cudaDeviceSynchronize(), "cross entropy");
}

// The gradient from above is read on the device.
template <class T>
void cross_entropy_gradient_on_gpu(T* dlogits, const float* dloss, const T* logits, const std::int32_t* labels,
                                   const CrossEntropyOptions& options, int n, int c) {
    const DeviceValues<float> probabilities(
        std::vector<float>(static_cast<std::size_t>(n) * static_cast<std::size_t>(c)));
    const DeviceValues<float> loss(0.0f);
    cuda::softmax_cross_entropy_forward(loss.data(), nullptr, probabilities.data(), logits, labels, options, n, c, {});
    cuda::softmax_cross_entropy_backward(dlogits, dloss, static_cast<const float*>(probabilities.data()), labels,
                                         options, n, c, {});
    cuda::check(cudaDeviceSynchronize(), "cross entropy");
}

// kSteps calls of step(table) with one parameter that has had `updates` steps.
template <class Step>
void steps_on_gpu(cuda::OptimizerParameter parameter, int updates, Step&& step) {
    const DeviceValues<float> count(static_cast<float>(updates));
    parameter.updates = count.data();
    const DeviceValues<cuda::OptimizerParameter> parameters(parameter);
    const DeviceValues<cuda::TensorChunk> chunks(cuda::chunks_of(std::vector<std::int64_t>{parameter.n}));
    const cuda::OptimizerTable table{parameters.data(), 1, chunks.data(), static_cast<int>(chunks.values().size())};
    for (int i = 0; i < kSteps; ++i) {
        step(table);
    }
    cuda::check(cudaDeviceSynchronize(), "optimizer");
}

// update(tensors, chunks, number of chunks, state) for one tensor.
template <class Update>
void average_on_gpu(const cuda::AveragedTensor& tensor, float decay, Update&& update) {
    const DeviceValues<cuda::AveragedTensor> tensors(tensor);
    const DeviceValues<cuda::TensorChunk> chunks(cuda::chunks_of(std::vector<std::int64_t>{tensor.n}));
    const DeviceValues<StepState> state(StepState{.ema_decay = decay});
    update(tensors.data(), chunks.data(), static_cast<int>(chunks.values().size()), state.data());
    cuda::check(cudaDeviceSynchronize(), "average");
}
#endif

struct LossVariant {
    const char* name;
    bool weights;
    float smoothing, gamma;
};

OpCase cross_entropy_case(int n, int c, const LossVariant& variant) {
    std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
    PhiloxStream words(kSeed, RandomPurpose::test);
    for (std::int32_t& label : labels) {
        label = static_cast<std::int32_t>(words.below(static_cast<std::uint32_t>(c)));
    }
    std::vector<float> weights(static_cast<std::size_t>(variant.weights ? c : 0));
    for (float& weight : weights) {
        weight = words.uniform(0.5f, 3.0f);
    }
    const auto options = [variant](const std::vector<float>& w) {
        return CrossEntropyOptions{w.empty() ? nullptr : w.data(), variant.smoothing, variant.gamma};
    };
    const std::int64_t size = std::int64_t{n} * c;
    return {
        .op = fmt::format("cross_entropy_{}", variant.name),
        .shape = fmt::format("n{}_c{}", n, c),
        .inputs = {{.name = "logits",
                    .size = size,
                    .low = -5,
                    .high = 5,
                    .differentiable = true,
                    .terms = c,
                    .activation = true}},
        .outputs = {{"loss", 1, 0, 0, false, n, false},
                    {"losses", n, 0, 0, false, c, false},
                    {"probabilities", size, 0, 0, false, c, false},
                    {"softmax", size, 0, 0, false, c, false}},
        .run =
            [=](const Inputs& in, const Outputs& out) {
                cpu::softmax_cross_entropy_forward(out[0], out[1], out[2], in[0], labels.data(), options(weights), n,
                                                   c);
                cpu::softmax(out[3], in[0], n, c);
            },
        .define =
            [=](const Arrays& in) {
                const CrossEntropy result = cross_entropy(in[0], labels, options(weights), c);
                const Values p = softmax(in[0], c);
                return Arrays{{result.loss}, result.losses, p, p};
            },
        .backward =
            [=](const Inputs& in, const float* dy, const Outputs& grad) {
                float loss = 0.0f;
                cpu::softmax_cross_entropy_forward(&loss, nullptr, grad[0], in[0], labels.data(), options(weights), n,
                                                   c);
                cpu::softmax_cross_entropy_backward(grad[0], *dy, grad[0], labels.data(), options(weights), n, c);
            },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            with_labels_on_gpu(labels, weights, [&](const std::int32_t* device_labels, const float* device_weights) {
                const CrossEntropyOptions chosen{device_weights, variant.smoothing, variant.gamma};
                cuda::softmax_cross_entropy_forward(out.get(0), out.get(1), out.get(2), in.get<const T>(0),
                                                    device_labels, chosen, n, c, {});
                cuda::softmax(out.get(3), in.get<const T>(0), n, c, {});
            });
        }),
        .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
            with_labels_on_gpu(labels, weights, [&](const std::int32_t* device_labels, const float* device_weights) {
                cross_entropy_gradient_on_gpu(grad.get<T>(0), reinterpret_cast<const float*>(dy), in.get<const T>(0),
                                              device_labels, {device_weights, variant.smoothing, variant.gamma}, n, c);
            });
        }),
        .flops = 20.0 * static_cast<double>(size)};
}

OpCase sgd_case(std::int64_t n, const char* variant, const SgdOptions& options) {
    return {.op = fmt::format("sgd_{}", variant),
            .shape = fmt::format("n{}", n),
            .inputs = {{"w", n}, {"m", n}, {"g", n}},
            .outputs = {{"w", n, 0, 0, false, 4, false}, {"m", n, 0, 0, false, 4, false}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    std::copy_n(in[0], n, out[0]);
                    std::copy_n(in[1], n, out[1]);
                    for (int step = 0; step < kSteps; ++step) {
                        float* const momentum = options.momentum != 0.0f ? out[1] : nullptr;
                        cpu::sgd_step(out[0], momentum, in[2], options, step == 0, n);
                    }
                },
            .define =
                [=](const Arrays& in) {
                    Values w = in[0], m(in[1].size(), 0.0);  // the first step forgets what the buffer holds
                    for (int step = 0; step < kSteps; ++step) {
                        sgd_step(w, m, in[2], options);
                    }
                    return Arrays{w, options.momentum != 0.0f ? m : in[1]};
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::scale(out.get(0), in.get<const float>(0), 1.0f, n, {});
                cuda::scale(out.get(1), in.get<const float>(1), 1.0f, n, {});
                steps_on_gpu(
                    {.weight = out.get(0), .gradient = in.get(2), .first = out.get(1), .n = n}, 0,
                    [&](const cuda::OptimizerTable& table) { cuda::sgd_step(table, options, nullptr, nullptr, {}); });
            }),
            .flops = 6.0 * kSteps * static_cast<double>(n)};
}

OpCase rmsprop_case(std::int64_t n, const char* variant, const RmspropOptions& options) {
    return {
        .op = fmt::format("rmsprop_{}", variant),
        .shape = fmt::format("n{}", n),
        .inputs = {{"w", n}, {"v", n, 0, 3}, {"m", n}, {"g", n, 1, 3}},
        .outputs = {{"w", n, 0, 0, false, 8, false}, {"v", n, 0, 0, false, 8, false}, {"m", n, 0, 0, false, 8, false}},
        .run =
            [=](const Inputs& in, const Outputs& out) {
                for (std::size_t i = 0; i < 3; ++i) {
                    std::copy_n(in[i], n, out[i]);
                }
                for (int step = 0; step < kSteps; ++step) {
                    float* const momentum = options.momentum != 0.0f ? out[2] : nullptr;
                    cpu::rmsprop_step(out[0], out[1], momentum, in[3], options, n);
                }
            },
        .define =
            [=](const Arrays& in) {
                Values w = in[0], v = in[1], m = in[2];
                for (int step = 0; step < kSteps; ++step) {
                    rmsprop_step(w, v, m, in[3], options);
                }
                return Arrays{w, v, options.momentum != 0.0f ? m : in[2]};
            },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            for (std::size_t i = 0; i < 3; ++i) {
                cuda::scale(out.get(i), in.get<const float>(i), 1.0f, n, {});
            }
            steps_on_gpu(
                {.weight = out.get(0), .gradient = in.get(3), .first = out.get(2), .second = out.get(1), .n = n}, 0,
                [&](const cuda::OptimizerTable& table) { cuda::rmsprop_step(table, options, nullptr, nullptr, {}); });
        }),
        .flops = 10.0 * kSteps * static_cast<double>(n)};
}

OpCase adamw_case(std::int64_t n, int first_step) {
    constexpr AdamwOptions kOptions{.lr = 0.1f, .beta1 = 0.8f, .beta2 = 0.95f, .eps = 1e-3f, .weight_decay = 0.05f};
    return {
        .op = "adamw",
        .shape = fmt::format("from_step{}_n{}", first_step, n),
        .inputs = {{"w", n}, {"m", n}, {"v", n, 1, 3}, {"g", n}},
        .outputs = {{"w", n, 0, 0, false, 8, false}, {"m", n, 0, 0, false, 8, false}, {"v", n, 0, 0, false, 8, false}},
        .run =
            [=](const Inputs& in, const Outputs& out) {
                for (std::size_t i = 0; i < 3; ++i) {
                    std::copy_n(in[i], n, out[i]);
                }
                for (int step = 0; step < kSteps; ++step) {
                    cpu::adamw_step(out[0], out[1], out[2], in[3], kOptions, first_step + step, n);
                }
            },
        .define =
            [=](const Arrays& in) {
                Values w = in[0], m = in[1], v = in[2];
                for (int step = 0; step < kSteps; ++step) {
                    adamw_step(w, m, v, in[3], kOptions, first_step + step);
                }
                return Arrays{w, m, v};
            },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            for (std::size_t i = 0; i < 3; ++i) {
                cuda::scale(out.get(i), in.get<const float>(i), 1.0f, n, {});
            }
            steps_on_gpu(
                {.weight = out.get(0), .gradient = in.get(3), .first = out.get(1), .second = out.get(2), .n = n},
                first_step - 1,
                [&](const cuda::OptimizerTable& table) { cuda::adamw_step(table, kOptions, nullptr, nullptr, {}); });
        }),
        .flops = 14.0 * kSteps * static_cast<double>(n),
        .magnitude = 8.0};
}

OpCase ema_case(std::int64_t n) {
    constexpr float kDecay = 0.75f;
    return {.op = "ema",
            .shape = fmt::format("n{}", n),
            .inputs = {{"average", n}, {"w", n}},
            .outputs = {{"average", n}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    std::copy_n(in[0], n, out[0]);
                    cpu::ema_update(out[0], in[1], kDecay, n);
                },
            .define =
                [](const Arrays& in) {
                    Values average = in[0];
                    for (std::size_t i = 0; i < average.size(); ++i) {
                        average[i] = 0.75 * average[i] + 0.25 * in[1][i];
                    }
                    return Arrays{average};
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::scale(out.get(0), in.get<const float>(0), 1.0f, n, {});
                average_on_gpu({out.get(0), in.get<const float>(1), n}, kDecay,
                               [](auto... arguments) { cuda::ema_update(arguments..., {}); });
            }),
            .flops = 3.0 * static_cast<double>(n)};
}

OpCase squared_norm_case(std::int64_t n) {
    return {.op = "squared_norm",
            .shape = fmt::format("n{}", n),
            .inputs = {{"x", n}},
            .outputs = {{"norm", 1}},
            .run = [=](const Inputs& in,
                       const Outputs& out) { out[0][0] = static_cast<float>(cpu::squared_norm(in[0], n)); },
            .define =
                [](const Arrays& in) {
                    double sum = 0.0;
                    for (const double value : in[0]) {
                        sum += value * value;
                    }
                    return Arrays{{sum}};
                },
            .flops = 2.0 * static_cast<double>(n)};
}

}  // namespace

std::vector<OpCase> training_cases() {
    std::vector<OpCase> cases;
    for (const std::int64_t n : {1, 7, 130, 40003}) {
        for (const float probability : {0.0f, 0.2f, 0.5f}) {
            cases.push_back(dropout_case(n, probability));
        }
    }
    for (const LossVariant& variant :
         {LossVariant{"plain", false, 0.0f, 0.0f}, LossVariant{"weights", true, 0.0f, 0.0f},
          LossVariant{"smoothing", false, 0.1f, 0.0f}, LossVariant{"weights_smoothing", true, 0.3f, 0.0f},
          LossVariant{"focal2", false, 0.0f, 2.0f}, LossVariant{"weights_focal_half", true, 0.0f, 0.5f}}) {
        for (const auto& [n, c] : std::vector<std::array<int, 2>>{{1, 2}, {5, 7}, {33, 3}, {3, 1000}}) {
            cases.push_back(cross_entropy_case(n, c, variant));
        }
    }
    for (const std::int64_t n : {1, 19, 70003}) {
        cases.push_back(sgd_case(n, "plain", {.lr = 0.1f}));
        cases.push_back(sgd_case(n, "decay", {.lr = 0.1f, .weight_decay = 0.01f}));
        cases.push_back(sgd_case(n, "momentum", {.lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f}));
        cases.push_back(
            sgd_case(n, "nesterov", {.lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f, .nesterov = true}));
        cases.push_back(rmsprop_case(n, "plain", {.lr = 0.05f, .alpha = 0.9f, .eps = 1e-3f, .weight_decay = 0.01f}));
        cases.push_back(rmsprop_case(n, "momentum", {.lr = 0.05f, .alpha = 0.9f, .eps = 1e-3f, .momentum = 0.9f}));
        cases.push_back(adamw_case(n, 1));
        cases.push_back(adamw_case(n, 1000));
        cases.push_back(ema_case(n));
        cases.push_back(squared_norm_case(n));
    }
    return cases;
}

}  // namespace cutis::testing
