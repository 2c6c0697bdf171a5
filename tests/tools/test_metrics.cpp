#include "tools/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/files.h"
#include "kernels/error.h"
#include "kernels/philox.h"
#include "tools/evaluation.h"

namespace cutis {
namespace {

Predictions make(std::vector<std::string> class_names, std::vector<int> labels, std::vector<float> probabilities) {
    Predictions p;
    p.class_names = std::move(class_names);
    p.labels = std::move(labels);
    p.probabilities = std::move(probabilities);
    for (std::size_t i = 0; i < p.labels.size(); ++i) {
        p.image_ids.push_back("image" + std::to_string(i));
        p.lesion_ids.push_back("lesion" + std::to_string(i));
    }
    return p;
}

double number(const nlohmann::json& value) {
    return value.is_null() ? kUndefined : value.get<double>();
}

void expect_same(double actual, double expected, const std::string& what) {
    if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(actual)) << what << " is " << actual;
    } else {
        EXPECT_NEAR(actual, expected, 1e-12) << what;
    }
}

nlohmann::json golden() {
    const auto path = std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/metrics_golden.json";
    return nlohmann::json::parse(read_text_file(path));
}

TEST(Metrics, EqualScikitLearns) {
    const nlohmann::json cases = golden()["cases"];
    ASSERT_EQ(cases.size(), 4u);
    for (const auto& c : cases) {
        SCOPED_TRACE(c["name"].get<std::string>());
        const Predictions p = make(c["class_names"], c["labels"], c["probabilities"]);
        const Metrics m = compute_metrics(p);
        const auto& figures = c["figures"];
        expect_same(m.accuracy, number(figures["accuracy"]), "accuracy");
        expect_same(m.balanced_accuracy, number(figures["balanced_accuracy"]), "balanced_accuracy");
        expect_same(m.macro_f1, number(figures["macro_f1"]), "macro_f1");
        expect_same(m.macro_auc, number(figures["macro_auc"]), "macro_auc");
        expect_same(m.ece, number(figures["ece"]), "ece");
        EXPECT_NEAR(m.nll, number(figures["nll"]), 1e-6);  // log_loss first normalises each row
        expect_same(m.brier, number(figures["brier"]), "brier");
        for (const auto& [name, value] : {std::pair{"melanoma_sensitivity", m.melanoma_sensitivity},
                                          std::pair{"melanoma_sensitivity_at_90", m.melanoma_sensitivity_at_90},
                                          std::pair{"melanoma_sensitivity_at_95", m.melanoma_sensitivity_at_95}}) {
            expect_same(value, figures.contains(name) ? number(figures[name]) : kUndefined, name);
        }
        EXPECT_EQ(m.confusion, c["confusion"].get<std::vector<std::int64_t>>());
        ASSERT_EQ(m.classes.size(), c["per_class"].size());
        for (std::size_t k = 0; k < m.classes.size(); ++k) {
            const auto& expected = c["per_class"][k];
            EXPECT_EQ(m.classes[k].support, expected["support"].get<std::int64_t>());
            expect_same(m.classes[k].sensitivity, number(expected["sensitivity"]), "sensitivity");
            expect_same(m.classes[k].specificity, number(expected["specificity"]), "specificity");
            expect_same(m.classes[k].precision, number(expected["precision"]), "precision");
            expect_same(m.classes[k].f1, number(expected["f1"]), "f1");
            expect_same(m.classes[k].auc, number(expected["auc"]), "auc");
        }
    }
}

TEST(Metrics, RocCurveEqualsScikitLearns) {
    const nlohmann::json cases = golden()["cases"];
    ASSERT_EQ(cases.size(), 4u);
    for (const auto& c : cases) {
        SCOPED_TRACE(c["name"].get<std::string>());
        const RocCurve curve = roc_curve(make(c["class_names"], c["labels"], c["probabilities"]), 0);
        const auto& expected = c["roc_of_class_0"];
        ASSERT_EQ(curve.false_positive_rate.size(), expected["fpr"].size());
        for (std::size_t i = 0; i < curve.false_positive_rate.size(); ++i) {
            EXPECT_NEAR(curve.false_positive_rate[i], expected["fpr"][i].get<double>(), 1e-12);
            EXPECT_NEAR(curve.true_positive_rate[i], expected["tpr"][i].get<double>(), 1e-12);
            if (i > 0) {
                EXPECT_NEAR(curve.threshold[i], expected["threshold"][i - 1].get<double>(), 1e-7);
            }
        }
        EXPECT_TRUE(std::isinf(curve.threshold.front()));
        EXPECT_NEAR(curve.auc, number(c["per_class"][0]["auc"]), 1e-12);
    }
}

TEST(Metrics, TiesAreCountedHalf) {
    // Pairs of class a against b: 0.5 against 0.5 and 0.2, 0.2 against 0.5 and 0.2: 1/2 + 1 + 0 + 1/2 of 4.
    const Predictions p = make({"a", "b"}, {0, 0, 1, 1}, {0.5f, 0.5f, 0.2f, 0.8f, 0.5f, 0.5f, 0.2f, 0.8f});
    EXPECT_DOUBLE_EQ(compute_metrics(p).classes[0].auc, 0.5);
    EXPECT_EQ(p.predicted(0), 0) << "of equal probabilities the first class is the answer";
}

TEST(Metrics, WeightsCountAnImageSeveralTimes) {
    PhiloxStream random(5, RandomPurpose::test);
    Predictions once = make({"mel", "b", "c"}, {}, {}), repeated = once;
    std::vector<std::uint32_t> weights;
    for (int i = 0; i < 200; ++i) {
        const int label = static_cast<int>(random.below(3));
        const std::vector<float> row = {random.uniform(), random.uniform(), random.uniform()};
        weights.push_back(random.below(4));
        const auto append = [&](Predictions& p) {
            p.image_ids.push_back(std::to_string(p.size()));
            p.lesion_ids.emplace_back();
            p.labels.push_back(label);
            p.probabilities.insert(p.probabilities.end(), row.begin(), row.end());
        };
        append(once);
        for (std::uint32_t copy = 0; copy < weights.back(); ++copy) {
            append(repeated);
        }
    }
    const Metrics a = Scorer(once).score(weights), b = compute_metrics(repeated);
    expect_same(a.accuracy, b.accuracy, "accuracy");
    expect_same(a.balanced_accuracy, b.balanced_accuracy, "balanced_accuracy");
    expect_same(a.macro_f1, b.macro_f1, "macro_f1");
    expect_same(a.macro_auc, b.macro_auc, "macro_auc");
    expect_same(a.ece, b.ece, "ece");
    expect_same(a.nll, b.nll, "nll");
    expect_same(a.brier, b.brier, "brier");
    expect_same(a.melanoma_sensitivity_at_90, b.melanoma_sensitivity_at_90, "at 0.90");
    expect_same(a.melanoma_sensitivity_at_95, b.melanoma_sensitivity_at_95, "at 0.95");
    EXPECT_EQ(a.confusion, b.confusion);
    EXPECT_NE(a.confusion, compute_metrics(once).confusion);
}

TEST(Metrics, OneClassOnly) {
    const Metrics m = compute_metrics(make({"only"}, {0, 0}, {1.0f, 0.5f}));
    EXPECT_EQ(m.accuracy, 1);
    EXPECT_EQ(m.balanced_accuracy, 1);
    EXPECT_EQ(m.macro_f1, 1);
    EXPECT_TRUE(std::isnan(m.macro_auc));
    EXPECT_TRUE(std::isnan(m.classes[0].specificity));
    EXPECT_TRUE(std::isnan(m.melanoma_sensitivity));
    EXPECT_DOUBLE_EQ(m.ece, 0.25);  // bins of 1.0 and 0.5: (0 + 0.5) / 2
    EXPECT_TRUE(roc_curve(make({"only"}, {0}, {1.0f}), 0).threshold.empty());
}

TEST(Metrics, ZeroProbabilityOfTheTruthStaysFinite) {
    const Metrics m = compute_metrics(make({"a", "b"}, {0}, {0.0f, 1.0f}));
    EXPECT_DOUBLE_EQ(m.nll, 52 * std::log(2.0));
    EXPECT_DOUBLE_EQ(m.brier, 2);
    EXPECT_DOUBLE_EQ(m.ece, 1);
}

TEST(Metrics, SensitivityAtAnUnreachableSpecificityIsZero) {
    // The surest melanoma is none, and one false alarm in two is a specificity of 0.5.
    const Metrics m = compute_metrics(make({"MEL", "NV"}, {1, 0, 1}, {0.9f, 0.1f, 0.8f, 0.2f, 0.1f, 0.9f}));
    EXPECT_EQ(m.melanoma_sensitivity, 1);
    EXPECT_EQ(m.melanoma_sensitivity_at_90, 0);
    EXPECT_EQ(m.melanoma_sensitivity_at_95, 0);
}

TEST(Metrics, SpecificityAtTheTargetItselfCounts) {
    // 20 others, of which exactly one ranks above the melanomas: specificity 19/20.
    std::vector<int> labels = {1};
    std::vector<float> probabilities = {0.95f, 0.05f};
    for (int i = 0; i < 3; ++i) {
        labels.push_back(0);
        probabilities.insert(probabilities.end(), {0.9f, 0.1f});
    }
    for (int i = 0; i < 19; ++i) {
        labels.push_back(1);
        probabilities.insert(probabilities.end(), {0.1f, 0.9f});
    }
    const Predictions p = make({"Melanoma", "other"}, labels, probabilities);
    EXPECT_EQ(compute_metrics(p).melanoma_sensitivity_at_95, 1);
    const OperatingPoint chosen = operating_point(roc_curve(p, 0), 0.95);
    EXPECT_FLOAT_EQ(static_cast<float>(chosen.threshold), 0.9f);
    EXPECT_EQ(chosen.sensitivity, 1);
    EXPECT_DOUBLE_EQ(chosen.specificity, 0.95);
    const OperatingPoint applied = operating_point_at(p, 0, chosen.threshold);
    EXPECT_EQ(applied.sensitivity, 1);
    EXPECT_DOUBLE_EQ(applied.specificity, 0.95);
    EXPECT_TRUE(std::isnan(operating_point(RocCurve{}, 0.9).threshold));
}

TEST(Metrics, ReliabilityBinsAreClosedAbove) {
    // 1.0 into the last bin, 0.5 = 2/4 into the second, 0.75 into the third, all zeros into the first.
    const Predictions p = make({"a", "b"}, {0, 1, 0, 0}, {1.0f, 0.0f, 0.5f, 0.5f, 0.75f, 0.25f, 0.0f, 0.0f});
    const ReliabilityBins bins = reliability(p, 4);
    EXPECT_EQ(bins.count, (std::vector<std::int64_t>{1, 1, 1, 1}));
    EXPECT_EQ(bins.accuracy, (std::vector<double>{1, 0, 1, 1}));
    EXPECT_EQ(bins.confidence, (std::vector<double>{0, 0.5, 0.75, 1}));
    EXPECT_DOUBLE_EQ(bins.ece, (1 + 0.5 + 0.25 + 0) / 4);
    EXPECT_DOUBLE_EQ(reliability(p).ece, compute_metrics(p).ece);
    EXPECT_TRUE(std::isnan(reliability(make({"a"}, {0}, {1.0f}), 2).accuracy[0]));
}

TEST(Metrics, MelanomaIsFoundByName) {
    EXPECT_EQ(melanoma_class({"NV", "mel"}), 1);
    EXPECT_EQ(melanoma_class({"Melanoma"}), 0);
    EXPECT_EQ(melanoma_class({"melanocytic nevus", "MELA"}), -1);
}

TEST(Metrics, RefuseWhatCannotBeJudged) {
    EXPECT_THROW(compute_metrics(make({"a"}, {}, {})), Error);
    EXPECT_THROW(compute_metrics(make({}, {0}, {})), Error);
    EXPECT_THROW(compute_metrics(make({"a", "a"}, {0}, {1, 0})), Error);
    EXPECT_THROW(compute_metrics(make({"a", "b"}, {2}, {1, 0})), Error);
    EXPECT_THROW(compute_metrics(make({"a", "b"}, {-1}, {1, 0})), Error);
    EXPECT_THROW(compute_metrics(make({"a", "b"}, {0}, {1})), Error);
    EXPECT_THROW(compute_metrics(make({"a", "b"}, {0}, {1.5f, 0})), Error);
    EXPECT_THROW(compute_metrics(make({"a", "b"}, {0}, {-0.1f, 0})), Error);
    EXPECT_THROW(compute_metrics(make({"a", "b"}, {0}, {INFINITY, 0})), Error);
    const Predictions good = make({"a", "b"}, {0, 1}, {1, 0, 0, 1});
    EXPECT_THROW(Scorer(good).score(std::vector<std::uint32_t>{1}), Error);
    EXPECT_THROW(Scorer(good).score(std::vector<std::uint32_t>{0, 0}), Error);
    EXPECT_THROW(roc_curve(good, 2), Error);
    EXPECT_THROW(roc_curve(good, -1), Error);
    EXPECT_THROW(reliability(good, 0), Error);
    try {
        compute_metrics(make({"a", "b"}, {0}, {NAN, 0}));
        FAIL() << "a probability that is no number was judged";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("learning rate"), std::string::npos) << error.what();
    }
}

TEST(Metrics, JsonHoldsPlainFiguresAndIntervals) {
    const auto c = golden()["cases"][0];
    const Evaluation evaluation =
        judge("test", make(c["class_names"], c["labels"], c["probabilities"]), true, {.resamples = 50, .seed = 3});
    const auto json = nlohmann::json::parse(metrics_to_json(evaluation));
    EXPECT_EQ(json["split"], "test");
    EXPECT_EQ(json["leaky"], true);
    EXPECT_EQ(json["images"], 160);
    EXPECT_EQ(json["lesions"], 160);
    for (const char* key : {"accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "ece"}) {
        ASSERT_TRUE(json[key].is_number()) << key;
        EXPECT_NEAR(json[key].get<double>(), number(c["figures"][key]), 1e-12);
        EXPECT_EQ(json["intervals"][key]["value"], json[key]);
        EXPECT_LE(json["intervals"][key]["low"].get<double>(), json["intervals"][key]["high"].get<double>());
    }
    EXPECT_EQ(json["class_names"], c["class_names"]);
    EXPECT_EQ(json["per_class"].size(), 7);
    EXPECT_EQ(json["intervals"]["per_class"].size(), 7);
    EXPECT_EQ(json["confusion_matrix"][1][1], c["confusion"][8]);
    EXPECT_EQ(json["bootstrap"]["resamples"], 50);
}

TEST(Metrics, JsonWritesTheUndefinedAsNull) {
    const auto json = nlohmann::json::parse(metrics_to_json(judge("va\xFFl", make({"a", "b"}, {0}, {1, 0}))));
    EXPECT_TRUE(json["macro_auc"].is_null());
    EXPECT_TRUE(json["melanoma_sensitivity"].is_null());
    EXPECT_TRUE(json["intervals"]["macro_auc"]["low"].is_null());
    EXPECT_TRUE(json["per_class"][1]["sensitivity"].is_null());
    EXPECT_EQ(json["leaky"], false);
    EXPECT_EQ(json["split"], "va\xEF\xBF\xBDl");
}

}  // namespace
}  // namespace cutis
