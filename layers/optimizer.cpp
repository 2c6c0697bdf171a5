#include "layers/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "engine/profiler.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/optimizer.h"

namespace cutis {
namespace {

constexpr const char* name_of(OptimizerKind kind) {
    switch (kind) {
        case OptimizerKind::rmsprop:
            return "rmsprop";
        case OptimizerKind::adamw:
            return "adamw";
        case OptimizerKind::sgd:
            break;
    }
    return "sgd";
}

}  // namespace

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
            const Device device = parameter.variable.value().device();
            Slot slot{std::move(parameter), group.lr, Tensor::zeros(shape, DType::f32, device), {}};
            if (config.kind != OptimizerKind::sgd) {
                slot.second = Tensor::zeros(shape, DType::f32, device);
            }
            slots_.push_back(std::move(slot));
        }
    }
    require(std::any_of(slots_.begin(), slots_.end(),
                        [](const Slot& slot) { return slot.parameter.variable.requires_grad(); }),
            "optimizer: every parameter is frozen; there is nothing to train");
    updates_ = Tensor::zeros({static_cast<std::int64_t>(slots_.size())}, DType::f32,
                             slots_.front().parameter.variable.value().device());
}

// Bytes in device memory. A recorded copy is made again at each launch, so what it copies from must stay; and since
// page- locked memory cannot be had while a graph is recorded, the step before, which runs kernel by kernel, sets it
// aside.
Tensor Optimizer::to_gpu(const void* data, std::size_t bytes, std::unique_ptr<PinnedMemory>& spare) {
    const Device device = updates_.device();
    Tensor table = Tensor::empty({static_cast<std::int64_t>(bytes)}, DType::u8, device);
    if (is_recording(device)) {
        require(spare != nullptr && spare->bytes() == bytes,
                "optimizer: a step is recorded only after it has run once with the same parameters");
        recorded_tables_.push_back(std::move(spare));
        std::memcpy(recorded_tables_.back()->data(), data, bytes);
        data = recorded_tables_.back()->data();
    } else if (spare == nullptr || spare->bytes() != bytes) {
        spare = std::make_unique<PinnedMemory>(bytes);
    }
    copy_bytes(table.raw(), device, data, {}, bytes);
    return table;
}

#ifdef CUTIS_WITH_CUDA
void Optimizer::step_on_gpu(const StepState* state, float gradient_factor, float clip) {
    const ProfileRange range(name_of(config_.kind));
    std::vector<cuda::OptimizerParameter> parameters;
    std::vector<std::int64_t> sizes;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        Slot& slot = slots_[i];
        Variable& variable = slot.parameter.variable;
        if (!variable.requires_grad()) {
            continue;
        }
        const Tensor& gradient = std::as_const(variable).grad();
        require(static_cast<bool>(gradient), "optimizer: parameter {} has no gradient; was backward run?",
                slot.parameter.name);
        const std::int64_t n = variable.value().elements();
        parameters.push_back({.weight = variable.value().data(),
                              .gradient = gradient.data(),
                              .first = has_momentum() ? slot.first.data() : nullptr,
                              .second = slot.second ? slot.second.data() : nullptr,
                              .narrow_weight = nullptr,
                              .updates = updates_.data() + i,
                              .n = n,
                              .lr = slot.lr,
                              .weight_decay = slot.parameter.decay ? 1.0f : 0.0f});
        sizes.push_back(n);
        profile_update(slot);
        variable.value().mark_changed();
    }
    if (parameters.empty()) {
        return;
    }
    const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(sizes);
    Tensor parameter_table = to_gpu(parameters.data(), parameters.size() * sizeof parameters[0], spare_parameters_);
    Tensor chunk_table = to_gpu(chunks.data(), chunks.size() * sizeof chunks[0], spare_chunks_);
    Tensor scale_bytes = Tensor::empty({sizeof(cuda::GradientScale)}, DType::u8, updates_.device());
    const cuda::OptimizerTable table{
        static_cast<const cuda::OptimizerParameter*>(parameter_table.raw()), static_cast<int>(parameters.size()),
        static_cast<const cuda::TensorChunk*>(chunk_table.raw()), static_cast<int>(chunks.size())};
    const Stream stream = stream_of(updates_.device());
    cuda::GradientScale* scale = nullptr;
    if (clip > 0.0f || gradient_factor != 1.0f) {
        scale = static_cast<cuda::GradientScale*>(scale_bytes.raw());
        const float limit = clip > 0.0f ? clip : std::numeric_limits<float>::infinity();
        cuda::gradient_scale(scale, table, gradient_factor, limit, stream);
    }
    const float decay = config_.weight_decay;
    switch (config_.kind) {
        case OptimizerKind::sgd:
            cuda::sgd_step(table, {1.0f, config_.momentum, decay, config_.nesterov}, state, scale, stream);
            break;
        case OptimizerKind::rmsprop:
            cuda::rmsprop_step(table, {1.0f, config_.alpha, config_.eps, decay, config_.momentum}, state, scale,
                               stream);
            break;
        case OptimizerKind::adamw:
            cuda::adamw_step(table, {1.0f, config_.beta1, config_.beta2, config_.eps, decay}, state, scale, stream);
            break;
    }
}
#else
void Optimizer::step_on_gpu(const StepState*, float, float) {
    fail("optimizer: this build has no CUDA kernels");
}
#endif

// Weights and moments are read and written, the gradient is read.
void Optimizer::profile_update(const Slot& slot) const {
    const Tensor& weight = slot.parameter.variable.value();
    const Tensor* const first = has_momentum() ? &slot.first : nullptr;
    profile_work(0, {&weight, &weight, &slot.parameter.variable.grad(), first, first, &slot.second, &slot.second});
}

void Optimizer::step(double factor) {
    const ProfileRange range(name_of(config_.kind));
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
        profile_update(slot);
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
