#include "tools/isic_scorer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/files.h"
#include "tests/support/error_of.h"
#include "tests/tools/program_case.h"

namespace cutis::testing {
namespace {

nlohmann::json golden() {
    const auto path = std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/isic_scores_golden.json";
    return nlohmann::json::parse(read_text_file(path));
}

void expect_same(const nlohmann::json& actual, const nlohmann::json& expected, const std::string& what) {
    ASSERT_EQ(actual.is_null(), expected.is_null()) << what << ": " << actual << " for " << expected;
    if (!expected.is_null()) {
        EXPECT_NEAR(actual.get<double>(), expected.get<double>(), 1e-12) << what;
    }
}

TEST(IsicScorer, EveryFigureEqualsThePackages) {
    const nlohmann::json cases = golden()["cases"];
    ASSERT_EQ(cases.size(), 15u);
    for (const auto& c : cases) {
        SCOPED_TRACE(c["name"].get<std::string>());
        const IsicTruth truth = parse_isic_truth(c["truth"].get<std::string>(), "truth.csv");
        const std::vector<double> predictions =
            parse_isic_predictions(c["predictions"].get<std::string>(), "p.csv", truth);
        const auto& expected = c["figures"];
        for (const auto& [metric, overall] : expected["overall"].items()) {
            const IsicScore score = isic_score(truth, predictions, isic_metric_named(metric));
            const auto actual = nlohmann::json::parse(isic_score_to_json(truth, score));
            expect_same(actual["overall"], overall, metric);
            expect_same(actual["validation"], expected["validation"][metric], "validation of " + metric);
            expect_same(actual["aggregate"]["balanced_accuracy"], expected["aggregate"]["balanced_accuracy"],
                        "balanced");
            ASSERT_EQ(actual["per_category"].size(), kIsicFigures.size());
            ASSERT_EQ(actual["macro_average"].size(), kIsicFigures.size());
            for (const auto& [figure, value] : expected["macro_average"].items()) {
                expect_same(actual["macro_average"][figure], value, "mean " + figure);
                ASSERT_EQ(actual["per_category"][figure].size(), truth.classes());
                for (const auto& [name, of_class] : expected["per_category"][figure].items()) {
                    expect_same(actual["per_category"][figure][name], of_class, figure + " of " + name);
                }
            }
        }
    }
}

TEST(IsicScorer, RefusesWhatThePackageRefuses) {
    const nlohmann::json refusals = golden()["refusals"];
    ASSERT_EQ(refusals.size(), 27u);
    for (const auto& r : refusals) {
        const IsicTruth truth = parse_isic_truth(r["truth"].get<std::string>(), "truth.csv");
        EXPECT_TRUE(is_line_with(
            error_of([&] { parse_isic_predictions(r["predictions"].get<std::string>(), "p.csv", truth); }), "p.csv"))
            << r["name"];
    }
}

TEST(IsicScorer, NamesPlaceAndRemedy) {
    const IsicTruth truth = parse_isic_truth("image,A,B\nx,1,0\ny,0,1\n", "t.csv");
    const auto refusal = [&](const std::string& text) {
        return error_of([&] { parse_isic_predictions(text, "p.csv", truth); });
    };
    EXPECT_TRUE(is_line_with(refusal("image,A,B\nx,0.5,0.5\ny,0.5,1.5\n"), "p.csv:3", "column B", "1.5", "[0, 1]"));
    EXPECT_TRUE(is_line_with(refusal("image,A,B\nx,0.5,0.5\n"), "'y' is missing"));
    EXPECT_TRUE(is_line_with(refusal("image,A,B\nx,.5,.5\ny,.5,.5\nz,.5,.5\n"), "p.csv:4", "'z'", "remove"));
    EXPECT_TRUE(is_line_with(refusal("image,A,B\nx,.5,.5\nX.jpg,.5,.5\n"), "'y' is missing"));
    EXPECT_TRUE(is_line_with(refusal("image,A,B\nx,1,.5\ny,0,.5\n"), "column A", "1.0"));
}

TEST(IsicScorer, RefusesTruthsThatAreNone) {
    const auto refusal = [](const std::string& text) { return error_of([&] { parse_isic_truth(text, "t.csv"); }); };
    EXPECT_TRUE(is_line_with(refusal("image,A,B\nx,1,0.5\n"), "t.csv:2", "column B", "0 or 1"));
    EXPECT_TRUE(is_line_with(refusal("image,A,B\nx,1,0\nx,1,0\n"), "t.csv:3", "'x'"));
    EXPECT_TRUE(is_line_with(refusal("image\nx\n"), "0 class columns"));
    EXPECT_TRUE(is_line_with(refusal("image,A,B\n"), "0 rows"));
    EXPECT_TRUE(is_line_with(refusal("name,A,B\nx,1,0\n"), "image"));
    EXPECT_TRUE(is_line_with(refusal("image,A,B,score_weight\nx,1,0,-1\n"), "t.csv:2", "score_weight is -1"));
    EXPECT_TRUE(is_line_with(refusal("image,A,B,score_weight\nx,1,0,inf\n"), "score_weight is inf"));
    EXPECT_TRUE(is_line_with(refusal("image,A,B\n,1,0\n"), "t.csv:2", "missing"));

    const IsicTruth weightless = parse_isic_truth("image,A,B,score_weight\nx,1,0,0\ny,0,1,0\n", "t.csv");
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 isic_score(weightless, std::vector<double>{1, 0, 0, 1});
                             }),
                             "none of the 2 images", "score_weight"));
}

TEST(IsicScorer, WeightsStayWithTheirImages) {
    // The truth is not sorted by image; the package would give x the weight of y.
    const IsicTruth truth = parse_isic_truth("image,A,B,score_weight\ny,1,0,3\nx,0,1,1\nz,1,0,1\n", "t.csv");
    const std::vector<double> predictions =
        parse_isic_predictions("image,A,B\nx,0.1,0.9\ny,0.8,0.2\nz,0.3,0.7\n", "p.csv", truth);
    const IsicScore score = isic_score(truth, predictions);
    EXPECT_EQ(score.per_category[0].sensitivity, 0.75);
    EXPECT_EQ(score.balanced_accuracy, 0.875);
}

class ScoreCommand : public ::testing::Test {
  protected:
    std::string file(const std::string& name, const std::string& text) {
        const auto path = folder_ / ("Wertung " + name);
        write_file_atomically(path, text);
        return path.string();
    }
    TempDir folder_;
};

TEST_F(ScoreCommand, PrintsAndWritesTheFigures) {
    const nlohmann::json c = golden()["cases"][1];
    const std::string truth = file("ä.csv", c["truth"]), predictions = file("p.csv", c["predictions"]);
    const std::string json = (folder_ / "score.json").string();
    const ProgramResult result =
        cutis_program({"score", "--truth", truth, "--predictions", predictions, "--json", json, "--metric", "ap"});
    ASSERT_TRUE(succeeded(result));
    EXPECT_TRUE(holds(result.out, "auc_sens_80"));
    EXPECT_TRUE(holds(result.out, "AKIEC"));
    const auto figures = nlohmann::json::parse(read_text_file(json));
    expect_same(figures["overall"], c["figures"]["overall"]["ap"], "overall");
}

TEST_F(ScoreCommand, FailsInOneLine) {
    const std::string truth = file("t.csv", "image,A,B\nx,1,0\ny,0,1\n");
    const std::string good = file("p.csv", "image,A,B\nx,0.9,0.1\ny,0.5,0.5\n");
    EXPECT_TRUE(failed_with(1, cutis_program({"score", "--truth", truth, "--predictions", truth}), "whole numbers"));
    EXPECT_TRUE(failed_with(1, cutis_program({"score", "--truth", good, "--predictions", good}), "0 or 1"));
    EXPECT_TRUE(failed_with(1, cutis_program({"score", "--truth", truth, "--predictions", "none.csv"}), "none.csv"));
    EXPECT_TRUE(failed_with(2, cutis_program({"score", "--truth", truth}), "--predictions"));
    EXPECT_TRUE(failed_with(2, cutis_program({"score", "--truth", truth, "--predictions", good, "--metric", "f1"}),
                            "--metric"));
    EXPECT_TRUE(failed_with(1,
                            cutis_program({"score", "--truth", truth, "--predictions", good, "--json",
                                           (folder_ / "none" / "s.json").string()}),
                            "s.json"));
}

TEST_F(ScoreCommand, WarnsOfClassesWithoutImages) {
    const std::string truth = file("t.csv", "image,A,B,C\nx,1,0,0\ny,0,1,0\n");
    const std::string good = file("p.csv", "image,A,B,C\nx,0.9,0.1,0.0\ny,0.5,0.5,0.0\n");
    const ProgramResult result = cutis_program({"score", "--truth", truth, "--predictions", good});
    EXPECT_EQ(result.status, 0);
    EXPECT_TRUE(holds(result.err, "class C"));
    EXPECT_FALSE(holds(result.err, "class A"));
}

}  // namespace
}  // namespace cutis::testing
