#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "engine/safetensors.h"

namespace cutis {

/// Where a training stands: all that its checkpoint keeps beside tensors, as the file's metadata. Sums are written with
/// full precision, so that a resumed epoch's means come out bit for bit.
struct TrainPosition {
    std::int64_t step = 0;   ///< updates done
    std::int64_t epoch = 0;  ///< epochs finished
    std::int64_t batch = 0;  ///< batches of the present epoch that are done
    double loss_sum = 0.0;   ///< of the present epoch, times images
    std::int64_t loss_images = 0;
    double best_score = -1.0, best_loss = 0.0;
    std::int64_t best_epoch = 0;  ///< 0: none yet
    std::int64_t ema_updates = 0;

    std::map<std::string, std::string> metadata() const;
    /// Throws Error naming the file and the key where one is missing or no number.
    static TrainPosition from(const SafetensorsFile& checkpoint);
};

}  // namespace cutis
