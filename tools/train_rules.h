#pragma once

#include <span>

#include "layers/parts.h"
#include "tools/train_config.h"

namespace cutis {

/// Throws Error naming the flag, its value and what is possible for the first setting that is out of its range, names
/// something that does not exist, or contradicts another one. Files and the model's name are looked at when they are
/// used.
void check_train_config(const TrainConfig& config);

/// Throws Error naming the flag, the pattern and what is near it for a pattern of --freeze or --lr-scale that fits no
/// parameter of the model.
void check_patterns(const TrainConfig& config, std::span<const ParameterRef> parameters);

/// Throws Error for a device, backend or precision that exists but that this build does not have.
void check_available(const TrainConfig& config);

}  // namespace cutis
