#pragma once

#include <span>
#include <vector>

#include "tools/predictions.h"
#include "tools/run_data.h"

namespace cutis {

/// What the classes weighed in a run's training loss: images of the training part times class weight (one each where
/// the order was balanced), summing to 1.
std::vector<double> training_prior(const Run& run, const PackedDataset& data);

/// Post-hoc logit adjustment (Menon et al. 2021, "Long-tail learning via logit adjustment", eq. 9): every probability
/// is multiplied by prior^-tau and the row normalised, which is what subtracting tau ln(prior) from the logits does. 0
/// changes nothing, 1 answers as if all classes were equally frequent. A class with prior 0 keeps its probability's
/// scale.
/// @param prior  one per class
void adjust_logits(Predictions& predictions, std::span<const double> prior, double tau);

/// The tau of 0, 0.05, .. 2 with the best balanced accuracy on `predictions` (the smallest of equals). Give the
/// validation part, never the one that is reported.
double choose_tau(const Predictions& predictions, std::span<const double> prior);

}  // namespace cutis
