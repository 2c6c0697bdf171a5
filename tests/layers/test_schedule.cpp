#include "layers/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/support/error_of.h"

namespace cutis::testing {
namespace {

TEST(Schedule, ConstantStaysAtOne) {
    const Schedule schedule{.kind = ScheduleKind::constant, .total_steps = 10};
    for (const std::int64_t step : {0, 1, 9, 10, 1000}) {
        EXPECT_EQ(schedule.factor(step), 1.0);
    }
}

TEST(Schedule, WarmsUpInEqualSteps) {
    for (const ScheduleKind kind : {ScheduleKind::constant, ScheduleKind::cosine, ScheduleKind::step}) {
        const Schedule schedule{.kind = kind, .total_steps = 100, .warmup_steps = 4};
        EXPECT_DOUBLE_EQ(schedule.factor(0), 0.25);
        EXPECT_DOUBLE_EQ(schedule.factor(1), 0.5);
        EXPECT_DOUBLE_EQ(schedule.factor(3), 1.0);
        EXPECT_DOUBLE_EQ(schedule.factor(4), 1.0);
    }
}

TEST(Schedule, CosineGoesFromOneToNothing) {
    const Schedule schedule{.kind = ScheduleKind::cosine, .total_steps = 110, .warmup_steps = 10};
    EXPECT_DOUBLE_EQ(schedule.factor(10), 1.0);
    EXPECT_NEAR(schedule.factor(60), 0.5, 1e-12);
    EXPECT_NEAR(schedule.factor(35), 0.5 + 0.25 * std::numbers::sqrt2, 1e-12);
    EXPECT_NEAR(schedule.factor(85), 0.5 - 0.25 * std::numbers::sqrt2, 1e-12);
    EXPECT_GT(schedule.factor(109), 0.0);
    EXPECT_NEAR(schedule.factor(110), 0.0, 1e-12);
    EXPECT_NEAR(schedule.factor(500), 0.0, 1e-12);
    for (std::int64_t step = 10; step < 110; ++step) {
        EXPECT_GT(schedule.factor(step), schedule.factor(step + 1));
    }
}

TEST(Schedule, StairsFallEverySoManySteps) {
    const Schedule schedule{
        .kind = ScheduleKind::step, .total_steps = 100, .warmup_steps = 5, .decay_every = 20, .decay = 0.5f};
    EXPECT_EQ(schedule.factor(5), 1.0);
    EXPECT_EQ(schedule.factor(24), 1.0);
    EXPECT_EQ(schedule.factor(25), 0.5);
    EXPECT_EQ(schedule.factor(44), 0.5);
    EXPECT_EQ(schedule.factor(45), 0.25);
}

TEST(Schedule, StairsHaveThreeTreadsUnlessToldOtherwise) {
    const Schedule schedule{.kind = ScheduleKind::step, .total_steps = 32, .warmup_steps = 2, .decay = 0.5f};
    EXPECT_EQ(schedule.factor(11), 1.0);
    EXPECT_EQ(schedule.factor(12), 0.5);
    EXPECT_EQ(schedule.factor(22), 0.25);
    EXPECT_EQ(schedule.factor(31), 0.25);
    const Schedule uneven{.kind = ScheduleKind::step, .total_steps = 31, .decay = 0.5f};
    EXPECT_EQ(uneven.factor(30), 0.25);
}

TEST(Schedule, RunsShorterThanTheirWarmUpStayDefined) {
    for (const ScheduleKind kind : {ScheduleKind::constant, ScheduleKind::cosine, ScheduleKind::step}) {
        const Schedule schedule{.kind = kind, .total_steps = 2, .warmup_steps = 5};
        EXPECT_DOUBLE_EQ(schedule.factor(1), 0.4);
        EXPECT_TRUE(std::isfinite(schedule.factor(5)));
        EXPECT_TRUE(std::isfinite(schedule.factor(6)));
    }
}

TEST(ScheduleNames, AreKnown) {
    EXPECT_EQ(schedule_from_name("constant"), ScheduleKind::constant);
    EXPECT_EQ(schedule_from_name("cosine"), ScheduleKind::cosine);
    EXPECT_EQ(schedule_from_name("step"), ScheduleKind::step);
    EXPECT_TRUE(is_line_with(error_of([] { schedule_from_name("linear"); }), "'linear'", "constant, cosine or step"));
}

}  // namespace
}  // namespace cutis::testing
