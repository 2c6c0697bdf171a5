#include "tools/onnx_export.h"

#include <algorithm>

#include "kernels/error.h"
#include "tools/onnx_translator.h"

namespace cutis {

std::span<const OnnxTranslator::Entry> OnnxTranslator::table() {
    using T = OnnxTranslator;
    static constexpr Entry kTable[] = {
        {"conv2d", &T::convolution},
        {"pointwise convolution", &T::convolution},
        {"depthwise convolution", &T::convolution},
        {"batchnorm", &T::batchnorm},
        {"relu", &T::relu},
        {"relu6", &T::relu6},
        {"add", &T::add},
        {"reshape", &T::reshape},
        {"max pool", &T::max_pool},
        {"average pool", &T::average_pool},
        {"adaptive average pool", &T::adaptive_average_pool},
        {"global average pool", &T::global_average_pool},
        {"local response norm", &T::local_response_norm},
        {"concat", &T::concat},
        {"concat rows", &T::concat_rows},
        {"gather rows", &T::gather_rows},
        {"linear", &T::linear},
        {"lstm", &T::lstm},
        {"lstm cell state", &T::lstm_cell},
    };
    return kTable;
}

OnnxTranslator::OnnxTranslator(std::span<const TracedOp> ops, const Variable& images, const OnnxOptions& options)
    : ops_(ops), options_(options), n_(images.shape()[0]) {
    require(n_ >= 2, "onnx: a trace of {} images; two or more show what depends on their number", n_);
    std::set<const void*> made{images.identity()};
    for (const TracedOp& op : ops_) {
        for (const Variable& input : op.inputs) {
            readers_[input.identity()].push_back(&op);
            if (input && !made.contains(input.identity())) {
                require(!input.name().empty(),
                        "onnx: '{}' reads a value {} that is neither a weight nor made of the images", op.name,
                        to_string(input.shape()));
                constants_[input.identity()] = {input.name(), input.value()};
            }
        }
        made.insert(op.output.identity());
    }
    start(images);
}

void OnnxTranslator::start(const Variable& images) {
    const Shape& x = images.shape();
    OnnxValue input{"images", {x.sizes().begin(), x.sizes().end()}};
    if (x.rank() == 4) {
        input.shape = {x[0], x[3], x[1], x[2]};
    }
    input.shape[0] = -1;
    graph_.input(std::move(input));
    std::string name = "images";
    if (options_.normalise) {
        const auto three = [&](const char* what, const std::array<float, 3>& values) {
            return graph_.constant(what, {1, 3, 1, 1}, {values.begin(), values.end()});
        };
        name = graph_.node("Sub", "normalise", {name, three("mean", options_.normalise->mean)});
        name = graph_.node("Div", "normalise", {name, three("std", options_.normalise->std)});
    }
    values_[images.identity()] = {name, x};
}

OnnxExport OnnxTranslator::run(const Variable& output, const std::string& name) {
    for (const TracedOp& op : ops_) {
        translate(op);
    }
    const auto end = values_.find(output.identity());
    require(end != values_.end(), "onnx: the output comes from no op of the trace");
    const Value logits = in_memory_order(end->second);
    std::vector<std::int64_t> shape(logits.shape.sizes().begin(), logits.shape.sizes().end());
    shape[0] = -1;
    result_.model = graph_.finish(logits.name, {"logits", std::move(shape)});
    result_.model.name = name;
    return std::move(result_);
}

void OnnxTranslator::translate(const TracedOp& op) {
    if (note_constant(op)) {
        return;
    }
    for (const Entry& entry : table()) {
        if (entry.name == op.name) {
            (this->*entry.translate)(op);
            return;
        }
    }
    std::string known;
    for (const Entry& entry : table()) {
        known += (known.empty() ? "" : ", ") + std::string(entry.name);
    }
    fail("onnx: op '{}' has no form in ONNX here; there are: {}", op.name, known);
}

// What is made of weights alone is one, too.
bool OnnxTranslator::note_constant(const TracedOp& op) {
    const bool all = std::all_of(op.inputs.begin(), op.inputs.end(), [&](const Variable& input) {
        return !input || constants_.contains(input.identity());
    });
    if (all) {
        constants_[op.output.identity()] = {constant(op, 0).name, op.output.value()};
    }
    return all;
}

// ---- values

bool OnnxTranslator::has_input(const TracedOp& op, std::size_t input) const {
    return input < op.inputs.size() && op.inputs[input];
}

const OnnxTranslator::Value& OnnxTranslator::value(const TracedOp& op, std::size_t input) const {
    const auto found = values_.find(op.inputs.at(input).identity());
    require(found != values_.end(), "onnx: '{}': input {} must depend on the images", op.name, input);
    return found->second;
}

const OnnxTranslator::Constant& OnnxTranslator::constant(const TracedOp& op, std::size_t input) const {
    const auto found = constants_.find(op.inputs.at(input).identity());
    require(found != constants_.end(), "onnx: '{}': input {} must be a weight", op.name, input);
    return found->second;
}

void OnnxTranslator::give(const TracedOp& op, std::string name, Shape map) {
    values_[op.output.identity()] = {std::move(name), op.output.shape(), map};
}

std::string OnnxTranslator::reshaped(const std::string& name, std::span<const std::int64_t> shape) {
    std::vector<std::int64_t> sizes(shape.begin(), shape.end());
    sizes.front() = -1;  // the batch, or a multiple of it
    return graph_.node("Reshape", "", {name, graph_.constant("shape", std::move(sizes))});
}

std::string OnnxTranslator::transposed(const std::string& name, std::vector<std::int64_t> order) {
    return graph_.node("Transpose", "", {name}, {{"perm", std::move(order)}});
}

// A value that is no map with its elements in cutis' order.
OnnxTranslator::Value OnnxTranslator::in_memory_order(const Value& value) {
    if (value.is_map()) {
        return {transposed(value.name, {0, 2, 3, 1}), value.shape};
    }
    if (!value.is_flattened()) {
        return value;
    }
    const std::int64_t map[] = {-1, value.map[2], value.map[0], value.map[1]};
    return {reshaped(transposed(reshaped(value.name, map), {0, 2, 3, 1}), value.shape.sizes()), value.shape};
}

// ---- element by element, and what only moves values

std::string OnnxTranslator::activated(const std::string& name, Activation act, std::string_view layer) {
    switch (act) {
        case Activation::relu:
            return graph_.node("Relu", layer, {name});
        case Activation::relu6:
            return graph_.node("Clip", layer,
                               {name, graph_.constant("zero", {}, {clamp_of(act).lo}),
                                graph_.constant("six", {}, {clamp_of(act).hi})});
        case Activation::identity:
            break;
    }
    return name;
}

void OnnxTranslator::relu(const TracedOp& op) {
    give(op, activated(value(op, 0).name, Activation::relu, ""), value(op, 0).map);
}

void OnnxTranslator::relu6(const TracedOp& op) {
    give(op, activated(value(op, 0).name, Activation::relu6, ""), value(op, 0).map);
}

void OnnxTranslator::add(const TracedOp& op) {
    Value a = value(op, 0), b = value(op, 1);
    if (!(a.map == b.map)) {
        a = in_memory_order(a);
        b = in_memory_order(b);
    }
    give(op, graph_.node("Add", "", {a.name, b.name}), a.map);
}

void OnnxTranslator::reshape(const TracedOp& op) {
    const Value& x = value(op, 0);
    const Shape& y = op.output.shape();
    if (x.is_map() && y.rank() == 2 && y[0] == x.shape[0]) {
        const Shape map{x.shape[1], x.shape[2], x.shape[3]};
        const bool one_pixel = map[0] * map[1] == 1;
        give(op, graph_.node("Flatten", "", {x.name}, {{"axis", std::int64_t{1}}}), one_pixel ? Shape() : map);
        return;
    }
    require(y.rank() >= 1 && y[0] % n_ == 0, "onnx: 'reshape' to {} mixes images", to_string(y));
    const std::string moved = reshaped(in_memory_order(x).name, y.sizes());
    give(op, y.rank() == 4 ? transposed(moved, {0, 3, 1, 2}) : moved);
}

void OnnxTranslator::concat(const TracedOp& op) {
    const int rank = op.output.shape().rank();
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
        parts.push_back(rank == 4 ? value(op, i).name : in_memory_order(value(op, i)).name);
    }
    give(op, graph_.node("Concat", "", std::move(parts), {{"axis", std::int64_t{rank == 4 ? 1 : rank - 1}}}));
}

void OnnxTranslator::concat_rows(const TracedOp& op) {
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
        parts.push_back(reshaped(in_memory_order(value(op, i)).name, op.output.shape().sizes()));
    }
    give(op, graph_.node("Concat", "", std::move(parts), {{"axis", std::int64_t{0}}}));
}

// The same rows of every image, so that any number of images will do.
void OnnxTranslator::gather_rows(const TracedOp& op) {
    const auto& map = std::get<RowMap>(op.attributes);
    const std::span<const std::int32_t> index = std::as_const(map.index).values<std::int32_t>();
    const std::int64_t rows = map.inverse.elements() / n_, taken = map.index.elements() / n_;
    bool alike = rows * n_ == map.inverse.elements() && taken * n_ == map.index.elements();
    std::vector<std::int64_t> of_one;
    for (std::int64_t i = 0; alike && i < n_ * taken; ++i) {
        const std::int64_t row = index[static_cast<std::size_t>(i)] - i / taken * rows;
        if (i < taken) {
            of_one.push_back(row);
        }
        alike = row >= 0 && row < rows && row == of_one[static_cast<std::size_t>(i % taken)];
    }
    require(alike, "onnx: 'gather rows' takes other rows of one image than of another, or none for some");
    const Shape& y = op.output.shape();
    const std::int64_t wanted[] = {-1, rows, y[-1]};
    const Value x = in_memory_order(value(op, 0));
    const bool there = x.shape == Shape({n_, rows, y[-1]});
    const std::string gathered =
        graph_.node("Gather", "", {there ? x.name : reshaped(x.name, wanted), graph_.constant("rows", of_one)},
                    {{"axis", std::int64_t{1}}});
    const std::string moved = reshaped(gathered, y.sizes());
    give(op, y.rank() == 4 ? transposed(moved, {0, 3, 1, 2}) : moved);
}

// ---- entry

OnnxExport to_onnx(std::span<const TracedOp> ops, const Variable& images, const Variable& output,
                   const std::string& name, const OnnxOptions& options) {
    return OnnxTranslator(ops, images, options).run(output, name);
}

OnnxExport to_onnx(Model& model, const std::string& name, int size, const OnnxOptions& options) {
    require(size >= model.least_size(), "onnx: input side {}: the model takes {} pixels or more", size,
            model.least_size());
    require(model.parts().device() == Device{}, "onnx: the model is on a GPU; export it from the CPU");
    const NoGrad no_grad;
    const Trace trace;
    const Variable images(Tensor::zeros({2, size, size, 3}));
    const Variable logits = model.forward(images, {.training = false, .fused = false});
    return to_onnx(trace.ops(), images, logits, name, options);
}

}  // namespace cutis
