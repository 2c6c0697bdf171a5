#pragma once

#include <functional>

#include "tools/run_directory.h"

namespace cutis {

/// How a call of `train` ended.
enum class TrainEnd { finished, stopped_early, interrupted };

/// Asked after every step (its number, from 1): whether to save and leave now.
using StopCondition = std::function<bool(std::int64_t step)>;

/// Trains as `config` says and fills config.out (checkpoints, metrics.jsonl, TensorBoard events, predictions of val and
/// test, final report). With `resume`, continues the run in config.out from its checkpoint, bit-equal to a run without
/// a break. A SIGINT or SIGTERM (tools/signals.h) saves a checkpoint after the current step and returns `interrupted`.
/// Throws Error.
/// @param should_stop  empty: stop signals alone decide
TrainEnd train(const TrainConfig& config, bool resume, StopCondition should_stop = {});

}  // namespace cutis
