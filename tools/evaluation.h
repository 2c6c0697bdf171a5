#pragma once

#include <string>

#include "tools/bootstrap.h"
#include "tools/metrics.h"
#include "tools/predictions.h"

namespace cutis {

/// Everything known about one split: what a model said, the figures, and how sure they are.
struct Evaluation {
    std::string split;         ///< "val", "test", ...
    std::string tta = "none";  ///< test-time augmentation of the predictions (tools/tta.h)
    bool leaky =
        false;  ///< lesions of this split were also trained on: no figure of it tells anything about new patients
    Predictions predictions;
    Metrics metrics;
    MetricIntervals intervals;
};

/// Computes figures and intervals of `predictions`. Throws Error on invalid predictions or options.
Evaluation judge(std::string split, Predictions predictions, bool leaky = false, const BootstrapOptions& options = {});

/// The text of evaluation_<split>.json: the figures of `Metrics` as plain numbers at the top level, and beside them
/// "split", "tta", "leaky", "images", "lesions", "class_names", "per_class", "confusion_matrix" (rows = truth), and
/// "intervals", an object that holds {"value", "low", "high"} for every figure with an interval ("per_class" again for
/// the classes). An undefined figure is null.
std::string metrics_to_json(const Evaluation& evaluation);

}  // namespace cutis
