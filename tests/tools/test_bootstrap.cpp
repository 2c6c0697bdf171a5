#include "tools/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"

namespace cutis {
namespace {

/// `lesions` lesions with one to three images each.
Predictions random_predictions(int lesions, std::uint64_t seed, int most_images = 3) {
    PhiloxStream random(seed, RandomPurpose::test);
    Predictions p;
    p.class_names = {"MEL", "NV", "BCC"};
    for (int lesion = 0; lesion < lesions; ++lesion) {
        const int label = static_cast<int>(random.below(3));
        const std::uint32_t images = 1 + random.below(static_cast<std::uint32_t>(most_images));
        for (std::uint32_t image = 0; image < images; ++image) {
            p.image_ids.push_back(std::to_string(p.size()));
            p.lesion_ids.push_back("lesion" + std::to_string(lesion));
            p.labels.push_back(label);
            for (int k = 0; k < 3; ++k) {
                p.probabilities.push_back(0.6f * random.uniform() + (k == label ? 0.25f : 0.0f));
            }
        }
    }
    return p;
}

void append_image(Predictions& to, const Predictions& from, std::size_t i) {
    to.image_ids.push_back(std::to_string(to.size()));
    to.lesion_ids.emplace_back();
    to.labels.push_back(from.labels[i]);
    to.probabilities.insert(to.probabilities.end(), from.row(i).begin(), from.row(i).end());
}

void expect_equal(const Interval& a, const Interval& b) {
    EXPECT_DOUBLE_EQ(a.low, b.low);
    EXPECT_DOUBLE_EQ(a.high, b.high);
}

TEST(Bootstrap, EqualsResamplingByHand) {
    const Predictions p = random_predictions(40, 1);
    const BootstrapOptions options{.resamples = 60, .level = 0.9, .seed = 0x123456789ABCDEFull};
    const MetricIntervals fast = bootstrap_intervals(p, options);
    EXPECT_EQ(fast.lesions, 40u);

    std::vector<double> accuracy, balanced, f1, auc, ece, sensitivity, at90, nv_auc;
    const std::vector<std::uint32_t> lesion_of = lesion_numbers(p);
    for (std::uint32_t b = 0; b < 60; ++b) {
        PhiloxStream random(options.seed, RandomPurpose::bootstrap, b);
        Predictions drawn;
        drawn.class_names = p.class_names;
        for (int draw = 0; draw < 40; ++draw) {
            const std::uint32_t lesion = random.below(40);
            for (std::size_t i = 0; i < p.size(); ++i) {
                if (lesion_of[i] == lesion) {
                    append_image(drawn, p, i);
                }
            }
        }
        const Metrics m = compute_metrics(drawn);
        accuracy.push_back(m.accuracy);
        balanced.push_back(m.balanced_accuracy);
        f1.push_back(m.macro_f1);
        auc.push_back(m.macro_auc);
        ece.push_back(m.ece);
        sensitivity.push_back(m.melanoma_sensitivity);
        at90.push_back(m.melanoma_sensitivity_at_90);
        nv_auc.push_back(m.classes[1].auc);
    }
    expect_equal(fast.accuracy, percentile_interval(accuracy, 0.9));
    expect_equal(fast.balanced_accuracy, percentile_interval(balanced, 0.9));
    expect_equal(fast.macro_f1, percentile_interval(f1, 0.9));
    expect_equal(fast.macro_auc, percentile_interval(auc, 0.9));
    EXPECT_NEAR(fast.ece.low, percentile_interval(ece, 0.9).low, 1e-12);  // sums in another order
    EXPECT_NEAR(fast.ece.high, percentile_interval(ece, 0.9).high, 1e-12);
    expect_equal(fast.melanoma_sensitivity, percentile_interval(sensitivity, 0.9));
    expect_equal(fast.melanoma_sensitivity_at_90, percentile_interval(at90, 0.9));
    expect_equal(fast.classes[1].auc, percentile_interval(nv_auc, 0.9));
    EXPECT_LT(fast.accuracy.low, fast.accuracy.high);
}

TEST(PairedDifferences, AreTakenOnTheSameResamples) {
    const Predictions first = random_predictions(40, 1);
    Predictions second = first;
    PhiloxStream noise(9, RandomPurpose::test);
    for (float& probability : second.probabilities) {
        probability = 0.9f * probability + 0.1f * noise.uniform();
    }
    const BootstrapOptions options{.resamples = 80, .level = 0.9, .seed = 5};
    const PairedDifferences d = paired_differences(first, second, options);
    EXPECT_EQ(d.lesions, 40u);
    const std::vector<std::uint32_t> lesion_of = lesion_numbers(first);
    std::vector<double> accuracy, balanced, f1;
    for (std::uint32_t b = 0; b < 80; ++b) {
        PhiloxStream random(options.seed, RandomPurpose::bootstrap, b);
        Predictions a, c;
        a.class_names = c.class_names = first.class_names;
        for (int draw = 0; draw < 40; ++draw) {
            const std::uint32_t lesion = random.below(40);
            for (std::size_t i = 0; i < first.size(); ++i) {
                if (lesion_of[i] == lesion) {
                    append_image(a, first, i);
                    append_image(c, second, i);
                }
            }
        }
        const Metrics of_a = compute_metrics(a), of_c = compute_metrics(c);
        accuracy.push_back(of_c.accuracy - of_a.accuracy);
        balanced.push_back(of_c.balanced_accuracy - of_a.balanced_accuracy);
        f1.push_back(of_c.macro_f1 - of_a.macro_f1);
    }
    expect_equal(d.accuracy.interval, percentile_interval(accuracy, 0.9));
    expect_equal(d.balanced_accuracy.interval, percentile_interval(balanced, 0.9));
    expect_equal(d.macro_f1.interval, percentile_interval(f1, 0.9));
    EXPECT_DOUBLE_EQ(d.accuracy.value, compute_metrics(second).accuracy - compute_metrics(first).accuracy);
    EXPECT_LT(d.accuracy.interval.low, d.accuracy.interval.high);

    const PairedDifferences same = paired_differences(first, first, options);
    EXPECT_EQ(same.accuracy.interval.low, 0);
    EXPECT_EQ(same.macro_auc.interval.high, 0) << "what is hard for both is hard for neither";
    Predictions other = second;
    std::swap(other.image_ids[0], other.image_ids[1]);
    EXPECT_THROW(paired_differences(first, other, options), Error);
}

TEST(Bootstrap, PercentilesEqualNumpys) {
    // numpy.percentile([1, 2, 4, 8, 16], [5, 95]) = [1.2, 14.4]
    const Interval interval = percentile_interval({16, 1, 4, kUndefined, 8, 2}, 0.9);
    EXPECT_DOUBLE_EQ(interval.low, 1.2);
    EXPECT_DOUBLE_EQ(interval.high, 14.4);
    EXPECT_TRUE(std::isnan(percentile_interval({kUndefined}, 0.9).low));
    EXPECT_EQ(percentile_interval({7}, 0.5).high, 7);
}

TEST(Bootstrap, IdenticalImagesOfALesionAddNoCertainty) {
    const Predictions single = random_predictions(60, 2, 1);
    Predictions tripled = single;
    for (int copy = 0; copy < 2; ++copy) {
        for (std::size_t i = 0; i < single.size(); ++i) {
            append_image(tripled, single, i);
            tripled.lesion_ids.back() = single.lesion_ids[i];
        }
    }
    expect_equal(bootstrap_intervals(tripled).accuracy, bootstrap_intervals(single).accuracy);
    expect_equal(bootstrap_intervals(tripled).macro_auc, bootstrap_intervals(single).macro_auc);
    // By image they would: that is the mistake that clusters avoid.
    for (std::string& lesion : tripled.lesion_ids) {
        lesion.clear();
    }
    const Interval naive = bootstrap_intervals(tripled).accuracy, honest = bootstrap_intervals(single).accuracy;
    EXPECT_LT((naive.high - naive.low) * 1.4, honest.high - honest.low);
}

TEST(Bootstrap, AccuracyAgreesWithTheBinomialDistribution) {
    const Predictions p = random_predictions(2000, 3, 1);
    const double accuracy = compute_metrics(p).accuracy;
    const double deviation = std::sqrt(accuracy * (1 - accuracy) / 2000);
    const Interval interval = bootstrap_intervals(p).accuracy;
    EXPECT_NEAR(interval.low, accuracy - 1.96 * deviation, 0.25 * deviation);
    EXPECT_NEAR(interval.high, accuracy + 1.96 * deviation, 0.25 * deviation);
}

TEST(Bootstrap, ThreadsChangeNothingAndSeedsDo) {
    const Predictions p = random_predictions(50, 4);
    const int threads = thread_count();
    set_thread_count(1);
    const MetricIntervals one = bootstrap_intervals(p, {.resamples = 101});
    set_thread_count(3);
    const MetricIntervals three = bootstrap_intervals(p, {.resamples = 101});
    set_thread_count(threads);
    EXPECT_EQ(one.macro_auc.low, three.macro_auc.low);
    EXPECT_EQ(one.ece.high, three.ece.high);
    EXPECT_NE(one.ece.high, bootstrap_intervals(p, {.resamples = 101, .seed = 1}).ece.high);
}

TEST(Bootstrap, UndefinedFiguresAreLeftOut) {
    // Two lesions, one of each class: half of the resamples hold one class only and have no AUC.
    Predictions p;
    p.class_names = {"a", "b"};
    p.image_ids = {"1", "2"};
    p.lesion_ids = {"x", "y"};
    p.labels = {0, 1};
    p.probabilities = {0.9f, 0.1f, 0.2f, 0.8f};
    const MetricIntervals i = bootstrap_intervals(p, {.resamples = 100});
    EXPECT_EQ(i.macro_auc.low, 1);
    EXPECT_EQ(i.macro_auc.high, 1);
    EXPECT_TRUE(std::isnan(i.melanoma_sensitivity.low));
    p.lesion_ids = {"x", "x"};
    EXPECT_EQ(bootstrap_intervals(p).lesions, 1u);
    p.labels = {0, 0};
    EXPECT_TRUE(std::isnan(bootstrap_intervals(p).macro_auc.high));
}

TEST(Bootstrap, RefusesImpossibleOptions) {
    const Predictions p = random_predictions(5, 5);
    EXPECT_THROW(bootstrap_intervals(p, {.resamples = 0}), Error);
    EXPECT_THROW(bootstrap_intervals(p, {.level = 1}), Error);
    EXPECT_THROW(bootstrap_intervals(p, {.level = 0}), Error);
    EXPECT_THROW(bootstrap_intervals(p, {.level = kUndefined}), Error);
    EXPECT_THROW(bootstrap_intervals(Predictions{}), Error);
}

}  // namespace
}  // namespace cutis
