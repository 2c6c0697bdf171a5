#include "tools/linear_svm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/files.h"
#include "engine/safetensors.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis::testing {
namespace {

std::vector<std::string> names(std::size_t classes) {
    std::vector<std::string> result;
    for (std::size_t k = 0; k < classes; ++k) {
        result.push_back("class" + std::to_string(k));
    }
    return result;
}

TEST(LinearSvm, DecisionsEqualScikitLearns) {
    const auto path = std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/svm_golden.json";
    const nlohmann::json cases = nlohmann::json::parse(read_text_file(path))["cases"];
    ASSERT_EQ(cases.size(), 5u);
    for (const auto& c : cases) {
        SCOPED_TRACE(c["name"].get<std::string>());
        const std::vector<float> x = c["x"], test = c["test"];
        const std::vector<int> labels = c["labels"];
        const std::vector<double> expected = c["decisions"];
        const LinearSvm svm = train_svm(x, labels, names(c["classes"].get<std::size_t>()),
                                        {.c = c["c"], .tolerance = 1e-9, .passes = 1000000});
        EXPECT_TRUE(svm.unfinished.empty());
        const std::vector<double> decisions = svm.decisions(test);
        ASSERT_EQ(decisions.size(), expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) {
            EXPECT_NEAR(decisions[i], expected[i], 2e-5 * (1 + std::abs(expected[i]))) << i;  // points are fp32
        }
    }
}

/// `n` points of 7 values, three classes around three centres.
struct Clouds {
    explicit Clouds(int n, float apart = 3.0f) {
        PhiloxStream random(3, RandomPurpose::test);
        for (int i = 0; i < n; ++i) {
            labels.push_back(i % 3);
            for (int j = 0; j < 7; ++j) {
                x.push_back(random.normal() + (j == labels.back() ? apart : 0.0f));
            }
        }
    }
    std::vector<float> x;
    std::vector<int> labels;
};

TEST(LinearSvm, DoesNotDependOnThreadsAndRepeats) {
    const Clouds clouds(61);
    const int threads = thread_count();
    set_thread_count(1);
    const LinearSvm one = train_svm(clouds.x, clouds.labels, names(3));
    set_thread_count(3);
    const LinearSvm three = train_svm(clouds.x, clouds.labels, names(3));
    set_thread_count(threads);
    EXPECT_EQ(one.weight, three.weight);
    EXPECT_EQ(one.bias, three.bias);
    EXPECT_EQ(one.decisions(clouds.x), three.decisions(clouds.x));
}

TEST(LinearSvm, SaysWhichClassesThePassesDidNotSuffice) {
    const Clouds clouds(60, 0.1f);
    const LinearSvm svm = train_svm(clouds.x, clouds.labels, names(3), {.c = 100, .tolerance = 1e-9, .passes = 1});
    EXPECT_EQ(svm.unfinished, (std::vector<int>{0, 1, 2}));
}

TEST(LinearSvm, AClassWithoutImagesIsNeverChosen) {
    const Clouds clouds(60);
    const LinearSvm svm = train_svm(clouds.x, clouds.labels, names(4));
    const std::vector<double> decisions = svm.decisions(clouds.x);
    for (std::size_t i = 0; i < 60; ++i) {
        EXPECT_LT(decisions[i * 4 + 3], -0.9);
    }
}

TEST(LinearSvm, SlopeIsTheOneOfLeastLoss) {
    const Clouds clouds(60, 1.0f), others(90, 1.0f);
    LinearSvm svm = train_svm(clouds.x, clouds.labels, names(3));
    const auto nll = [&](double slope) {
        svm.slope = slope;
        const std::vector<float> p = svm.probabilities(others.x);
        double sum = 0;
        for (std::size_t i = 0; i < others.labels.size(); ++i) {
            sum -= std::log(static_cast<double>(p[i * 3 + static_cast<std::size_t>(others.labels[i])]));
        }
        return sum;
    };
    const double slope = fitted_slope(svm, others.x, others.labels);
    EXPECT_GT(slope, 0.1);
    EXPECT_LT(nll(slope), nll(slope * 1.05));
    EXPECT_LT(nll(slope), nll(slope / 1.05));
}

TEST(LinearSvm, ProbabilitiesSumToOneAndKeepTheWinner) {
    const Clouds clouds(30);
    LinearSvm svm = train_svm(clouds.x, clouds.labels, names(3));
    svm.slope = 900;  // exp(900 * a decision) is beyond every double
    const std::vector<float> p = svm.probabilities(clouds.x);
    const std::vector<double> decisions = svm.decisions(clouds.x);
    for (std::size_t i = 0; i < 90; i += 3) {
        EXPECT_NEAR(p[i] + p[i + 1] + p[i + 2], 1, 1e-6);
        EXPECT_EQ(
            std::max_element(p.begin() + static_cast<int>(i), p.begin() + static_cast<int>(i + 3)) - p.begin(),
            std::max_element(decisions.begin() + static_cast<int>(i), decisions.begin() + static_cast<int>(i + 3)) -
                decisions.begin());
    }
}

TEST(LinearSvm, ReadsWhatItSaved) {
    const TempDir folder;
    const auto path = folder / "Maschine ä.safetensors";
    const Clouds clouds(30);
    LinearSvm svm = train_svm(clouds.x, clouds.labels, {"A", "B c", "Ü"});
    svm.slope = 1.25;
    save_svm(path, svm, {{"model", "mobilenet_v2"}});
    const LinearSvm again = read_svm(path);
    EXPECT_EQ(again.class_names, svm.class_names);
    EXPECT_EQ(again.slope, 1.25);
    EXPECT_EQ(again.c, 1.0);
    const std::vector<double> expected = svm.decisions(clouds.x), decisions = again.decisions(clouds.x);
    for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(decisions[i], expected[i], 1e-5);
    }
}

TEST(LinearSvm, RefusesOtherFiles) {
    const TempDir folder;
    const auto path = folder / "x.safetensors";
    const Clouds clouds(30);
    LinearSvm svm = train_svm(clouds.x, clouds.labels, names(3));
    const auto refusal = [&] { return error_of([&] { read_svm(path); }); };
    const auto write = [&](const LinearSvm& changed) { save_svm(path, changed); };

    write_safetensors(path, {});
    EXPECT_TRUE(is_line_with(refusal(), "x.safetensors", "class_names"));
    LinearSvm changed = svm;
    write(svm);
    EXPECT_EQ(refusal(), "(no error)");
    changed = svm;
    changed.class_names = {"one,two", "three", "four"};
    write(changed);
    EXPECT_TRUE(is_line_with(refusal(), "weight", "4 classes"));
    changed = svm;
    changed.deviation[2] = 0;
    write(changed);
    EXPECT_TRUE(is_line_with(refusal(), "std", "positive"));
    changed = svm;
    changed.bias[1] = std::numeric_limits<double>::quiet_NaN();
    write(changed);
    EXPECT_TRUE(is_line_with(refusal(), "bias", "no numbers"));
    changed = svm;
    changed.slope = -1;
    write(changed);
    EXPECT_TRUE(is_line_with(refusal(), "slope", "-1"));
}

TEST(LinearSvm, RefusesWhatCannotTrain) {
    const std::vector<float> x{1, 2, 3, 4};
    const std::vector<int> labels{0, 1};
    EXPECT_TRUE(is_line_with(error_of([&] { train_svm(x, std::vector<int>{0, 1, 0}, names(2)); }), "4 values", "3"));
    EXPECT_TRUE(is_line_with(error_of([&] { train_svm(x, labels, names(1)); }), "label 1 of 1"));
    EXPECT_TRUE(is_line_with(error_of([&] { train_svm(x, labels, names(2), {.c = 0}); }), "C is 0"));
    const std::vector<float> broken{1, 2, std::numeric_limits<float>::infinity(), 4};
    EXPECT_TRUE(is_line_with(error_of([&] { train_svm(broken, labels, names(2)); }), "finite"));
    const LinearSvm svm = train_svm(x, labels, names(2));
    EXPECT_TRUE(is_line_with(error_of([&] { svm.decisions(std::vector<float>{1, 2, 3}); }), "3 values", "points of 2"));
}

}  // namespace
}  // namespace cutis::testing
