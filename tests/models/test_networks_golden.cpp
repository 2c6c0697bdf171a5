#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/cuda_device.h"
#include "engine/ops.h"
#include "models/model.h"
#include "tests/models/golden_images.h"
#include "tests/support/error_of.h"

// The networks of the table of models against PyTorch's, by the figures that tests/data/make_networks_golden.py wrote.

namespace cutis::testing {
namespace {

constexpr std::size_t kSteps = 5;

nlohmann::json networks() {
    return read_golden("networks.json").at("networks");
}

// Its weights are still to be drawn.
std::unique_ptr<Model> network(const std::string& name, int classes, float width) {
    return build_model(name, {.classes = classes, .width = width, .dropout = 0.0f, .lstm_hidden = 24});
}

// The script's rule: every parameter and statistic from its name, none of them trivial.
void scatter(const Model& model, std::uint64_t seed, float gamma, float beta) {
    const Parts parts = model.parts();
    for (const ParameterRef& parameter : parts.parameters) {
        const std::string& name = parameter.name;
        Tensor tensor = parameter.variable.value();
        const std::vector<std::int64_t> shape = file_shape(tensor.shape(), parameter.layout);
        if (shape.size() >= 2) {
            const float gain = shape.size() == 4 ? 2.0f : 1.0f;
            init_normal(tensor, parameter.layout, std::sqrt(gain / static_cast<float>(tensor.elements() / shape[0])),
                        seed, name);
        } else if (name.starts_with("classifier.")) {
            draw(tensor, name, seed, [](float v) { return 0.2f * v; });
        } else if (name.ends_with(".weight")) {
            draw(tensor, name, seed, [=](float v) { return gamma * (1.0f + 0.2f * v); });
        } else {
            draw(tensor, name, seed, [=](float v) { return beta + 0.2f * v; });
        }
    }
    for (const BufferRef& buffer : parts.buffers) {
        const bool variance = buffer.name.ends_with("running_var");
        draw(buffer.tensor, buffer.name, seed, [=](float v) { return variance ? std::exp(0.3f * v) : 0.2f * v; });
    }
}

class NetworkGolden : public ::testing::TestWithParam<std::string> {
  protected:
    nlohmann::json expected = networks().at(GetParam());
    int classes = expected.at("classes").get<int>();
    std::unique_ptr<Model> model = network(GetParam(), classes, expected.at("width").get<float>());
    std::int64_t count = expected.at("images").get<std::int64_t>();
    Tensor images =
        golden_crops({0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}, expected.at("enlarged").get<bool>() ? 2 : 1)
            .rows(0, count);
};
std::vector<std::string> network_names() {
    std::vector<std::string> names;
    const nlohmann::json all = networks();
    for (const auto& item : all.items()) {
        names.push_back(item.key());
    }
    return names;
}
INSTANTIATE_TEST_SUITE_P(Networks, NetworkGolden, ::testing::ValuesIn(network_names()),
                         [](const auto& tested) { return tested.param; });

TEST_P(NetworkGolden, HasPyTorchsNamesAndShapes) {
    std::map<std::string, std::vector<std::int64_t>> shapes;
    for (const ParameterRef& parameter : model->parts().parameters) {
        shapes[parameter.name] = file_shape(parameter.variable.shape(), parameter.layout);
    }
    for (const BufferRef& buffer : model->parts().buffers) {
        shapes[buffer.name] = file_shape(buffer.tensor.shape(), WeightLayout::same);
    }
    EXPECT_EQ(shapes, expected.at("parameters").get<decltype(shapes)>());
}

// Parameters and multiply-adds as torchvision states them (for GoogLeNet without its auxiliary heads), but for the
// original AlexNet: as in Caffe's model zoo.
TEST(Networks, HaveThePublishedSizes) {
    struct Published {
        const char* name;
        int size;
        std::int64_t parameters;
        double macs;  ///< billions
    };
    for (const auto& [name, size, parameters, macs] : {
             Published{"alexnet", 224, 61'100'840, 0.714},
             Published{"alexnet_original", 227, 60'965'224, 0.724},
             Published{"googlenet", 224, 6'624'904, 1.498},
             Published{"resnet18", 224, 11'689'512, 1.814},
             Published{"resnet50", 224, 25'557'032, 4.089},
             Published{"vgg16", 224, 138'357'544, 15.47},
             Published{"vgg16_bn", 224, 138'365'992, 15.47},
         }) {
        const std::unique_ptr<Model> model = build_model(name, {.classes = 1000});
        EXPECT_EQ(model->parameter_count(), parameters) << name;
        std::int64_t counted = 0, products = 0;
        for (const LayerSummary& layer : model->summarize(size)) {
            counted += layer.parameters;
            products += layer.macs;
        }
        EXPECT_EQ(counted, parameters) << name;
        EXPECT_NEAR(static_cast<double>(products) * 1e-9, macs, macs > 10 ? 5e-3 : 5e-4) << name;
    }
}

// The least size works, one pixel less does not; nor does a width that is none.
TEST(Networks, TakeImagesOfTheirLeastSize) {
    for (const ModelEntry& entry : model_table()) {
        const std::string name(entry.name);
        const std::unique_ptr<Model> model = network(name, 2, 0.25f);
        const std::int64_t side = model->least_size();
        const auto forward = [&](std::int64_t size) {
            const NoGrad off;
            return model->forward(Variable(Tensor::zeros({1, size, size, 3})), {}).shape();
        };
        EXPECT_EQ(forward(side), (Shape{1, 2})) << name;
        EXPECT_EQ(model->summarize(static_cast<int>(side)).back().output, (Shape{2})) << name;
        EXPECT_NE(error_of([&] { forward(side - 1); }).find("at least"), std::string::npos) << name;
        EXPECT_NE(error_of([&] { model->summarize(static_cast<int>(side - 1)); }).find("at least"), std::string::npos);
        EXPECT_NE(error_of([&] { network(name, 2, 0.0f); }).find("width"), std::string::npos) << name;
        EXPECT_NE(error_of([&] { network(name, 0, 1.0f); }).find("0 classes"), std::string::npos) << name;
    }
}

TEST_P(NetworkGolden, DrawnWeightsGivePyTorchsLogits) {
    scatter(*model, 11, 1.0f, 0.0f);
    expect_logits(*model, images, expected.at("logits"), true);
}

// SGD with momentum 0.9 and weight decay 1e-4 on every parameter.
TEST_P(NetworkGolden, DrawnWeightsGivePyTorchsLosses) {
    scatter(*model, 11, expected.at("gamma").get<float>(), expected.at("beta").get<float>());
    expect_losses(*model, images, golden_labels(classes).rows(0, count), expected, true, kSteps, kSteps);
}

}  // namespace
}  // namespace cutis::testing
