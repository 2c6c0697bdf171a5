#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/ensemble.h"
#include "tools/evaluation.h"

namespace cutis {

struct CombineOptions {
    std::vector<std::filesystem::path> members;  ///< folders of runs or cross-validations
    std::filesystem::path data, out;
    std::vector<EnsembleRule> rules;  ///< the first is the ensemble's, the others are shown beside it
    PanelOptions panel{};
    double c = 1.0;  ///< of `stacked`: inverse strength of its penalty
    int resamples = 1000;
};

/// Combines members and fills the folder `out`:
///
///   ensemble.json             which members answer and how, for `cutis predict --run`
///   predictions_<part>.csv    the ensemble's answers; <part> is test or val, or oof for cross-validations
///   evaluation_<part>.json    their figures
///   comparison_<part>.json    every member's and rule's figures, and the rules' gain over the best member
///
/// The best member is chosen on validation images. Its gain comes with the interval of the paired, lesion-clustered
/// bootstrap. Prints a table. Throws Error.
void combine_members(const CombineOptions& options);

/// The ensemble's answers to all images of a data set that its members were not trained on, judged. Throws Error where
/// they were, or the classes differ.
Evaluation judge_ensemble(const Ensemble& ensemble, const PackedDataset& data, const PanelOptions& options,
                          int resamples);

/// Prints two columns of figures and their differences, and writes them to `out` unless it is empty: `second` minus
/// `first` on the same images.
void compare_members(const EnsembleMember& first, const EnsembleMember& second, const std::filesystem::path& data,
                     const PanelOptions& options, int resamples, const std::filesystem::path& out);

/// A Mermaid flow chart: the image, each member with its model and input, the rule, the answer.
std::string ensemble_mermaid(const Ensemble& ensemble);

}  // namespace cutis
