#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <utility>

#include "engine/files.h"
#include "engine/safetensors.h"
#include "kernels/philox.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"
#include "tools/onnx_export.h"

// Exported graphs as data: which nodes an op becomes and what they are told. That onnxruntime
// computes the same from them is held by tests/onnx/check_onnx.py, for the cases here and for every model.

namespace cutis::testing {
namespace {

Tensor drawn(const Shape& shape, std::uint32_t stream) {
    PhiloxStream random(9, RandomPurpose::test, stream);
    Tensor tensor = Tensor::empty(shape);
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
        tensor.data()[i] = random.uniform(-1.0f, 1.0f);
    }
    return tensor;
}
Variable weight(const std::string& name, const Shape& shape) {
    return Variable(drawn(shape, name_hash(name)), false, name);
}
Variable normalised(const Variable& x, Activation act, const Variable& residual = {}) {
    const Shape c{x.shape()[-1]};
    BatchNormState state{drawn(c, 1), Tensor::full(c, 0.25f), 1e-3f, 0.1f};
    return batchnorm(x, weight("norm.weight", c), weight("norm.bias", c), state, act, residual, false);
}
Variable flat(const Variable& x) {
    return reshape(x, {x.shape()[0], x.shape().elements() / x.shape()[0]});
}
Variable classified(const Variable& x) {
    return linear(x, weight("fc.weight", {3, x.shape()[1]}), weight("fc.bias", {3}));
}
LstmOutput recurrent(const Variable& x, const Variable& h0 = {}, const Variable& c0 = {}) {
    return lstm(x,
                {weight("rnn.weight_ih_l0", {20, x.shape()[2]}), weight("rnn.weight_hh_l0", {20, 5}),
                 weight("rnn.bias_ih_l0", {20}), weight("rnn.bias_hh_l0", {20})},
                h0, c0);
}
Variable sequence(const Variable& x) {
    return reshape(x, {x.shape()[0], x.shape()[1] * x.shape()[2], x.shape()[3]});
}
RowMap backwards(int n, int t) {
    std::vector<std::int32_t> rows;
    for (int sample = 0; sample < n; ++sample) {
        for (int step = t - 1; step >= 0; --step) {
            rows.push_back(sample * t + step);
        }
    }
    return {rows, std::int64_t{n} * t, Device{}};
}

struct Case {
    const char* name;
    Shape x;
    std::function<Variable(const Variable&)> network;
    const char* nodes;
    bool fold = false;
};
void PrintTo(const Case& c, std::ostream* out) {
    *out << c.name;
}

const std::vector<Case>& cases() {
    static const std::vector<Case> kCases{
        {"conv_groups",
         {2, 7, 8, 4},
         [](const Variable& x) {
             return conv2d(x, weight("conv.weight", {6, 3, 2, 2}), weight("conv.bias", {6}), 2, 1, 2);
         },
         "Conv Transpose"},
        {"pointwise",
         {2, 3, 2, 4},
         [](const Variable& x) {
             return relu(pointwise_conv(x, weight("conv.weight", {5, 4})));
         },
         "Conv Relu Transpose"},
        {"depthwise",
         {2, 5, 4, 3},
         [](const Variable& x) {
             return relu6(depthwise_conv(x, weight("conv.weight", {3, 3, 3}), 2));
         },
         "Conv Clip Transpose"},
        {"batchnorm",
         {2, 3, 4, 5},
         [](const Variable& x) { return normalised(x, Activation::relu6, x); },
         "BatchNormalization Clip Add Transpose"},
        {"batchnorm_vector", {2, 5}, [](const Variable& x) { return normalised(x, Activation::relu); }, "Mul Add Relu"},
        {"folded",
         {2, 5, 5, 4},
         [](const Variable& x) {
             const Variable y = conv2d(x, weight("conv.weight", {4, 3, 3, 4}), weight("conv.bias", {4}), 1, 1);
             return global_average_pool(normalised(y, Activation::relu, x));
         },
         "Conv Relu Add GlobalAveragePool Flatten",
         true},
        {"folded_depthwise",
         {2, 5, 5, 4},
         [](const Variable& x) {
             return global_average_pool(
                 normalised(depthwise_conv(x, weight("conv.weight", {3, 3, 4}), 1), Activation::identity));
         },
         "Conv GlobalAveragePool Flatten",
         true},
        {"not_folded",
         {2, 5, 5, 4},  // the sum reads the convolution as well
         [](const Variable& x) {
             const Variable y = pointwise_conv(x, weight("conv.weight", {4, 4}));
             return global_average_pool(normalised(y, Activation::identity, y));
         },
         "Conv BatchNormalization Add GlobalAveragePool Flatten",
         true},
        {"max_pool_ceil",
         {2, 6, 5, 2},
         [](const Variable& x) { return max_pool(x, {.window = 3, .stride = 2, .padding = 1, .ceil = true}); },
         "MaxPool Transpose"},
        {"max_pool_gap",
         {2, 7, 8, 2},
         [](const Variable& x) { return max_pool(x, {.window = 2, .stride = 3}); },
         "MaxPool Transpose"},
        {"average_pool",
         {2, 6, 5, 2},
         [](const Variable& x) { return average_pool(x, {.window = 3, .stride = 1, .padding = 1}); },
         "AveragePool Transpose"},
        {"average_pool_ceil",
         {2, 6, 7, 2},
         [](const Variable& x) { return average_pool(x, {.window = 3, .stride = 2, .padding = 1, .ceil = true}); },
         "MatMul MatMul Transpose"},
        {"adaptive_whole",
         {2, 6, 4, 2},
         [](const Variable& x) { return adaptive_average_pool(x, 3, 2); },
         "AveragePool Transpose"},
        {"adaptive_ragged",
         {2, 7, 5, 2},
         [](const Variable& x) { return adaptive_average_pool(x, 3, 4); },
         "MatMul MatMul Transpose"},
        {"adaptive_larger",
         {2, 2, 3, 2},
         [](const Variable& x) { return adaptive_average_pool(x, 5, 4); },
         "MatMul MatMul Transpose"},
        {"adaptive_one",
         {2, 7, 5, 2},
         [](const Variable& x) { return adaptive_average_pool(x, 1, 1); },
         "GlobalAveragePool Transpose"},
        {"adaptive_same",
         {2, 3, 5, 2},
         [](const Variable& x) { return relu(adaptive_average_pool(x, 3, 5)); },
         "Relu Transpose"},
        {"response_norm",
         {2, 2, 3, 7},
         [](const Variable& x) { return local_response_norm(x, {.size = 3, .alpha = 0.5f, .beta = 0.75f, .k = 2.0f}); },
         "LRN Transpose"},
        {"concat",
         {2, 2, 3, 2},
         [](const Variable& x) {
             return concat_channels(std::vector{x, relu(x), max_pool(x, {.window = 1})});
         },
         "Relu MaxPool Concat Transpose"},
        {"concat_vectors",
         {2, 2, 3, 2},  // flattened, but joined in memory's order
         [](const Variable& x) {
             return concat_channels(std::vector{flat(x), global_average_pool(x)});
         },
         "Flatten GlobalAveragePool Flatten Reshape Transpose Reshape Concat"},
        {"concat_rows",
         {2, 2, 3, 2},
         [](const Variable& x) {
             return concat_rows(std::vector{relu(x), x});
         },
         "Relu Transpose Reshape Transpose Reshape Concat"},
        {"linear_on_map",
         {2, 2, 3, 4},
         [](const Variable& x) { return classified(relu(flat(x))); },
         "Flatten Relu Gemm"},
        {"linear_on_pixel", {2, 1, 1, 4}, [](const Variable& x) { return classified(flat(x)); }, "Flatten Gemm"},
        {"linear_without_bias",
         {2, 4},
         [](const Variable& x) {
             return linear(x, weight("fc.weight", {3, 4}), {});
         },
         "Gemm"},
        {"reshaped_weight",
         {2, 4},
         [](const Variable& x) {
             return linear(x, reshape(weight("fc.weight", {3, 2, 2}), {3, 4}), {});
         },
         "Gemm"},
        {"flattened_and_not",
         {2, 2, 3, 4},
         [](const Variable& x) {
             const Variable y = flat(x);
             return add(y, linear(y, weight("fc.weight", {24, 24}), {}));
         },
         "Flatten Gemm Reshape Transpose Reshape Add"},
        {"back_to_map",
         {2, 4, 6},
         [](const Variable& x) {
             return max_pool(reshape(x, {2, 2, 3, 4}), {.window = 2});
         },
         "Reshape Transpose MaxPool Transpose"},
        {"lstm",
         {2, 2, 3, 4},
         [](const Variable& x) { return recurrent(sequence(x)).y; },
         "Transpose Reshape Transpose LSTM Squeeze Transpose"},
        {"lstm_states",
         {2, 2, 3, 4},
         [](const Variable& x) {
             const Variable mean = global_average_pool(x);
             const Variable h0 = linear(mean, weight("h.weight", {5, 4}), {}),
                            c0 = linear(mean, weight("c.weight", {5, 4}), {});
             return recurrent(sequence(x), h0, c0).cell;
         },
         "GlobalAveragePool Flatten Gemm Gemm Transpose Reshape Transpose Unsqueeze Unsqueeze LSTM Squeeze"},
        {"gather",
         {2, 4, 3},
         [](const Variable& x) {
             return gather_rows(x, backwards(2, 4), {2, 4, 3});
         },
         "Gather Reshape"},
    };
    return kCases;
}

struct Exported {
    Variable x, y;
    OnnxExport result;
};
Exported exported(const Case& c) {
    const NoGrad no_grad;
    const Trace trace;
    Exported e{Variable(drawn(c.x, 0)), {}, {}};
    e.y = c.network(e.x);
    e.result = to_onnx(trace.ops(), e.x, e.y, c.name, {.fold_batchnorm = c.fold, .normalise = std::nullopt});
    return e;
}
std::string error_of_export(const std::function<Variable(const Variable&)>& network, const Shape& x = {2, 2, 3, 4}) {
    return error_of([&] { exported({"bad", x, network, ""}); });
}
const OnnxNode& node_of(const OnnxModel& model, const std::string& op) {
    for (const OnnxNode& node : model.nodes) {
        if (node.op == op) {
            return node;
        }
    }
    throw Error("no node " + op);
}
const OnnxConstant& constant_of(const OnnxModel& model, const std::string& name) {
    for (const OnnxConstant& constant : model.constants) {
        if (constant.name == name) {
            return constant;
        }
    }
    throw Error("no constant " + name);
}
const Case& case_of(std::string_view name) {
    for (const Case& c : cases()) {
        if (c.name == name) {
            return c;
        }
    }
    throw Error("no case");
}
template <class T>
const T& attribute(const OnnxNode& node, const std::string& name) {
    for (const auto& [key, value] : node.attributes) {
        if (key == name) {
            return std::get<T>(value);
        }
    }
    throw Error("no attribute " + name);
}
using Numbers = std::vector<std::int64_t>;

class OnnxCase : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Onnx, OnnxCase, ::testing::ValuesIn(cases()),
                         [](const auto& c) { return std::string(c.param.name); });

TEST_P(OnnxCase, BecomesTheseNodes) {
    const OnnxModel model = exported(GetParam()).result.model;
    std::string nodes;
    std::set<std::string> known{"images", ""};
    for (const OnnxConstant& constant : model.constants) {
        EXPECT_TRUE(known.insert(constant.name).second) << constant.name;
        EXPECT_EQ(std::visit([](const auto& v) { return static_cast<std::int64_t>(v.size()); }, constant.values),
                  Shape(std::span(constant.shape)).elements())
            << constant.name;
    }
    for (const OnnxNode& node : model.nodes) {
        nodes += (nodes.empty() ? "" : " ") + node.op;
        for (const std::string& input : node.inputs) {
            EXPECT_TRUE(known.contains(input)) << node.name << " reads " << input;
        }
        for (const std::string& output : node.outputs) {
            EXPECT_TRUE(output.empty() || known.insert(output).second) << node.name << " gives " << output;
        }
    }
    EXPECT_EQ(nodes, GetParam().nodes);
    EXPECT_TRUE(known.contains("logits"));
    ASSERT_EQ(model.inputs.size(), 1u);
    EXPECT_EQ(model.inputs[0].shape[0], -1);
}

// For check_onnx.py, which names the folder: each case as a model, with its input and what cutis makes of it.
TEST(Onnx, WritesItsCasesForOnnxruntime) {
    const TempDir own;
    const char* const named = std::getenv("CUTIS_ONNX_CASES");
    const std::filesystem::path folder = named != nullptr ? std::filesystem::path(named) : own.path();
    const auto view = [](const char* name, const Tensor& tensor) {
        const std::span<const std::int64_t> sizes = tensor.shape().sizes();
        return TensorToWrite{name, FileDType::f32, {sizes.begin(), sizes.end()}, std::as_bytes(tensor.values())};
    };
    for (const Case& c : cases()) {
        const Exported e = exported(c);
        const std::string path = (folder / c.name).string();
        write_onnx(path + ".onnx", e.result.model, "test");
        write_safetensors(path + ".safetensors",
                          std::vector{view("x", std::as_const(e.x).value()), view("y", std::as_const(e.y).value())});
    }
}

TEST(Onnx, SaysWhatOpsWereTold) {
    const OnnxModel conv = exported(case_of("conv_groups")).result.model;
    const OnnxNode& node = node_of(conv, "Conv");
    EXPECT_EQ(node.name, "conv/Conv");
    EXPECT_EQ(attribute<Numbers>(node, "kernel_shape"), (Numbers{3, 2}));
    EXPECT_EQ(attribute<Numbers>(node, "strides"), (Numbers{2, 2}));
    EXPECT_EQ(attribute<Numbers>(node, "pads"), (Numbers{1, 1, 1, 1}));
    EXPECT_EQ(attribute<std::int64_t>(node, "group"), 2);
    EXPECT_EQ(conv.inputs[0].shape, (Numbers{-1, 4, 7, 8}));
    // Weights are OIHW.
    const OnnxConstant& w = constant_of(conv, "conv.weight");
    EXPECT_EQ(w.shape, (Numbers{6, 2, 3, 2}));
    EXPECT_EQ(std::get<0>(w.values), to_file_order(weight("conv.weight", {6, 3, 2, 2}).value(), WeightLayout::dense));

    const OnnxModel ceil = exported(case_of("max_pool_ceil")).result.model;
    EXPECT_EQ(attribute<Numbers>(node_of(ceil, "MaxPool"), "pads"), (Numbers{1, 1, 2, 1}));
    EXPECT_EQ(attribute<float>(node_of(exported(case_of("batchnorm")).result.model, "BatchNormalization"), "epsilon"),
              1e-3f);
}

TEST(Onnx, WeightsOnAMapLieAsInFiles) {
    const OnnxModel model = exported(case_of("linear_on_map")).result.model;
    EXPECT_EQ(std::get<0>(constant_of(model, "fc.weight").values),
              to_file_order(weight("fc.weight", {3, 24}).value().reshape({3, 2, 3, 4}), WeightLayout::flattened));
}

TEST(Onnx, CountsFoldedBatchnorms) {
    const OnnxExport folded = exported(case_of("folded")).result, kept = exported(case_of("not_folded")).result;
    EXPECT_EQ(std::pair(folded.batchnorms, folded.folded), std::pair(1, 1));
    EXPECT_EQ(std::pair(kept.batchnorms, kept.folded), std::pair(1, 0));
}

TEST(Onnx, NormalisesInTheGraph) {
    const NoGrad no_grad;
    const Trace trace;
    const Variable x(drawn({2, 2, 2, 3}, 0)), y = global_average_pool(x);
    const OnnxModel model =
        to_onnx(trace.ops(), x, y, "net", {.normalise = InputSettings{2, {1.0f, 2.0f, 3.0f}, {4.0f, 5.0f, 6.0f}}})
            .model;
    EXPECT_EQ(model.nodes[0].op, "Sub");
    EXPECT_EQ(model.nodes[1].op, "Div");
    EXPECT_EQ(constant_of(model, "mean").shape, (Numbers{1, 3, 1, 1}));
    EXPECT_EQ(std::get<0>(constant_of(model, "std").values), (std::vector<float>{4.0f, 5.0f, 6.0f}));
}

TEST(Onnx, RefusesWhatHasNoFormThere) {
    EXPECT_TRUE(is_line_with(error_of_export([](const Variable& x) { return dropout(x, 0.5f, {}); }), "'dropout'",
                             "there are: conv2d"));
    EXPECT_TRUE(is_line_with(error_of_export([](const Variable& x) {
                                 return pointwise_conv(x, Variable(drawn({2, 4}, 1)));
                             }),
                             "2 x 4", "neither a weight"));
    EXPECT_TRUE(
        is_line_with(error_of_export([](const Variable& x) { return local_response_norm(x, {.size = 4}); }), "size 4"));
    EXPECT_TRUE(is_line_with(error_of_export([](const Variable& x) {
                                 BatchNormState state{drawn({4}, 1), Tensor::full({4}, 1.0f), 1e-5f, 0.1f};
                                 return batchnorm(x, weight("g.weight", {4}), weight("g.bias", {4}), state,
                                                  Activation::relu, {}, true);
                             }),
                             "evaluation mode"));
    EXPECT_TRUE(is_line_with(error_of_export([](const Variable& x) { return relu(x); }, {1, 2, 3, 4}), "1 images",
                             "two or more"));
    EXPECT_TRUE(is_line_with(error_of_export([](const Variable& x) { return reshape(x, {3, 16}); }), "mixes images"));
    // The second image's rows in another order; none for some.
    for (const std::vector<std::int32_t>& rows : {std::vector<std::int32_t>{0, 1, 3, 2}, {0, -1, 2, -1}}) {
        EXPECT_TRUE(is_line_with(error_of_export(
                                     [&](const Variable& x) {
                                         return gather_rows(x, RowMap(rows, 4, Device{}), {2, 2, 3});
                                     },
                                     {2, 2, 3}),
                                 "'gather rows'"));
    }
}

TEST(Onnx, ExportsEveryModelUnderItsNames) {
    for (const ModelEntry& entry : model_table()) {
        const std::unique_ptr<Model> model = make_model(entry.name, {.classes = 3, .width = 0.1f});
        std::map<std::string, Numbers> shapes;
        const OnnxExport plain = to_onnx(*model, std::string(entry.name), model->least_size(), {});
        for (const OnnxConstant& constant : plain.model.constants) {
            shapes[constant.name] = constant.shape;
        }
        for (const ParameterRef& parameter : model->parts().parameters) {
            const Numbers shape = file_shape(parameter.variable.shape(), parameter.layout);
            if (shape.size() == 4 && !model->in_auxiliary_head(parameter.name)) {
                EXPECT_EQ(shapes[parameter.name], shape) << entry.name << ": " << parameter.name;
            }
        }
        EXPECT_EQ(plain.model.outputs.front().shape, (Numbers{-1, 3})) << entry.name;
        EXPECT_EQ(plain.folded, 0) << entry.name;
        const OnnxExport folded =
            to_onnx(*model, "m", model->least_size(), {.fold_batchnorm = true, .normalise = std::nullopt});
        EXPECT_EQ(folded.folded, folded.batchnorms) << entry.name;
        EXPECT_EQ(folded.model.nodes.size() + static_cast<std::size_t>(folded.folded), plain.model.nodes.size())
            << entry.name;
    }
    const std::unique_ptr<Model> model = make_model("mobilenet_v2", {.width = 0.1f});
    EXPECT_TRUE(is_line_with(error_of([&] { to_onnx(*model, "m", 31, {}); }), "31", "32 pixels"));
}

}  // namespace
}  // namespace cutis::testing
