#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/philox.h"
#include "models/model.h"

// ForwardContext::linear_input: what `cutis predict --features` writes.

namespace cutis::testing {
namespace {

constexpr int kClasses = 3;

/// The last parameters of that many dimensions: the classifier's.
Tensor last_parameter(const Model& model, std::size_t dimensions) {
    Tensor last;
    for (const ParameterRef& parameter : model.parts().parameters) {
        if (file_shape(parameter.variable.value().shape(), parameter.layout).size() == dimensions &&
            parameter.variable.value().shape()[0] == kClasses) {
            last = parameter.variable.value();
        }
    }
    return last;
}

class ModelFeatures : public ::testing::TestWithParam<const char*> {};

TEST_P(ModelFeatures, AreWhatTheClassifierSeparates) {
    const auto model =
        make_model(GetParam(), {.classes = kClasses, .width = 0.25f, .dropout = 0.5f, .lstm_hidden = 12});
    const int side = model->least_size();
    Tensor images = Tensor::empty({2, side, side, 3});
    PhiloxStream random(1, RandomPurpose::test);
    std::generate_n(images.data(), images.elements(), [&] { return random.normal(); });
    const NoGrad no_grad;
    Variable features;
    const Tensor logits = model->forward(Variable(images), {.linear_input = &features}).value();
    const Tensor weight = last_parameter(*model, 2), bias = last_parameter(*model, 1);
    ASSERT_TRUE(static_cast<bool>(features));
    const Tensor x = features.value();
    const std::int64_t d = weight.elements() / kClasses;
    ASSERT_EQ(x.elements(), 2 * d);
    double largest = 0;
    for (std::int64_t i = 0; i < 2; ++i) {
        for (std::int64_t k = 0; k < kClasses; ++k) {
            double sum = static_cast<double>(bias.values()[static_cast<std::size_t>(k)]);
            for (std::int64_t j = 0; j < d; ++j) {
                const double term = static_cast<double>(x.values()[static_cast<std::size_t>(i * d + j)]) *
                                    static_cast<double>(weight.values()[static_cast<std::size_t>(k * d + j)]);
                sum += term;
                largest = std::max(largest, std::abs(term));
            }
            EXPECT_NEAR(logits.values()[static_cast<std::size_t>(i * kClasses + k)], sum, 1e-4 * (1 + std::abs(sum)));
        }
    }
    EXPECT_GT(largest, 0);
    EXPECT_EQ(model->forward(Variable(images), {}).value().values()[0], logits.values()[0]) << "asking changes nothing";
}

std::vector<const char*> model_names() {
    std::vector<const char*> names;
    for (const ModelEntry& entry : model_table()) {
        names.push_back(entry.name.data());
    }
    return names;
}

INSTANTIATE_TEST_SUITE_P(Models, ModelFeatures, ::testing::ValuesIn(model_names()));

}  // namespace
}  // namespace cutis::testing
