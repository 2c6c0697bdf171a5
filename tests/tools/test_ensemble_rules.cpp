#include "tools/ensemble_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/files.h"
#include "tests/support/error_of.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

using Members = std::vector<std::vector<float>>;

std::vector<float> combined(EnsembleRule rule, const Members& members, const EnsembleFit& fit = {},
                            std::size_t classes = 3) {
    return combine(rule, members, classes, fit);
}

void expect_near(const std::vector<float>& values, const std::vector<double>& wanted) {
    ASSERT_EQ(values.size(), wanted.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        EXPECT_NEAR(values[i], wanted[i], 1e-6) << i;
    }
}

// One image, three members; two are for the first class, one is sure of the second.
const Members kMembers{{0.5f, 0.3f, 0.2f}, {0.4f, 0.35f, 0.25f}, {0.1f, 0.9f, 0.0f}};

TEST(EnsembleRules, AreTheirFormulas) {
    expect_near(combined(EnsembleRule::mean, kMembers), {1.0 / 3, 1.55 / 3, 0.45 / 3});
    const double a = std::cbrt(0.5 * 0.4 * 0.1), b = std::cbrt(0.3 * 0.35 * 0.9), c = std::cbrt(0.2 * 0.25 * 1e-7);
    expect_near(combined(EnsembleRule::product, kMembers), {a / (a + b + c), b / (a + b + c), c / (a + b + c)});
    expect_near(combined(EnsembleRule::vote, kMembers), {(2 + 1.0 / 3) / 4, (1 + 1.55 / 3) / 4, (0.45 / 3) / 4});
    expect_near(combined(EnsembleRule::max, kMembers), {0.5 / 1.65, 0.9 / 1.65, 0.25 / 1.65});
    // Accuracy times confidence: 0.8 * 0.5, 0.5 * 0.4, 0.6 * 0.9.
    const EnsembleFit fit{.accuracy = {0.8, 0.5, 0.6}, .c = 1, .stacking = std::nullopt};
    const double sum = 0.4 + 0.2 + 0.54;
    expect_near(combined(EnsembleRule::weighted, kMembers, fit),
                {(0.4 * 0.5 + 0.2 * 0.4 + 0.54 * 0.1) / sum, (0.4 * 0.3 + 0.2 * 0.35 + 0.54 * 0.9) / sum,
                 (0.4 * 0.2 + 0.2 * 0.25) / sum});
}

TEST(EnsembleRules, TheMajorityWinsAndTheMeanDecidesTies) {
    const auto winner = [](const std::vector<float>& p) { return std::max_element(p.begin(), p.end()) - p.begin(); };
    EXPECT_EQ(winner(combined(EnsembleRule::vote, kMembers)), 0) << "though the mean is for the second";
    EXPECT_EQ(winner(combined(EnsembleRule::mean, kMembers)), 1);
    EXPECT_EQ(winner(combined(EnsembleRule::vote, {{0.6f, 0.4f, 0.0f}, {0.0f, 0.1f, 0.9f}})), 2);
}

TEST(EnsembleRules, OneMemberIsItself) {
    const Members one{{0.5f, 0.25f, 0.25f, 0.125f, 0.75f, 0.125f}};
    for (const EnsembleRule rule : {EnsembleRule::mean, EnsembleRule::product, EnsembleRule::max}) {
        expect_near(combined(rule, one), {0.5, 0.25, 0.25, 0.125, 0.75, 0.125});
    }
    const EnsembleFit fit{.accuracy = {0.3}, .c = 1, .stacking = std::nullopt};
    expect_near(combined(EnsembleRule::weighted, one, fit), {0.5, 0.25, 0.25, 0.125, 0.75, 0.125});
    // Members that were right nowhere weigh nothing; then all weigh the same.
    const EnsembleFit none{.accuracy = {0.0}, .c = 1, .stacking = std::nullopt};
    expect_near(combined(EnsembleRule::weighted, one, none), {0.5, 0.25, 0.25, 0.125, 0.75, 0.125});
}

TEST(EnsembleRules, RefuseWhatDoesNotFit) {
    EXPECT_TRUE(is_line_with(error_of([] { combined(EnsembleRule::mean, {}); }), "0 members"));
    EXPECT_TRUE(is_line_with(error_of([] {
                                 combined(EnsembleRule::mean, {{1, 0, 0}, {1, 0, 0, 1, 0, 0}});
                             }),
                             "3", "6", "the same images"));
    EXPECT_TRUE(is_line_with(error_of([] { combined(EnsembleRule::weighted, kMembers); }), "0 accuracies"));
    EXPECT_TRUE(is_line_with(error_of([] { combined(EnsembleRule::stacked, kMembers); }), "stacking"));
    EXPECT_TRUE(is_line_with(error_of([] { ensemble_rule("sum"); }), "'sum'", "weighted"));
    for (const EnsembleRule rule : ensemble_rules()) {
        EXPECT_EQ(ensemble_rule(name_of(rule)), rule);
    }
}

TEST(Stacking, EqualsScikitLearns) {
    const nlohmann::json golden =
        nlohmann::json::parse(read_text_file(CUTIS_SOURCE_DIR "/tests/data/stacking_golden.json"));
    const auto classes = golden.at("classes").get<std::size_t>();
    std::vector<Predictions> members;
    for (const nlohmann::json& probabilities : golden.at("members")) {
        Predictions member;
        member.labels = golden.at("labels").get<std::vector<int>>();
        member.probabilities = probabilities.get<std::vector<float>>();
        for (std::size_t k = 0; k < classes; ++k) {
            member.class_names.push_back("c" + std::to_string(k));
        }
        for (std::size_t i = 0; i < member.labels.size(); ++i) {
            member.image_ids.push_back("i" + std::to_string(i));
            member.lesion_ids.emplace_back();
        }
        members.push_back(std::move(member));
    }
    for (const nlohmann::json& one : golden.at("cases")) {
        const auto c = one.at("c").get<double>();
        const EnsembleFit fit{.accuracy = {}, .c = c, .stacking = fit_stacking(members, c)};
        const auto weights = one.at("weights").get<std::vector<double>>();
        ASSERT_EQ(fit.stacking->weights.size(), weights.size());
        for (std::size_t j = 0; j < weights.size(); ++j) {
            EXPECT_NEAR(fit.stacking->weights[j], weights[j], 1e-4 * std::max(1.0, std::abs(weights[j])))
                << c << " " << j;
        }
        const auto wanted = one.at("probabilities").get<std::vector<double>>();
        const Predictions stacked = combine(EnsembleRule::stacked, members, fit);
        for (std::size_t j = 0; j < wanted.size(); ++j) {
            EXPECT_NEAR(stacked.probabilities[j], wanted[j], 1e-5) << c << " " << j;
        }
    }
}

TEST(LogisticRegression, RefusesWhatItCannotFit) {
    const std::vector<double> x{1, 2, 3, 4};
    const std::vector<int> labels{0, 1};
    EXPECT_TRUE(is_line_with(error_of([&] { fit_logistic_regression(x, 3, labels, 2, 1); }), "4 numbers"));
    EXPECT_TRUE(is_line_with(error_of([&] { fit_logistic_regression(x, 2, labels, 1, 1); }), "label 1 of 1"));
    EXPECT_TRUE(is_line_with(error_of([&] { fit_logistic_regression(x, 2, labels, 2, 0); }), "C is 0"));
    EXPECT_TRUE(is_line_with(error_of([&] { fit_logistic_regression({}, 2, {}, 2, 1); }), "0 rows"));
    // Of one class only: its probability is near 1, and the fit ends.
    const LogisticRegression one = fit_logistic_regression(x, 2, std::vector<int>{0, 0}, 3, 1);
    EXPECT_GT(one.probabilities(std::vector<double>{1, 2})[0], 0.99);
}

}  // namespace
}  // namespace cutis
