#include "tools/logit_adjust.h"

#include <cmath>

#include "kernels/error.h"
#include "tools/metrics.h"

namespace cutis {

std::vector<double> training_prior(const Run& run, const PackedDataset& data) {
    std::vector<std::int64_t> counts = class_counts(data, split_of(run.config, data).train);
    counts.resize(trained_classes(run.config, data).size());
    const std::vector<float> weights = class_weights(run.config.class_weights, counts);
    std::vector<double> prior(run.facts.class_names.size(), 0.0);
    double total = 0.0;
    for (std::size_t k = 0; k < counts.size(); ++k) {
        const double images = run.config.order == "balanced" && counts[k] > 0 ? 1.0 : static_cast<double>(counts[k]);
        prior[k] = images * (weights.empty() ? 1.0 : static_cast<double>(weights[k]));
        total += prior[k];
    }
    for (double& share : prior) {
        share /= total;
    }
    return prior;
}

void adjust_logits(Predictions& predictions, std::span<const double> prior, double tau) {
    const std::size_t classes = predictions.classes();
    require(prior.size() == classes, "logit adjustment: {} shares for {} classes", prior.size(), classes);
    require(std::isfinite(tau), "logit adjustment: tau is {}; a finite number is wanted", tau);
    std::vector<double> factors;
    for (const double share : prior) {
        factors.push_back(share > 0.0 ? std::pow(share, -tau) : 1.0);
    }
    for (std::size_t i = 0; i < predictions.size(); ++i) {
        float* const row = predictions.probabilities.data() + i * classes;
        double total = 0.0;
        for (std::size_t k = 0; k < classes; ++k) {
            total += static_cast<double>(row[k]) * factors[k];
        }
        for (std::size_t k = 0; total > 0.0 && k < classes; ++k) {
            row[k] = static_cast<float>(static_cast<double>(row[k]) * factors[k] / total);
        }
    }
}

double choose_tau(const Predictions& predictions, std::span<const double> prior) {
    constexpr int kSteps = 40;
    double best = 0.0, best_score = -1.0;
    for (int step = 0; step <= kSteps; ++step) {
        const double tau = 0.05 * step;
        Predictions adjusted = predictions;
        adjust_logits(adjusted, prior, tau);
        const double score = compute_metrics(adjusted).balanced_accuracy;
        if (score > best_score) {
            best = tau;
            best_score = score;
        }
    }
    return best;
}

}  // namespace cutis
