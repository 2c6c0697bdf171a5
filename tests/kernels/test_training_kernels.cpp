#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "kernels/softmax_cross_entropy.h"
#include "tests/support/error_of.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

float loss_of(const std::vector<float>& logits, const std::vector<std::int32_t>& labels,
              const CrossEntropyOptions& options) {
    const int n = static_cast<int>(labels.size());
    float loss = -1.0f;
    cpu::softmax_cross_entropy_forward(&loss, nullptr, nullptr, logits.data(), labels.data(), options, n,
                                       n > 0 ? static_cast<int>(logits.size()) / n : 1);
    return loss;
}

TEST(CrossEntropy, RefusesWhatHasNoMeaning) {
    EXPECT_TRUE(is_line_with(error_of([] { loss_of({1, 2, 3, 4, 5, 6}, {1, 3}, {}); }), "label 3", "sample 1", "0..2"));
    EXPECT_TRUE(is_line_with(error_of([] { loss_of({1, 2, 3}, {-1}, {}); }), "label -1", "sample 0"));
    EXPECT_TRUE(is_line_with(error_of([] { loss_of({}, {}, {}); }), "0 samples"));
    EXPECT_TRUE(is_line_with(error_of([] {
                                 loss_of({1, 2}, {0}, {nullptr, 0.1f, 2.0f});
                             }),
                             "smoothing 0.1", "gamma 2"));
    EXPECT_TRUE(is_line_with(error_of([] { loss_of({1, 2}, {0}, {nullptr, 1.5f, 0.0f}); }), "smoothing 1.5"));
    EXPECT_TRUE(is_line_with(error_of([] { loss_of({1, 2}, {0}, {nullptr, 0.0f, -1.0f}); }), "gamma -1"));
    const float weights[] = {0.0f, 1.0f};
    EXPECT_TRUE(is_line_with(error_of([&] { loss_of({1, 2}, {0}, {weights, 0.0f, 0.0f}); }), "weights", "sum to 0"));
    EXPECT_EQ(loss_of({1, 1, 1, 1}, {0, 1}, {weights, 0.0f, 0.0f}), std::log(2.0f));
    std::vector<float> gradient(2);
    const std::int32_t label = 2;
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 cpu::softmax_cross_entropy_backward(gradient.data(), 1.0f, gradient.data(), &label, {},
                                                                     1, 2);
                             }),
                             "label 2"));
}

TEST(CrossEntropy, ExtremeLogitsStayFinite) {
    const float huge = std::numeric_limits<float>::max() / 4;
    EXPECT_EQ(loss_of({huge, -huge}, {0}, {}), 0.0f);
    EXPECT_EQ(loss_of({200.0f, 0.0f}, {1}, {}), 200.0f);
    EXPECT_EQ(loss_of({200.0f, 0.0f}, {0}, {nullptr, 0.0f, 2.0f}), 0.0f);
    EXPECT_EQ(loss_of({200.0f, 0.0f}, {1}, {nullptr, 0.0f, 2.0f}), 200.0f);
    // Where a probability rounds to 0 or 1, focal gradients are finite as well.
    for (const float gamma : {0.5f, 1.0f, 2.0f}) {
        for (const std::int32_t label : {0, 1}) {
            const float probabilities[] = {1.0f, 0.0f};
            float gradient[2];
            cpu::softmax_cross_entropy_backward(gradient, 1.0f, probabilities, &label, {nullptr, 0.0f, gamma}, 1, 2);
            EXPECT_EQ(gradient[0], label == 0 ? 0.0f : 1.0f);
            EXPECT_EQ(gradient[1], label == 0 ? 0.0f : -1.0f);
        }
    }
}

// torch.nn.CrossEntropyLoss(weight=[1, 2, 3], label_smoothing=s) of logits [[1, 2, 3], [1, 0, -1]] and labels [2, 0],
// by its documented formula: log-probabilities are -2.407606, -1.407606, -0.407606, the second row's in reverse.
TEST(CrossEntropy, WeighsAndSmoothsAsDocumented) {
    const float weights[] = {1.0f, 2.0f, 3.0f};
    const std::vector<float> logits = {1, 2, 3, 1, 0, -1};
    EXPECT_NEAR(loss_of(logits, {2, 0}, {}), 0.407606f, 1e-6f);
    EXPECT_NEAR(loss_of(logits, {2, 0}, {weights, 0.0f, 0.0f}), (3 * 0.407606f + 0.407606f) / 4, 1e-6f);
    const float everywhere =
        (2.407606f + 2 * 1.407606f + 3 * 0.407606f + 0.407606f + 2 * 1.407606f + 3 * 2.407606f) / 3;
    EXPECT_NEAR(loss_of(logits, {2, 0}, {weights, 0.1f, 0.0f}), (0.9f * 4 * 0.407606f + 0.1f * everywhere) / 4, 1e-6f);
}

TEST(Softmax, SumsToOneAndMayOverwriteItsInput) {
    std::vector<float> values = {-1e30f, 0.0f, 1e30f, 5.0f, 5.0f, 5.0f};
    cpu::softmax(values.data(), values.data(), 2, 3);
    EXPECT_EQ(values[2], 1.0f);
    EXPECT_EQ(values[0], 0.0f);
    EXPECT_EQ(values[4], 1.0f / 3.0f);
}

// Few classes and many are computed by different code.
TEST(Softmax, OfARowWithNanOrInfinityIsNan) {
    for (const int classes : {7, 1000}) {
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            std::vector<float> values(3 * static_cast<std::size_t>(classes), 0.5f);
            values[static_cast<std::size_t>(classes) * 3 / 2] = bad;
            cpu::softmax(values.data(), values.data(), 3, classes);
            for (int i = 0; i < 3 * classes; ++i) {
                EXPECT_EQ(std::isnan(values[static_cast<std::size_t>(i)]), i / classes == 1) << i << " of " << classes;
            }
        }
    }
}

TEST(Dropout, DropsTheFractionItIsToldAndKeepsTheMean) {
    const std::vector<float> x(100000, 1.0f);
    std::vector<float> y(x.size());
    cpu::dropout_forward(y.data(), x.data(), 0.3f, 1, 2, static_cast<std::int64_t>(x.size()));
    int dropped = 0;
    for (const float value : y) {
        EXPECT_TRUE(value == 0.0f || value == 1.0f / (1.0f - 0.3f));
        dropped += value == 0.0f;
    }
    EXPECT_NEAR(dropped, 30000, 725);  // five standard deviations
}

TEST(Dropout, SeedAndStepChooseTheMask) {
    const std::vector<float> x(1000, 1.0f);
    const auto masked = [&](std::uint64_t seed, std::uint64_t step) {
        std::vector<float> y(x.size());
        cpu::dropout_forward(y.data(), x.data(), 0.5f, seed, step, 1000);
        return y;
    };
    EXPECT_EQ(masked(1, 2), masked(1, 2));
    EXPECT_NE(masked(1, 2), masked(1, 3));
    EXPECT_NE(masked(1, 2), masked(2, 2));
}

// Every split over threads starts inside another group of four words.
TEST(Dropout, TheMaskDoesNotDependOnTheNumberOfThreads) {
    const std::vector<float> x(40001, 1.0f);
    std::vector<float> one(x.size()), many(x.size());
    const int before = thread_count();
    set_thread_count(1);
    cpu::dropout_forward(one.data(), x.data(), 0.5f, 1, 2, 40001);
    for (const int threads : {2, 3, 7}) {
        set_thread_count(threads);
        cpu::dropout_forward(many.data(), x.data(), 0.5f, 1, 2, 40001);
        EXPECT_EQ(one, many) << threads;
    }
    set_thread_count(before);
}

TEST(Dropout, RefusesProbabilitiesOutsideItsInterval) {
    float value = 1.0f;
    for (const float probability : {-0.1f, 1.0f, std::numeric_limits<float>::quiet_NaN()}) {
        EXPECT_TRUE(is_line_with(error_of([&] { cpu::dropout_forward(&value, &value, probability, 1, 1, 1); }),
                                 "dropout", "[0, 1)"));
        EXPECT_TRUE(
            is_line_with(error_of([&] { cpu::dropout_backward(&value, &value, probability, 1, 1, 1); }), "dropout"));
    }
}

TEST(Optimizers, RefuseMomentumWithoutABufferAndStepsBeforeTheFirst) {
    float w = 1.0f, m = 0.0f, v = 0.0f;
    const float g = 1.0f;
    EXPECT_TRUE(is_line_with(error_of([&] { cpu::sgd_step(&w, nullptr, &g, {.lr = 1.0f, .momentum = 0.9f}, true, 1); }),
                             "sgd", "momentum 0.9"));
    EXPECT_TRUE(
        is_line_with(error_of([&] { cpu::rmsprop_step(&w, &v, nullptr, &g, {.lr = 1.0f, .momentum = 0.9f}, 1); }),
                     "rmsprop", "momentum 0.9"));
    EXPECT_TRUE(
        is_line_with(error_of([&] { cpu::adamw_step(&w, &m, &v, &g, {.lr = 1.0f}, 0, 1); }), "adamw", "step 0"));
    EXPECT_EQ(w, 1.0f);
}

TEST(SquaredNorm, IsTheSameOnAnyNumberOfThreadsAndSummedInDouble) {
    std::vector<float> x(100003);
    PhiloxStream words(1, RandomPurpose::test);
    double expected = 0.0;
    for (float& value : x) {
        value = words.uniform(-1.0f, 1.0f);
        expected += static_cast<double>(value) * static_cast<double>(value);
    }
    const int before = thread_count();
    set_thread_count(1);
    const double one = cpu::squared_norm(x.data(), 100003);
    EXPECT_NEAR(one, expected, 1e-9 * expected);
    for (const int threads : {2, 3, 5}) {
        set_thread_count(threads);
        EXPECT_EQ(cpu::squared_norm(x.data(), 100003), one);
    }
    set_thread_count(before);
    EXPECT_EQ(cpu::squared_norm(nullptr, 0), 0.0);
    const float largest = std::numeric_limits<float>::max();
    EXPECT_TRUE(std::isfinite(cpu::squared_norm(&largest, 1)));
}

TEST(Activations, LetNaNPassAndClampInfinities) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float x[] = {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity};
    float y[3];
    cpu::activation_forward(y, x, Activation::relu6, 3);
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_EQ(y[1], 6.0f);
    EXPECT_EQ(y[2], 0.0f);
    cpu::activation_forward(y, x, Activation::relu, 3);
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_EQ(y[1], kInfinity);
    EXPECT_EQ(y[2], 0.0f);
}

}  // namespace
}  // namespace cutis
