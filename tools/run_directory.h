#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/model.h"
#include "tools/train_config.h"

namespace cutis {

/// What the run found out when it started, beside its flags; everything needed to use its weights.
struct RunFacts {
    std::vector<std::string> class_names;
    int size = 0;  ///< network input side
    std::array<float, 3> mean{}, std{};
    std::string data_checksum;  ///< of the packed data set
    std::string split_description;
    bool leaky = false;
    std::string init_license{}, init_source{};  ///< as the file of the initial weights states them; "": it does not
    std::int64_t parameters = 0;
    std::int64_t total_steps = 0, steps_per_epoch = 0;
    std::string version, git_revision, compiler, isa;
    int threads = 0;
};

/// A run directory: config.json, metrics.jsonl, checkpoint.safetensors, best.safetensors, predictions_*.csv,
/// report.html.
struct Run {
    std::filesystem::path folder;
    TrainConfig config;
    RunFacts facts;

    std::filesystem::path file(const char* name) const { return folder / name; }
};

/// Reads config.json; throws Error naming the file when the folder is no run.
Run open_run(const std::filesystem::path& folder);
/// Writes config.json, crash-safe.
void save_run(const Run& run);
/// `best.safetensors`, or the checkpoint where no best one exists yet; throws Error where there is neither.
std::filesystem::path run_weights_file(const Run& run);
/// The run's model with the weights of that file.
std::unique_ptr<Model> load_run_model(const Run& run);

/// "model" of the run's options, freshly initialised.
std::unique_ptr<Model> make_run_model(const Run& run);

}  // namespace cutis
