#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "tools/predictions.h"

namespace cutis {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

/// One class against the rest. The first four come from the most probable class (see `Predictions::predicted`). A
/// figure whose denominator is zero is NaN.
struct ClassMetrics {
    std::int64_t support = 0;         ///< images whose truth is this class
    double sensitivity = kUndefined;  ///< TP / (TP + FN); NaN: no image of the class
    double specificity = kUndefined;  ///< TN / (TN + FP); NaN: no image of another class
    double precision = kUndefined;    ///< TP / (TP + FP); NaN: never predicted
    double f1 = kUndefined;           ///< 2 TP / (2 TP + FP + FN); NaN: neither true nor predicted anywhere
    double auc = kUndefined;          ///< area under the ROC curve, ties counted half; NaN without both kinds of image
};

/// The figures of one set of predictions. Each equals scikit-learn's where that defines one.
struct Metrics {
    double accuracy = kUndefined;           ///< share of images whose most probable class is the true one
    double balanced_accuracy = kUndefined;  ///< mean sensitivity of the classes that occur in the truth
    double macro_f1 = kUndefined;           ///< mean F1 of the classes that occur in the truth or are predicted
    double macro_auc = kUndefined;  ///< mean one-against-rest AUC of the classes where it is defined; NaN if none
    double ece = kUndefined;        ///< expected calibration error, see `reliability`, 15 bins
    double nll = kUndefined;        ///< mean -ln p(truth), p clipped from below at 2^-52 as log_loss clips float64
    double brier = kUndefined;      ///< mean over images of sum_k (p_k - [k is the truth])^2 (Brier 1950): 0 to 2
    /// Of the class `melanoma_class`; NaN where there is none: its sensitivity, and its largest sensitivity over the
    /// thresholds ("melanoma if p >= threshold") whose specificity is at least 0.90 and 0.95.
    double melanoma_sensitivity = kUndefined;
    double melanoma_sensitivity_at_90 = kUndefined;
    double melanoma_sensitivity_at_95 = kUndefined;
    std::vector<ClassMetrics> classes;
    std::vector<std::int64_t> confusion;  ///< classes x classes, row-major: row = truth, column = most probable class
};

/// Computes the figures of weighted images, sorting once: the bootstrap asks for a thousand weightings of the same
/// images.
class Scorer {
  public:
    /// Throws Error unless `predictions` are valid (see `validate`); keeps no reference to them.
    explicit Scorer(const Predictions& predictions);

    /// Each image counted once.
    Metrics score() const;
    /// Image i counted weights[i] times: the figures of a set in which it stands weights[i] times. Throws Error unless
    /// there is a weight per image and one is positive.
    Metrics score(std::span<const std::uint32_t> weights) const;

  private:
    struct Ranked {
        std::uint32_t image : 30;
        std::uint32_t positive : 1;
        std::uint32_t ends_tie : 1;  // the next one has a smaller probability
    };

    struct RankFigures {
        double auc = kUndefined, sensitivity_at_90 = kUndefined, sensitivity_at_95 = kUndefined;
    };
    /// @param truth,others  weighted numbers of images of `cls` and of the rest
    RankFigures rank(std::size_t cls, std::span<const std::uint32_t> weights, double truth, double others) const;

    std::size_t images_ = 0, classes_ = 0;
    int melanoma_ = -1;
    std::vector<std::uint32_t> cell_;  // label * classes + predicted
    std::vector<std::uint8_t> bin_;    // of the calibration error
    std::vector<double> confidence_;   // the highest probability
    std::vector<double> nll_, brier_;  // each image's
    std::vector<Ranked> ranking_;      // classes x images, probability falling
};

/// `Scorer(predictions).score()`.
Metrics compute_metrics(const Predictions& predictions);

/// The class called "mel" or "melanoma" (in any case), or -1.
int melanoma_class(const std::vector<std::string>& class_names);

/// One class against the rest at one threshold: positive where its probability is at least `threshold`.
struct OperatingPoint {
    double threshold = kUndefined, sensitivity = kUndefined, specificity = kUndefined;
};

/// A ROC curve with one point per distinct probability, thresholds falling; the first point, with threshold infinity,
/// is (0, 0). Equals scikit-learn's roc_curve(drop_intermediate=False). Without images of both kinds all vectors are
/// empty and auc is NaN.
struct RocCurve {
    std::vector<double> false_positive_rate, true_positive_rate, threshold;
    double auc = kUndefined;
};
RocCurve roc_curve(const Predictions& predictions, int cls);

/// The point of largest sensitivity among those whose specificity is at least `specificity`; of equal ones the most
/// specific. Chosen on a validation set, its threshold is then applied to a test set with `operating_point_at`.
OperatingPoint operating_point(const RocCurve& curve, double specificity);
OperatingPoint operating_point_at(const Predictions& predictions, int cls, double threshold);

/// Confidence (the highest probability) against accuracy in bins of equal width, (lower, upper], as Guo et al., "On
/// calibration of modern neural networks", ICML 2017. ece = sum over bins of count / n |accuracy - confidence|.
struct ReliabilityBins {
    std::vector<std::int64_t> count;
    std::vector<double> confidence, accuracy;  ///< means of the bin's images; NaN in an empty bin
    double ece = kUndefined;
};
ReliabilityBins reliability(const Predictions& predictions, int bins = 15);

}  // namespace cutis
