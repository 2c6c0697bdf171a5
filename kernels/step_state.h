#pragma once

#include <cstdint>

namespace cutis {

/// What changes from one training step to the next. A step is captured once as a CUDA graph and replayed, so that its
/// kernels get a pointer to this in device memory; the host copies the next step's values there before each replay.
struct StepState {
    std::uint64_t step = 0;  ///< the step's number in the run, which dropout's masks depend on
    double lr_factor = 1.0;  ///< the schedule's factor on every learning rate
    float ema_decay = 0.0f;  ///< this step's decay of the averaged weights
};

}  // namespace cutis
