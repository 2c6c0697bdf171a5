#include "tools/train_setup.h"

#include <algorithm>
#include <string_view>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "tools/name_patterns.h"
#include "tools/run_data.h"

namespace cutis {

Schedule schedule_of(const TrainConfig& config, std::int64_t total_steps) {
    Schedule schedule;
    schedule.kind = schedule_from_name(config.schedule);
    schedule.total_steps = total_steps;
    schedule.warmup_steps = config.warmup;
    return schedule;
}

OptimizerConfig optimizer_config(const TrainConfig& config) {
    OptimizerConfig optimizer;
    optimizer.kind = optimizer_from_name(config.optimizer);
    optimizer.momentum = config.momentum;
    optimizer.nesterov = config.nesterov;
    optimizer.weight_decay = config.weight_decay;
    return optimizer;
}

std::vector<Optimizer::Group> learning_rates(const TrainConfig& config, const Model& model,
                                             std::span<const ParameterRef> parameters) {
    return learning_rate_groups(
        parameters, [&](std::string_view name) { return model.in_classifier(name); }, config.lr,
        config.lr_head > 0.0f ? config.lr_head : config.lr, parse_pattern_factors("--lr-scale", config.lr_scale));
}

LossOptions loss_options(const TrainConfig& config, std::span<const std::int64_t> counts) {
    LossOptions loss;
    if (const std::vector<float> weights = class_weights(config.class_weights, counts); !weights.empty()) {
        loss.class_weights = Tensor::from(weights, {static_cast<std::int64_t>(weights.size())});
    }
    loss.label_smoothing = config.label_smoothing;
    require(config.loss == "ce" || config.loss == "focal", "loss '{}' is unknown; use ce or focal", config.loss);
    loss.focal_gamma = config.loss == "focal" ? config.focal_gamma : 0.0f;
    return loss;
}

LoaderOptions loader_options(const Run& run) {
    LoaderOptions loader;
    loader.batch_size = run.config.batch_size;
    loader.size = run.facts.size;
    loader.mean = run.facts.mean;
    loader.std = run.facts.std;
    loader.augment = run.config.augmentation;
    loader.seed = run.config.seed;
    loader.threads = run.config.loader_threads > 0 ? run.config.loader_threads : std::max(1, thread_count() / 4);
    loader.prefetch = std::max(4, 2 * loader.threads);
    return loader;
}

}  // namespace cutis
