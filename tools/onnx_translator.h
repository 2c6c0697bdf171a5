#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/trace.h"
#include "kernels/pool_windows.h"
#include "layers/parts.h"
#include "tools/onnx_export.h"
#include "tools/onnx_graph.h"

namespace cutis {

/// Ops as nodes of ONNX, for onnx_export.cpp; not for others. Maps are n x h x w x c in cutis and n x c x h x w in the
/// graph; everything else lies alike in both, but for a flattened map: its values stay in the order c h w, and the
/// linear layer behind it takes its weights in that order, which is also that of files.
class OnnxTranslator {
  public:
    OnnxTranslator(std::span<const TracedOp> ops, const Variable& images, const OnnxOptions& options);
    OnnxExport run(const Variable& output, const std::string& name);

  private:
    struct Value {
        std::string name;
        Shape shape;  ///< in cutis
        Shape map{};  ///< h w c, where this is a map whose values were flattened in the order c h w; else scalar

        bool is_map() const { return shape.rank() == 4; }
        bool is_flattened() const { return map.rank() == 3; }
    };
    /// What does not depend on the images: weights, and what is made of them.
    struct Constant {
        std::string name;
        Tensor tensor;
    };
    using Translate = void (OnnxTranslator::*)(const TracedOp&);
    struct Entry {
        std::string_view name;
        Translate translate;
    };
    static std::span<const Entry> table();

    // onnx_export.cpp
    void start(const Variable& images);
    void translate(const TracedOp& op);
    bool note_constant(const TracedOp& op);
    const Value& value(const TracedOp& op, std::size_t input) const;
    const Constant& constant(const TracedOp& op, std::size_t input) const;
    bool has_input(const TracedOp& op, std::size_t input) const;
    void give(const TracedOp& op, std::string name, Shape map = {});
    Value in_memory_order(const Value& value);
    std::string reshaped(const std::string& name, std::span<const std::int64_t> shape);
    std::string transposed(const std::string& name, std::vector<std::int64_t> order);
    std::string activated(const std::string& name, Activation act, std::string_view layer);
    void relu(const TracedOp& op);
    void relu6(const TracedOp& op);
    void add(const TracedOp& op);
    void reshape(const TracedOp& op);
    void concat(const TracedOp& op);
    void concat_rows(const TracedOp& op);
    void gather_rows(const TracedOp& op);

    // onnx_layers.cpp
    void convolution(const TracedOp& op);
    const TracedOp* norm_to_fold(const TracedOp& op) const;
    void batchnorm(const TracedOp& op);
    void max_pool(const TracedOp& op);
    void average_pool(const TracedOp& op);
    void adaptive_average_pool(const TracedOp& op);
    void global_average_pool(const TracedOp& op);
    template <class Axis>
    std::string averaged(const Value& x, const Axis& vertical, const Axis& horizontal);
    void local_response_norm(const TracedOp& op);
    void linear(const TracedOp& op);
    void lstm(const TracedOp& op);
    void lstm_cell(const TracedOp& op);

    std::span<const TracedOp> ops_;
    OnnxOptions options_;
    OnnxExport result_;
    OnnxGraph graph_;
    std::int64_t n_ = 0;  ///< images of the trace
    std::map<const void*, Value> values_;
    std::map<const void*, Constant> constants_;
    std::map<const void*, std::vector<const TracedOp*>> readers_;
    std::set<const TracedOp*> folded_;               ///< batchnorms
    std::map<const void*, std::string> lstm_cells_;  ///< by the LSTM's other output
};

}  // namespace cutis
