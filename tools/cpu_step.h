#pragma once

#include <cstdint>
#include <span>

#include "engine/loader.h"
#include "engine/ops.h"
#include "layers/ema.h"
#include "layers/optimizer.h"
#include "models/model.h"

namespace cutis {

struct CpuStepOptions {
    bool fused = true;  ///< ForwardContext::fused
    std::uint64_t seed = 0;
    int accumulate = 1;  ///< batches of an update, whose gradients are averaged; fewer at the end of an epoch
    double clip = 0.0;   ///< largest norm of all gradients; 0: any
};

/// Updates of a network on the CPU: what `GpuStep` does on a GPU, with the loss at hand when an update returns.
class CpuStep {
  public:
    /// Keeps references. `ema` may be null.
    CpuStep(Model& model, Optimizer& optimizer, Ema* ema, const LossOptions& loss, const CpuStepOptions& options)
        : model_(model), optimizer_(optimizer), ema_(ema), loss_(loss), options_(options) {}

    /// Update number `step` (from 0) with the learning rate times `lr_factor`: forward, backward, optimiser, average.
    /// Returns the mean loss over all images; throws Error naming the step, counted from 1, where it is not finite.
    double update(std::span<const Batch> batches, std::int64_t step, double lr_factor);

  private:
    Model& model_;
    Optimizer& optimizer_;
    Ema* ema_;
    const LossOptions& loss_;
    CpuStepOptions options_;
};

/// Throws Error naming the step, counted from 1, unless its loss is finite.
void require_finite_loss(std::int64_t step, double loss);

}  // namespace cutis
