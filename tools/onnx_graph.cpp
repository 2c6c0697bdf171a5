#include "tools/onnx_graph.h"

#include <algorithm>

#include "kernels/error.h"

namespace cutis {

std::string OnnxGraph::unused(std::string name) {
    for (std::string tried = name; !names_.insert(name).second;) {
        name = tried + "_" + std::to_string(names_.size());
    }
    return name;
}

std::string OnnxGraph::node(std::string_view op, std::string_view layer, std::vector<std::string> inputs,
                            Attributes attributes) {
    return node_of(1, op, layer, std::move(inputs), std::move(attributes)).front();
}

std::vector<std::string> OnnxGraph::node_of(int count, std::string_view op, std::string_view layer,
                                            std::vector<std::string> inputs, Attributes attributes) {
    OnnxNode node;
    node.op = op;
    node.name = unused(layer.empty() ? std::string(op) : std::string(layer) + "/" + std::string(op));
    node.inputs = std::move(inputs);
    node.attributes = std::move(attributes);
    for (int i = 0; i < count; ++i) {
        node.outputs.push_back(unused(node.name + "_output" + (count > 1 ? std::to_string(i) : "")));
    }
    model_.nodes.push_back(std::move(node));
    return model_.nodes.back().outputs;
}

std::string OnnxGraph::constant(const std::string& name, std::vector<std::int64_t> shape, std::vector<float> values) {
    return add({name, std::move(shape), std::move(values)});
}

std::string OnnxGraph::constant(const std::string& name, std::vector<std::int64_t> values) {
    const auto count = static_cast<std::int64_t>(values.size());
    return add({name, {count}, std::move(values)});
}

std::string OnnxGraph::add(OnnxConstant constant) {
    const auto same = std::find_if(model_.constants.begin(), model_.constants.end(), [&](const OnnxConstant& other) {
        return other.name.starts_with(constant.name) && other.shape == constant.shape &&
               other.values == constant.values;
    });
    if (same != model_.constants.end()) {
        return same->name;
    }
    constant.name = unused(constant.name);
    model_.constants.push_back(std::move(constant));
    return model_.constants.back().name;
}

void OnnxGraph::input(OnnxValue value) {
    require(names_.insert(value.name).second, "onnx: two values named {}", value.name);
    model_.inputs.push_back(std::move(value));
}

OnnxModel OnnxGraph::finish(const std::string& from, OnnxValue output) {
    require(!names_.contains(output.name), "onnx: two values named {}", output.name);
    std::set<std::string> wanted{from};
    std::vector<OnnxNode> kept;
    for (auto node = model_.nodes.rbegin(); node != model_.nodes.rend(); ++node) {
        bool used = false;
        for (std::string& name : node->outputs) {
            const bool this_one = wanted.contains(name);
            used |= this_one;
            name = !this_one ? "" : name == from ? output.name : name;
        }
        if (used) {
            wanted.insert(node->inputs.begin(), node->inputs.end());
            kept.push_back(std::move(*node));
        }
    }
    std::reverse(kept.begin(), kept.end());
    for (OnnxNode& node : kept) {
        std::replace(node.inputs.begin(), node.inputs.end(), from, output.name);
    }
    model_.nodes = std::move(kept);
    std::erase_if(model_.constants, [&](const OnnxConstant& constant) { return !wanted.contains(constant.name); });
    model_.outputs.push_back(std::move(output));
    return std::move(model_);
}

}  // namespace cutis
