#include <gtest/gtest.h>

#include <vector>

#include "kernels/conv.h"
#include "kernels/linear.h"
#include "kernels/philox.h"
#include "kernels/pointwise.h"
#include "tests/support/error_of.h"
#include "tests/support/reference.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

std::vector<float> integers(std::size_t n, std::uint64_t seed) {
    PhiloxStream words(seed, RandomPurpose::test);
    std::vector<float> values(n);
    for (float& value : values) {
        value = static_cast<float>(words.below(5)) - 2.0f;
    }
    return values;
}

reference::Values widen(const std::vector<float>& values) {
    return {values.begin(), values.end()};
}

TEST(Conv, RefusesShapesThatMakeNoSense) {
    const auto refusal = [](const ConvShape& shape) {
        const std::string forward =
            error_of([&] { cpu::conv_forward(nullptr, nullptr, nullptr, nullptr, shape, nullptr); });
        EXPECT_EQ(forward, error_of([&] {
                      cpu::conv_backward(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, shape);
                  }));
        return forward;
    };
    EXPECT_TRUE(is_line_with(refusal({-1, 4, 4, 3, 2, 3, 3, 1, 1}), "convolution", "n -1"));
    EXPECT_TRUE(is_line_with(refusal({1, 0, 4, 3, 2, 3, 3, 1, 1}), "h 0"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 4, 0, 2, 3, 3, 1, 1}), "c 0"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 4, 3, 0, 3, 3, 1, 1}), "k 0"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 4, 3, 2, 3, 3, 0, 1}), "stride 0"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 4, 3, 2, 3, 3, 1, -1}), "padding -1"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 4, 3, 2, 3, 3, 1, 1, 0}), "groups 0"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 4, 6, 4, 3, 3, 1, 1, 3}), "3 groups", "6 input", "4 output"));
    EXPECT_TRUE(is_line_with(refusal({1, 4, 9, 3, 2, 7, 3, 1, 1}), "7x3", "4x9", "padding 1"));
}

// No images: nothing is written but gradients of zero.
TEST(Conv, AnEmptyBatchGivesGradientsOfZero) {
    for (const int c : {3, 16}) {
        const ConvShape shape{0, 5, 5, c, 2, 3, 3, 1, 1};
        const std::vector<float> w(static_cast<std::size_t>(2 * 9 * c), 1.0f);
        std::vector<float> dw(w.size(), 7.0f), db(2, 7.0f);
        float nothing = 5.0f;
        cpu::conv_forward(&nothing, &nothing, w.data(), nullptr, shape, nullptr);
        cpu::conv_backward(&nothing, dw.data(), db.data(), &nothing, nullptr, &nothing, w.data(), shape);
        EXPECT_EQ(nothing, 5.0f);
        EXPECT_EQ(dw, std::vector<float>(w.size(), 0.0f));
        EXPECT_EQ(db, std::vector<float>(2, 0.0f));
    }
    const std::vector<float> w(6, 1.0f);
    std::vector<float> dw(6, 7.0f), db(2, 7.0f);
    float nothing = 5.0f;
    cpu::pointwise_forward(&nothing, &nothing, w.data(), nullptr, nullptr, 0, 3, 2);
    cpu::pointwise_backward(&nothing, dw.data(), &nothing, nullptr, &nothing, nullptr, nullptr, nullptr, w.data(), 0, 3,
                            2);
    EXPECT_EQ(dw, std::vector<float>(6, 0.0f));
    dw.assign(6, 7.0f);
    cpu::linear_forward(&nothing, &nothing, w.data(), nullptr, 0, 3, 2);
    cpu::linear_backward(&nothing, dw.data(), db.data(), &nothing, &nothing, w.data(), 0, 3, 2);
    EXPECT_EQ(dw, std::vector<float>(6, 0.0f));
    EXPECT_EQ(db, std::vector<float>(2, 0.0f));
    EXPECT_EQ(nothing, 5.0f);
}

TEST(Conv, EachOutputOfTheBackwardPassCanBeLeftOut) {
    for (const int c : {3, 16}) {
        const ConvShape s{2, 5, 4, c, 6, 3, 3, 1, 1};
        const auto x = integers(static_cast<std::size_t>(s.n * s.h * s.w * s.c), 1);
        const auto w = integers(static_cast<std::size_t>(s.k * 9 * s.c), 2);
        const auto dy = integers(static_cast<std::size_t>(s.n * s.p() * s.q() * s.k), 3);
        std::vector<float> dx(x.size()), dw(w.size()), db(6), dx_alone(x.size()), dw_alone(w.size()), db_alone(6);
        cpu::conv_backward(dx.data(), dw.data(), db.data(), dy.data(), nullptr, x.data(), w.data(), s);
        cpu::conv_backward(dx_alone.data(), nullptr, nullptr, dy.data(), nullptr, nullptr, w.data(), s);
        cpu::conv_backward(nullptr, dw_alone.data(), nullptr, dy.data(), nullptr, x.data(), nullptr, s);
        cpu::conv_backward(nullptr, nullptr, db_alone.data(), dy.data(), nullptr, nullptr, nullptr, s);
        EXPECT_EQ(dx, dx_alone);
        EXPECT_EQ(dw, dw_alone);
        EXPECT_EQ(db, db_alone);
        EXPECT_EQ(widen(dx), reference::conv_input_gradient(widen(dy), widen(w), s));
    }
}

// More shapes than are remembered, the first of them once more at the end.
TEST(Conv, ManyShapesInTurnStayRight) {
    for (int turn = 0; turn <= 300; ++turn) {
        const ConvShape s{1, 3 + turn % 30, 3 + turn % 300 / 30, 16, 3, 3, 3, 1, 1};
        const auto x = integers(static_cast<std::size_t>(s.h * s.w * s.c), 1);
        const auto w = integers(static_cast<std::size_t>(s.k * 9 * s.c), 2);
        std::vector<float> y(static_cast<std::size_t>(s.p() * s.q() * s.k));
        cpu::conv_forward(y.data(), x.data(), w.data(), nullptr, s, nullptr);
        ASSERT_EQ(widen(y), reference::conv(widen(x), widen(w), {}, s)) << turn;
    }
}

TEST(Pointwise, RefusesFusionsThatContradictEachOther) {
    const std::vector<float> values(8, 1.0f);
    std::vector<float> out(8);
    const Normalize on_load{values.data(), values.data(), Activation::relu6};
    const NormalizeBackward before{values.data(), values.data(), out.data(), out.data()};
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 cpu::pointwise_backward(out.data(), nullptr, values.data(), nullptr, values.data(),
                                                         &on_load, &before, values.data(), values.data(), 2, 2, 2);
                             }),
                             "pointwise"));
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 cpu::pointwise_backward(out.data(), nullptr, values.data(), nullptr, values.data(),
                                                         nullptr, &before, nullptr, values.data(), 2, 2, 2);
                             }),
                             "pointwise"));
}

TEST(Depthwise, RefusesShapesThatMakeNoSense) {
    for (const DepthwiseShape& shape : {DepthwiseShape{1, 4, 4, 2, 3}, DepthwiseShape{1, 4, 4, 2, 0},
                                        DepthwiseShape{1, 0, 4, 2, 1}, DepthwiseShape{1, 4, 4, 0, 1}}) {
        EXPECT_TRUE(
            is_line_with(error_of([&] { cpu::depthwise_forward(nullptr, nullptr, nullptr, nullptr, nullptr, shape); }),
                         "depthwise"));
        EXPECT_TRUE(is_line_with(error_of([&] {
                                     cpu::depthwise_backward(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                                             nullptr, nullptr, shape);
                                 }),
                                 "depthwise"));
    }
}

}  // namespace
}  // namespace cutis
