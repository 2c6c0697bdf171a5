#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/ops.h"

/// What a network computes, as a list of ops: while a Trace lives, every op of its thread is noted with inputs, output
/// and attributes, in the order of their running. Exports read it, so that a model needs no code of its own for them.
///
///     Trace trace;
///     const Variable logits = model.forward(images, {.fused = false});   // the fused schedule is one op of its own
///     for (const TracedOp& op : trace.ops()) ...
///
/// An op says its attributes with `trace_attributes` before it calls `record`. Without a Trace that is one test of a
/// flag, and nothing is made.

namespace cutis {

/// Of conv2d and depthwise convolution (padding 1, as many groups as channels).
struct ConvAttributes {
    int stride = 1, padding = 0, groups = 1;
};
/// Of batchnorm; `training`: it took the batch's statistics, not these.
struct BatchNormAttributes {
    Tensor running_mean, running_var;
    float eps = 0;
    Activation act = Activation::identity;
    bool training = false;
};
/// Of adaptive average pool: how many means there are.
struct AdaptivePoolAttributes {
    int p = 0, q = 0;
};

/// What an op was told beside its inputs; monostate: nothing.
using OpAttributes = std::variant<std::monostate, ConvAttributes, BatchNormAttributes, PoolOptions,
                                  AdaptivePoolAttributes, LocalResponseNorm, RowMap>;

struct TracedOp {
    std::string name;              ///< as `record` knows it: "conv2d", "max pool"
    std::vector<Variable> inputs;  ///< in `record`'s order; empty handles where an optional one is not given
    Variable output;
    OpAttributes attributes;
};

/// Notes the ops of the thread that made it, as long as it lives; their values stay in memory with it.
class Trace {
  public:
    /// Throws Error where this thread has a trace already.
    Trace();
    ~Trace();
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;

    const std::vector<TracedOp>& ops() const { return ops_; }

  private:
    template <class Attributes, class... Members>
    friend void trace_attributes(Members&&...);
    friend void trace_op(std::string_view, std::span<const Variable>, const Variable&);

    std::vector<TracedOp> ops_;
    OpAttributes next_;  ///< of the op that is running
};

namespace detail {
/// Of this thread; null almost always.
inline constinit thread_local Trace* t_trace = nullptr;
}  // namespace detail

/// Says the attributes of the op whose `record` comes next.
template <class Attributes, class... Members>
void trace_attributes(Members&&... members) {
    if (detail::t_trace != nullptr) {
        detail::t_trace->next_ = Attributes{std::forward<Members>(members)...};
    }
}

/// Notes an op; `record` calls it.
void trace_op(std::string_view name, std::span<const Variable> inputs, const Variable& output);

}  // namespace cutis
