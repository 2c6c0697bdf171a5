#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "kernels/pool.h"
#include "tools/onnx_translator.h"

// Layers with weights, and windows.

namespace cutis {
namespace {

using Numbers = std::vector<std::int64_t>;

/// "features.0.0" of "features.0.0.weight".
std::string layer_of(const std::string& parameter) {
    return parameter.substr(0, parameter.rfind('.'));
}

std::vector<float> values_of(const Tensor& tensor) {
    return to_file_order(tensor, WeightLayout::same);
}

/// gamma / sqrt(var + eps), and beta - mean times that.
struct ScaleShift {
    std::vector<double> scale, shift;
};
ScaleShift scale_shift(const Tensor& gamma, const Tensor& beta, const BatchNormAttributes& norm) {
    const std::vector<float> g = values_of(gamma), b = values_of(beta), mean = values_of(norm.running_mean),
                             var = values_of(norm.running_var);
    ScaleShift result;
    for (std::size_t c = 0; c < g.size(); ++c) {
        result.scale.push_back(g[c] / std::sqrt(double{var[c]} + double{norm.eps}));
        result.shift.push_back(b[c] - mean[c] * result.scale.back());
    }
    return result;
}
std::vector<float> narrowed(const std::vector<double>& values) {
    return {values.begin(), values.end()};
}

}  // namespace

// ---- convolution and batchnorm

// The batchnorm that can be put into this convolution, or null.
const TracedOp* OnnxTranslator::norm_to_fold(const TracedOp& op) const {
    const auto readers = readers_.find(op.output.identity());
    const bool sole = options_.fold_batchnorm && readers != readers_.end() && readers->second.size() == 1;
    const TracedOp* const reader = sole ? readers->second.front() : nullptr;
    return reader != nullptr && reader->name == "batchnorm" && reader->inputs.front().identity() == op.output.identity()
               ? reader
               : nullptr;
}

void OnnxTranslator::convolution(const TracedOp& op) {
    const Value& x = value(op, 0);
    const Constant& w = constant(op, 1);
    const bool depthwise = op.name == "depthwise convolution", dense = op.name == "conv2d";
    const WeightLayout layout = dense       ? WeightLayout::dense
                                : depthwise ? WeightLayout::depthwise
                                            : WeightLayout::pointwise;
    const ConvAttributes attributes = dense || depthwise ? std::get<ConvAttributes>(op.attributes) : ConvAttributes{};
    const Numbers shape = file_shape(w.tensor.shape(), layout);
    std::vector<float> weights = to_file_order(w.tensor, layout);
    const std::string layer = layer_of(w.name);
    std::vector<float> bias;
    std::string bias_name = layer + ".bias";
    if (has_input(op, 2)) {
        bias = values_of(constant(op, 2).tensor);
        bias_name = constant(op, 2).name;
    }
    if (const TracedOp* const norm = norm_to_fold(op)) {
        const auto [scale, shift] = scale_shift(constant(*norm, 1).tensor, constant(*norm, 2).tensor,
                                                std::get<BatchNormAttributes>(norm->attributes));
        bias.resize(scale.size(), 0.0f);
        const std::size_t taps = weights.size() / scale.size();
        for (std::size_t i = 0; i < weights.size(); ++i) {
            weights[i] = static_cast<float>(weights[i] * scale[i / taps]);
        }
        for (std::size_t k = 0; k < scale.size(); ++k) {
            bias[k] = static_cast<float>(bias[k] * scale[k] + shift[k]);
        }
        folded_.insert(norm);
    }
    std::vector<std::string> inputs{x.name, graph_.constant(w.name, shape, std::move(weights))};
    if (!bias.empty()) {
        inputs.push_back(graph_.constant(bias_name, {shape[0]}, std::move(bias)));
    }
    const std::int64_t stride = attributes.stride, padding = attributes.padding;
    give(op, graph_.node("Conv", layer, std::move(inputs),
                         {{"kernel_shape", Numbers{shape[2], shape[3]}},
                          {"strides", Numbers{stride, stride}},
                          {"pads", Numbers{padding, padding, padding, padding}},
                          {"group", std::int64_t{attributes.groups}}}));
}

void OnnxTranslator::batchnorm(const TracedOp& op) {
    const auto& norm = std::get<BatchNormAttributes>(op.attributes);
    require(!norm.training, "onnx: 'batchnorm' took the batch's statistics; export in evaluation mode");
    ++result_.batchnorms;
    const Constant &gamma = constant(op, 1), &beta = constant(op, 2);
    const std::string layer = layer_of(gamma.name);
    Value y = value(op, 0);
    y = y.is_map() ? y : in_memory_order(y);
    const auto vector = [&](const std::string& name, const Tensor& tensor) {
        return graph_.constant(name, {tensor.elements()}, values_of(tensor));
    };
    if (folded_.contains(&op)) {
        ++result_.folded;
    } else if (y.is_map()) {
        y.name = graph_.node(
            "BatchNormalization", layer,
            {y.name, vector(gamma.name, gamma.tensor), vector(beta.name, beta.tensor),
             vector(layer + ".running_mean", norm.running_mean), vector(layer + ".running_var", norm.running_var)},
            {{"epsilon", norm.eps}});
    } else {  // channels are last
        const auto [scale, shift] = scale_shift(gamma.tensor, beta.tensor, norm);
        const std::int64_t c = gamma.tensor.elements();
        y.name = graph_.node("Mul", layer, {y.name, graph_.constant(layer + ".scale", {c}, narrowed(scale))});
        y.name = graph_.node("Add", layer, {y.name, graph_.constant(layer + ".shift", {c}, narrowed(shift))});
    }
    y.name = activated(y.name, norm.act, layer);
    if (has_input(op, 3)) {
        const Value& residual = value(op, 3);
        y.name =
            graph_.node("Add", layer, {y.name, residual.is_map() ? residual.name : in_memory_order(residual).name});
    }
    give(op, y.name);
}

// ---- windows

namespace {

PoolAxis axis_of(const PoolOptions& options, std::int64_t size, std::int64_t outputs) {
    const int stride = options.stride > 0 ? options.stride : options.window;
    return {static_cast<int>(size), static_cast<int>(outputs), options.window, stride, options.padding};
}
// Zeros behind the axis that the last window needs: what ceil mode comes to, said outright, since ONNX's own ceil_mode
// also keeps a window that begins behind the padding.
std::int64_t padding_behind(const PoolAxis& axis) {
    return std::max(0, (axis.outputs - 1) * axis.stride + axis.window - axis.padding - axis.size);
}
OnnxGraph::Attributes windows(const PoolAxis& vertical, const PoolAxis& horizontal) {
    const std::int64_t window = vertical.window, stride = vertical.stride, padding = vertical.padding;
    return {{"kernel_shape", Numbers{window, window}},
            {"strides", Numbers{stride, stride}},
            {"pads", Numbers{padding, padding, padding_behind(vertical), padding_behind(horizontal)}}};
}

// outputs x size: the means of an axis' windows as a matrix product.
template <class Axis>
std::vector<float> means(const Axis& axis, bool transposed) {
    const auto size = static_cast<std::size_t>(axis.size), outputs = static_cast<std::size_t>(axis.outputs);
    std::vector<float> matrix(size * outputs, 0.0f);
    for (int o = 0; o < axis.outputs; ++o) {
        const Span span = axis.inputs_of(o);
        for (int i = span.begin; i < span.end; ++i) {
            const auto row = static_cast<std::size_t>(o), column = static_cast<std::size_t>(i);
            matrix[transposed ? column * outputs + row : row * size + column] =
                1.0f / static_cast<float>(axis.divisor(o));
        }
    }
    return matrix;
}

}  // namespace

// Means of windows of any sizes: those of each column, then those of each row.
template <class Axis>
std::string OnnxTranslator::averaged(const Value& x, const Axis& vertical, const Axis& horizontal) {
    const std::string rows = graph_.constant("row_means", {vertical.outputs, vertical.size}, means(vertical, false));
    const std::string columns =
        graph_.constant("column_means", {horizontal.size, horizontal.outputs}, means(horizontal, true));
    return graph_.node("MatMul", "", {graph_.node("MatMul", "", {rows, x.name}), columns});
}

void OnnxTranslator::max_pool(const TracedOp& op) {
    const auto& options = std::get<PoolOptions>(op.attributes);
    const Shape &x = value(op, 0).shape, &y = op.output.shape();
    give(op, graph_.node("MaxPool", "", {value(op, 0).name},
                         windows(axis_of(options, x[1], y[1]), axis_of(options, x[2], y[2]))));
}

void OnnxTranslator::average_pool(const TracedOp& op) {
    const auto& options = std::get<PoolOptions>(op.attributes);
    const Shape &x = value(op, 0).shape, &y = op.output.shape();
    const PoolAxis vertical = axis_of(options, x[1], y[1]), horizontal = axis_of(options, x[2], y[2]);
    // ONNX counts all of its padding, cutis only what both sides have.
    if (std::max(padding_behind(vertical), padding_behind(horizontal)) > options.padding) {
        give(op, averaged(value(op, 0), vertical, horizontal));
        return;
    }
    OnnxGraph::Attributes attributes = windows(vertical, horizontal);
    attributes.emplace_back("count_include_pad", std::int64_t{1});
    give(op, graph_.node("AveragePool", "", {value(op, 0).name}, std::move(attributes)));
}

void OnnxTranslator::adaptive_average_pool(const TracedOp& op) {
    const auto& [p, q] = std::get<AdaptivePoolAttributes>(op.attributes);
    const Value& x = value(op, 0);
    const AdaptiveAxis vertical{static_cast<int>(x.shape[1]), p}, horizontal{static_cast<int>(x.shape[2]), q};
    if (p == vertical.size && q == horizontal.size) {
        give(op, x.name);
    } else if (p == 1 && q == 1) {
        give(op, graph_.node("GlobalAveragePool", "", {x.name}));
    } else if (vertical.size % p == 0 && horizontal.size % q == 0) {
        const Numbers window{vertical.size / p, horizontal.size / q};
        give(op, graph_.node("AveragePool", "", {x.name}, {{"kernel_shape", window}, {"strides", window}}));
    } else {
        give(op, averaged(x, vertical, horizontal));
    }
}

void OnnxTranslator::global_average_pool(const TracedOp& op) {
    const std::string mean = graph_.node("GlobalAveragePool", "", {value(op, 0).name});
    give(op, graph_.node("Flatten", "", {mean}, {{"axis", std::int64_t{1}}}));
}

void OnnxTranslator::local_response_norm(const TracedOp& op) {
    const auto& norm = std::get<LocalResponseNorm>(op.attributes);
    const Value& x = value(op, 0);
    require(
        x.is_map() && norm.size % 2 == 1,
        "onnx: 'local response norm' of size {} on {}; ONNX has it for maps, with as many channels before as behind",
        norm.size, to_string(x.shape));
    give(op, graph_.node(
                 "LRN", "", {x.name},
                 {{"alpha", norm.alpha}, {"beta", norm.beta}, {"bias", norm.k}, {"size", std::int64_t{norm.size}}}));
}

// ---- linear and LSTM

void OnnxTranslator::linear(const TracedOp& op) {
    const Value& x = value(op, 0);
    const Constant& w = constant(op, 1);
    const Shape& shape = w.tensor.shape();
    std::vector<float> weights =
        x.is_flattened()
            ? to_file_order(w.tensor.reshape({shape[0], x.map[0], x.map[1], x.map[2]}), WeightLayout::flattened)
            : values_of(w.tensor);
    std::vector<std::string> inputs{x.name, graph_.constant(w.name, {shape[0], shape[1]}, std::move(weights))};
    if (has_input(op, 2)) {
        inputs.push_back(graph_.constant(constant(op, 2).name, {shape[0]}, values_of(constant(op, 2).tensor)));
    }
    give(op, graph_.node("Gemm", layer_of(w.name), std::move(inputs), {{"transB", std::int64_t{1}}}));
}

namespace {

// PyTorch's rows i, f, g, o in ONNX's order i, o, f, g.
std::vector<float> gates_reordered(const std::vector<float>& rows) {
    constexpr std::size_t kOrder[] = {0, 3, 1, 2};
    const std::size_t block = rows.size() / 4;
    std::vector<float> result;
    for (const std::size_t gate : kOrder) {
        const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(gate * block);
        result.insert(result.end(), begin, begin + static_cast<std::ptrdiff_t>(block));
    }
    return result;
}

}  // namespace

// Inputs as `lstm` records them: x, w_ih, w_hh, b_ih, b_hh, h0, c0. ONNX wants steps before samples, and a dimension
// for directions.
void OnnxTranslator::lstm(const TracedOp& op) {
    const Value x = in_memory_order(value(op, 0));
    const Constant &w = constant(op, 1), &r = constant(op, 2);
    const std::string layer = layer_of(w.name);
    const std::int64_t h = r.tensor.size(1);
    const auto matrix = [&](const Constant& from) {
        return graph_.constant(from.name, {1, 4 * h, from.tensor.size(1)}, gates_reordered(values_of(from.tensor)));
    };
    std::vector<std::string> inputs{transposed(x.name, {1, 0, 2}), matrix(w), matrix(r)};
    std::vector<float> bias;
    for (const std::size_t i : {std::size_t{3}, std::size_t{4}}) {
        const std::vector<float> part = has_input(op, i) ? gates_reordered(values_of(constant(op, i).tensor))
                                                         : std::vector<float>(static_cast<std::size_t>(4 * h), 0.0f);
        bias.insert(bias.end(), part.begin(), part.end());
    }
    inputs.push_back(graph_.constant(layer + ".bias", {1, 8 * h}, std::move(bias)));
    inputs.emplace_back();  // every sequence has all steps
    const std::string first = graph_.constant("axis_0", Numbers{0}), second = graph_.constant("axis_1", Numbers{1});
    for (const std::size_t i : {std::size_t{5}, std::size_t{6}}) {
        inputs.push_back(has_input(op, i) ? graph_.node("Unsqueeze", layer, {in_memory_order(value(op, i)).name, first})
                                          : "");
    }
    const std::vector<std::string> outputs = graph_.node_of(3, "LSTM", layer, std::move(inputs), {{"hidden_size", h}});
    give(op, transposed(graph_.node("Squeeze", layer, {outputs[0], second}), {1, 0, 2}));
    lstm_cells_[op.output.identity()] = graph_.node("Squeeze", layer, {outputs[2], first});
}

void OnnxTranslator::lstm_cell(const TracedOp& op) {
    give(op, lstm_cells_.at(op.inputs.front().identity()));
}

}  // namespace cutis
