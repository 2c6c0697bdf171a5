#include "tools/name_patterns.h"

#include <gtest/gtest.h>

#include "tests/support/error_of.h"

namespace cutis::testing {
namespace {

std::vector<ParameterRef> parameters() {
    std::vector<ParameterRef> all;
    for (const char* name :
         {"features.0.weight", "features.0.bias", "features.10.weight", "classifier.1.weight", "classifier.1.bias"}) {
        all.push_back({name, Variable(Tensor::zeros({1}), true, name), WeightLayout::same, false});
    }
    return all;
}

TEST(NamePatterns, BeginNamesOrFitThemWhole) {
    const std::string name = "features.10.conv.0.weight";
    for (const char* fits : {"", "f", "features.1", "features.10.conv.0.weight", "*", "**", "features.*", "*.weight",
                             "*weight", "features.*.conv.*.weight", "f*.0.*", "*10*", "features.10.conv.0.weight*"}) {
        EXPECT_TRUE(matches_pattern(fits, name)) << fits;
    }
    for (const char* other :
         {"eatures", "features.0", "*.bias", "features.*.conv", "*.weight.*", "weight*", "*.0.*.0.*",
          "features.10.conv.0.weight.", "features.10.conv.0.weight*t", "*features.10.conv.0.weightx"}) {
        EXPECT_FALSE(matches_pattern(other, name)) << other;
    }
    EXPECT_FALSE(matches_pattern("ab*bc", "abc")) << "the b is there once";
}

TEST(NamePatterns, AreReadFromText) {
    EXPECT_TRUE(parse_patterns("--freeze", "").empty());
    EXPECT_EQ(parse_patterns("--freeze", "a,*.b"), (std::vector<std::string>{"a", "*.b"}));
    for (const char* bad : {",", "a,", ",a", "a,,b"}) {
        EXPECT_TRUE(is_line_with(error_of([&] { parse_patterns("--freeze", bad); }), "--freeze", "one comma")) << bad;
    }
    const std::vector<PatternFactor> factors = parse_pattern_factors("--lr-scale", "a=0.5,*.b=2e1");
    ASSERT_EQ(factors.size(), 2u);
    EXPECT_EQ(factors[1].pattern, "*.b");
    EXPECT_EQ(factors[1].factor, 20.0f);
    for (const char* bad : {"a", "a=", "=1", "a=x", "a=1x", "a=0", "a=-1", "a=inf", "a=nan", "a=1=2", "a b= 1"}) {
        EXPECT_TRUE(is_line_with(error_of([&] { parse_pattern_factors("--lr-scale", bad); }), "--lr-scale", bad));
    }
}

TEST(NamePatterns, ThatFitNothingNameWhatIsNear) {
    const std::vector<ParameterRef> all = parameters();
    EXPECT_NO_THROW(require_match("--freeze", "features.1*.weight", all));
    EXPECT_TRUE(is_line_with(error_of([&] { require_match("--freeze", "feature.0.*", all); }), "--freeze feature.0.*",
                             "near it are: features.0, "));
    EXPECT_TRUE(is_line_with(error_of([&] { require_match("--lr-scale", "classifier.1.weights", all); }),
                             "classifier.1.weight, "));
    EXPECT_TRUE(
        is_line_with(error_of([&] { require_match("--freeze", "a\nb" + std::string(5000, 'x'), all); }), "a\\x0ab"));
}

TEST(NamePatterns, GiveLearningRates) {
    const std::vector<ParameterRef> all = parameters();
    const auto rates = [&](std::vector<PatternFactor> scales) {
        std::vector<std::pair<std::string, float>> result;
        for (const Optimizer::Group& group : learning_rate_groups(
                 all, [](std::string_view name) { return name.starts_with("classifier."); }, 1.0f, 4.0f, scales)) {
            for (const ParameterRef& parameter : group.parameters) {
                result.emplace_back(parameter.name, group.lr);
            }
        }
        return result;
    };
    using Rates = std::vector<std::pair<std::string, float>>;
    EXPECT_EQ(rates({}), (Rates{{"features.0.weight", 1.0f},
                                {"features.0.bias", 1.0f},
                                {"features.10.weight", 1.0f},
                                {"classifier.1.weight", 4.0f},
                                {"classifier.1.bias", 4.0f}}));
    // The last pattern that fits counts, and the classifier's factor is on top of its own rate.
    EXPECT_EQ(rates({{"features.", 0.5f}, {"features.10.", 0.25f}, {"*.bias", 2.0f}}),
              (Rates{{"features.0.weight", 0.5f},
                     {"features.0.bias", 2.0f},
                     {"features.10.weight", 0.25f},
                     {"classifier.1.weight", 4.0f},
                     {"classifier.1.bias", 8.0f}}));
}

}  // namespace
}  // namespace cutis::testing
