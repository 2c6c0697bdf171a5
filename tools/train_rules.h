#pragma once

#include "tools/train_config.h"

namespace cutis {

/// Throws Error naming the flag, its value and what is possible for the first setting that is out of its range, names
/// something that does not exist, or contradicts another one. Files and the model's name are looked at when they are
/// used.
void check_train_config(const TrainConfig& config);

/// Throws Error for a device, backend or precision that exists but that this build does not have.
void check_available(const TrainConfig& config);

}  // namespace cutis
