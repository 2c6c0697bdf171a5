#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json_fwd.hpp>

#include "tools/tensorboard.h"

namespace cutis {

/// Figures of one epoch; NaN: not measured.
struct EpochRecord {
    std::int64_t epoch = 0, step = 0;
    double train_loss = 0.0, lr = 0.0, images_per_second = 0.0;
    double val_loss = std::numeric_limits<double>::quiet_NaN();
    double val_accuracy = std::numeric_limits<double>::quiet_NaN();
    double val_balanced_accuracy = std::numeric_limits<double>::quiet_NaN();
};

/// A run's figures as they come: metrics.jsonl (one JSON object a line) and TensorBoard events below "tensorboard".
class RunLog {
  public:
    /// Opens the run's log. Lines of metrics.jsonl that lie behind `step` and `epoch` (a run that is resumed from an
    /// earlier checkpoint, or a new one) are dropped first.
    RunLog(const std::filesystem::path& folder, std::int64_t step, std::int64_t epoch);

    void step(std::int64_t step, double loss, double lr);
    void epoch(const EpochRecord& record);
    void final(const nlohmann::json& record);
    void flush();

  private:
    void line(const nlohmann::json& record);

    std::filesystem::path path_;
    std::ofstream lines_;
    TensorBoardWriter tensorboard_;
};

}  // namespace cutis
