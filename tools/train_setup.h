#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/loader.h"
#include "engine/ops.h"
#include "layers/optimizer.h"
#include "layers/schedule.h"
#include "models/model.h"
#include "tools/run_directory.h"
#include "tools/train_config.h"

/// What the settings of a training mean to the parts that do the work.

namespace cutis {

Schedule schedule_of(const TrainConfig& config, std::int64_t total_steps);
OptimizerConfig optimizer_config(const TrainConfig& config);
/// The model's parameters by learning rate: the classifier's, the others', each times the factor of --lr-scale.
std::vector<Optimizer::Group> learning_rates(const TrainConfig& config, const Model& model,
                                             std::span<const ParameterRef> parameters);
/// @param counts  training images of each output of the network
LossOptions loss_options(const TrainConfig& config, std::span<const std::int64_t> counts);
/// Of a run whose facts and number of kernel threads are known; where the images go is for the caller to say.
LoaderOptions loader_options(const Run& run);

}  // namespace cutis
