#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/augment.h"

namespace cutis {

/// Everything that decides a training run; one member per flag of `cutis train`. It is what config.json holds under
/// "train", what
/// --config reads, and what flags override.
struct TrainConfig {
    // data
    std::string data;              ///< path of the packed data set
    std::string split = "honest";  ///< honest, leaky or all
    std::string split_file;        ///< CSV with a fold column; empty: made by seed
    int fold = 0;
    std::int64_t split_seed = -1;    ///< of the split; -1: seed
    std::string hold_out_class;      ///< a class that is neither trained, validated nor tested; empty: none
    std::string order = "shuffled";  ///< sequential, shuffled or balanced
    std::string augment = "light";   ///< none, light, full: where the single settings below start from
    AugmentOptions augmentation;     ///< after the preset and the single flags
    int size = 0;                    ///< network input side; 0: the data set's
    std::vector<float> mean, std;    ///< empty: the weights file's, else ImageNet's

    // model
    std::string model = "mobilenet_v2";
    std::string init;  ///< weights to start from; empty: random
    int classes = 0;   ///< 0: the data set's
    float width = 1.0f;
    float dropout = 0.2f;
    int lstm_hidden = 128;          ///< hidden size, of models with an LSTM
    std::string freeze;             ///< parameters whose name fits one of these patterns stay as they are: a,b
    std::int64_t freeze_steps = 0;  ///< thaw after so many steps; 0: never

    // optimisation
    int epochs = 20;
    std::int64_t steps = 0;  ///< > 0: instead of epochs
    int batch_size = 32;
    int accumulate = 1;
    std::string optimizer = "adamw";
    float lr = 0.001f;
    float lr_head = 0.0f;  ///< classifier's; 0: lr
    std::string lr_scale;  ///< factors on the rate of parameters whose name fits a pattern: a=0.1,b=2
    float momentum = 0.9f;
    bool nesterov = false;
    float weight_decay = 0.02f;
    std::string schedule = "cosine";
    std::int64_t warmup = 0;  ///< steps
    float clip_grad = 0.0f;   ///< 0: off
    float ema = 0.0f;         ///< decay; 0: off
    std::string loss = "ce";  ///< ce or focal
    float focal_gamma = 2.0f;
    float label_smoothing = 0.0f;
    std::string class_weights = "none";  ///< none, inverse or effective
    int early_stop = 0;                  ///< epochs without a better validation figure; 0: off

    // running
    std::uint64_t seed = 0;
    int threads = 0;         ///< kernel threads; 0: all cores
    int loader_threads = 0;  ///< 0: chosen
    std::string device = "auto";
    std::string backend = "native";
    std::string precision = "fp32";
    std::string resident = "auto";  ///< on a GPU: the training images lie in its memory; auto, on or off
    bool graph = true;              ///< on a GPU: record a step once and replay it
    bool fused = true;
    std::int64_t log_every = 1;
    std::string out;  ///< run directory
};

nlohmann::json to_json(const TrainConfig& config);
/// Members that the JSON does not name stay as they are in `config`. Throws Error naming `source`, the key and the rule
/// for an unknown key or a value of the wrong kind.
void from_json(const nlohmann::json& json, TrainConfig& config, const std::string& source);

}  // namespace cutis
