#include "tools/logistic_regression.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <numeric>

#include "kernels/error.h"

namespace cutis {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

double largest_part(const Vector& a) {
    double largest = 0.0;
    for (const double value : a) {
        largest = std::max(largest, std::abs(value));
    }
    return largest;
}

/// Returns f(at) and fills its gradient.
using Objective = std::function<double(const Vector& at, Vector& gradient)>;

/// One step and how it changed the gradient.
struct Correction {
    Vector step, change;
    double product;  // of the two, positive
};

/// -H gradient, where H is the inverse Hessian as the last steps show it (the two-loop recursion).
Vector downhill(const Vector& gradient, const std::deque<Correction>& past) {
    Vector direction = gradient;
    Vector alpha(past.size());
    for (std::size_t i = past.size(); i-- > 0;) {
        alpha[i] = dot(past[i].step, direction) / past[i].product;
        for (std::size_t j = 0; j < direction.size(); ++j) {
            direction[j] -= alpha[i] * past[i].change[j];
        }
    }
    const double scale = past.empty() ? 1.0 / std::max(1.0, std::sqrt(dot(gradient, gradient)))
                                      : past.back().product / dot(past.back().change, past.back().change);
    for (double& value : direction) {
        value *= scale;
    }
    for (std::size_t i = 0; i < past.size(); ++i) {
        const double beta = dot(past[i].change, direction) / past[i].product;
        for (std::size_t j = 0; j < direction.size(); ++j) {
            direction[j] += (alpha[i] - beta) * past[i].step[j];
        }
    }
    for (double& value : direction) {
        value = -value;
    }
    return direction;
}

/// The minimum of a convex function, from `at`. Ends early where a step no longer lowers the value, which is rounding.
Vector minimum(const Objective& objective, Vector at) {
    constexpr int kMostSteps = 5000;
    constexpr std::size_t kMemory = 20;
    constexpr double kGradient = 1e-8, kDecrease = 1e-4, kShortest = 1e-12;
    Vector gradient(at.size()), next(at.size()), next_gradient(at.size());
    double value = objective(at, gradient);
    std::deque<Correction> past;
    for (int step = 0; step < kMostSteps && largest_part(gradient) > kGradient; ++step) {
        const Vector direction = downhill(gradient, past);
        const double slope = dot(direction, gradient);
        double length = 1.0, next_value = 0.0;
        bool lower = false;
        for (; !lower && length > kShortest; length /= 2) {
            for (std::size_t j = 0; j < at.size(); ++j) {
                next[j] = at[j] + length * direction[j];
            }
            next_value = objective(next, next_gradient);
            lower = next_value <= value + kDecrease * length * slope && next_value < value;
        }
        if (!lower) {
            break;
        }
        Correction correction{next, next_gradient, 0.0};
        for (std::size_t j = 0; j < at.size(); ++j) {
            correction.step[j] -= at[j];
            correction.change[j] -= gradient[j];
        }
        correction.product = dot(correction.step, correction.change);
        if (correction.product > 0) {
            past.push_back(std::move(correction));
            if (past.size() > kMemory) {
                past.pop_front();
            }
        }
        at.swap(next);
        gradient.swap(next_gradient);
        value = next_value;
    }
    return at;
}

/// Turns scores into probabilities and returns ln of the sum of their exponentials.
double softmax_in_place(std::span<double> scores) {
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0.0;
    for (double& score : scores) {
        score = std::exp(score - largest);
        sum += score;
    }
    for (double& score : scores) {
        score /= sum;
    }
    return largest + std::log(sum);
}

}  // namespace

std::vector<double> LogisticRegression::probabilities(std::span<const double> x) const {
    Vector scores = bias;
    for (std::size_t k = 0; k < classes; ++k) {
        scores[k] = std::inner_product(x.begin(), x.end(), weights.begin() + static_cast<std::ptrdiff_t>(k * features),
                                       scores[k]);
    }
    softmax_in_place(scores);
    return scores;
}

LogisticRegression fit_logistic_regression(std::span<const double> x, std::size_t features, std::span<const int> labels,
                                           std::size_t classes, double c) {
    const std::size_t n = labels.size();
    require(n > 0 && classes > 0, "logistic regression: {} rows of {} classes; at least one of each is needed", n,
            classes);
    require(x.size() == n * features, "logistic regression: {} numbers, but {} rows of {} features", x.size(), n,
            features);
    require(c > 0 && std::isfinite(c), "logistic regression: C is {}, it must be above 0", c);
    for (const int label : labels) {
        require(label >= 0 && static_cast<std::size_t>(label) < classes, "logistic regression: label {} of {} classes",
                label, classes);
    }
    const double penalty = 1.0 / (c * static_cast<double>(n));
    const std::size_t weight_count = classes * features;
    // The mean over the rows, so that the gradient's size does not depend on their number. Weights, then biases.
    const Objective objective = [&](const Vector& at, Vector& gradient) {
        std::fill(gradient.begin(), gradient.end(), 0.0);
        double value = 0.0;
        Vector scores(classes);
        for (std::size_t i = 0; i < n; ++i) {
            const double* const row = x.data() + i * features;
            for (std::size_t k = 0; k < classes; ++k) {
                scores[k] = std::inner_product(row, row + features, at.data() + k * features, at[weight_count + k]);
            }
            const auto label = static_cast<std::size_t>(labels[i]);
            const double of_label = scores[label];
            value += softmax_in_place(scores) - of_label;
            scores[label] -= 1.0;
            for (std::size_t k = 0; k < classes; ++k) {
                double* const out = gradient.data() + k * features;
                for (std::size_t f = 0; f < features; ++f) {
                    out[f] += scores[k] * row[f];
                }
                gradient[weight_count + k] += scores[k];
            }
        }
        const double share = 1.0 / static_cast<double>(n);
        value *= share;
        for (double& part : gradient) {
            part *= share;
        }
        for (std::size_t j = 0; j < weight_count; ++j) {
            value += 0.5 * penalty * at[j] * at[j];
            gradient[j] += penalty * at[j];
        }
        return value;
    };
    const Vector found = minimum(objective, Vector(weight_count + classes, 0.0));
    const auto middle = found.begin() + static_cast<std::ptrdiff_t>(weight_count);
    return {features, classes, {found.begin(), middle}, {middle, found.end()}};
}

}  // namespace cutis
