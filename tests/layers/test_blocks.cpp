#include "layers/blocks.h"

#include <gtest/gtest.h>

#include "tests/support/error_of.h"

namespace cutis::testing {
namespace {

Tensor counting(const Shape& shape) {
    Tensor x = Tensor::empty(shape);
    for (std::int64_t i = 0; i < x.elements(); ++i) {
        x.data()[i] = static_cast<float>(i % 7) - 3.0f;
    }
    return x;
}

std::vector<std::string> names_of(const Layer& layer) {
    Parts parts;
    layer.visit("block", parts);
    std::vector<std::string> names;
    for (const ParameterRef& parameter : parts.parameters) {
        names.push_back(parameter.name);
    }
    return names;
}

// A batchnorm in evaluation with statistics 0 and 1 is, but for eps, its input.
Residual residual(int c, Sequential shortcut = {}) {
    Sequential body;
    body.add("conv1", Conv2d({.c_in = c, .c_out = c, .kernel = 1, .bias = false}));
    return Residual(std::move(body), "bn1", BatchNorm({.c = c}), std::move(shortcut));
}

TEST(Residual, AddsItsInputAndClampsTheSum) {
    Residual block = residual(2);  // whose convolution is 0
    const Tensor x = counting({1, 3, 2, 2});
    const Tensor y = block.forward(Variable(x), {}).value();
    for (std::size_t i = 0; i < 12; ++i) {
        EXPECT_EQ(y.values()[i], std::max(0.0f, x.values()[i]));
    }
    EXPECT_EQ(names_of(block), (std::vector<std::string>{"block.conv1.weight", "block.bn1.weight", "block.bn1.bias"}));
}

TEST(Residual, OfOtherSizesNeedsAShortcut) {
    std::vector<LayerSummary> lines;
    Sequential halved;
    halved.add(Conv2d({.c_in = 2, .c_out = 2, .kernel = 1, .stride = 2, .bias = false}));
    const Residual block = residual(2, std::move(halved));
    EXPECT_EQ(names_of(block).back(), "block.downsample.0.weight");
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 block.summarize("block", {4, 4, 2}, lines);
                             }),
                             "block", "4 x 4 x 2", "2 x 2 x 2"));
}

TEST(Branches, StandSideBySideInTheChannels) {
    Branches branches;
    Sequential pooled, plain;
    pooled.add(MaxPool({.window = 3, .stride = 1, .padding = 1}));
    branches.add("pooled", std::move(pooled)).add("plain", std::move(plain));
    const Tensor x = counting({2, 2, 2, 3});
    const Tensor y = branches.forward(Variable(x), {}).value();
    ASSERT_EQ(y.shape(), (Shape{2, 2, 2, 6}));
    for (std::int64_t pixel = 0; pixel < 8; ++pixel) {
        for (std::int64_t c = 0; c < 3; ++c) {
            EXPECT_EQ(y.data()[pixel * 6 + 3 + c], x.data()[pixel * 3 + c]);
            EXPECT_GE(y.data()[pixel * 6 + c], x.data()[pixel * 3 + c]);
        }
    }
    std::vector<LayerSummary> lines;
    EXPECT_EQ(branches.summarize("block", {2, 2, 3}, lines), (Shape{2, 2, 6}));
    Sequential halved;
    halved.add(MaxPool({.window = 2}));
    branches.add("halved", std::move(halved));
    EXPECT_TRUE(is_line_with(error_of([&] { branches.summarize("block", {2, 2, 3}, lines); }), "block", "1 x 1 x 3"));
}

TEST(BatchNorm, FrozenStaysAsInEvaluation) {
    BatchNorm norm({.c = 3, .act = Activation::relu});
    norm.gamma.set_requires_grad(false);
    const Variable x(counting({5, 3}));
    const Tensor trained = norm.forward(x, {.training = true}).value(), judged = norm.forward(x, {}).value();
    EXPECT_TRUE(std::equal(trained.values().begin(), trained.values().end(), judged.values().begin()));
    norm.gamma.set_requires_grad(true);
    const Tensor moved = norm.forward(x, {.training = true}).value();
    EXPECT_FALSE(std::equal(moved.values().begin(), moved.values().end(), judged.values().begin()));
}

}  // namespace
}  // namespace cutis::testing
