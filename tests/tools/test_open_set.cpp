#include "tools/open_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/files.h"
#include "engine/split.h"
#include "tests/support/error_of.h"

namespace cutis::testing {
namespace {

nlohmann::json cases() {
    const auto path = std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/open_set_golden.json";
    return nlohmann::json::parse(read_text_file(path))["cases"];
}

LabelledFeatures features(std::vector<float> values, std::vector<int> labels, int classes) {
    LabelledFeatures result;
    result.features.dimension = static_cast<std::int64_t>(values.size() / labels.size());
    result.features.image_ids.resize(labels.size());
    result.features.values = std::move(values);
    result.lesion_ids.resize(labels.size());
    result.labels = std::move(labels);
    result.classes = classes;
    return result;
}

TEST(OpenSet, MahalanobisEqualsNumpys) {
    ASSERT_EQ(cases().size(), 5u);
    for (const auto& c : cases()) {
        SCOPED_TRACE(c["name"].get<std::string>());
        const Mahalanobis mahalanobis(features(c["train"], c["train_labels"], c["classes"]));
        EXPECT_NEAR(mahalanobis.shrinkage(), c["shrinkage"].get<double>(), 1e-9);
        const auto expect_scores = [&](const char* points, const char* scores) {
            const std::vector<double> expected = c[scores];
            const std::vector<double> actual = mahalanobis.scores(c[points].get<std::vector<float>>());
            ASSERT_EQ(actual.size(), expected.size());
            const double rounding = c["rounded_to"].is_null() ? 1e-8 : 0.5;
            for (std::size_t i = 0; i < expected.size(); ++i) {
                EXPECT_NEAR(actual[i], expected[i], rounding + 1e-8 * std::abs(expected[i]));
            }
        };
        expect_scores("test", "scores");
        expect_scores("val", "val_scores");
    }
}

TEST(OpenSet, FiguresEqualScikitLearns) {
    for (const auto& c : cases()) {
        OpenSetImages images;
        images.known_classes = c["classes"];
        images.labels = c["test_labels"].get<std::vector<int>>();
        images.predicted = c["predicted"].get<std::vector<int>>();
        images.scores = c["scores"].get<std::vector<double>>();
        images.lesion_ids.resize(images.labels.size());
        std::vector<OpenSetThreshold> thresholds;
        for (const auto& expected : c["results"]) {
            const double share = expected["share"];
            thresholds.push_back({share, threshold_keeping(c["val_scores"].get<std::vector<double>>(), share)});
        }
        const std::vector<OpenSetResult> results = judge_open_set(images, thresholds, {.resamples = 2});
        ASSERT_EQ(results.size(), c["results"].size());
        for (std::size_t t = 0; t < results.size(); ++t) {
            const auto& expected = c["results"][t];
            SCOPED_TRACE(c["name"].get<std::string>() + ", " + expected["share"].dump());
            EXPECT_EQ(results[t].threshold.value, expected["threshold"].get<double>());
            const OpenSetFigures& figures = results[t].figures;
            EXPECT_NEAR(figures.auroc, expected["auroc"].get<double>(), 1e-12);
            EXPECT_NEAR(figures.fpr_at_95_tpr, expected["fpr_at_95_tpr"].get<double>(), 1e-12);
            EXPECT_NEAR(figures.known_kept, expected["known_kept"].get<double>(), 1e-12);
            EXPECT_NEAR(figures.unknown_kept, expected["unknown_kept"].get<double>(), 1e-12);
            EXPECT_NEAR(figures.balanced_accuracy, expected["balanced_accuracy"].get<double>(), 1e-12);
            EXPECT_NEAR(figures.known_balanced_accuracy, expected["known_balanced_accuracy"].get<double>(), 1e-12);
        }
    }
}

TEST(OpenSet, WeightsCountLikeCopies) {
    const OpenSetImages once{2, {}, {0, 1, 2, 2, 0}, {0, 0, 1, 0, 1}, {3, 2, 2, 1, 0}};
    const OpenSetImages copied{2, {}, {0, 1, 1, 2, 2, 2, 2}, {0, 0, 0, 1, 1, 1, 0}, {3, 2, 2, 2, 2, 2, 1}};
    const double threshold[] = {2};
    const OpenSetFigures a = OpenSetScorer(once, threshold).score(std::vector<std::uint32_t>{1, 2, 3, 1, 0}).front();
    const OpenSetFigures b = OpenSetScorer(copied, threshold).score(std::vector<std::uint32_t>(7, 1)).front();
    EXPECT_EQ(a.auroc, b.auroc);
    EXPECT_EQ(a.fpr_at_95_tpr, b.fpr_at_95_tpr);
    EXPECT_EQ(a.known_kept, b.known_kept);
    EXPECT_EQ(a.unknown_kept, b.unknown_kept);
    EXPECT_EQ(a.balanced_accuracy, b.balanced_accuracy);
    EXPECT_EQ(b.unknown_kept, 0.75);
    EXPECT_EQ(b.known_balanced_accuracy, 0.5);
}

TEST(OpenSet, IntervalsDrawLesions) {
    // Each kind of image is one lesion: a resample has the images of a lesion all together or not at all.
    OpenSetImages images{1, {}, {}, {}, {}};
    for (int i = 0; i < 10; ++i) {
        images.lesion_ids.push_back(i % 2 == 0 ? "known" : "unknown");
        images.labels.push_back(i % 2);
        images.predicted.push_back(0);
        images.scores.push_back(i);
    }
    const OpenSetThreshold thresholds[] = {{0.95, 5}, {0.5, 7}};
    const std::vector<OpenSetResult> results = judge_open_set(images, thresholds, {.resamples = 50});
    const OpenSetResult& result = results.front();
    EXPECT_EQ(result.intervals.auroc.low, result.figures.auroc);
    EXPECT_EQ(result.intervals.auroc.high, result.figures.auroc);
    // Half of the resamples have one kind of image alone; the figures of the rest are the whole's, at each threshold.
    EXPECT_EQ(results[1].intervals.auroc.low, result.figures.auroc);
    EXPECT_EQ(result.intervals.known_kept.low, 0.4);
    EXPECT_EQ(results[1].intervals.known_kept.high, 0.2);
    EXPECT_EQ(results[1].intervals.unknown_kept.low, 0.4);
}

TEST(OpenSet, ThresholdKeepsAtLeastTheShare) {
    const std::vector<double> scores{5, 1, 4, 2, 3};
    EXPECT_EQ(threshold_keeping(scores, 1.0), 1);
    EXPECT_EQ(threshold_keeping(scores, 0.8), 2);
    EXPECT_EQ(threshold_keeping(scores, 0.81), 1);
    EXPECT_EQ(threshold_keeping(scores, 0.01), 5);
    std::vector<double> twenty(20);
    for (int i = 0; i < 20; ++i) {
        twenty[static_cast<std::size_t>(i)] = i;
    }
    EXPECT_EQ(threshold_keeping(twenty, 0.95), 1);  // 0.95 * 20 is 19, though not in binary
    EXPECT_TRUE(is_line_with(error_of([] { threshold_keeping({}, 0.5); }), "no scores"));
    EXPECT_TRUE(is_line_with(error_of([&] { threshold_keeping(scores, 0.0); }), "share of 0"));
}

TEST(OpenSet, RefusesWhatHasNoAnswer) {
    const OpenSetImages known{2, {"", ""}, {0, 1}, {0, 1}, {1, 2}};
    EXPECT_TRUE(is_line_with(error_of([&] { judge_open_set(known, {}, {}); }), "0 images of the held-out class"));
    const OpenSetImages short_of_scores{1, {"", ""}, {0, 1}, {0, 0}, {1}}, wild{1, {"", ""}, {0, 2}, {0, 0}, {1, 2}};
    EXPECT_TRUE(is_line_with(error_of([&] { OpenSetScorer(short_of_scores, {}); }), "2 labels", "1 scores"));
    EXPECT_TRUE(is_line_with(error_of([&] { OpenSetScorer(wild, {}); }), "label 2"));
    // No feature varies within a class.
    EXPECT_TRUE(is_line_with(error_of([] { Mahalanobis(features({1, 2, 1, 2, 3, 4}, {0, 0, 1}, 2)); }), "inverted"));
    const float nan = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(is_line_with(error_of([&] { Mahalanobis(features({1, nan, 2, 1}, {0, 0}, 2)); }), "finite"));
    EXPECT_TRUE(is_line_with(error_of([] { Mahalanobis(features({1, 2, 3, 4}, {0, 2}, 2)); }), "label 2"));
}

TEST(HoldOutClass, LeavesAllPartsAndTakesNoKnownLesions) {
    std::vector<Sample> samples;
    for (int i = 0; i < 60; ++i) {
        samples.push_back({.image_id = "i" + std::to_string(i),
                           .lesion_id = "l" + std::to_string(i),
                           .label = i % 3,
                           .age = {},
                           .sex = {},
                           .localization = {}});
    }
    Split split = make_honest_split(samples, 3, 1);
    const Split whole = split;
    // Two images of the class share lesions: one with an image that trains, one with an image of the test part.
    const auto of_class_0 = [&](const std::vector<int>& part) {
        return *std::find_if(part.begin(), part.end(),
                             [&](int i) { return samples[static_cast<std::size_t>(i)].label == 0; });
    };
    samples[2].lesion_id = samples[static_cast<std::size_t>(of_class_0(split.train))].lesion_id;
    samples[5].lesion_id = samples[static_cast<std::size_t>(of_class_0(split.test))].lesion_id;
    hold_out_class(split, samples, 2);
    for (const auto& [part, before] : {std::pair{&split.train, &whole.train}, std::pair{&split.val, &whole.val},
                                       std::pair{&split.test, &whole.test}}) {
        std::vector<int> expected;
        for (const int i : *before) {
            if (i % 3 != 2) {
                expected.push_back(i);
            }
        }
        EXPECT_EQ(*part, expected);
    }
    EXPECT_EQ(split.held_out.size(), 19u);
    EXPECT_EQ(std::count(split.held_out.begin(), split.held_out.end(), 2), 0);
    EXPECT_EQ(std::count(split.held_out.begin(), split.held_out.end(), 5), 1);
    ASSERT_FALSE(split.notices.empty());
    EXPECT_NE(split.notices.back().find("1 images"), std::string::npos);
}

}  // namespace
}  // namespace cutis::testing
