#include "engine/autograd.h"

#include <atomic>
#include <queue>
#include <utility>

#include "engine/on_device.h"
#include "engine/profiler.h"
#include "engine/trace.h"
#include "kernels/error.h"

namespace cutis {
namespace detail {

// What an op left behind. Nodes are numbered in the order of recording, so that an op's number is larger than those of
// the ops it got its inputs from: walking back in falling order meets every consumer of a value before its producer.
struct Node {
    std::string op;
    std::uint64_t number = 0;
    std::vector<std::shared_ptr<VariableState>> inputs;
    std::function<void(const Tensor&)> backward;

    std::string_view parameter() const;
};

struct VariableState {
    Tensor value;
    Tensor grad;
    bool requires_grad = false;
    std::string name;
    std::shared_ptr<Node> node;  // null for leaves
    bool consumed = false;       // backward has run through it

    ~VariableState();
};

// The name of the op's first parameter, empty where it has none.
std::string_view Node::parameter() const {
    for (const std::shared_ptr<VariableState>& input : inputs) {
        if (!input->node && !input->name.empty()) {
            return input->name;
        }
    }
    return {};
}

// A graph that is dropped without backward may be deep: take it apart in a loop, not by nested destructors.
VariableState::~VariableState() {
    if (!node) {
        return;
    }
    std::vector<std::shared_ptr<VariableState>> pending;
    const auto take_apart = [&pending](std::shared_ptr<Node> last) {
        if (last && last.use_count() == 1) {
            for (auto& input : last->inputs) {
                pending.push_back(std::move(input));
            }
            last->backward = nullptr;
        }
    };
    take_apart(std::move(node));
    while (!pending.empty()) {
        const auto state = std::move(pending.back());
        pending.pop_back();
        if (state.use_count() == 1) {
            take_apart(std::move(state->node));
        }
    }
}

}  // namespace detail

namespace {

thread_local bool t_grad_enabled = true;
std::atomic<std::uint64_t> g_next_number{1};  // of all threads: a graph may be recorded in several of them

}  // namespace

Variable::Variable(Tensor value, bool requires_grad, std::string name)
    : state_(std::make_shared<detail::VariableState>()) {
    require(!requires_grad || value.dtype() == DType::f32 || value.dtype() == DType::bf16,
            "variable {}: gradients of {} values do not exist", name, dtype_name(value.dtype()));
    state_->value = std::move(value);
    state_->requires_grad = requires_grad;
    state_->name = std::move(name);
}

const Tensor& Variable::value() const {
    require(state_ != nullptr, "variable: an empty handle has no value");
    return state_->value;
}
Tensor& Variable::value() {
    require(state_ != nullptr, "variable: an empty handle has no value");
    return state_->value;
}
bool Variable::requires_grad() const {
    return state_ != nullptr && state_->requires_grad;
}
void Variable::set_requires_grad(bool requires_grad) {
    require(state_ != nullptr && !state_->node, "variable: only a leaf can be frozen or thawed");
    state_->requires_grad = requires_grad;
}
const std::string& Variable::name() const {
    require(state_ != nullptr, "variable: an empty handle has no name");
    return state_->name;
}
void Variable::set_name(std::string name) {
    require(state_ != nullptr, "variable: an empty handle has no name");
    state_->name = std::move(name);
}
const Tensor& Variable::grad() const {
    require(state_ != nullptr, "variable: an empty handle has no gradient");
    return state_->grad;
}
Tensor& Variable::grad() {
    require(state_ != nullptr, "variable: an empty handle has no gradient");
    return state_->grad;
}
void Variable::clear_grad() {
    if (state_) {
        state_->grad = {};
    }
}

void Variable::accumulate(const Tensor& gradient) const {
    if (!requires_grad()) {
        return;
    }
    require(gradient && gradient.shape() == value().shape(), "backward: a gradient {} for a value {} {}",
            to_string(gradient.shape()), to_string(value().shape()), state_->name);
    Tensor& grad = state_->grad;
    if (!grad) {
        grad = gradient;
        return;
    }
    // The bytes may be the gradient of another variable too (add passes one on to both sides): then they stay as they
    // are.
    Tensor sum = grad.unique() ? grad : Tensor::empty(grad.shape(), grad.dtype(), grad.device());
    by_type(grad.dtype(), [&]<class T>() {
        on::add(grad.device(), sum.data<T>(), std::as_const(grad).data<T>(), gradient.data<T>(), grad.elements());
    });
    grad = std::move(sum);
}

void Variable::backward() {
    require(state_ != nullptr && value().elements() == 1, "backward: starts at a scalar, not at {}",
            state_ ? to_string(value().shape()) : "an empty handle");
    require(!state_->consumed, "backward: this graph has been run already; its saved tensors are gone");
    require(state_->node != nullptr, "backward: nothing was recorded (no input requires a gradient, or NoGrad is on)");

    using State = std::shared_ptr<detail::VariableState>;
    const auto later = [](const State& a, const State& b) { return a->node->number < b->node->number; };
    std::priority_queue<State, std::vector<State>, decltype(later)> ready(later);
    state_->grad = Tensor::full(value().shape(), 1.0f, value().device());
    ready.push(state_);
    while (!ready.empty()) {
        const State current = ready.top();
        ready.pop();
        // The same variable is pushed once per consumer; the first visit has done the work.
        if (current->consumed) {
            continue;
        }
        detail::Node& node = *current->node;
        require(static_cast<bool>(current->grad), "backward: no gradient reached the output of '{}'", node.op);
        {
            const ProfileRange range(node.op, node.parameter());
            node.backward(current->grad);
            node.backward = nullptr;
        }
        current->consumed = true;
        if (current != state_) {
            current->grad = {};
        }
        for (const State& input : node.inputs) {
            if (!input->requires_grad) {
                continue;
            }
            require(static_cast<bool>(input->grad) || input->consumed,
                    "backward: '{}' left out the gradient of input {} {}", node.op, input->name,
                    to_string(input->value.shape()));
            if (input->node) {
                require(!input->consumed, "backward: '{}' uses a value whose graph has been run already", node.op);
                ready.push(input);
            }
        }
        node.inputs.clear();
    }
}

Variable record(std::string op, Tensor value, std::initializer_list<Variable> inputs,
                std::function<void(const Tensor&)> backward) {
    return record(std::move(op), std::move(value), std::span(inputs.begin(), inputs.size()), std::move(backward));
}

Variable record(std::string op, Tensor value, std::span<const Variable> inputs,
                std::function<void(const Tensor&)> backward) {
    bool wanted = false;
    for (const Variable& input : inputs) {
        wanted = wanted || input.requires_grad();
    }
    Variable output(std::move(value));
    trace_op(op, inputs, output);
    if (!wanted || !t_grad_enabled) {
        return output;
    }
    auto node = std::make_shared<detail::Node>();
    for (const Variable& input : inputs) {
        if (!input) {
            continue;
        }
        require(!input.state_->consumed, "{}: an input's graph has been run backward already", op);
        require(!input.requires_grad() || op == "reshape" || !output.value().shares_storage(input.value()),
                "{}: recorded twice: its output shares its bytes with an input that was recorded before (an in-place "
                "change)",
                op);
        node->inputs.push_back(input.state_);
    }
    node->op = std::move(op);
    node->number = g_next_number++;
    node->backward = std::move(backward);
    output.state_->requires_grad = true;
    output.state_->node = std::move(node);
    return output;
}

bool grad_enabled() {
    return t_grad_enabled;
}

NoGrad::NoGrad() : before_(t_grad_enabled) {
    t_grad_enabled = false;
}
NoGrad::~NoGrad() {
    t_grad_enabled = before_;
}

const Tensor& Saved::get() const {
    require(static_cast<bool>(tensor_), "{}: a saved tensor was released", op_);
    require(tensor_.version() == version_,
            "{}: a tensor {} saved for backward was changed in place (version {}, now {})", op_,
            to_string(tensor_.shape()), version_, tensor_.version());
    return tensor_;
}

}  // namespace cutis
