#pragma once

#include <memory>
#include <string>

#include "engine/device.h"
#include "kernels/backend.h"

namespace cutis::bench {

/// What a training step is made of; every step sees the same batch of random images.
struct StepOptions {
    std::string model = "mobilenet_v2";
    int batch = 16, size = 224;
    Device device = {};
    std::string precision = "fp32";
    Backend backend = Backend::native;
    bool fused = true;  ///< of the native backend: the fused schedule
    float width = 1.0f;
};

/// Forward, loss, backward and SGD with momentum 0.9 and weight decay 1e-4, as `cutis train` runs them.
class TrainingStep {
  public:
    virtual ~TrainingStep() = default;
    /// One step, finished on return.
    virtual void run() = 0;
    /// Floating-point operations of the convolutions and linear layers: three times the forward pass's.
    virtual double flops() const = 0;
};

std::unique_ptr<TrainingStep> make_training_step(const StepOptions& options);

}  // namespace cutis::bench
