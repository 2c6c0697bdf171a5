#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"

/// Reverse-mode differentiation, define-by-run. An op computes its value, then calls `record` with one closure whose capture list
/// is what backward needs. The closure gets dL/d(output) and adds to the gradients of the inputs it captured, by name.
///
///     Variable add(const Variable& a, const Variable& b) {
///         return record("add", sum(a.value(), b.value()), {a, b},
///                       [a, b](const Tensor& dy) { a.accumulate(dy); b.accumulate(dy); });
///     }

namespace cutis {

namespace detail {
struct VariableState;
}

/// A tensor in the graph: a value, whether it wants a gradient, and, once backward has run, that gradient. A cheap handle.
class Variable {
  public:
    Variable() = default;
    explicit Variable(Tensor value, bool requires_grad = false, std::string name = {});

    explicit operator bool() const { return state_ != nullptr; }
    const Tensor& value() const;
    Tensor& value();
    const Shape& shape() const { return value().shape(); }
    bool requires_grad() const;
    /// Only for leaves (variables that no op made): freezing and thawing parameters.
    void set_requires_grad(bool requires_grad);
    const std::string& name() const;
    void set_name(std::string name);
    /// Equal for the handles of one variable, and for no others that live.
    const void* identity() const { return state_.get(); }

    /// The gradient; an empty tensor before backward has reached this variable.
    const Tensor& grad() const;
    Tensor& grad();
    /// Adds to the gradient; takes the handle when there is none yet. Ignored where no gradient is wanted. Throws Error when
    /// the shape is not the value's.
    void accumulate(const Tensor& gradient) const;
    void clear_grad();

    /// Runs back from this scalar with dL/dL = 1, freeing the graph as it goes. Throws Error when this variable holds more
    /// than one element, when nothing was recorded, when a graph is run a second time, when a saved tensor was changed
    /// in place since, or when an op left a wanted gradient out.
    void backward();

  private:
    friend Variable record(std::string, Tensor, std::initializer_list<Variable>, std::function<void(const Tensor&)>);
    friend Variable record(std::string, Tensor, std::span<const Variable>, std::function<void(const Tensor&)>);
    std::shared_ptr<detail::VariableState> state_;
};

/// Makes the output of an op. Where gradients are on and an input wants one, the closure is kept until backward has run it.
/// Throws Error ("recorded twice", an in-place op) when `value` shares its bytes with an input that wants a gradient; views
/// are made with `reshape` in ops.h.
Variable record(std::string op, Tensor value, std::initializer_list<Variable> inputs,
                std::function<void(const Tensor&)> backward);
Variable record(std::string op, Tensor value, std::span<const Variable> inputs,
                std::function<void(const Tensor&)> backward);

/// Whether ops record in this thread.
bool grad_enabled();

/// No recording for the scope's life: inference.
class NoGrad {
  public:
    NoGrad();
    ~NoGrad();
    NoGrad(const NoGrad&) = delete;
    NoGrad& operator=(const NoGrad&) = delete;

  private:
    bool before_;
};

/// A tensor kept for the backward pass together with its version: `get` throws Error when the bytes were changed since.
class Saved {
  public:
    Saved() = default;
    Saved(const Tensor& tensor, std::string_view op) : tensor_(tensor), op_(op), version_(tensor.version()) {}
    const Tensor& get() const;
    void release() { tensor_ = {}; }

  private:
    Tensor tensor_;
    std::string op_;
    std::uint64_t version_ = 0;
};

}  // namespace cutis
