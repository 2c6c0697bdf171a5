#include "tools/cross_validation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/files.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

TEST(StudentT, EqualsTheTables) {
    EXPECT_NEAR(student_t(0.95, 1), 12.706204736174698, 1e-9);
    EXPECT_NEAR(student_t(0.95, 2), 4.302652729749462, 1e-10);
    EXPECT_NEAR(student_t(0.95, 4), 2.7764451051977934, 1e-10);
    EXPECT_NEAR(student_t(0.95, 9), 2.262157162798205, 1e-10);
    EXPECT_NEAR(student_t(0.90, 3), 2.3533634348018264, 1e-10);
    EXPECT_NEAR(student_t(0.99, 30), 2.7499956535672259, 1e-10);
}

TEST(FoldMean, HasTheDeviationAndTheIntervalOfTheMean) {
    const FoldMean mean = mean_over_folds({0.7, 0.8, kUndefined, 0.6, 0.75, 0.65});
    EXPECT_DOUBLE_EQ(mean.mean, 0.7);
    EXPECT_NEAR(mean.deviation, std::sqrt(0.025 / 4), 1e-12);
    EXPECT_NEAR(mean.interval.high - mean.mean, 2.7764451051977934 * mean.deviation / std::sqrt(5.0), 1e-12);
    EXPECT_NEAR(mean.mean - mean.interval.low, mean.interval.high - mean.mean, 1e-12);
    EXPECT_EQ(mean_over_folds({0.5}).mean, 0.5);
    EXPECT_TRUE(std::isnan(mean_over_folds({0.5}).interval.low)) << "one fold says nothing about the spread";
    EXPECT_TRUE(std::isnan(mean_over_folds({}).mean));
}

TEST(CrossValidation, RefusesADamagedFile) {
    const testing::TempDir folder;
    EXPECT_FALSE(is_cross_validation(folder / "."));
    for (const char* text : {"[]", "{}", "{\"runs\": []}", "{\"runs\": [1]}", "{\"runs\": [\"\"]}"}) {
        write_file_atomically(folder / "folds.json", text);
        EXPECT_TRUE(is_line_with(error_of([&] { fold_runs(folder / "."); }), "folds.json", "'runs'")) << text;
    }
}

}  // namespace
}  // namespace cutis
