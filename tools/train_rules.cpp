#include "tools/train_rules.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string_view>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "tools/device_choice.h"
#include "tools/name_patterns.h"

namespace cutis {
namespace {

void one_of(std::string_view flag, std::string_view value, std::initializer_list<std::string_view> choices) {
    require(std::find(choices.begin(), choices.end(), value) != choices.end(), "{} is '{}'; use {}", flag, value,
            fmt::join(choices, ", "));
}

template <class T>
void within(std::string_view flag, T value, T low, T high) {
    require(value >= low && value <= high, "{} is {}; {} to {} is possible", flag, value, low, high);
}

void zero_or_within(std::string_view flag, int value, int low, int high, std::string_view zero_means) {
    require(value == 0 || (value >= low && value <= high), "{} is {}; {} to {} is possible, or 0: {}", flag, value, low,
            high, zero_means);
}

/// A share that leaves something: 0 <= value < 1.
void below_one(std::string_view flag, float value) {
    require(value >= 0 && value < 1, "{} is {}; 0 to just below 1 is possible", flag, value);
}

void not_negative(std::string_view flag, double value) {
    require(value >= 0 && std::isfinite(value), "{} is {}; 0 or more is possible", flag, value);
}

void check_data(const TrainConfig& c) {
    one_of("--split", c.split, {"honest", "leaky", "all"});
    one_of("--order", c.order, {"sequential", "shuffled", "balanced"});
    one_of("--augment", c.augment, {"none", "light", "full"});
    require(c.split_file.empty() || c.split != "all",
            "--split all trains on everything, so --split-file has no use; leave one out");
    require(c.fold == 0 || !c.split_file.empty(), "--fold {} needs --split-file, whose fold column it refers to",
            c.fold);
    not_negative("--fold", c.fold);
    require(c.split_seed >= -1, "--split-seed is {}; 0 or more is possible, or -1: --seed", c.split_seed);
    zero_or_within("--size", c.size, 32, 8192, "the data set's");
    for (const auto& [flag, values] : {std::pair{"--mean", &c.mean}, std::pair{"--std", &c.std}}) {
        require(values->empty() || values->size() == 3, "{} has {} numbers; three are wanted, for red, green and blue",
                flag, values->size());
        for (const float value : *values) {
            require(std::isfinite(value) && (values != &c.std || value > 0), "{} holds {}; {} numbers are wanted", flag,
                    value, values == &c.std ? "positive" : "finite");
        }
    }
    PhiloxStream random(0, RandomPurpose::augment);
    draw_augmentation(c.augmentation, 1, 1, 1, random);  // refuses options out of range
}

void check_model(const TrainConfig& c) {
    zero_or_within("--classes", c.classes, 1, 100000, "the data set's");
    within("--width", c.width, 0.1f, 4.0f);
    below_one("--dropout", c.dropout);
    within("--lstm-hidden", c.lstm_hidden, 1, 4096);
    parse_patterns("--freeze", c.freeze);
    not_negative("--freeze-steps", static_cast<double>(c.freeze_steps));
    require(c.freeze_steps == 0 || !c.freeze.empty(), "--freeze-steps {} needs --freeze, which says what is frozen",
            c.freeze_steps);
}

void check_optimisation(const TrainConfig& c) {
    within("--epochs", c.epochs, 1, 1000000);
    within<std::int64_t>("--steps", c.steps, 0, 1000000000);
    within("--batch-size", c.batch_size, 1, 65536);
    within("--accumulate", c.accumulate, 1, 65536);
    one_of("--optimizer", c.optimizer, {"sgd", "rmsprop", "adamw"});
    require(c.lr > 0 && std::isfinite(c.lr), "--lr is {}; more than 0 is possible", c.lr);
    not_negative("--lr-head", static_cast<double>(c.lr_head));
    parse_pattern_factors("--lr-scale", c.lr_scale);
    below_one("--momentum", c.momentum);
    require(!c.nesterov || (c.optimizer == "sgd" && c.momentum > 0),
            "--nesterov needs --optimizer sgd and a --momentum above 0");
    not_negative("--weight-decay", static_cast<double>(c.weight_decay));
    one_of("--schedule", c.schedule, {"constant", "cosine", "step"});
    within<std::int64_t>("--warmup", c.warmup, 0, 1000000000);
    not_negative("--clip-grad", static_cast<double>(c.clip_grad));
    below_one("--ema", c.ema);
    one_of("--loss", c.loss, {"ce", "focal"});
    not_negative("--focal-gamma", static_cast<double>(c.focal_gamma));
    below_one("--label-smoothing", c.label_smoothing);
    one_of("--class-weights", c.class_weights, {"none", "inverse", "effective"});
    within("--early-stop", c.early_stop, 0, 1000000);
    require(c.early_stop == 0 || c.split != "all",
            "--early-stop watches the validation images, and --split all has none; leave one out");
}

}  // namespace

void check_train_config(const TrainConfig& c) {
    check_data(c);
    check_model(c);
    check_optimisation(c);
    zero_or_within("--threads", c.threads, 1, 1024, "all cores");
    zero_or_within("--loader-threads", c.loader_threads, 1, 256, "chosen");
    one_of("--device", c.device, {"auto", "cpu", "cuda"});
    one_of("--backend", c.backend, {"native", "vendor"});
    one_of("--precision", c.precision, {"fp32", "tf32", "bf16"});
    one_of("--resident", c.resident, {"auto", "on", "off"});
    within<std::int64_t>("--log-every", c.log_every, 1, 1000000000);
}

void check_patterns(const TrainConfig& c, std::span<const ParameterRef> parameters) {
    for (const std::string& pattern : parse_patterns("--freeze", c.freeze)) {
        require_match("--freeze", pattern, parameters);
    }
    for (const PatternFactor& scale : parse_pattern_factors("--lr-scale", c.lr_scale)) {
        require_match("--lr-scale", scale.pattern, parameters);
    }
}

void check_available(const TrainConfig& c) {
    const Device device = choose_device(c.device);
    require_precision(c.precision, device);
    choose_backend(c.backend, device);
}

}  // namespace cutis
