#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "engine/loader.h"
#include "layers/optimizer.h"
#include "models/model.h"
#include "tests/models/golden_images.h"

/// Two images' training steps of any model of the table, small and narrow but with all of its layers, dropout included:
/// on the CPU, to compare other devices and backends with.

namespace cutis::testing {

inline constexpr std::int64_t kImages = 2;
inline constexpr int kClasses = 3;
inline constexpr float kLearningRate = 1e-3f;

inline std::unique_ptr<Model> network(const std::string& name) {
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

inline Batch batch_for(const Model& model) {
    constexpr int kSide = 64;
    const int enlarge = (model.least_size() + kSide - 1) / kSide;
    Batch batch;
    batch.images = golden_crops({0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}, enlarge).rows(0, kImages);
    batch.labels = golden_labels(kClasses).rows(0, kImages);
    return batch;
}

inline Optimizer sgd_of(const Model& model) {
    return Optimizer({.momentum = 0.9f, .weight_decay = 1e-4f}, {{model.parts().parameters, kLearningRate}});
}

// Weights and running statistics, one after the other.
inline std::vector<float> state_of(const Model& model) {
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

inline Outcome train_on_cpu(const std::string& name, std::uint64_t steps) {
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

/// That training moved the weights, and `other` as the CPU did.
inline void expect_follows(const Outcome& other, const Outcome& cpu, const std::vector<float>& start) {
    ASSERT_EQ(cpu.losses.size(), other.losses.size());
    for (std::size_t i = 0; i < cpu.losses.size(); ++i) {
        EXPECT_NEAR(other.losses[i], cpu.losses[i], 1e-4 * cpu.losses[i]) << "step " << i + 1;
    }
    EXPECT_NE(cpu.losses[0], cpu.losses[1]);
    double moved = 0.0, apart = 0.0;
    for (std::size_t i = 0; i < start.size(); ++i) {
        moved += std::pow(static_cast<double>(cpu.state[i]) - start[i], 2);
        apart += std::pow(static_cast<double>(cpu.state[i]) - other.state[i], 2);
    }
    EXPECT_LT(std::sqrt(apart), 1e-3 * std::sqrt(moved));
}

/// The table's names, for parameterised tests.
inline std::vector<std::string> model_names() {
    std::vector<std::string> names;
    for (const ModelEntry& entry : model_table()) {
        names.emplace_back(entry.name);
    }
    return names;
}

}  // namespace cutis::testing
