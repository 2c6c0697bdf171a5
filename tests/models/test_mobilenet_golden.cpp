#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/ops.h"
#include "engine/safetensors.h"
#include "models/mobilenet_v2.h"
#include "models/weights.h"
#include "tests/models/golden_images.h"

// MobileNetV2 against torchvision's, by the figures that tests/data/make_mobilenet_golden.py wrote.

namespace cutis::testing {
namespace {

// The script's rule: every parameter and statistic from its name, none of them trivial. gamma and beta: the means of
// batchnorm's weights and biases.
void scatter(const Model& model, std::uint64_t seed, float gamma, float beta) {
    const Parts parts = model.parts();
    for (const ParameterRef& parameter : parts.parameters) {
        Tensor tensor = parameter.variable.value();
        const std::vector<std::int64_t> shape = file_shape(tensor.shape(), parameter.layout);
        if (shape.size() >= 2) {
            const auto fan_in = static_cast<float>(tensor.elements() / shape[0]);
            const float gain = shape.size() == 4 ? 2.0f : 1.0f;
            init_normal(tensor, parameter.layout, std::sqrt(gain / fan_in), seed, parameter.name);
        } else if (parameter.name == "classifier.1.bias") {
            draw(tensor, parameter.name, seed, [](float v) { return 0.2f * v; });
        } else if (parameter.name.ends_with(".weight")) {
            draw(tensor, parameter.name, seed, [=](float v) { return gamma * (1.0f + 0.2f * v); });
        } else {
            draw(tensor, parameter.name, seed, [=](float v) { return beta + 0.2f * v; });
        }
    }
    for (const BufferRef& buffer : parts.buffers) {
        const bool variance = buffer.name.ends_with("running_var");
        draw(buffer.tensor, buffer.name, seed, [=](float v) { return variance ? std::exp(0.3f * v) : 0.2f * v; });
    }
}

const std::vector<float> kImagenetMean{0.485f, 0.456f, 0.406f}, kImagenetStd{0.229f, 0.224f, 0.225f};
const std::vector<float> kHalf{0.5f, 0.5f, 0.5f};

MobileNetV2 network(int classes, float width) {
    return MobileNetV2({.classes = classes, .width = width, .dropout = 0.0f});
}

class MobileNetV2Golden : public ::testing::TestWithParam<bool> {};
std::string name_of(const ::testing::TestParamInfo<bool>& info) {
    return info.param ? "fused" : "plain";
}
INSTANTIATE_TEST_SUITE_P(Schedules, MobileNetV2Golden, ::testing::Bool(), name_of);

TEST_P(MobileNetV2Golden, DrawnWeightsGivePyTorchsLogitsAndLosses) {
    const nlohmann::json expected = read_golden("mobilenet_v2.json").at("scattered");
    const Tensor images = golden_crops(kImagenetMean, kImagenetStd, 1);
    MobileNetV2 model = network(5, 0.35f);
    scatter(model, 11, 1.0f, 0.0f);
    expect_logits(model, images, expected.at("logits"), GetParam());
    scatter(model, 11, 0.5f, 1.0f);
    expect_losses(model, images, golden_labels(5), expected, GetParam());
}

// At this width stem and first block have the same number of channels: the first block, too, adds its input.
TEST_P(MobileNetV2Golden, AQuarterOfTheWidthGivesPyTorchsLogitsAndLosses) {
    const nlohmann::json expected = read_golden("mobilenet_v2.json").at("scattered_quarter");
    const Tensor images = golden_crops(kImagenetMean, kImagenetStd, 1);
    MobileNetV2 model = network(3, 0.25f);
    scatter(model, 11, 1.0f, 0.0f);
    expect_logits(model, images, expected.at("logits"), GetParam());
    scatter(model, 11, 0.5f, 1.0f);
    expect_losses(model, images, golden_labels(3), expected, GetParam());
}

TEST_P(MobileNetV2Golden, EmbeddedWeightsGivePyTorchsLogitsAndLosses) {
    const nlohmann::json expected = read_golden("mobilenet_v2.json").at("embedded");
    const Tensor images = golden_crops(kHalf, kHalf, 2);
    MobileNetV2 model = network(7, 1.0f);
    model.init(13);
    const SafetensorsFile features(std::filesystem::path(CUTIS_SOURCE_DIR) /
                                   "tools/sample/weights/mobilenet_v2_imagenet_features.safetensors");
    EXPECT_EQ(load_weights(model, features, true).matched, 260);
    expect_logits(model, images, expected.at("logits"), GetParam());
    expect_losses(model, images, golden_labels(7), expected, GetParam(), GetParam() ? 20 : 4);  // the slow one, briefly
}

TEST(MobileNetV2Init, DrawsWhatTheStreamsOfItsNamesGive) {
    const nlohmann::json expected = read_golden("mobilenet_v2.json").at("initial_values");
    MobileNetV2 model = network(7, 0.5f);
    model.init(12);
    std::size_t seen = 0;
    for (const ParameterRef& parameter : model.parts().parameters) {
        const auto found = expected.find(parameter.name);
        if (found == expected.end()) {
            continue;
        }
        ++seen;
        const std::vector<float> values = to_file_order(parameter.variable.value(), parameter.layout);
        const auto first = found->at("first").get<std::vector<float>>();
        double squares = 0.0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
            if (i < first.size()) {
                EXPECT_NEAR(values[i], first[i], 1e-5f * std::abs(first[i])) << parameter.name;
            }
        }
        const double norm = found->at("norm").get<double>();
        EXPECT_NEAR(std::sqrt(squares), norm, 1e-5 * norm) << parameter.name;
    }
    EXPECT_EQ(seen, 53u);
    EXPECT_EQ(seen, expected.size());
}

}  // namespace
}  // namespace cutis::testing
