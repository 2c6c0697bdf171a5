#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tools/metrics.h"
#include "tools/predictions.h"

namespace cutis {

/// Both ends are NaN where the figure is undefined in every resample.
struct Interval {
    double low = kUndefined, high = kUndefined;
};

struct BootstrapOptions {
    int resamples = 1000;
    double level = 0.95;  ///< share of the resamples inside an interval
    std::uint64_t seed = 0;
};

struct ClassIntervals {
    Interval sensitivity, specificity, f1, auc;
};

/// Intervals of the figures of `Metrics` that have the same names.
struct MetricIntervals {
    BootstrapOptions options;
    std::size_t lesions = 0;  ///< what was resampled
    Interval accuracy, balanced_accuracy, macro_f1, macro_auc, ece;
    Interval melanoma_sensitivity, melanoma_sensitivity_at_90, melanoma_sensitivity_at_95;
    std::vector<ClassIntervals> classes;
};

/// Percentile intervals of the lesion-clustered bootstrap (Efron & Tibshirani, "An introduction to the bootstrap",
/// 1993, chapter 13; clusters: Field & Welsh, J. R. Stat. Soc. B 69, 2007). Images of one lesion are alike, so the
/// lesions, not the images, are drawn with replacement, as many as there are, and a drawn lesion brings all its images.
///
/// Resample b draws lesion numbers (see `lesion_numbers`) from PhiloxStream(seed, RandomPurpose::bootstrap, b): the
/// intervals depend on neither threads nor their number. A resample in which a figure is undefined (a class of which no
/// image was drawn) is left out of that figure's interval. Ends between two resamples are interpolated linearly, as
/// numpy.percentile does. Runs on the kernel threads. Throws Error on invalid predictions or options.
MetricIntervals bootstrap_intervals(const Predictions& predictions, const BootstrapOptions& options = {});

/// By how much one figure of `second` exceeds the same figure of `first`.
struct Difference {
    double value = kUndefined;
    Interval interval;
};

struct PairedDifferences {
    BootstrapOptions options;
    std::size_t lesions = 0;
    Difference accuracy, balanced_accuracy, macro_f1, macro_auc;
};

/// Differences second - first of two sets of predictions of the same images, in the same order, with intervals as
/// above. Both are judged on the same resamples, so that what makes a resample easy or hard for both cancels out: the
/// intervals are narrower than those of two independent figures, and one that holds 0 says that the difference may be
/// chance. Throws Error when images, lesions, labels or classes differ.
PairedDifferences paired_differences(const Predictions& first, const Predictions& second,
                                     const BootstrapOptions& options = {});
/// Calls body(b, weights) for each resample b of the lesions as above, from the kernel threads: how often each image
/// stands in it. Throws Error on invalid options, Stopped after SIGINT or SIGTERM.
/// @param lesion_of  of each image, see `lesion_numbers`
void resample_lesions(std::span<const std::uint32_t> lesion_of, const BootstrapOptions& options,
                      const std::function<void(int b, std::span<const std::uint32_t> weights)>& body);

/// The interval that holds the middle `level` of `values`; NaN values are left out.
Interval percentile_interval(std::vector<double> values, double level);

}  // namespace cutis
