#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/image.h"
#include "engine/ops.h"
#include "layers/optimizer.h"
#include "models/model.h"

/// What golden figures of networks are made of: 16 crops of the sample, and values drawn by name
/// (tests/data/make_mobilenet_golden.py); and how a network is held to them.

namespace cutis::testing {

inline std::filesystem::path golden_folder() {
    return std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/golden";
}

inline nlohmann::json read_golden(const char* name) {
    std::ifstream file(golden_folder() / name);
    return nlohmann::json::parse(file);
}

/// The tiles of the mosaic, each pixel repeated `enlarge` times in both directions, normalised as (x / 255 - mean) /
/// std.
inline Tensor golden_crops(const std::vector<float>& mean, const std::vector<float>& std, int enlarge) {
    constexpr int kTile = 64, kColumns = 4, kTiles = 16;
    const Image mosaic = load_image(golden_folder() / "crops.png");
    const int side = kTile * enlarge;
    Tensor images = Tensor::empty({kTiles, side, side, 3});
    float* out = images.data();
    for (int tile = 0; tile < kTiles; ++tile) {
        for (int row = 0; row < side; ++row) {
            for (int column = 0; column < side; ++column) {
                const int y = tile / kColumns * kTile + row / enlarge, x = tile % kColumns * kTile + column / enlarge;
                for (std::size_t c = 0; c < 3; ++c) {
                    const std::size_t at = static_cast<std::size_t>(y * mosaic.width + x) * 3 + c;
                    *out++ = (static_cast<float>(mosaic.rgb[at]) / 255.0f - mean[c]) / std[c];
                }
            }
        }
    }
    return images;
}

/// The crops' labels, modulo `classes`.
inline Tensor golden_labels(int classes) {
    auto labels = read_golden("crops.json").at("labels").get<std::vector<std::int32_t>>();
    for (std::int32_t& label : labels) {
        label %= classes;
    }
    return Tensor::from(labels, {static_cast<std::int64_t>(labels.size())});
}

/// Normal values by the tensor's name, each behind `map`.
template <class Map>
void draw(Tensor tensor, const std::string& name, std::uint64_t seed, Map map) {
    init_normal(tensor, WeightLayout::same, 1.0f, seed, name);
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
        tensor.data()[i] = map(tensor.data()[i]);
    }
}

/// Logits in evaluation, each row within 1e-4 of its largest value.
inline void expect_logits(Model& model, const Tensor& images, const nlohmann::json& expected, bool fused) {
    const NoGrad off;
    const Tensor logits = model.forward(Variable(images), {.training = false, .fused = fused}).value();
    const auto rows = expected.get<std::vector<std::vector<float>>>();
    ASSERT_EQ(logits.shape(),
              (Shape{static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())}));
    const float* actual = std::as_const(logits).data();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        float largest = 0.0f;
        for (const float value : rows[i]) {
            largest = std::max(largest, std::abs(value));
        }
        for (const float value : rows[i]) {
            EXPECT_NEAR(*actual++, value, 1e-4f * largest) << "image " << i;
        }
    }
}

/// Losses, within 1e-3, of the first `steps` of `recorded` steps of torch.optim.SGD with momentum 0.9 and weight decay
/// 1e-4 on every parameter.
inline void expect_losses(Model& model, const Tensor& images, const Tensor& labels, const nlohmann::json& expected,
                          bool fused, std::size_t steps = 20, std::size_t recorded = 20) {
    std::vector<ParameterRef> parameters = model.parts().parameters;
    for (ParameterRef& parameter : parameters) {
        parameter.decay = true;
    }
    OptimizerConfig config;
    config.momentum = 0.9f;
    config.weight_decay = 1e-4f;
    Optimizer optimizer(config, {{parameters, expected.at("lr").get<float>()}});
    const auto losses = expected.at("losses").get<std::vector<float>>();
    ASSERT_EQ(losses.size(), recorded);
    for (std::size_t step = 0; step < steps; ++step) {
        const ForwardContext context{.training = true, .step = step, .fused = fused};
        Variable loss = training_loss(model.forward_training(Variable(images), context), labels);
        EXPECT_NEAR(loss.value().values()[0], losses[step], 1e-3f) << "step " << step;
        loss.backward();
        optimizer.step(1.0);
        optimizer.clear_gradients();
    }
}

}  // namespace cutis::testing
