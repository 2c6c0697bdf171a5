#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tools/logistic_regression.h"
#include "tools/predictions.h"

namespace cutis {

/// How the answers of several networks become one. With p_mk the probability that member m of M gives class k:
///
///   mean      mean_m p_mk (the sum rule)
///   product   prod_m p_mk^(1/M), normalised: the geometric mean, summed as logarithms
///   vote      (v_k + mean_m p_mk) / (M + 1), v_k the members whose most probable class is k: the majority, and between
///             classes of as many votes the mean decides
///   max       max_m p_mk, normalised
///   weighted  sum_m w_m p_mk, normalised, w_m = a_m max_k p_mk: the member's accuracy a_m on validation images times
///             its confidence in this image (Harangi 2018)
///   stacked   multinomial logistic regression on ln p_mk of all members, fitted on images that no member trained on
///
/// mean, product and max: Kittler, Hatef, Duin, Matas, "On combining classifiers", IEEE TPAMI 20:3, 1998. vote, mean,
/// product, weighted: Harangi, "Skin lesion classification with ensembles of deep convolutional neural networks",
/// J. Biomed. Inform. 86, 2018. stacked: Wolpert, "Stacked generalization", Neural Networks 5, 1992.
enum class EnsembleRule { mean, product, vote, max, weighted, stacked };

std::span<const EnsembleRule> ensemble_rules();
std::string_view name_of(EnsembleRule rule);
/// Throws Error naming the known ones.
EnsembleRule ensemble_rule(std::string_view name);

/// What rules learn from images that no member trained on.
struct EnsembleFit {
    std::vector<double> accuracy;                ///< of each member, for `weighted`
    double c = 1.0;                              ///< inverse strength of the penalty, for `stacked`
    std::optional<LogisticRegression> stacking;  ///< for `stacked`: features are member after member
};

/// Smaller probabilities are taken for this one where logarithms are taken: one member's rounding to 0 must not rule a
/// class out.
inline constexpr double kLeastProbability = 1e-7;

/// The regression of `stacked` on predictions of the same images, one element per member.
LogisticRegression fit_stacking(std::span<const Predictions> members, double c);

/// Combines the members' probabilities, each n x classes, row-major, into one of that size. Throws Error where sizes
/// differ or `fit` lacks what the rule needs.
std::vector<float> combine(EnsembleRule rule, std::span<const std::vector<float>> members, std::size_t classes,
                           const EnsembleFit& fit);

/// The same for predictions of the same images, in the same order.
Predictions combine(EnsembleRule rule, std::span<const Predictions> members, const EnsembleFit& fit);

}  // namespace cutis
