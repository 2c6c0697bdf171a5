#pragma once

#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/onnx_file.h"

namespace cutis {

/// Puts an ONNX graph together: gives nodes, values and constants names that are used once.
class OnnxGraph {
  public:
    using Attributes = std::vector<std::pair<std::string, OnnxAttribute>>;

    /// Appends a node of one output and returns that output's name.
    /// @param layer  name of the layer that it belongs to, or empty
    std::string node(std::string_view op, std::string_view layer, std::vector<std::string> inputs,
                     Attributes attributes = {});
    /// Appends a node of `count` outputs and returns their names.
    std::vector<std::string> node_of(int count, std::string_view op, std::string_view layer,
                                     std::vector<std::string> inputs, Attributes attributes = {});
    /// A constant's name: `name`, with a number behind it where another constant has that name. The same constant given
    /// twice is there once.
    std::string constant(const std::string& name, std::vector<std::int64_t> shape, std::vector<float> values);
    std::string constant(const std::string& name, std::vector<std::int64_t> values);

    void input(OnnxValue value);
    /// Ends the graph: value `from` becomes the output, under its own name; nodes and constants that it does not depend
    /// on go.
    OnnxModel finish(const std::string& from, OnnxValue output);

  private:
    std::string unused(std::string name);
    std::string add(OnnxConstant constant);

    OnnxModel model_;
    std::set<std::string, std::less<>> names_;
};

}  // namespace cutis
