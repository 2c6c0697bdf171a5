#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace cutis {

/// Multinomial logistic regression: p(k | x) = softmax_k(weights_k . x + bias_k).
struct LogisticRegression {
    std::size_t features = 0, classes = 0;
    std::vector<double> weights;  ///< classes x features, row-major
    std::vector<double> bias;     ///< classes

    /// p(. | x), `classes` numbers that sum to 1; x has `features` numbers.
    std::vector<double> probabilities(std::span<const double> x) const;
};

/// Minimises c * sum_i -ln p(labels[i] | x_i) + |weights|^2 / 2 (the bias is free): the model of scikit-learn's
/// LogisticRegression(C=c) with more than two classes, and with two that of its older multi_class="multinomial". The
/// problem is convex; L-BFGS (Nocedal & Wright, "Numerical optimization", 2006, algorithm 7.5) in float64 goes on until
/// no part of the gradient of the mean is above 1e-8, so that the result depends on the data alone.
/// @param x       n x features, row-major, finite
/// @param labels  n numbers from 0 to classes - 1
/// @throws Error on sizes that do not fit, a label out of range, no rows, c not above 0
LogisticRegression fit_logistic_regression(std::span<const double> x, std::size_t features, std::span<const int> labels,
                                           std::size_t classes, double c);

}  // namespace cutis
