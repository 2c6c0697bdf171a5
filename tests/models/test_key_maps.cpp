#include "models/key_maps.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "models/weights.h"
#include "tests/models/golden_images.h"
#include "tests/support/error_of.h"
#include "tests/support/numeric_gradient.h"
#include "tests/support/temp_dir.h"

namespace cutis::testing {
namespace {

using Shapes = std::map<std::string, std::vector<std::int64_t>>;

KeyMap map_of(std::string_view model, std::string_view origin) {
    for (const KeyMap& map : key_maps()) {
        if (model.starts_with(map.model) && map.origin == origin) {
            return map;
        }
    }
    return {model, origin, {}, {}};
}

Shapes shapes_of(const Model& model) {
    Shapes shapes;
    for (const ParameterRef& parameter : model.parts().parameters) {
        shapes[parameter.name] = file_shape(parameter.variable.shape(), parameter.layout);
    }
    for (const BufferRef& buffer : model.parts().buffers) {
        shapes[buffer.name] = file_shape(buffer.tensor.shape(), WeightLayout::same);
    }
    return shapes;
}

// Every tensor of a model is one of timm's and the other way round; linear weights on a map may be convolutions there.
TEST(KeyMaps, AreTimms) {
    const nlohmann::json networks = read_golden("timm_names.json").at("networks");
    for (const ModelEntry& entry : model_table()) {
        const std::string name(entry.name);
        if (!networks.contains(name)) {
            continue;
        }
        auto timm = networks.at(name).get<Shapes>();
        const KeyMap map = map_of(name, "timm");
        for (auto [ours, shape] : shapes_of(*build_model(name, {.classes = 1000}))) {
            const auto found = timm.find(map.theirs(ours));
            ASSERT_NE(found, timm.end()) << name << ": " << ours << " is not " << map.theirs(ours);
            if (shape.size() == 2 && found->second.size() == 4) {
                EXPECT_EQ(found->second[1] * found->second[2] * found->second[3], shape[1]);
                shape = {shape[0], found->second[1], found->second[2], found->second[3]};
            }
            EXPECT_EQ(found->second, shape) << name << ": " << ours << " is " << map.theirs(ours);
            timm.erase(found);
        }
        EXPECT_TRUE(timm.empty()) << name << " leaves " << timm.begin()->first;
    }
    EXPECT_EQ(networks.size(), 5u);
}

// By torchvision's names.
TEST(KeyMaps, NameLayersAsTimmDoes) {
    const KeyMap mobile = map_of("mobilenet_v2_lstm49", "timm"), vgg = map_of("vgg16_bn", "timm");
    EXPECT_EQ(mobile.theirs("features.0.0.weight"), "conv_stem.weight");
    EXPECT_EQ(mobile.theirs("features.1.conv.1.weight"), "blocks.0.0.conv_pw.weight");
    EXPECT_EQ(mobile.theirs("features.2.conv.1.1.running_var"), "blocks.1.0.bn2.running_var");
    EXPECT_EQ(mobile.theirs("features.17.conv.2.weight"), "blocks.6.0.conv_pwl.weight");
    EXPECT_EQ(mobile.theirs("classifier.lstm.weight_ih_l0"), "classifier.lstm.weight_ih_l0");
    EXPECT_EQ(vgg.theirs("features.41.running_mean"), "features.41.running_mean");
    EXPECT_EQ(vgg.theirs("classifier.0.weight"), "pre_logits.fc1.weight");
    EXPECT_EQ(vgg.theirs("classifier.6."), "head.fc.");
}

class KeyMapFiles : public ::testing::Test {
  protected:
    void write(const KeyMap& map, bool classifier_as_convolution = false) {
        std::vector<std::vector<float>> values;
        std::vector<TensorToWrite> tensors;
        values.reserve(1000);
        const auto add = [&](const std::string& name, const Tensor& tensor, WeightLayout layout) {
            values.push_back(to_file_order(tensor, layout));
            std::vector<std::int64_t> shape = file_shape(tensor.shape(), layout);
            if (classifier_as_convolution && name == "classifier.1.weight") {
                shape.insert(shape.end(), {1, 1});
            }
            tensors.push_back({map.theirs(name), FileDType::f32, shape, std::as_bytes(std::span(values.back()))});
        };
        for (const ParameterRef& parameter : model->parts().parameters) {
            add(parameter.name, parameter.variable.value(), parameter.layout);
        }
        for (const BufferRef& buffer : model->parts().buffers) {
            add(buffer.name, buffer.tensor, WeightLayout::same);
        }
        write_safetensors(path, tensors);
    }
    void expect_loads(const std::string& origin, const std::string& found) {
        const SafetensorsFile file(path);
        const std::unique_ptr<Model> other = make_model("mobilenet_v2", {.classes = 5, .width = 0.1f, .seed = 2});
        const KeyMap map = key_map_for(*other, "mobilenet_v2", file, origin);
        EXPECT_EQ(map.origin, found);
        const LoadReport report =
            load_weights(*other, file, false, [&](std::string_view ours) { return map.theirs(ours); });
        EXPECT_EQ(report.notice(), "");
        const Parts left = model->parts(), right = other->parts();
        for (std::size_t i = 0; i < left.parameters.size(); ++i) {
            EXPECT_EQ(to_values(left.parameters[i].variable.value()), to_values(right.parameters[i].variable.value()))
                << left.parameters[i].name;
        }
    }

    TempDir dir;
    const std::filesystem::path path = dir / "w.safetensors";
    std::unique_ptr<Model> model = make_model("mobilenet_v2", {.classes = 5, .width = 0.1f, .seed = 1});
};

TEST_F(KeyMapFiles, AreRecognisedByTheirNames) {
    write(map_of("mobilenet_v2", "timm"));
    expect_loads("auto", "timm");
    expect_loads("timm", "timm");
    const SafetensorsFile timm(path);
    EXPECT_EQ(key_map_for(*model, "mobilenet_v2", timm, "torchvision").origin, "torchvision");
    EXPECT_TRUE(is_line_with(error_of([&] { key_map_for(*model, "mobilenet_v2", timm, "keras"); }), "'keras'",
                             "auto, torchvision, timm"));
    EXPECT_TRUE(is_line_with(error_of([&] { key_map_for(*model, "alexnet", timm, "timm"); }), "'timm'", "torchvision"));

    write({});
    expect_loads("auto", "torchvision");
    expect_loads("torchvision", "torchvision");
}

TEST_F(KeyMapFiles, ALinearLayerMayBeAConvolutionThere) {
    write(map_of("mobilenet_v2", "timm"), true);
    expect_loads("auto", "timm");
    write({}, true);
    EXPECT_TRUE(is_line_with(error_of([&] { load_weights(*model, SafetensorsFile(path), false); }),
                             "classifier.1.weight", "x 1 x 1"))
        << "not without a map";
}

TEST_F(KeyMapFiles, HalvesAreWrittenForMatricesAlone) {
    save_weights(path, model->parts(), {}, {}, WeightPrecision::f16);
    const SafetensorsFile file(path);
    for (const TensorView& view : file.tensors()) {
        EXPECT_EQ(view.dtype, view.shape.size() >= 2 ? FileDType::f16 : FileDType::f32) << view.name;
    }
    const std::unique_ptr<Model> other = make_model("mobilenet_v2", {.classes = 5, .width = 0.1f, .seed = 2});
    EXPECT_EQ(load_weights(*other, file, false).notice(), "");
    const auto weights = [](const Model& from) { return to_values(from.parts().parameters.front().variable.value()); };
    const Values a = weights(*model), b = weights(*other);
    for (std::size_t i = 0; i < a.size(); ++i) {
        EXPECT_NEAR(a[i], b[i], std::abs(a[i]) * 0x1p-11);
    }
    Tensor(model->parts().parameters.front().variable.value()).fill(65520.0f);
    EXPECT_TRUE(is_line_with(error_of([&] { save_weights(path, model->parts(), {}, {}, WeightPrecision::f16); }),
                             "features.0.0.weight", "65520"));
}

}  // namespace
}  // namespace cutis::testing
