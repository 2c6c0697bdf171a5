#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/bootstrap.h"
#include "tools/features.h"

namespace cutis {

// Open-set recognition: images may be of a class that no training image had, and the classifier should say so. Each
// image gets a score, higher for what resembles the training images; below a threshold it is called unknown.

/// Largest softmax probability (Hendrycks, Gimpel, "A baseline for detecting misclassified and out-of-distribution
/// examples in neural networks", ICLR 2017). n values.
std::vector<double> max_softmax_scores(const LabelledFeatures& images);

/// Gaussians of one shared covariance around the classes' means in the space of features (Lee et al., "A simple unified
/// framework for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018). The covariance within
/// the classes is shrunk towards a multiple of the identity by Ledoit and Wolf's estimate ("A well-conditioned
/// estimator for large-dimensional covariance matrices", J. Multivariate Analysis 88, 2004), so that it can be inverted
/// where there are fewer images than features.
class Mahalanobis {
  public:
    /// Throws Error unless there are images, of known classes, whose features are finite and differ within a class.
    explicit Mahalanobis(const LabelledFeatures& train);

    /// -min over classes of (x - mean)' covariance^-1 (x - mean), for n points: n values. Runs on the kernel threads.
    std::vector<double> scores(std::span<const float> x) const;
    double shrinkage() const { return shrinkage_; }

  private:
    /// L^-1 x of the covariance L L'.
    void whiten(std::span<double> x) const;

    std::size_t d_ = 0;
    double shrinkage_ = 0;
    std::vector<double> factor_;                 // L, d x d, lower triangle
    std::vector<std::vector<double>> whitened_;  // the means
};

/// The highest threshold at which at least `share` of the scores are kept (score >= threshold). 0 < share <= 1.
double threshold_keeping(std::span<const double> scores, double share);

/// What is judged: images of known classes and of the held-out one, with what the model said and a score.
struct OpenSetImages {
    int known_classes = 0;
    std::vector<std::string> lesion_ids;
    std::vector<int> labels;     ///< known_classes: the held-out class
    std::vector<int> predicted;  ///< most probable known class
    std::vector<double> scores;
};

struct OpenSetFigures {
    double auroc = kUndefined;          ///< probability that a known image scores higher than an unknown one
    double fpr_at_95_tpr = kUndefined;  ///< share of unknown images kept where 95 % of these known ones are
    double known_kept = kUndefined;     ///< share of known images at or above the threshold
    double unknown_kept = kUndefined;   ///< share of unknown images there
    double balanced_accuracy =
        kUndefined;  ///< mean recall of the known classes (right and kept) and the unknown (not kept)
    double known_balanced_accuracy = kUndefined;  ///< of the known classes without a threshold: what rejecting costs
};

/// Judges one set of images at fixed thresholds again and again, with other weights. Scores are sorted once.
class OpenSetScorer {
  public:
    /// Throws Error unless lesions aside all members of `images` are of one length and labels are in range.
    OpenSetScorer(const OpenSetImages& images, std::span<const double> thresholds);

    /// One element per threshold, with image i counted weights[i] times. Figures without images to define them are NaN;
    /// those without a threshold are the same in all.
    std::vector<OpenSetFigures> score(std::span<const std::uint32_t> weights) const;

  private:
    struct Ranked {
        std::uint32_t image = 0, label = 0;
        bool correct = false;
        bool last_of_tie = false;
    };
    std::size_t classes_ = 0;
    std::vector<Ranked> ranking_;    // score falling
    std::vector<std::size_t> kept_;  // of each threshold: so many of the ranking
};

/// A threshold and the share of val that it keeps.
struct OpenSetThreshold {
    double share = 0, value = 0;
};

struct OpenSetResult {
    OpenSetThreshold threshold;
    OpenSetFigures figures;
    /// Of the same names; lesions of both kinds of image are drawn together.
    struct {
        Interval auroc, fpr_at_95_tpr, known_kept, unknown_kept, balanced_accuracy, known_balanced_accuracy;
    } intervals;
};

/// One element per threshold, all from the same resamples. Throws Error unless there are known and unknown images.
std::vector<OpenSetResult> judge_open_set(const OpenSetImages& images, std::span<const OpenSetThreshold> thresholds,
                                          const BootstrapOptions& options);

}  // namespace cutis
