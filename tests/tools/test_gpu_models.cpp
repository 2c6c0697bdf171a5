#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "engine/cuda_device.h"
#include "layers/optimizer.h"
#include "models/model.h"
#include "tests/models/golden_images.h"
#include "tools/gpu_step.h"

// Training of every model of the table on a GPU (in a simt build: the same kernels and the same host code, on the CPU)
// against the CPU's: small and narrow, but each with all of its layers, dropout included.

namespace cutis {
namespace {

constexpr std::int64_t kImages = 2;
constexpr int kClasses = 3;
constexpr float kLearningRate = 1e-3f;

std::unique_ptr<Model> network(const std::string& name) {
    auto model = make_model(name, {.classes = kClasses, .width = 0.1f, .lstm_hidden = 16, .seed = 4});
    // Batchnorms whose outputs stay on one side of the activation, mostly: around 0, few values in a small map make
    // gradients that multiply every rounding error (docs/precision.md).
    const Parts parts = model->parts();
    for (const BufferRef& buffer : parts.buffers) {
        const std::string norm = buffer.name.substr(0, buffer.name.rfind('.'));
        for (ParameterRef parameter : parts.parameters) {
            if (parameter.name == norm + ".weight" || parameter.name == norm + ".bias") {
                parameter.variable.value().fill(parameter.name.ends_with(".weight") ? 0.5f : 1.0f);
            }
        }
    }
    return model;
}

Batch batch_for(const Model& model) {
    constexpr int kSide = 64;
    const int enlarge = (model.least_size() + kSide - 1) / kSide;
    Batch batch;
    batch.images = testing::golden_crops({0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}, enlarge).rows(0, kImages);
    batch.labels = testing::golden_labels(kClasses).rows(0, kImages);
    return batch;
}

Optimizer sgd_of(const Model& model) {
    return Optimizer({.momentum = 0.9f, .weight_decay = 1e-4f}, {{model.parts().parameters, kLearningRate}});
}

// Weights and running statistics, one after the other.
std::vector<float> state_of(const Model& model) {
    std::vector<float> all;
    const auto append = [&](const Tensor& tensor) {
        const Tensor on_cpu = tensor.to(Device{});
        all.insert(all.end(), on_cpu.values().begin(), on_cpu.values().end());
    };
    const Parts parts = model.parts();
    for (const ParameterRef& parameter : parts.parameters) {
        append(parameter.variable.value());
    }
    for (const BufferRef& buffer : parts.buffers) {
        append(buffer.tensor);
    }
    return all;
}

struct Outcome {
    std::vector<double> losses;
    std::vector<float> state;  ///< after the last step
};

Outcome train_on_cpu(const std::string& name, std::uint64_t steps) {
    const std::unique_ptr<Model> model = network(name);
    Optimizer optimizer = sgd_of(*model);
    const Batch batch = batch_for(*model);
    Outcome outcome;
    for (std::uint64_t step = 0; step < steps; ++step) {
        const ForwardContext context{.training = true, .seed = 8, .step = step};
        Variable loss = training_loss(model->forward_training(Variable(batch.images), context), batch.labels);
        outcome.losses.push_back(static_cast<double>(loss.value().values()[0]));
        loss.backward();
        optimizer.step(1.0);
        optimizer.clear_gradients();
    }
    outcome.state = state_of(*model);
    return outcome;
}

Outcome train_on_gpu(const std::string& name, std::uint64_t steps) {
    const Device device{DeviceKind::cuda, 0};
    const std::unique_ptr<Model> model = network(name);
    const Batch batch = batch_for(*model);
    model->parts().move_to(device);
    Optimizer optimizer = sgd_of(*model);
    GpuStep gpu(*model, optimizer, nullptr, {}, {.device = device, .seed = 8});
    for (std::uint64_t step = 0; step < steps; ++step) {
        gpu.submit({&batch, 1}, step, 1.0);
    }
    return {gpu.take_losses(), state_of(*model)};
}

class GpuModels : public ::testing::TestWithParam<std::string> {};

std::vector<std::string> model_names() {
    std::vector<std::string> names;
    for (const ModelEntry& entry : model_table()) {
        names.emplace_back(entry.name);
    }
    return names;
}
INSTANTIATE_TEST_SUITE_P(Table, GpuModels, ::testing::ValuesIn(model_names()),
                         [](const auto& tested) { return tested.param; });

// The second step is a recorded graph, whose loss shows that the first one moved the weights as the CPU did.
TEST_P(GpuModels, TwoStepsFollowTheCpus) {
    const std::vector<float> start = state_of(*network(GetParam()));
    const Outcome cpu = train_on_cpu(GetParam(), 2), gpu = train_on_gpu(GetParam(), 2);
    ASSERT_EQ(cpu.losses.size(), gpu.losses.size());
    for (std::size_t i = 0; i < cpu.losses.size(); ++i) {
        EXPECT_NEAR(gpu.losses[i], cpu.losses[i], 1e-4 * cpu.losses[i]) << "step " << i + 1;
    }
    EXPECT_NE(cpu.losses[0], cpu.losses[1]);
    double moved = 0.0, apart = 0.0;
    for (std::size_t i = 0; i < start.size(); ++i) {
        moved += std::pow(static_cast<double>(cpu.state[i]) - start[i], 2);
        apart += std::pow(static_cast<double>(cpu.state[i]) - gpu.state[i], 2);
    }
    EXPECT_LT(std::sqrt(apart), 1e-3 * std::sqrt(moved));
}

}  // namespace
}  // namespace cutis
