#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

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

    /// A parameter that is frozen (does not require a gradient) at a step is left out of it. Throws Error when all are
    /// frozen.
    Optimizer(const OptimizerConfig& config, std::vector<Group> groups);

    /// One update with each group's lr times `factor`. Throws Error naming a parameter that has no gradient.
    void step(double factor);
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

    OptimizerConfig config_;
    std::vector<Slot> slots_;
    Tensor updates_;  ///< one per slot, f32
};

}  // namespace cutis
