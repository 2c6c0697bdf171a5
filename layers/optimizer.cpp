#include "layers/optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/optimizer.h"

namespace cutis {

OptimizerKind optimizer_from_name(std::string_view name) {
    if (name == "sgd") {
        return OptimizerKind::sgd;
    }
    if (name == "rmsprop") {
        return OptimizerKind::rmsprop;
    }
    require(name == "adamw", "optimizer '{}' is unknown; use sgd, rmsprop or adamw", name);
    return OptimizerKind::adamw;
}

Optimizer::Optimizer(const OptimizerConfig& config, std::vector<Group> groups) : config_(config) {
    for (Group& group : groups) {
        for (ParameterRef& parameter : group.parameters) {
            const Shape& shape = parameter.variable.shape();
            Slot slot{std::move(parameter), group.lr, Tensor::zeros(shape), {}};
            if (config.kind != OptimizerKind::sgd) {
                slot.second = Tensor::zeros(shape);
            }
            slots_.push_back(std::move(slot));
        }
    }
    require(std::any_of(slots_.begin(), slots_.end(),
                        [](const Slot& slot) { return slot.parameter.variable.requires_grad(); }),
            "optimizer: every parameter is frozen; there is nothing to train");
    updates_ = Tensor::zeros({static_cast<std::int64_t>(slots_.size())});
}

void Optimizer::step(double factor) {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        Slot& slot = slots_[i];
        Variable& variable = slot.parameter.variable;
        if (!variable.requires_grad()) {
            continue;
        }
        float& updates = updates_.data()[i];
        const bool first = updates == 0.0f;
        updates += 1.0f;
        const Tensor& gradient = variable.grad();
        require(static_cast<bool>(gradient), "optimizer: parameter {} has no gradient; was backward run?",
                slot.parameter.name);
        Tensor& weight = variable.value();
        const std::int64_t n = weight.elements();
        const float lr = static_cast<float>(static_cast<double>(slot.lr) * factor);
        const float decay = slot.parameter.decay ? config_.weight_decay : 0.0f;
        switch (config_.kind) {
            case OptimizerKind::sgd:
                cpu::sgd_step(weight.data(), config_.momentum != 0.0f ? slot.first.data() : nullptr, gradient.data(),
                              {lr, config_.momentum, decay, config_.nesterov}, first, n);
                break;
            case OptimizerKind::rmsprop:
                cpu::rmsprop_step(weight.data(), slot.second.data(),
                                  config_.momentum != 0.0f ? slot.first.data() : nullptr, gradient.data(),
                                  {lr, config_.alpha, config_.eps, decay, config_.momentum}, n);
                break;
            case OptimizerKind::adamw:
                cpu::adamw_step(weight.data(), slot.first.data(), slot.second.data(), gradient.data(),
                                {lr, config_.beta1, config_.beta2, config_.eps, decay}, std::llround(updates), n);
                break;
        }
        weight.mark_changed();
    }
}

void Optimizer::clear_gradients() {
    for (Slot& slot : slots_) {
        slot.parameter.variable.clear_grad();
    }
}

double Optimizer::clip_gradients(double limit) {
    double total = 0.0;
    for (const Slot& slot : slots_) {
        if (const Tensor& gradient = std::as_const(slot.parameter.variable).grad()) {
            total += cpu::squared_norm(gradient.data(), gradient.elements());
        }
    }
    const double norm = std::sqrt(total);
    require(std::isfinite(norm), "gradients: their norm is {}; lower --lr or look at the input", norm);
    if (norm > limit) {
        scale_gradients(static_cast<float>(limit / (norm + 1e-6)));
    }
    return norm;
}

void Optimizer::scale_gradients(float factor) {
    for (Slot& slot : slots_) {
        if (Tensor& gradient = slot.parameter.variable.grad()) {
            Tensor scaled = gradient.unique() ? gradient : Tensor::empty(gradient.shape());
            cpu::scale(scaled.data(), std::as_const(gradient).data(), factor, gradient.elements());
            gradient = std::move(scaled);
        }
    }
}

std::vector<BufferRef> Optimizer::state() const {
    std::vector<BufferRef> state{{"optimizer.updates", updates_}};
    for (const Slot& slot : slots_) {
        const std::string prefix = "optimizer." + slot.parameter.name;
        state.push_back({prefix + (config_.kind == OptimizerKind::adamw ? ".mean" : ".momentum"), slot.first});
        if (slot.second) {
            state.push_back({prefix + ".square", slot.second});
        }
    }
    return state;
}

}  // namespace cutis
