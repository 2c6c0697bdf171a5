#include "engine/ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "tests/support/error_of.h"
#include "tests/support/numeric_gradient.h"

// Every differentiable op on ragged shapes: value and gradients against its float64 definition.

namespace cutis::testing {
namespace {

struct Input {
    Shape shape;
    double low = -1.0, high = 1.0;
    bool saved = true;  ///< whether backward reads it
};

struct OpCase {
    std::string name;
    std::vector<Input> inputs;
    std::function<Variable(const std::vector<Variable>&)> op;
    Definition definition;
};

std::ostream& operator<<(std::ostream& out, const OpCase& op) {
    return out << op.name;
}

int size(const Shape& shape, int dimension) {
    return static_cast<int>(shape[dimension]);
}

OpCase conv_case(const std::string& name, const Shape& x, const Shape& w, int stride, int padding, int groups,
                 bool bias) {
    const ConvShape shape{size(x, 0), size(x, 1), size(x, 2), size(x, 3), size(w, 0),
                          size(w, 1), size(w, 2), stride,     padding,    groups};
    std::vector<Input> inputs{{x}, {w}};
    if (bias) {
        inputs.push_back({{w[0]}, -1.0, 1.0, false});
    }
    return {
        "conv2d_" + name, inputs,
        [=](const std::vector<Variable>& in) {
            return conv2d(in[0], in[1], bias ? in[2] : Variable(), stride, padding, groups);
        },
        [=](const std::vector<Values>& in) { return reference::conv(in[0], in[1], bias ? in[2] : Values{}, shape); }};
}

OpCase pointwise_case(const std::string& name, const Shape& x, int k) {
    const ConvShape shape = reference::linear_shape(x[0] * x[1] * x[2], size(x, 3), k);
    return {"pointwise_" + name,
            {{x}, {{k, x[3]}}},
            [](const std::vector<Variable>& in) { return pointwise_conv(in[0], in[1]); },
            [=](const std::vector<Values>& in) { return reference::conv(in[0], in[1], {}, shape); }};
}

OpCase depthwise_case(const std::string& name, const Shape& x, int stride) {
    const DepthwiseShape shape{size(x, 0), size(x, 1), size(x, 2), size(x, 3), stride};
    return {"depthwise_" + name,
            {{x}, {{3, 3, x[3]}}},
            [=](const std::vector<Variable>& in) { return depthwise_conv(in[0], in[1], stride); },
            [=](const std::vector<Values>& in) { return reference::depthwise(in[0], in[1], shape); }};
}

OpCase linear_case(const std::string& name, int n, int c, int k, bool bias) {
    std::vector<Input> inputs{{{n, c}}, {{k, c}}};
    if (bias) {
        inputs.push_back({{k}, -1.0, 1.0, false});
    }
    return {"linear_" + name, inputs,
            [=](const std::vector<Variable>& in) { return linear(in[0], in[1], bias ? in[2] : Variable()); },
            [=](const std::vector<Values>& in) {
                return reference::conv(in[0], in[1], bias ? in[2] : Values{}, reference::linear_shape(n, c, k));
            }};
}

OpCase batchnorm_case(const std::string& name, const Shape& y, Activation act, bool residual, bool training) {
    const std::int64_t c = y[-1];
    const Values mean = random_values(c, 91, -0.5, 0.5), var = random_values(c, 92, 0.2, 2.0);
    std::vector<Input> inputs{{y, -2.0, 2.0}, {{c}, 0.5, 6.0, training}, {{c}, -1.0, 2.0, false}};
    if (residual) {
        inputs.push_back({y, -1.0, 1.0, false});
    }
    return {"batchnorm_" + name, inputs,
            [=](const std::vector<Variable>& in) {
                BatchNormState state{to_tensor(mean, {c}), to_tensor(var, {c})};
                return batchnorm(in[0], in[1], in[2], state, act, residual ? in[3] : Variable(), training);
            },
            [=](const std::vector<Values>& in) {
                Values z;
                if (training) {
                    z = reference::batchnorm(in[0], in[1], in[2], 1e-5, act);
                } else {
                    Values scale(in[1]), shift(in[2]);
                    for (std::size_t i = 0; i < scale.size(); ++i) {
                        scale[i] /= std::sqrt(var[i] + 1e-5);
                        shift[i] -= mean[i] * scale[i];
                    }
                    z = reference::normalize(in[0], scale, shift, act);
                }
                return residual ? reference::add(z, in[3]) : z;
            }};
}

std::vector<OpCase> batchnorm_cases() {
    std::vector<OpCase> cases;
    const std::pair<const char*, Activation> acts[] = {
        {"identity", Activation::identity}, {"relu", Activation::relu}, {"relu6", Activation::relu6}};
    for (const bool training : {true, false}) {
        for (const auto& [name, act] : acts) {
            for (const bool residual : {false, true}) {
                cases.push_back(
                    batchnorm_case(std::string(training ? "train_" : "eval_") + name + (residual ? "_residual" : ""),
                                   {2, 3, 2, 17}, act, residual, training));
            }
        }
    }
    cases.push_back(batchnorm_case("train_rank_2", {5, 9}, Activation::relu, false, true));
    cases.push_back(batchnorm_case("train_three_rows", {3, 5}, Activation::identity, true, true));
    cases.push_back(batchnorm_case("eval_one_row", {1, 1, 1, 5}, Activation::relu6, false, false));
    return cases;
}

// The mask by the contract of kernels/dropout.h.
OpCase dropout_case(const std::string& name, const Shape& shape, float probability, DropoutKey key) {
    std::vector<bool> kept;
    PhiloxStream random(key.seed, RandomPurpose::dropout, 0, key.offset);
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
        kept.push_back(random.uniform() >= probability);
    }
    return {"dropout_" + name,
            {{shape, -1.0, 1.0, false}},
            [=](const std::vector<Variable>& in) { return dropout(in[0], probability, key); },
            [=](const std::vector<Values>& in) {
                return reference::dropout(in[0], kept, static_cast<double>(probability));
            }};
}

OpCase cross_entropy_case(const std::string& name, int n, int c, bool weighted, float smoothing, float gamma) {
    std::vector<std::int32_t> labels;
    for (int i = 0; i < n; ++i) {
        labels.push_back(i * 5 % c);
    }
    const Values chosen = random_values(c, 93, 0.2, 3.0);
    const std::vector<float> weights(chosen.begin(), chosen.end());
    return {"cross_entropy_" + name,
            {{{n, c}, -4.0, 4.0, false}},
            [=](const std::vector<Variable>& in) {
                const Tensor class_weights = weighted ? Tensor::from(weights, {c}) : Tensor();
                return cross_entropy(in[0], Tensor::from(labels, {n}), {class_weights, smoothing, gamma});
            },
            [=](const std::vector<Values>& in) {
                const CrossEntropyOptions options{weighted ? weights.data() : nullptr, smoothing, gamma};
                return Values{reference::cross_entropy(in[0], labels, options, c).loss};
            }};
}

PoolShape pool_shape(const Shape& x, const PoolOptions& o) {
    return {size(x, 0), size(x, 1), size(x, 2), size(x, 3), o.window, o.stride > 0 ? o.stride : o.window,
            o.padding,  o.ceil};
}

OpCase max_pool_case(const std::string& name, const Shape& x, const PoolOptions& options) {
    return {"max_pool_" + name,
            {{x, -1.0, 1.0, false}},
            [=](const std::vector<Variable>& in) { return max_pool(in[0], options); },
            [=](const std::vector<Values>& in) { return reference::max_pool(in[0], pool_shape(x, options)); }};
}

OpCase average_pool_case(const std::string& name, const Shape& x, const PoolOptions& options) {
    return {"average_pool_" + name,
            {{x, -1.0, 1.0, false}},
            [=](const std::vector<Variable>& in) { return average_pool(in[0], options); },
            [=](const std::vector<Values>& in) { return reference::average_pool(in[0], pool_shape(x, options)); }};
}

OpCase adaptive_average_pool_case(const std::string& name, const Shape& x, int p, int q) {
    return {"adaptive_average_pool_" + name,
            {{x, -1.0, 1.0, false}},
            [=](const std::vector<Variable>& in) { return adaptive_average_pool(in[0], p, q); },
            [=](const std::vector<Values>& in) {
                return reference::adaptive_average_pool(in[0], {size(x, 0), size(x, 1), size(x, 2), size(x, 3), p, q});
            }};
}

OpCase local_response_norm_case(const std::string& name, const Shape& x, const LocalResponseNorm& norm) {
    return {"local_response_norm_" + name,
            {{x, -3.0, 3.0}},
            [=](const std::vector<Variable>& in) { return local_response_norm(in[0], norm); },
            [=](const std::vector<Values>& in) { return reference::local_response_norm(in[0], norm, size(x, -1)); }};
}

// Rows of 3, 5 and 1 values.
OpCase concat_case() {
    constexpr std::int64_t kWidths[] = {3, 5, 1};
    return {"concat_channels",
            {{{2, 2, 3}, -1.0, 1.0, false}, {{2, 2, 5}, -1.0, 1.0, false}, {{2, 2, 1}, -1.0, 1.0, false}},
            [](const std::vector<Variable>& in) { return concat_channels(in); },
            [=](const std::vector<Values>& in) {
                Values y;
                for (std::int64_t row = 0; row < 4; ++row) {
                    for (std::size_t part = 0; part < in.size(); ++part) {
                        const auto first = in[part].begin() + row * kWidths[part];
                        y.insert(y.end(), first, first + kWidths[part]);
                    }
                }
                return y;
            }};
}

std::vector<OpCase> op_cases() {
    std::vector<OpCase> cases{
        max_pool_case("2", {2, 4, 5, 3}, {2}),
        max_pool_case("alexnet", {1, 9, 8, 17}, {3, 2}),
        max_pool_case("padded", {2, 5, 4, 5}, {3, 2, 1}),
        max_pool_case("ceil", {1, 6, 8, 5}, {3, 2, 0, true}),
        average_pool_case("2", {2, 4, 5, 3}, {2}),
        average_pool_case("padded", {1, 5, 4, 17}, {3, 2, 1}),
        average_pool_case("ceil", {1, 6, 5, 5}, {3, 2, 1, true}),
        adaptive_average_pool_case("smaller", {2, 7, 5, 3}, 3, 2),
        adaptive_average_pool_case("larger", {1, 2, 3, 17}, 6, 6),
        local_response_norm_case("alexnet", {2, 2, 1, 9}, {5, 2e-1f, 0.75f, 2.0f}),
        local_response_norm_case("even_window", {3, 4}, {4, 0.5f, 0.5f, 1.0f}),
        concat_case(),
        conv_case("3x3", {2, 5, 4, 3}, {5, 3, 3, 3}, 1, 1, 1, false),
        conv_case("3x3_bias", {2, 4, 5, 3}, {5, 3, 3, 3}, 1, 1, 1, true),
        conv_case("3x3_stride_2", {1, 7, 6, 3}, {4, 3, 3, 3}, 2, 1, 1, true),
        conv_case("2x3_no_padding", {2, 4, 5, 2}, {3, 2, 3, 2}, 1, 0, 1, true),
        conv_case("5x5_padding_2", {1, 5, 6, 2}, {3, 5, 5, 2}, 1, 2, 1, false),
        conv_case("1x1_bias", {2, 3, 3, 5}, {7, 1, 1, 5}, 1, 0, 1, true),
        conv_case("1x1_stride_2", {2, 3, 5, 5}, {7, 1, 1, 5}, 2, 0, 1, false),
        conv_case("stride_3", {1, 7, 7, 2}, {3, 3, 3, 2}, 3, 1, 1, true),
        conv_case("2_groups", {2, 4, 3, 6}, {4, 3, 3, 3}, 1, 1, 2, true),
        conv_case("a_group_per_channel", {1, 4, 5, 5}, {10, 3, 3, 1}, 2, 1, 5, true),
        conv_case("wide", {1, 4, 3, 17}, {19, 3, 3, 17}, 1, 1, 1, true),
        conv_case("wide_stride_2", {1, 5, 3, 16}, {17, 3, 3, 16}, 2, 1, 1, false),
        conv_case("whole_image", {2, 3, 4, 2}, {5, 3, 4, 2}, 1, 0, 1, true),
        pointwise_case("5_to_17", {2, 3, 3, 5}, 17),
        pointwise_case("17_to_5", {1, 3, 5, 17}, 5),
        pointwise_case("1_to_1", {1, 1, 1, 1}, 1),
        pointwise_case("24_to_3", {3, 1, 2, 24}, 3),
        depthwise_case("5", {2, 4, 3, 5}, 1),
        depthwise_case("17", {1, 3, 5, 17}, 1),
        depthwise_case("17_stride_2", {2, 5, 4, 17}, 2),
        depthwise_case("5_stride_2", {1, 4, 7, 5}, 2),
        depthwise_case("one_pixel", {2, 1, 1, 5}, 1),
        depthwise_case("one_pixel_stride_2", {2, 1, 1, 5}, 2),
        depthwise_case("one_row", {1, 1, 6, 3}, 2),
        linear_case("5_to_7", 3, 5, 7, true),
        linear_case("17_to_1", 1, 17, 1, true),
        linear_case("without_bias", 4, 3, 9, false),
        {"relu",
         {{{3, 7}, -2.0, 2.0}},
         [](const std::vector<Variable>& in) { return relu(in[0]); },
         [](const std::vector<Values>& in) { return reference::activation(in[0], Activation::relu); }},
        {"relu6",
         {{{2, 3, 3, 5}, -4.0, 10.0}},
         [](const std::vector<Variable>& in) { return relu6(in[0]); },
         [](const std::vector<Values>& in) { return reference::activation(in[0], Activation::relu6); }},
        {"add",
         {{{2, 3, 5}, -1.0, 1.0, false}, {{2, 3, 5}, -1.0, 1.0, false}},
         [](const std::vector<Variable>& in) { return add(in[0], in[1]); },
         [](const std::vector<Values>& in) { return reference::add(in[0], in[1]); }},
        {"scale",
         {{{2, 3, 5}, -1.0, 1.0, false}},
         [](const std::vector<Variable>& in) { return scale(in[0], -0.3f); },
         [](const std::vector<Values>& in) {
             Values y = in[0];
             for (double& value : y) {
                 value *= -0.3f;
             }
             return y;
         }},
        {"reshape",
         {{{2, 3, 5}, -1.0, 1.0, false}},
         [](const std::vector<Variable>& in) {
             return reshape(in[0], {6, 5});
         },
         [](const std::vector<Values>& in) { return in[0]; }},
        {"global_average_pool",
         {{{2, 3, 2, 17}, -1.0, 1.0, false}},
         [](const std::vector<Variable>& in) { return global_average_pool(in[0]); },
         [](const std::vector<Values>& in) { return reference::global_average_pool(in[0], 2, 6, 17); }},
        {"global_average_pool_of_one_pixel",
         {{{3, 1, 1, 5}, -1.0, 1.0, false}},
         [](const std::vector<Variable>& in) { return global_average_pool(in[0]); },
         [](const std::vector<Values>& in) { return in[0]; }},
        dropout_case("half", {7, 11}, 0.5f, {3, 9}),
        dropout_case("fifth", {3, 2, 5}, 0.2f, {std::uint64_t{1} << 40, std::uint64_t{1} << 35}),
        cross_entropy_case("plain", 5, 7, false, 0.0f, 0.0f),
        cross_entropy_case("one_sample_of_two_classes", 1, 2, false, 0.0f, 0.0f),
        cross_entropy_case("weights", 6, 7, true, 0.0f, 0.0f),
        cross_entropy_case("smoothing", 5, 7, false, 0.1f, 0.0f),
        cross_entropy_case("weights_and_smoothing", 5, 7, true, 0.25f, 0.0f),
        cross_entropy_case("focal", 5, 7, false, 0.0f, 2.0f),
        cross_entropy_case("focal_below_one", 5, 3, false, 0.0f, 0.5f),
        cross_entropy_case("weights_and_focal", 6, 7, true, 0.0f, 1.5f),
    };
    for (OpCase& batchnorm : batchnorm_cases()) {
        cases.push_back(std::move(batchnorm));
    }
    return cases;
}

std::vector<Values> draw(const OpCase& op, std::uint64_t seed) {
    std::vector<Values> values;
    for (const Input& input : op.inputs) {
        values.push_back(random_values(input.shape.elements(), 100 * seed + values.size(), input.low, input.high));
    }
    return values;
}

// Inputs that stay away from every kink.
std::vector<Values> smooth_inputs(const OpCase& op) {
    for (std::uint64_t seed = 1; seed < 40; ++seed) {
        std::vector<Values> values = draw(op, seed);
        reference::reset_kinks();
        op.definition(values);
        if (reference::nearest_kink() > kFarFromKinks) {
            return values;
        }
    }
    ADD_FAILURE() << "no inputs away from kinks";
    return draw(op, 1);
}

std::vector<Variable> variables(const OpCase& op, const std::vector<Values>& values) {
    std::vector<Variable> all;
    for (std::size_t i = 0; i < values.size(); ++i) {
        all.emplace_back(to_tensor(values[i], op.inputs[i].shape), true);
    }
    return all;
}

class Op : public ::testing::TestWithParam<OpCase> {};
std::string name_of(const ::testing::TestParamInfo<OpCase>& info) {
    return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(All, Op, ::testing::ValuesIn(op_cases()), name_of);

TEST_P(Op, ValueAndGradientsAgreeWithTheDefinition) {
    const OpCase& op = GetParam();
    const std::vector<Values> at = smooth_inputs(op);
    const std::vector<Variable> in = variables(op, at);
    const Variable y = op.op(in);
    EXPECT_TRUE(are_near(y.value().values(), op.definition(at), 5e-6));
    const Values dy = random_values(y.value().elements(), 77);
    weighted_sum(y, dy).backward();
    for (std::size_t i = 0; i < in.size(); ++i) {
        EXPECT_EQ(in[i].grad().shape(), in[i].shape()) << "input " << i;
        EXPECT_TRUE(are_near(in[i].grad().values(), numeric_gradient(op.definition, at, i, dy), 5e-5)) << "input " << i;
    }
}

TEST_P(Op, GivesTheSameGradientWhenOnlyOneIsWanted) {
    const OpCase& op = GetParam();
    const std::vector<Values> at = draw(op, 1);
    const std::vector<Variable> all = variables(op, at);
    const Variable y = op.op(all);
    const Values dy = random_values(y.value().elements(), 77);
    weighted_sum(y, dy).backward();
    for (std::size_t i = 0; i < all.size(); ++i) {
        std::vector<Variable> in = variables(op, at);
        for (std::size_t j = 0; j < in.size(); ++j) {
            in[j].set_requires_grad(j == i);
        }
        weighted_sum(op.op(in), dy).backward();
        for (std::size_t j = 0; j < in.size(); ++j) {
            ASSERT_EQ(static_cast<bool>(in[j].grad()), j == i) << "input " << j;
        }
        EXPECT_TRUE(are_near(in[i].grad().values(), to_values(all[i].grad()), 1e-6)) << "input " << i;
    }
}

TEST_P(Op, RecordsNothingWithoutAWantedInput) {
    const OpCase& op = GetParam();
    std::vector<Variable> in = variables(op, draw(op, 1));
    {
        const NoGrad off;
        EXPECT_FALSE(op.op(in).requires_grad());
    }
    EXPECT_TRUE(op.op(in).requires_grad());
    for (Variable& input : in) {
        input.set_requires_grad(false);
    }
    EXPECT_FALSE(op.op(in).requires_grad());
}

TEST_P(Op, NoticesAChangeOfWhatItSaved) {
    const OpCase& op = GetParam();
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
        std::vector<Variable> in = variables(op, draw(op, 1));
        const Variable y = op.op(in);
        Variable loss = weighted_sum(y, random_values(y.value().elements(), 77));
        in[i].value().fill(0.5f);
        const std::string message = error_of([&] { loss.backward(); });
        if (op.inputs[i].saved) {
            EXPECT_TRUE(is_line_with(message, "changed in place")) << "input " << i;
        } else {
            EXPECT_EQ(message, "(no error)") << "input " << i;
        }
    }
}

TEST_P(Op, LeavesItsInputsAlone) {
    const OpCase& op = GetParam();
    const std::vector<Values> at = draw(op, 1);
    const std::vector<Variable> in = variables(op, at);
    const Variable y = op.op(in);
    weighted_sum(y, random_values(y.value().elements(), 77)).backward();
    for (std::size_t i = 0; i < in.size(); ++i) {
        EXPECT_EQ(to_values(in[i].value()), at[i]) << "input " << i;
    }
}

// Shapes that do not fit together, one line each.

Variable of(const Shape& shape) {
    return Variable(Tensor::zeros(shape), true);
}

TEST(OpErrors, ConvolutionNamesTheBrokenRule) {
    const auto conv = [](const Shape& x, const Shape& w, int stride, int padding, int groups,
                         const Variable& bias = {}) {
        return error_of([&] { conv2d(of(x), of(w), bias, stride, padding, groups); });
    };
    EXPECT_TRUE(is_line_with(conv({4, 4, 3}, {5, 3, 3, 3}, 1, 1, 1), "conv2d", "4 x 4 x 3", "n x h x w x c"));
    EXPECT_TRUE(is_line_with(conv({1, 4, 4, 3}, {5, 3, 3, 4}, 1, 1, 1), "5 x 3 x 3 x 4", "1 x 4 x 4 x 3"));
    EXPECT_TRUE(is_line_with(conv({1, 4, 4, 3}, {5, 3, 3}, 1, 1, 1), "5 x 3 x 3"));
    EXPECT_TRUE(is_line_with(conv({1, 4, 4, 6}, {5, 3, 3, 3}, 1, 1, 2), "2 groups"));
    EXPECT_TRUE(is_line_with(conv({1, 4, 4, 6}, {4, 3, 3, 3}, 1, 1, 0), "0 groups"));
    EXPECT_TRUE(is_line_with(conv({1, 4, 4, 3}, {5, 3, 3, 3}, 0, 1, 1), "stride 0"));
    EXPECT_TRUE(is_line_with(conv({1, 4, 4, 3}, {5, 3, 3, 3}, 1, -1, 1), "padding -1"));
    EXPECT_TRUE(is_line_with(conv({1, 2, 4, 3}, {5, 5, 3, 3}, 1, 1, 1), "5 x 3", "1 x 2 x 4 x 3"));
    EXPECT_TRUE(is_line_with(conv({1, 4, 4, 3}, {5, 3, 3, 3}, 1, 1, 1, of({4})), "bias 4", "5 output channels"));
}

TEST(OpErrors, OtherConvolutionsNameTheBrokenRule) {
    EXPECT_TRUE(is_line_with(error_of([] { pointwise_conv(of({2, 3}), of({4, 3})); }), "pointwise", "2 x 3"));
    EXPECT_TRUE(is_line_with(error_of([] { pointwise_conv(of({1, 2, 2, 3}), of({4, 5})); }), "pointwise", "4 x 5"));
    EXPECT_TRUE(is_line_with(error_of([] { pointwise_conv(of({1, 2, 2, 3}), of({4, 1, 1, 3})); }), "4 x 1 x 1 x 3"));
    EXPECT_TRUE(is_line_with(error_of([] { depthwise_conv(of({2, 3}), of({3, 3, 3}), 1); }), "depthwise", "2 x 3"));
    EXPECT_TRUE(is_line_with(error_of([] { depthwise_conv(of({1, 2, 2, 3}), of({3, 3, 4}), 1); }), "3 x 3 x 4"));
    EXPECT_TRUE(is_line_with(error_of([] { depthwise_conv(of({1, 2, 2, 3}), of({3, 3, 3}), 3); }), "stride 3"));
}

TEST(OpErrors, TheRestNameTheBrokenRule) {
    EXPECT_TRUE(is_line_with(error_of([] { linear(of({2, 3}), of({4, 5}), {}); }), "linear", "4 x 5", "2 x 3"));
    EXPECT_TRUE(is_line_with(error_of([] { linear(of({1, 2, 3}), of({4, 3}), {}); }), "linear", "1 x 2 x 3"));
    EXPECT_TRUE(is_line_with(error_of([] { linear(of({2, 3}), of({4, 3}), of({3})); }), "bias 3", "4 outputs"));
    EXPECT_TRUE(is_line_with(error_of([] { add(of({2, 3}), of({3, 2})); }), "add", "2 x 3", "3 x 2"));
    EXPECT_TRUE(is_line_with(error_of([] { reshape(of({2, 3}), {7}); }), "reshape", "2 x 3", "7"));
    EXPECT_TRUE(is_line_with(error_of([] { global_average_pool(of({2, 3})); }), "pool", "2 x 3"));
    EXPECT_TRUE(is_line_with(error_of([] { global_average_pool(of({2, 0, 3, 4})); }), "pool", "2 x 0 x 3 x 4"));
    EXPECT_TRUE(is_line_with(error_of([] { dropout(of({2}), 1.0f, {}); }), "dropout", "1", "[0, 1)"));
    EXPECT_TRUE(is_line_with(error_of([] { dropout(of({2}), -0.1f, {}); }), "dropout", "-0.1"));
    EXPECT_TRUE(is_line_with(error_of([] { softmax(Tensor::zeros({2})); }), "softmax", "n x c"));
}

TEST(OpErrors, BatchnormNamesTheBrokenRule) {
    const auto norm = [](const Shape& y, std::int64_t c, const Variable& residual = {}) {
        return error_of([&] {
            BatchNormState state{Tensor::zeros({c}), Tensor::zeros({c})};
            batchnorm(of(y), of({c}), of({c}), state, Activation::relu, residual, true);
        });
    };
    EXPECT_TRUE(is_line_with(norm({3}, 3), "batchnorm", "rows x channels"));
    EXPECT_TRUE(is_line_with(norm({2, 3}, 4), "batchnorm", "4", "2 x 3"));
    EXPECT_TRUE(is_line_with(norm({2, 3}, 3, of({3, 2})), "residual 3 x 2", "2 x 3"));
}

TEST(OpErrors, CrossEntropyNamesTheBrokenRule) {
    const auto loss = [](const Shape& logits, const Tensor& labels, const LossOptions& options = {}) {
        return error_of([&] { cross_entropy(of(logits), labels, options); });
    };
    const auto labels = [](const std::vector<std::int32_t>& values) {
        return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
    };
    EXPECT_TRUE(is_line_with(loss({2, 3}, labels({0, 1, 2})), "2 x 3", "labels 3"));
    EXPECT_TRUE(is_line_with(loss({6}, labels({0})), "logits 6"));
    EXPECT_TRUE(is_line_with(loss({0, 3}, labels({})), "empty batch"));
    EXPECT_TRUE(is_line_with(loss({2, 3}, labels({0, 3})), "label 3 of sample 1", "0..2"));
    EXPECT_TRUE(is_line_with(loss({2, 3}, labels({-1, 0})), "label -1 of sample 0"));
    EXPECT_TRUE(is_line_with(loss({2, 3}, Tensor::zeros({2}, DType::i64)), "i64", "i32"));
    EXPECT_TRUE(is_line_with(loss({2, 3}, labels({0, 1}), {Tensor::zeros({2}), 0.0f, 0.0f}), "class weights 2", "3"));
    EXPECT_TRUE(is_line_with(loss({2, 3}, labels({0, 1}), {Tensor::zeros({3}), 0.0f, 0.0f}), "sum to 0"));
    EXPECT_TRUE(is_line_with(loss({2, 3}, labels({0, 1}), {{}, 0.1f, 2.0f}), "smoothing", "focal"));
    EXPECT_TRUE(is_line_with(loss({2, 3}, labels({0, 1}), {{}, -0.1f, 0.0f}), "smoothing -0.1"));
    EXPECT_TRUE(is_line_with(loss({2, 3}, labels({0, 1}), {{}, 0.0f, -1.0f}), "focal gamma -1"));
}

TEST(CrossEntropy, NoticesAChangeOfLabelsAndClassWeights) {
    for (const bool change_labels : {true, false}) {
        Tensor labels = Tensor::from(std::vector<std::int32_t>{0, 2}, {2}), weights = Tensor::full({3}, 1.0f);
        Variable loss = cross_entropy(of({2, 3}), labels, {weights, 0.0f, 0.0f});
        (change_labels ? labels : weights).mark_changed();
        EXPECT_TRUE(is_line_with(error_of([&] { loss.backward(); }), "cross-entropy", "changed in place"));
    }
}

TEST(CrossEntropy, OfEqualLogitsIsTheLogarithmOfTheClasses) {
    const Variable loss = cross_entropy(of({4, 7}), Tensor::zeros({4}, DType::i32));
    EXPECT_NEAR(loss.value().values()[0], std::log(7.0), 1e-6);
    EXPECT_EQ(loss.shape(), Shape{});
}

TEST(CrossEntropy, StaysFiniteForLogitsThatDominate) {
    const Variable logits(to_tensor({500.0, -500.0, 0.0, -500.0, 500.0, 0.0}, {2, 3}), true);
    Variable loss = cross_entropy(logits, Tensor::from(std::vector<std::int32_t>{0, 0}, {2}));
    EXPECT_NEAR(loss.value().values()[0], 500.0, 1e-3);
    loss.backward();
    EXPECT_TRUE(are_near(logits.grad().values(), {0.0, 0.0, 0.0, -0.5, 0.5, 0.0}, 1e-6));
}

TEST(Softmax, GivesProbabilities) {
    const Values logits = random_values(15, 1, -5.0, 5.0);
    EXPECT_TRUE(are_near(softmax(to_tensor(logits, {3, 5})).values(), reference::softmax(logits, 5), 1e-6));
}

TEST(Dropout, WithoutProbabilityIsItsInput) {
    const Variable x = of({3});
    EXPECT_TRUE(dropout(x, 0.0f, {1, 2}).value().shares_storage(x.value()));
}

TEST(Dropout, DropsItsShareAndDrawsAnotherMaskPerKey) {
    constexpr int kCount = 100000;
    const Variable x(Tensor::full({kCount}, 1.0f));
    const auto mask = [&](DropoutKey key) { return dropout(x, 0.3f, key).value(); };
    const Tensor first = mask({1, 1});
    const auto dropped = std::count(first.values().begin(), first.values().end(), 0.0f);
    EXPECT_NEAR(static_cast<double>(dropped), 0.3 * kCount, 5.0 * std::sqrt(0.21 * kCount));
    for (const DropoutKey& other : {DropoutKey{1, 2}, DropoutKey{2, 1}, DropoutKey{1, (std::uint64_t{1} << 32) + 1}}) {
        const Tensor second = mask(other);
        int differ = 0;
        for (std::size_t i = 0; i < kCount; ++i) {
            differ += first.values()[i] != second.values()[i];
        }
        EXPECT_NEAR(differ, 0.42 * kCount, 5.0 * std::sqrt(0.25 * kCount));
    }
    EXPECT_EQ(std::memcmp(first.raw(), mask({1, 1}).raw(), first.bytes()), 0);
}

TEST(Batchnorm, MovesItsRunningStatisticsInTrainingOnly) {
    const Values y = random_values(24, 1, -1.0, 3.0);
    const reference::Moments batch = reference::moments(y, 4);
    BatchNormState state{Tensor::full({4}, 0.5f), Tensor::full({4}, 2.0f), 1e-5f, 0.25f};
    const auto run = [&](bool training) {
        batchnorm(Variable(to_tensor(y, {6, 4})), Variable(Tensor::full({4}, 1.0f)), Variable(Tensor::zeros({4})),
                  state, Activation::identity, {}, training);
    };
    run(false);
    EXPECT_EQ(to_values(state.running_mean), Values(4, 0.5));
    EXPECT_EQ(to_values(state.running_var), Values(4, 2.0));
    run(true);
    Values mean(4, 0.5), var(4, 2.0);
    for (std::size_t i = 0; i < 4; ++i) {
        mean[i] += 0.25 * (batch.mean[i] - mean[i]);
        var[i] += 0.25 * (batch.var[i] * 6.0 / 5.0 - var[i]);
    }
    EXPECT_TRUE(are_near(state.running_mean.values(), mean, 1e-6));
    EXPECT_TRUE(are_near(state.running_var.values(), var, 1e-6));
}

// Running statistics are what evaluation's backward pass centers on: training in between is noticed.
TEST(Batchnorm, NoticesRunningStatisticsThatMovedBetweenForwardAndBackward) {
    BatchNormState state{Tensor::zeros({3}), Tensor::full({3}, 1.0f)};
    const auto run = [&](bool training) {
        return batchnorm(of({4, 3}), of({3}), of({3}), state, Activation::relu, {}, training);
    };
    Variable loss = weighted_sum(run(false), Values(12, 1.0));
    run(true);
    EXPECT_TRUE(is_line_with(error_of([&] { loss.backward(); }), "batchnorm", "changed in place"));
}

}  // namespace
}  // namespace cutis::testing
