#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "kernels/philox.h"
#include "models/googlenet.h"
#include "models/weights.h"
#include "tests/support/error_of.h"
#include "tests/support/numeric_gradient.h"
#include "tests/support/temp_dir.h"

// Heads that count in training alone: GoogLeNet's two.

namespace cutis::testing {
namespace {

GoogLeNet network(int classes, std::uint64_t seed, float dropout = 0.0f) {
    GoogLeNet model({.classes = classes, .width = 0.1f, .dropout = dropout});
    model.init(seed);
    return model;
}

Variable noise() {
    Tensor images = Tensor::empty({2, 32, 32, 3});
    PhiloxStream random(3, RandomPurpose::test);
    for (std::int64_t i = 0; i < images.elements(); ++i) {
        images.data()[i] = random.normal();
    }
    return Variable(images);
}
const std::vector<std::int32_t> kLabels{1, 2};

std::vector<std::string> auxiliary_names(const Model& model) {
    std::vector<std::string> names;
    const Parts parts = model.parts();
    for (const ParameterRef& parameter : parts.parameters) {
        if (model.in_auxiliary_head(parameter.name)) {
            names.push_back(parameter.name);
        }
    }
    for (const BufferRef& buffer : parts.buffers) {
        if (model.in_auxiliary_head(buffer.name)) {
            names.push_back(buffer.name);
        }
    }
    return names;
}

TEST(AuxiliaryHeads, CountThreeTenthsEachInTraining) {
    GoogLeNet model = network(3, 1);
    const Tensor labels = Tensor::from(kLabels, {2});
    const TrainingOutput output = model.forward_training(noise(), {.training = true});
    ASSERT_EQ(output.auxiliary.size(), 2u);
    const auto value = [](const Variable& loss) { return loss.value().values()[0]; };
    float expected = value(cross_entropy(output.logits, labels));
    for (const AuxiliaryLogits& head : output.auxiliary) {
        EXPECT_EQ(head.logits.shape(), (Shape{2, 3}));
        expected += 0.3f * value(cross_entropy(head.logits, labels));
    }
    Variable loss = training_loss(output, labels);
    EXPECT_FLOAT_EQ(value(loss), expected);
    loss.backward();
    for (const ParameterRef& parameter : model.parts().parameters) {
        EXPECT_TRUE(parameter.variable.grad()) << parameter.name;
    }
}

// Whatever the heads hold, nothing of it is in the logits, and evaluating moves none of their statistics.
TEST(AuxiliaryHeads, AreLeftOutElsewhere) {
    GoogLeNet model = network(3, 1), other = network(3, 1);
    for (ParameterRef& parameter : other.parts().parameters) {
        if (other.in_auxiliary_head(parameter.name)) {
            parameter.variable.value().fill(7.0f);
        }
    }
    for (const bool training : {false, true}) {
        EXPECT_EQ(to_values(model.forward(noise(), {.training = training}).value()),
                  to_values(other.forward(noise(), {.training = training}).value()));
    }
    for (const BufferRef& buffer : model.parts().buffers) {
        if (model.in_auxiliary_head(buffer.name)) {
            const float start = buffer.name.ends_with("running_var") ? 1.0f : 0.0f;
            EXPECT_EQ(std::as_const(buffer.tensor).values()[0], start) << buffer.name;
        }
    }
    std::int64_t counted = 0;
    for (const LayerSummary& layer : model.summarize(32)) {
        counted += layer.parameters;
        EXPECT_FALSE(layer.name.starts_with("aux")) << layer.name;
    }
    EXPECT_EQ(counted, model.parameter_count());
    EXPECT_LT(counted, model.parts().parameter_count());
}

TEST(AuxiliaryHeads, AreWithoutDropoutWhereTheClassifierIs) {
    for (const float dropout : {0.0f, 0.2f}) {
        GoogLeNet model = network(3, 1, dropout);
        const auto heads = [&](std::uint64_t step) {
            const TrainingOutput output = model.forward_training(noise(), {.training = true, .step = step});
            return std::pair{to_values(output.auxiliary[0].logits.value()),
                             to_values(output.auxiliary[1].logits.value())};
        };
        const auto first = heads(0), second = heads(1);
        EXPECT_EQ(first == second, dropout == 0.0f);
    }
}

class AuxiliaryWeights : public ::testing::Test {
  protected:
    TempDir folder;
    std::filesystem::path path = folder / "w.safetensors";
    GoogLeNet model = network(3, 1);

    void save(bool heads) {
        Parts parts = model.parts();
        if (!heads) {
            std::erase_if(parts.parameters, [&](const ParameterRef& p) { return model.in_auxiliary_head(p.name); });
            std::erase_if(parts.buffers, [&](const BufferRef& b) { return model.in_auxiliary_head(b.name); });
        }
        save_weights(path, parts, {}, {});
    }
};

TEST_F(AuxiliaryWeights, OfAFileWithoutHeadsKeepTheirInitialValues) {
    save(false);
    for (const bool new_classifier : {false, true}) {
        GoogLeNet other = network(3, 2);
        const Values before = to_values(other.parts().parameters.back().variable.value());
        const LoadReport report = load_weights(other, SafetensorsFile(path), new_classifier);
        std::vector<std::string> reported = report.reinitialized, expected = auxiliary_names(other);
        EXPECT_EQ(reported, expected);
        EXPECT_EQ(expected.size(), 18u);
        EXPECT_TRUE(is_line_with(report.notice(), "re-initialised: aux1.conv.conv.weight, ", " and 14 more"));
        EXPECT_EQ(to_values(other.parts().parameters.back().variable.value()), before);
        EXPECT_EQ(to_values(other.forward(noise(), {}).value()), to_values(model.forward(noise(), {}).value()));
    }
    EXPECT_EQ(classes_in_file(SafetensorsFile(path), model.classifier_prefixes().front()), 3);
}

TEST_F(AuxiliaryWeights, StartAnewWithTheClassifierForOtherClasses) {
    save(true);
    EXPECT_EQ(classes_in_file(SafetensorsFile(path), model.classifier_prefixes().front()), 3);
    GoogLeNet other = network(5, 2);
    EXPECT_EQ(load_weights(other, SafetensorsFile(path), true).reinitialized,
              (std::vector<std::string>{"fc.weight", "fc.bias", "aux1.fc2.weight", "aux1.fc2.bias", "aux2.fc2.weight",
                                        "aux2.fc2.bias"}));
    EXPECT_TRUE(is_line_with(error_of([&] { load_weights(other, SafetensorsFile(path), false); }), "fc.weight"));
}

// Who replaces the classifier alone leaves the heads with the old number of classes: no reason not to predict.
TEST_F(AuxiliaryWeights, OfOtherClassesThanTheClassifiersAreLeftOut) {
    Parts parts = model.parts();
    const Parts five = network(5, 2).parts();
    for (std::size_t i = 0; i < parts.parameters.size(); ++i) {
        if (model.in_auxiliary_head(parts.parameters[i].name)) {
            parts.parameters[i] = five.parameters[i];
        }
    }
    save_weights(path, parts, {}, {});
    GoogLeNet other = network(3, 2);
    EXPECT_EQ(load_weights(other, SafetensorsFile(path), false).reinitialized,
              (std::vector<std::string>{"aux1.fc2.weight", "aux1.fc2.bias", "aux2.fc2.weight", "aux2.fc2.bias"}));
}

}  // namespace
}  // namespace cutis::testing
