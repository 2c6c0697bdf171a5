#pragma once

#include <vector>

#include "kernels/step_state.h"
#include "layers/parts.h"

namespace cutis {

/// Exponential moving average of a model's parameters and running statistics: average = decay * average + (1 - decay) *
/// now. Early on the decay is min(decay, (1 + updates) / (10 + updates)), so that the start does not linger
/// (TensorFlow's rule).
class Ema {
  public:
    /// Starts from the model's present state.
    Ema(const Parts& parts, float decay);

    void update();
    /// The same on a GPU with state->ema_decay, which the caller has set to next_decay(): may be recorded and replayed.
    /// The count of updates is the caller's to move on (set_updates).
    /// @param state  in device memory
    void update_on_gpu(const StepState* state);
    /// The decay that the next update uses.
    float next_decay() const;
    /// Exchanges the model's values and the averages; twice restores both. For evaluating and saving the average.
    void swap();

    /// The averages by checkpoint name ("ema.<name>"), in memory layout.
    std::vector<BufferRef> state() const;
    std::int64_t updates() const { return updates_; }
    void set_updates(std::int64_t updates) { updates_ = updates; }

  private:
    struct Pair {
        std::string name;
        Tensor live, average;
    };
    float decay_;
    std::int64_t updates_ = 0;
    std::vector<Pair> pairs_;
    Tensor tensors_, chunks_;  ///< on a GPU: tables that its kernel reads
    int chunk_count_ = 0;
};

}  // namespace cutis
