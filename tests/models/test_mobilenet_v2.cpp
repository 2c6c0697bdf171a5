#include "models/mobilenet_v2.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/ops.h"
#include "layers/optimizer.h"
#include "tests/support/error_of.h"
#include "tests/support/numeric_gradient.h"

namespace cutis::testing {
namespace {

nlohmann::json layout() {
    std::ifstream file(std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/golden/mobilenet_v2_layout.json");
    return nlohmann::json::parse(file);
}

MobileNetV2 network(int classes, float width, std::uint64_t seed = 1) {
    MobileNetV2 model({.classes = classes, .width = width});
    model.init(seed);
    return model;
}

Variable images(int n, int side, std::uint64_t seed = 1) {
    const Shape shape{n, side, side, 3};
    return Variable(to_tensor(random_values(shape.elements(), seed), shape));
}

TEST(MobileNetV2, HasTorchvisionsNamesAndShapes) {
    std::map<std::string, std::vector<std::int64_t>> shapes;
    const MobileNetV2 model = network(1000, 1.0f);
    for (const ParameterRef& parameter : model.parts().parameters) {
        shapes[parameter.name] = file_shape(parameter.variable.shape(), parameter.layout);
    }
    for (const BufferRef& buffer : model.parts().buffers) {
        shapes[buffer.name] = file_shape(buffer.tensor.shape(), WeightLayout::same);
    }
    EXPECT_EQ(shapes, layout().at("shapes").get<decltype(shapes)>());
    EXPECT_EQ(shapes.size(), model.parts().parameters.size() + model.parts().buffers.size()) << "a name twice";
}

TEST(MobileNetV2, HasThePapersSize) {
    const MobileNetV2 model = network(1000, 1.0f);
    EXPECT_EQ(model.parts().parameter_count(), 3504872);
    std::int64_t macs = 0, parameters = 0;
    for (const LayerSummary& layer : model.summarize(224)) {
        macs += layer.macs;
        parameters += layer.parameters;
    }
    EXPECT_EQ(parameters, 3504872);
    EXPECT_EQ(macs, 300774272);
}

TEST(MobileNetV2, HasTorchvisionsSizeAtEveryWidth) {
    const nlohmann::json file = layout();
    for (const auto& [width, parameters] : file.at("parameters_by_width").items()) {
        EXPECT_EQ(MobileNetV2({.classes = 1000, .width = std::stof(width)}).parts().parameter_count(),
                  parameters.get<std::int64_t>())
            << width;
    }
}

TEST(MobileNetV2, SummarizesLayerByLayer) {
    const std::vector<LayerSummary> layers = network(7, 1.0f).summarize(224);
    EXPECT_EQ(layers.size(), 52u * 2 + 2);
    EXPECT_EQ(layers.front().name, "features.0.0");
    EXPECT_EQ(layers.front().kind, "conv");
    EXPECT_EQ(layers.front().output, (Shape{112, 112, 32}));
    EXPECT_EQ(layers.front().parameters, 864);
    EXPECT_EQ(layers.front().macs, 864 * 112 * 112);
    EXPECT_EQ(layers[1].kind, "batchnorm+relu6");
    EXPECT_EQ(layers[2].name, "features.1.conv.0.0");
    EXPECT_EQ(layers[2].kind, "depthwise");
    EXPECT_EQ(layers[2].macs, 9 * 32 * 112 * 112);
    EXPECT_EQ(layers[4].kind, "pointwise");
    EXPECT_EQ(layers[5].kind, "batchnorm");
    EXPECT_EQ(layers[layers.size() - 3].output, (Shape{7, 7, 1280}));
    EXPECT_EQ(layers.back().name, "classifier.1");
    EXPECT_EQ(layers.back().output, (Shape{7}));
    EXPECT_EQ(layers.back().parameters, 7 * 1281);
    EXPECT_EQ(layers.back().macs, 7 * 1280);
}

TEST(MobileNetV2, SummaryShapesAreThoseOfTheForwardPass) {
    for (const int side : {32, 33, 75}) {
        MobileNetV2 model = network(3, 0.35f);
        const std::vector<LayerSummary> layers = model.summarize(side);
        Variable x = images(1, side);
        for (const ConvBn& unit : model.stem) {
            EXPECT_EQ(unit.output_shape(x.shape())[1], layers[0].output[0]);
        }
        const NoGrad off;
        EXPECT_EQ(model.features(x, {}, true).shape(), (Shape{1, 1280}));
        EXPECT_EQ(model.forward(x, {}).shape(), (Shape{1, 3}));
    }
}

TEST(MobileNetV2, TakesImagesThatAreNotSquare) {
    MobileNetV2 model = network(3, 0.25f);
    const NoGrad off;
    EXPECT_EQ(model.forward(Variable(Tensor::zeros({2, 32, 57, 3})), {}).shape(), (Shape{2, 3}));
}

TEST(MobileNetV2, RefusesWhatItCannotTake) {
    MobileNetV2 model = network(3, 0.25f);
    const auto error = [&](const Shape& shape) {
        return error_of([&] { model.forward(Variable(Tensor::zeros(shape)), {}); });
    };
    EXPECT_TRUE(is_line_with(error({1, 31, 64, 3}), "mobilenet_v2", "1 x 31 x 64 x 3", "32"));
    EXPECT_TRUE(is_line_with(error({1, 64, 64, 1}), "1 x 64 x 64 x 1"));
    EXPECT_TRUE(is_line_with(error({64, 64, 3}), "64 x 64 x 3"));
    EXPECT_TRUE(is_line_with(error_of([&] { model.summarize(31); }), "31 px", "32 px"));
    const auto made = [](int classes, float width) {
        return error_of([&] { MobileNetV2({.classes = classes, .width = width}); });
    };
    EXPECT_TRUE(is_line_with(made(0, 1.0f), "0 classes"));
    EXPECT_TRUE(is_line_with(made(7, 0.0f), "width 0"));
    EXPECT_TRUE(is_line_with(made(7, -1.0f), "width -1"));
    EXPECT_TRUE(is_line_with(made(7, 100.0f), "width 100"));
    EXPECT_TRUE(is_line_with(made(7, std::nanf("")), "width nan"));
}

// Kaiming normal by fan out for convolutions, deviation 0.01 for the classifier, nothing but constants elsewhere.
TEST(MobileNetV2, IsInitialisedAsInTorchvision) {
    const MobileNetV2 model = network(100, 1.0f);
    for (const ParameterRef& parameter : model.parts().parameters) {
        const std::vector<std::int64_t> shape = file_shape(parameter.variable.shape(), parameter.layout);
        const auto values = parameter.variable.value().values();
        const auto count = static_cast<double>(values.size());
        double sum = 0.0, squares = 0.0;
        for (const float value : values) {
            sum += static_cast<double>(value);
            squares += static_cast<double>(value) * static_cast<double>(value);
        }
        if (shape.size() == 1) {
            EXPECT_EQ(sum, parameter.name.ends_with(".bias") ? 0.0 : count) << parameter.name;
            EXPECT_EQ(squares, parameter.name.ends_with(".bias") ? 0.0 : count) << parameter.name;
            continue;
        }
        const double fan_out =
            static_cast<double>(shape[0]) * (shape.size() == 4 ? static_cast<double>(shape[2] * shape[3]) : 1.0);
        const double deviation = shape.size() == 4 ? std::sqrt(2.0 / fan_out) : 0.01;
        EXPECT_NEAR(sum / count, 0.0, 5.0 * deviation / std::sqrt(count)) << parameter.name;
        EXPECT_NEAR(std::sqrt(squares / count) / deviation, 1.0, 5.0 / std::sqrt(2.0 * count)) << parameter.name;
    }
    for (const BufferRef& buffer : model.parts().buffers) {
        const float expected = buffer.name.ends_with("running_var") ? 1.0f : 0.0f;
        EXPECT_EQ(to_values(buffer.tensor),
                  Values(static_cast<std::size_t>(buffer.tensor.elements()), static_cast<double>(expected)));
    }
}

TEST(MobileNetV2, WeightsDependOnTheSeed) {
    const auto first = [](std::uint64_t seed) {
        return to_values(network(3, 0.25f, seed).parts().parameters[0].variable.value());
    };
    EXPECT_EQ(first(1), first(1));
    EXPECT_NE(first(1), first(2));
}

TEST(MobileNetV2, DecaysWeightsAndNothingElse) {
    for (const ParameterRef& parameter : network(3, 0.25f).parts().parameters) {
        EXPECT_EQ(parameter.decay, file_shape(parameter.variable.shape(), parameter.layout).size() > 1)
            << parameter.name;
    }
}

TEST(MobileNetV2, FusedInferenceEqualsThePlainOne) {
    MobileNetV2 model = network(5, 0.5f);
    for (const BufferRef& buffer : model.parts().buffers) {  // statistics that keep the signal alive
        Tensor(buffer.tensor).fill(buffer.name.ends_with("running_var") ? 0.3f : -0.1f);
    }
    const NoGrad off;
    const Variable x = images(2, 65);
    const Tensor fused = model.forward(x, {.fused = true}).value(), plain = model.forward(x, {.fused = false}).value();
    EXPECT_TRUE(are_near(fused.values(), to_values(plain), 1e-4));
}

// With most activations between ReLU6's ends the whole net is well-conditioned. (Around 0, one activation that a
// rounding error moves over the kink changes the gradient of everything before it.)
TEST(MobileNetV2, FusedTrainingEqualsThePlainOne) {
    const auto outcome = [](bool fused) {
        MobileNetV2 model = network(5, 0.35f);
        for (ParameterRef& parameter : model.parts().parameters) {
            if (parameter.variable.shape().rank() == 1) {
                parameter.variable.value().fill(parameter.name.ends_with(".bias") ? 1.0f : 0.5f);
            }
        }
        const Tensor labels = Tensor::from(std::vector<std::int32_t>{0, 1, 2, 3, 4, 0, 1, 2}, {8});
        const ForwardContext context{.training = true, .seed = 1, .fused = fused};
        Variable loss = cross_entropy(model.forward(images(8, 96), context), labels);
        std::map<std::string, Values> all{{"loss", to_values(loss.value())}};
        loss.backward();
        for (const ParameterRef& parameter : model.parts().parameters) {
            all[parameter.name] = to_values(parameter.variable.grad());
        }
        for (const BufferRef& buffer : model.parts().buffers) {
            all[buffer.name] = to_values(buffer.tensor);
        }
        return all;
    };
    const std::map<std::string, Values> fused = outcome(true), plain = outcome(false);
    for (const auto& [name, expected] : plain) {
        double distance = 0.0, norm = 0.0;
        for (std::size_t i = 0; i < expected.size(); ++i) {
            distance += std::pow(fused.at(name)[i] - expected[i], 2);
            norm += std::pow(expected[i], 2);
        }
        // The batchnorm behind the next convolution takes out what a projection's bias adds: its gradient is nothing
        // but rounding.
        EXPECT_LE(std::sqrt(distance), 1e-2 * std::sqrt(norm) + 1e-6) << name;
    }
}

TEST(MobileNetV2, LearnsABatchByHeart) {
    MobileNetV2 model = network(3, 0.25f);
    const Tensor labels = Tensor::from(std::vector<std::int32_t>{0, 1, 2, 0, 1, 2, 0, 1}, {8});
    Optimizer optimizer({.kind = OptimizerKind::adamw}, {{model.parts().parameters, 0.003f}});
    const Variable x = images(8, 32);
    float first = 0.0f, last = 0.0f;
    for (std::uint64_t step = 0; step < 25; ++step) {
        Variable loss = cross_entropy(model.forward(x, {.training = true, .seed = 1, .step = step}), labels);
        last = loss.value().values()[0];
        first = step == 0 ? last : first;
        loss.backward();
        optimizer.step(1.0);
        optimizer.clear_gradients();
    }
    EXPECT_GT(first, 0.8f);
    EXPECT_LT(last, 0.3f);
}

TEST(MobileNetV2, DropoutDrawsByStepAndOnlyInTraining) {
    MobileNetV2 model = network(3, 0.25f);
    const Variable x = images(8, 32);
    const auto logits = [&](bool training, std::uint64_t seed, std::uint64_t step) {
        const NoGrad off;
        MobileNetV2 fresh = network(3, 0.25f);
        return to_values(fresh.forward(x, {.training = training, .seed = seed, .step = step}).value());
    };
    EXPECT_EQ(logits(true, 1, 1), logits(true, 1, 1));
    EXPECT_NE(logits(true, 1, 1), logits(true, 1, 2));
    EXPECT_NE(logits(true, 1, 1), logits(true, 2, 1));
    EXPECT_EQ(logits(false, 1, 1), logits(false, 2, 2));
}

TEST(MobileNetV2, FrozenFeaturesTrainTheClassifierAlone) {
    MobileNetV2 model = network(3, 0.25f);
    for (ParameterRef& parameter : model.parts().parameters) {
        parameter.variable.set_requires_grad(model.in_classifier(parameter.name));
    }
    const std::vector<BufferRef> buffers = model.parts().buffers;
    const Values mean = to_values(buffers[0].tensor);
    Variable loss = cross_entropy(model.forward(images(4, 32), {.training = true}), Tensor::zeros({4}, DType::i32));
    loss.backward();
    EXPECT_EQ(to_values(buffers[0].tensor), mean);
    for (const ParameterRef& parameter : model.parts().parameters) {
        EXPECT_EQ(static_cast<bool>(parameter.variable.grad()), parameter.name.starts_with("classifier."))
            << parameter.name;
    }
}

TEST(ModelTable, MakesModelsByName) {
    std::set<std::string_view> names;
    for (const ModelEntry& entry : model_table()) {
        names.insert(entry.name);
        EXPECT_FALSE(entry.description.empty());
        EXPECT_EQ(build_model(entry.name, {.classes = 4})->classes(), 4);
    }
    EXPECT_TRUE(names.contains("mobilenet_v2"));
    EXPECT_EQ(names.size(), model_table().size());
    const std::unique_ptr<Model> model = make_model("mobilenet_v2", {.classes = 3, .width = 0.25f, .seed = 5});
    EXPECT_EQ(to_values(model->parts().parameters[0].variable.value()),
              to_values(network(3, 0.25f, 5).parts().parameters[0].variable.value()));
    EXPECT_TRUE(is_line_with(error_of([] { make_model("mobilenet", {}); }), "'mobilenet'", "mobilenet_v2"));
}

}  // namespace
}  // namespace cutis::testing
