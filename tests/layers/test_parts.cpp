#include "layers/parts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "layers/conv_bn.h"
#include "tests/support/error_of.h"

namespace cutis::testing {
namespace {

Tensor counting(const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    std::iota(values.begin(), values.end(), 0.0f);
    return Tensor::from(values, shape);
}
std::vector<float> list(const Tensor& tensor) {
    return {tensor.values().begin(), tensor.values().end()};
}

TEST(WeightLayout, DenseFiltersChangeFromKrscToKcrs) {
    const Tensor memory = counting({2, 3, 4, 5});
    EXPECT_EQ(file_shape(memory.shape(), WeightLayout::dense), (std::vector<std::int64_t>{2, 5, 3, 4}));
    const std::vector<float> file = to_file_order(memory, WeightLayout::dense);
    for (std::size_t k = 0; k < 2; ++k) {
        for (std::size_t r = 0; r < 3; ++r) {
            for (std::size_t s = 0; s < 4; ++s) {
                for (std::size_t c = 0; c < 5; ++c) {
                    EXPECT_EQ(file[((k * 5 + c) * 3 + r) * 4 + s], memory.values()[((k * 3 + r) * 4 + s) * 5 + c]);
                }
            }
        }
    }
}

TEST(WeightLayout, DepthwiseFiltersChangeFromRscToCrs) {
    const Tensor memory = counting({3, 3, 4});
    EXPECT_EQ(file_shape(memory.shape(), WeightLayout::depthwise), (std::vector<std::int64_t>{4, 1, 3, 3}));
    const std::vector<float> file = to_file_order(memory, WeightLayout::depthwise);
    for (std::size_t tap = 0; tap < 9; ++tap) {
        for (std::size_t c = 0; c < 4; ++c) {
            EXPECT_EQ(file[c * 9 + tap], memory.values()[tap * 4 + c]);
        }
    }
}

TEST(WeightLayout, PointwiseAndVectorsKeepTheirOrder) {
    EXPECT_EQ(file_shape({4, 3}, WeightLayout::pointwise), (std::vector<std::int64_t>{4, 3, 1, 1}));
    EXPECT_EQ(file_shape({4, 3}, WeightLayout::same), (std::vector<std::int64_t>{4, 3}));
    EXPECT_TRUE(file_shape({}, WeightLayout::same).empty());
    EXPECT_EQ(to_file_order(counting({4, 3}), WeightLayout::pointwise), list(counting({4, 3})));
    EXPECT_EQ(to_file_order(counting({5}), WeightLayout::same), list(counting({5})));
}

TEST(WeightLayout, ComesBackFromAFileAsItWas) {
    const std::pair<Shape, WeightLayout> cases[] = {{{2, 3, 4, 5}, WeightLayout::dense},
                                                    {{3, 3, 7}, WeightLayout::depthwise},
                                                    {{4, 3}, WeightLayout::pointwise},
                                                    {{6}, WeightLayout::same}};
    for (const auto& one : cases) {
        const Shape& shape = one.first;
        const WeightLayout layout = one.second;
        const Tensor memory = counting(shape);
        Tensor back = Tensor::zeros(shape);
        const std::uint64_t version = back.version();
        from_file_order(back, to_file_order(memory, layout), layout);
        EXPECT_EQ(list(back), list(memory)) << to_string(shape);
        EXPECT_GT(back.version(), version);
        EXPECT_TRUE(is_line_with(error_of([&] { from_file_order(back, {}, layout); }), "0 values", to_string(shape)));
    }
}

TEST(NameHash, IsFnv1a) {
    EXPECT_EQ(name_hash(""), 0x811c9dc5u);
    EXPECT_EQ(name_hash("a"), 0xe40c292cu);
    EXPECT_EQ(name_hash("foobar"), 0xbf9cf968u);
}

TEST(InitNormal, DependsOnSeedAndNameAlone) {
    const auto drawn = [](std::uint64_t seed, const char* name, WeightLayout layout, const Shape& shape) {
        Tensor tensor = Tensor::zeros(shape);
        init_normal(tensor, layout, 1.0f, seed, name);
        return to_file_order(tensor, layout);
    };
    const std::vector<float> values = drawn(1, "a", WeightLayout::same, {36});
    EXPECT_EQ(drawn(1, "a", WeightLayout::same, {36}), values);
    EXPECT_EQ(drawn(1, "a", WeightLayout::depthwise, {3, 3, 4}), values);
    EXPECT_EQ(drawn(1, "a", WeightLayout::dense, {2, 3, 3, 2}), values);
    EXPECT_NE(drawn(2, "a", WeightLayout::same, {36}), values);
    EXPECT_NE(drawn(1, "b", WeightLayout::same, {36}), values);
}

TEST(InitNormal, HasTheAskedForMoments) {
    constexpr int kCount = 100000;
    Tensor tensor = Tensor::zeros({kCount});
    init_normal(tensor, WeightLayout::same, 0.5f, 3, "weights");
    double sum = 0.0, squares = 0.0, fourth = 0.0;
    for (const float value : tensor.values()) {
        const auto v = static_cast<double>(value);
        sum += v;
        squares += v * v;
        fourth += v * v * v * v;
    }
    const double root = std::sqrt(static_cast<double>(kCount)), var = squares / kCount;
    EXPECT_NEAR(sum / kCount, 0.0, 5.0 * 0.5 / root);
    EXPECT_NEAR(var, 0.25, 5.0 * 0.25 * std::sqrt(2.0) / root);
    EXPECT_NEAR(fourth / kCount / (var * var), 3.0, 5.0 * std::sqrt(96.0) / root);
}

TEST(ConvBnParts, AreNamedCountedAndDecayed) {
    const ConvBn unit({ConvKind::depthwise, 5, 5, 3, 2, Activation::relu6});
    Parts parts;
    unit.visit("block.0", "block.1", parts);
    EXPECT_EQ(parts.parameter_count(), 45 + 5 + 5);
    ASSERT_EQ(parts.parameters.size(), 3u);
    ASSERT_EQ(parts.buffers.size(), 2u);
    EXPECT_EQ(parts.parameters[0].name, "block.0.weight");
    EXPECT_TRUE(parts.parameters[0].decay);
    EXPECT_EQ(parts.parameters[0].layout, WeightLayout::depthwise);
    EXPECT_EQ(parts.parameters[1].name, "block.1.weight");
    EXPECT_FALSE(parts.parameters[1].decay);
    EXPECT_EQ(parts.parameters[2].name, "block.1.bias");
    EXPECT_FALSE(parts.parameters[2].decay);
    EXPECT_EQ(parts.buffers[0].name, "block.1.running_mean");
    EXPECT_EQ(parts.buffers[1].name, "block.1.running_var");
    EXPECT_EQ(unit.output_shape({2, 7, 8, 5}), (Shape{2, 4, 4, 5}));
}

TEST(ConvBnParts, InitResetsWhatTrainingMoved) {
    ConvBn unit({ConvKind::dense, 3, 4, 3, 1, Activation::relu6});
    unit.gamma.value().fill(7.0f);
    unit.beta.value().fill(7.0f);
    unit.norm.running_mean.fill(7.0f);
    unit.norm.running_var.fill(7.0f);
    unit.init(1, "conv");
    EXPECT_EQ(list(unit.gamma.value()), std::vector<float>(4, 1.0f));
    EXPECT_EQ(list(unit.beta.value()), std::vector<float>(4, 0.0f));
    EXPECT_EQ(list(unit.norm.running_mean), std::vector<float>(4, 0.0f));
    EXPECT_EQ(list(unit.norm.running_var), std::vector<float>(4, 1.0f));
    EXPECT_NE(unit.weight.value().values()[0], 0.0f);
}

}  // namespace
}  // namespace cutis::testing
