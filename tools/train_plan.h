#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/ensemble_rules.h"
#include "tools/train_config.h"
#include "tools/trainer.h"
#include "tools/tta.h"

namespace cutis {

/// A training of a plan: a run directory of this name in the plan's folder.
struct PlannedRun {
    std::string name;
    TrainConfig config;
};

/// Several trainings in one folder, one after the other, and what becomes of them: the folds of a cross-validation, or
/// the members of an ensemble. plan.json in the folder holds it, so that an interrupted plan can go on.
struct TrainPlan {
    std::filesystem::path folder;
    bool folds = false;  ///< else an ensemble
    std::vector<PlannedRun> runs{};
    std::vector<EnsembleRule> rules{EnsembleRule::mean};  ///< of an ensemble, as `CombineOptions`
    Tta tta{};                                            ///< of an ensemble
};

/// The folds of `common`, by lesion and stratified, dealt out by its seed, or those of its split file, which must have
/// `folds` of them. Each run's config.json says split_file = <folder>/folds.csv, which `train_plan` writes, and its own
/// fold, so that each is an ordinary run. Throws Error where the data set or the split cannot give them.
TrainPlan plan_folds(const TrainConfig& common, int folds);

/// The ensemble of a JSON file:
///
///   {"train": {settings of all}, "rule": "mean", "tta": "none", "members": [{"name": "a", further settings}, ..]}
///
/// `common` are the settings of all. Throws Error naming the file and the key.
TrainPlan plan_ensemble(const TrainConfig& common, const std::filesystem::path& file);

/// Whether `folder` holds a plan.json.
bool is_train_plan(const std::filesystem::path& folder);
/// @param data  the packed data set, where it lies elsewhere now; empty: where plan.json says
TrainPlan open_train_plan(const std::filesystem::path& folder, const std::string& data = {});

/// Throws Error where a training would fail before its first step.
void require_trainable(const TrainConfig& config);

/// Writes plan.json, trains what has not been trained yet, goes on with what was interrupted, and then joins the folds
/// (`finish_cross_validation`) or combines the members (`combine_members`). The end equals that without a break.
/// @param should_stop  as `train`'s, for every run
TrainEnd train_plan(const TrainPlan& plan, const StopCondition& should_stop = {});

}  // namespace cutis
