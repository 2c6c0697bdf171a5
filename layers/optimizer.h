#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "engine/cuda_device.h"
#include "layers/parts.h"

namespace cutis {

enum class OptimizerKind { sgd, rmsprop, adamw };

/// "sgd", "rmsprop" or "adamw"; throws Error naming the three otherwise.
OptimizerKind optimizer_from_name(std::string_view name);

/// torch.optim's meanings of every constant.
struct OptimizerConfig {
    OptimizerKind kind = OptimizerKind::sgd;
    float momentum = 0.9f;               ///< sgd, rmsprop
    bool nesterov = false;               ///< sgd
    float weight_decay = 0.0f;           ///< on parameters with `decay` only
    float alpha = 0.99f;                 ///< rmsprop
    float beta1 = 0.9f, beta2 = 0.999f;  ///< adamw
    float eps = 1e-8f;                   ///< rmsprop, adamw
};

/// Updates parameters in place from their gradients.
class Optimizer {
  public:
    struct Group {
        std::vector<ParameterRef> parameters;
        float lr = 0.01f;  ///< base learning rate
    };

    /// State lies where the parameters are. A parameter that is frozen (does not require a gradient) at a step is left
    /// out of it. Throws Error when all are frozen.
    Optimizer(const OptimizerConfig& config, std::vector<Group> groups);

    /// One update with each group's lr times `factor`. Throws Error naming a parameter that has no gradient.
    void step(double factor);
    /// One update on a GPU without the host reading anything, which may be recorded (CudaGraph): each group's lr times
    /// state->lr_factor; gradients times `gradient_factor` and, where `clip` is above 0, scaled down to that common
    /// norm. Where the norm is not finite nothing changes.
    /// @param state  in device memory
    void step_on_gpu(const StepState* state, float gradient_factor, float clip);
    void clear_gradients();
    /// Scales all gradients so that their common L2 norm is at most `limit`; returns the norm before. Throws Error when
    /// it is not finite.
    double clip_gradients(double limit);
    /// Multiplies all gradients (mean over accumulated batches).
    void scale_gradients(float factor);

    /// The whole state by checkpoint name, in memory layout: moments ("optimizer.<parameter>.<moment>") and how many
    /// updates each parameter has had ("optimizer.updates", exact to 2^24).
    std::vector<BufferRef> state() const;

  private:
    struct Slot {
        ParameterRef parameter;
        float lr;
        Tensor first, second;  ///< momentum or mean; square
    };

    bool has_momentum() const { return config_.kind == OptimizerKind::adamw || config_.momentum != 0.0f; }
    void profile_update(const Slot& slot) const;
    Tensor to_gpu(const void* data, std::size_t bytes, std::unique_ptr<PinnedMemory>& spare);

    OptimizerConfig config_;
    std::vector<Slot> slots_;
    Tensor updates_;                                              ///< one per slot, f32
    std::vector<std::unique_ptr<PinnedMemory>> recorded_tables_;  ///< what graphs copy from
    std::unique_ptr<PinnedMemory> spare_parameters_, spare_chunks_;
};

}  // namespace cutis
