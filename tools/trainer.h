#pragma once

#include <functional>

#include "tools/run_directory.h"

namespace cutis {

/// How a call of `train` ended.
enum class TrainEnd { finished, stopped_early, interrupted };

/// Trains as `config` says and fills config.out (checkpoints, metrics.jsonl, TensorBoard events, predictions of val and test, final
/// report). With `resume`, continues the run in config.out from its checkpoint, bit-equal to a run without a break. A SIGINT
/// or SIGTERM (tools/signals.h) saves a checkpoint after the current step and returns `interrupted`. Throws Error.
TrainEnd train(const TrainConfig& config, bool resume);

}  // namespace cutis
