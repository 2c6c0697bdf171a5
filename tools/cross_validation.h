#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/bootstrap.h"
#include "tools/metrics.h"

namespace cutis {

/// Whether `folder` holds a finished cross-validation (folds.json).
bool is_cross_validation(const std::filesystem::path& folder);

/// The names of its runs below `folder`, as folds.json lists them. Throws Error naming the file and the key.
std::vector<std::string> fold_runs(const std::filesystem::path& folder);

/// Joins what the runs `folder`/`runs` said of the folds that they held out, and writes
///
///   predictions_oof.csv   all images, each judged by the run that did not train on it ("out of fold")
///   evaluation_oof.json   the figures of these, with lesion-clustered intervals
///   folds.json            "runs", each fold's figures ("per_fold"), and "mean": the mean over folds with its deviation
///                         and t interval
///
/// and prints them. Throws Error where a run has not finished, or two runs judged one image.
void finish_cross_validation(const std::filesystem::path& folder, const std::vector<std::string>& runs);

/// Mean of one figure over folds, its sample standard deviation, and the t interval of the mean at `level`. The folds'
/// trainings share images, so the interval is too narrow rather than too wide (Bengio & Grandvalet, "No unbiased
/// estimator of the variance of k-fold cross-validation", JMLR 5, 2004). NaN figures are left out.
struct FoldMean {
    double mean = kUndefined, deviation = kUndefined;
    Interval interval;
};
FoldMean mean_over_folds(std::vector<double> figures, double level = 0.95);

/// The quantile of Student's t distribution: P(|T| <= t) = level with `freedom` degrees of freedom.
double student_t(double level, int freedom);

}  // namespace cutis
