#include "tools/logit_adjust.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "tools/metrics.h"

namespace cutis {
namespace {

// Two classes, nine in ten of the first. The scores tell them apart only in part, and carry the prior.
Predictions skewed() {
    Predictions predictions;
    predictions.class_names = {"common", "rare"};
    PhiloxStream random(3, RandomPurpose::test);
    for (int i = 0; i < 1000; ++i) {
        const int label = i % 10 == 0 ? 1 : 0;
        const double logit = (label == 1 ? 1.0 : -1.0) + static_cast<double>(random.normal()) + std::log(0.1 / 0.9);
        const auto rare = static_cast<float>(1.0 / (1.0 + std::exp(-logit)));
        predictions.image_ids.push_back("image_" + std::to_string(i));
        predictions.lesion_ids.push_back("lesion_" + std::to_string(i));
        predictions.labels.push_back(label);
        predictions.probabilities.insert(predictions.probabilities.end(), {1.0f - rare, rare});
    }
    return predictions;
}

const std::vector<double> kPrior{0.9, 0.1};

TEST(LogitAdjust, SubtractsTauTimesTheLogOfThePrior) {
    Predictions predictions = skewed();
    const Predictions before = predictions;
    adjust_logits(predictions, kPrior, 0.7);
    for (std::size_t i = 0; i < predictions.size(); ++i) {
        const auto logit = [i](const Predictions& p) {
            return std::log(static_cast<double>(p.row(i)[1])) - std::log(static_cast<double>(p.row(i)[0]));
        };
        EXPECT_NEAR(logit(predictions), logit(before) - 0.7 * std::log(0.1 / 0.9), 2e-4);
        EXPECT_NEAR(predictions.row(i)[0] + predictions.row(i)[1], 1.0f, 1e-6f);
    }
}

TEST(LogitAdjust, ZeroChangesNothing) {
    Predictions predictions = skewed();
    const Predictions before = predictions;
    adjust_logits(predictions, kPrior, 0.0);
    for (std::size_t i = 0; i < before.probabilities.size(); ++i) {
        EXPECT_FLOAT_EQ(predictions.probabilities[i], before.probabilities[i]);
    }
}

TEST(LogitAdjust, ChoosesWhatBalancesTheClasses) {
    Predictions predictions = skewed();
    const double tau = choose_tau(predictions, kPrior);
    EXPECT_NEAR(tau, 1.0, 0.4);
    const double before = compute_metrics(predictions).balanced_accuracy;
    adjust_logits(predictions, kPrior, tau);
    EXPECT_GT(compute_metrics(predictions).balanced_accuracy, before + 0.05);
}

TEST(LogitAdjust, RefusesWhatDoesNotFit) {
    Predictions predictions = skewed();
    EXPECT_THROW(adjust_logits(predictions, std::vector<double>{1.0}, 1.0), Error);
    EXPECT_THROW(adjust_logits(predictions, kPrior, std::nan("")), Error);
    adjust_logits(predictions, std::vector<double>{1.0, 0.0}, 1.0);  // a class that never trained: no division by zero
    EXPECT_TRUE(std::isfinite(predictions.probabilities[0]));
}

}  // namespace
}  // namespace cutis
