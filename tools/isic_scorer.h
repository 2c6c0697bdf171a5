#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/metrics.h"

namespace cutis {

// The score of the ISIC challenges' classification tasks (2018 Task 3 first: N. Codella et al., arXiv:1902.03368), with
// the rules and figures of the organisers' package isic-challenge-scoring. It differs from tools/metrics.h in what it
// makes of ties, thresholds and empty denominators; docs/scoring.md lists how.

/// A ground-truth file: which classes each image has, and how much it counts.
struct IsicTruth {
    std::vector<std::string> class_names;
    std::vector<std::string> image_ids;
    std::vector<std::uint8_t> truth;  ///< n x classes, 0 or 1
    /// Of each image: in the score, and in the quick figure that a live challenge shows.
    std::vector<double> score_weight, validation_weight;

    std::size_t size() const { return image_ids.size(); }
    std::size_t classes() const { return class_names.size(); }
};

/// Reads `image`, one column per class with 0 or 1, and perhaps `score_weight` and `validation_weight` (1 otherwise;
/// ISIC_0035068, which the challenge took out, always 0). Throws Error naming file, line and remedy for anything else.
IsicTruth read_isic_truth(const std::filesystem::path& path);
/// The same for a text at hand; `name` stands for the file in messages.
IsicTruth parse_isic_truth(std::string_view text, const std::string& name);

/// Reads what was predicted for the images of `truth`: n x classes, row-major, in its order of images and classes.
/// Throws Error naming the file, the place, the rule and the remedy for what the package refuses: fewer than two line
/// ends in the first 2000 characters; no column image; a missing, further or repeated column; an image that is missing,
/// unknown or there twice (".jpg" behind a name does not count); a value that is missing, no number or outside [0, 1];
/// a class column of whole numbers alone. Rows of another length than the header, which it mends, are refused as well.
std::vector<double> read_isic_predictions(const std::filesystem::path& path, const IsicTruth& truth);
std::vector<double> parse_isic_predictions(std::string_view text, const std::string& name, const IsicTruth& truth);

/// Figures of one class against the rest, under the package's names.
struct IsicFigures {
    double accuracy = kUndefined, sensitivity = kUndefined, specificity = kUndefined, dice = kUndefined;
    double ppv = kUndefined, npv = kUndefined;  ///< positive and negative predictive value
    double auc = kUndefined;
    double auc_sens_80 = kUndefined;  ///< the area below the part of the ROC curve whose sensitivity is at least 0.8
    double ap = kUndefined;           ///< average precision
};

/// Each of them with its name, in the package's order.
struct IsicFigure {
    std::string_view name;
    double IsicFigures::*value;
};
inline constexpr std::array<IsicFigure, 9> kIsicFigures{{{"accuracy", &IsicFigures::accuracy},
                                                         {"sensitivity", &IsicFigures::sensitivity},
                                                         {"specificity", &IsicFigures::specificity},
                                                         {"dice", &IsicFigures::dice},
                                                         {"ppv", &IsicFigures::ppv},
                                                         {"npv", &IsicFigures::npv},
                                                         {"auc", &IsicFigures::auc},
                                                         {"auc_sens_80", &IsicFigures::auc_sens_80},
                                                         {"ap", &IsicFigures::ap}}};

/// The figure by which a challenge ranks.
enum class IsicMetric { balanced_accuracy, auc, ap };
/// Its name in the package; throws Error for another.
IsicMetric isic_metric_named(std::string_view name);

struct IsicScore {
    double overall = kUndefined;     ///< the metric that ranks, weighted by score_weight
    double validation = kUndefined;  ///< the same weighted by validation_weight
    /// One entry per class. Positive: truth and prediction above 0.5. An empty denominator gives 1. auc, auc_sens_80
    /// and ap come from the ranking; the first two are NaN where images of the class, or others, are missing (the
    /// package fails there).
    std::vector<IsicFigures> per_category;
    IsicFigures macro_average;  ///< means over the classes, without undefined ones
    /// Mean over the classes that occur of the share of their weight whose highest prediction is right; an image with
    /// two equally high predictions is wrong. An image of no class, or of several, counts nowhere.
    double balanced_accuracy = kUndefined;
};

/// Throws Error unless `predictions` are truth.size() x truth.classes() and some image has a score weight.
IsicScore isic_score(const IsicTruth& truth, std::span<const double> predictions,
                     IsicMetric metric = IsicMetric::balanced_accuracy);

/// The text of the package's `--output json`; undefined figures are null.
std::string isic_score_to_json(const IsicTruth& truth, const IsicScore& score);

}  // namespace cutis
