// oneDNN's side of every call against ours, which tests of its own hold to float64.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/linear.h"
#include "kernels/philox.h"
#include "kernels/pointwise.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/vendor/onednn.h"
#include "tests/support/error_of.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

using Floats = std::vector<float>;

Floats noise(std::int64_t count, std::uint64_t seed) {
    Floats values(static_cast<std::size_t>(count));
    PhiloxStream random(seed, RandomPurpose::test);
    for (float& value : values) {
        value = random.uniform(-1.0f, 1.0f);
    }
    return values;
}
Floats nan(std::int64_t count) {
    return Floats(static_cast<std::size_t>(count), std::nanf(""));
}

// Within `bound` of the largest value.
void expect_near(const Floats& theirs, const Floats& ours, const char* what, float bound = 2e-5f) {
    ASSERT_EQ(theirs.size(), ours.size());
    float largest = 1e-3f;
    for (const float value : ours) {
        largest = std::max(largest, std::abs(value));
    }
    for (std::size_t i = 0; i < ours.size(); ++i) {
        ASSERT_NEAR(theirs[i], ours[i], bound * largest) << what << "[" << i << "]";
    }
}

TEST(Onednn, ConvolutionsAndTheirGradients) {
    const ConvShape shapes[] = {{2, 9, 11, 3, 5, 3, 3, 2, 1},     {1, 8, 8, 16, 32, 3, 3, 1, 1},
                                {3, 7, 5, 8, 8, 3, 3, 1, 0, 4},   {2, 8, 6, 32, 16, 1, 1, 2, 0},
                                {1, 27, 27, 4, 6, 5, 5, 1, 2, 2}, {2, 35, 33, 3, 8, 11, 11, 4, 2}};
    for (const ConvShape& s : shapes) {
        SCOPED_TRACE(::testing::Message()
                     << s.h << "x" << s.w << "x" << s.c << " to " << s.k << " groups " << s.groups);
        const std::int64_t in = std::int64_t{s.n} * s.h * s.w * s.c, out = std::int64_t{s.n} * s.p() * s.q() * s.k;
        const std::int64_t filter = std::int64_t{s.k} * s.r * s.s * s.c / s.groups;
        const Floats x = noise(in, 1), w = noise(filter, 2), bias = noise(s.k, 3), dy = noise(out, 4);
        for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
            Floats theirs = nan(out), ours = nan(out);
            onednn::conv_forward(theirs.data(), x.data(), w.data(), b, s, nullptr);
            cpu::conv_forward_im2col(ours.data(), x.data(), w.data(), b, s, nullptr);
            expect_near(theirs, ours, "y");
            // Joined on: statistics. By way of oneDNN and without it.
            Floats mean = nan(s.k), var = nan(s.k), our_mean = nan(s.k), our_var = nan(s.k);
            const BatchStatistics statistics{mean.data(), var.data()}, our_statistics{our_mean.data(), our_var.data()};
            cpu::conv_forward(theirs.data(), x.data(), w.data(), b, s, &statistics);
            cpu::conv_forward_im2col(ours.data(), x.data(), w.data(), b, s, &our_statistics);
            expect_near(mean, our_mean, "mean");
            expect_near(var, our_var, "var");
        }
        Floats dx = nan(in), dw = nan(filter), db = nan(s.k), our_dx = nan(in), our_dw = nan(filter), our_db = nan(s.k);
        onednn::conv_backward(dx.data(), dw.data(), db.data(), dy.data(), nullptr, x.data(), w.data(), s);
        cpu::conv_backward_im2col(our_dx.data(), our_dw.data(), our_db.data(), dy.data(), nullptr, x.data(), w.data(),
                                  s);
        expect_near(dx, our_dx, "dx");
        expect_near(dw, our_dw, "dw");
        expect_near(db, our_db, "db");
        // Joined on: batchnorm's input gradient.
        const Floats y = noise(out, 5), a = noise(s.k, 6), b = noise(s.k, 7), d = noise(s.k, 8);
        const GradientOnLoad on_load{y.data(), a.data(), b.data(), d.data()};
        cpu::conv_backward(dx.data(), dw.data(), db.data(), dy.data(), &on_load, x.data(), w.data(), s);
        cpu::conv_backward_im2col(our_dx.data(), our_dw.data(), our_db.data(), dy.data(), &on_load, x.data(), w.data(),
                                  s);
        expect_near(dx, our_dx, "joined dx");
        expect_near(dw, our_dw, "joined dw");
        expect_near(db, our_db, "joined db");
    }
}

TEST(Onednn, DepthwiseAndPointwiseConvolutions) {
    for (const DepthwiseShape& s : {DepthwiseShape{2, 9, 7, 24, 1}, DepthwiseShape{1, 8, 8, 5, 2},
                                    DepthwiseShape{3, 1, 1, 16, 1}, DepthwiseShape{2, 7, 10, 33, 2}}) {
        SCOPED_TRACE(::testing::Message() << s.h << "x" << s.w << "x" << s.c << " stride " << s.stride);
        const std::int64_t in = std::int64_t{s.n} * s.h * s.w * s.c, out = std::int64_t{s.n} * s.p() * s.q() * s.c;
        const Floats x = noise(in, 1), w = noise(9 * s.c, 2), dy = noise(out, 3);
        Floats y = nan(out), our_y = nan(out), dx = nan(in), our_dx = nan(in), dw = nan(9 * s.c), our_dw = dw;
        onednn::depthwise_forward(y.data(), x.data(), w.data(), nullptr, nullptr, s);
        cpu::depthwise_forward(our_y.data(), x.data(), w.data(), nullptr, nullptr, s);
        onednn::depthwise_backward(dx.data(), dw.data(), dy.data(), nullptr, x.data(), nullptr, nullptr, w.data(), s);
        cpu::depthwise_backward(our_dx.data(), our_dw.data(), dy.data(), nullptr, x.data(), nullptr, nullptr, w.data(),
                                s);
        expect_near(y, our_y, "y");
        expect_near(dx, our_dx, "dx");
        expect_near(dw, our_dw, "dw");
    }
    const std::int64_t rows = 77;
    const int c = 13, k = 19;
    const Floats x = noise(rows * c, 1), w = noise(c * k, 2), dy = noise(rows * k, 3);
    Floats y = nan(rows * k), our_y = y, dx = nan(rows * c), our_dx = dx, dw = nan(c * k), our_dw = dw;
    onednn::pointwise_forward(y.data(), x.data(), w.data(), nullptr, nullptr, rows, c, k);
    cpu::pointwise_forward(our_y.data(), x.data(), w.data(), nullptr, nullptr, rows, c, k);
    onednn::pointwise_backward(dx.data(), dw.data(), dy.data(), nullptr, x.data(), nullptr, nullptr, nullptr, w.data(),
                               rows, c, k);
    cpu::pointwise_backward(our_dx.data(), our_dw.data(), dy.data(), nullptr, x.data(), nullptr, nullptr, nullptr,
                            w.data(), rows, c, k);
    expect_near(y, our_y, "y");
    expect_near(dx, our_dx, "dx");
    expect_near(dw, our_dw, "dw");
}

TEST(Onednn, Linear) {
    const std::int64_t rows = 5;
    const int c = 37, k = 7;
    const Floats x = noise(rows * c, 1), w = noise(c * k, 2), bias = noise(k, 3), dy = noise(rows * k, 4);
    for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
        Floats y = nan(rows * k), our_y = y;
        onednn::linear_forward(y.data(), x.data(), w.data(), b, rows, c, k);
        cpu::linear_forward(our_y.data(), x.data(), w.data(), b, rows, c, k);
        expect_near(y, our_y, "y");
    }
    Floats our_dx = nan(rows * c), our_dw = nan(c * k), our_db = nan(k);
    cpu::linear_backward(our_dx.data(), our_dw.data(), our_db.data(), dy.data(), x.data(), w.data(), rows, c, k);
    for (const bool weights : {true, false}) {
        for (const bool has_bias : {true, false}) {
            Floats dx = nan(rows * c), dw = nan(c * k), db = nan(k);
            onednn::linear_backward(dx.data(), weights ? dw.data() : nullptr, has_bias ? db.data() : nullptr, dy.data(),
                                    x.data(), w.data(), rows, c, k);
            expect_near(dx, our_dx, "dx");
            if (weights) {
                expect_near(dw, our_dw, "dw");
            }
            if (has_bias) {
                expect_near(db, our_db, "db");
            }
        }
    }
}

TEST(Onednn, Batchnorm) {
    const std::int64_t rows = 123;
    const int c = 21;
    const float eps = 1e-5f;
    Floats y = noise(rows * c, 1);
    for (float& value : y) {
        value = 4.0f * value + 1.0f;
    }
    const Floats gamma = noise(c, 2), beta = noise(c, 3), residual = noise(rows * c, 4), dz = noise(rows * c, 5);
    for (const Activation act : {Activation::identity, Activation::relu, Activation::relu6}) {
        SCOPED_TRACE(static_cast<int>(act));
        const float* const added = act == Activation::identity ? residual.data() : nullptr;
        Floats z = nan(rows * c), mean = nan(c), var = mean, scale = mean, shift = mean, inv_std = mean;
        Floats our_z = z, our_mean = mean, our_var = mean, our_scale = mean, our_shift = mean, our_inv_std = mean;
        onednn::batchnorm_forward(z.data(), {mean.data(), var.data(), scale.data(), shift.data(), inv_std.data()},
                                  y.data(), gamma.data(), beta.data(), eps, act, added, rows, c);
        cpu::batchnorm_statistics(our_mean.data(), our_var.data(), y.data(), rows, c);
        cpu::batchnorm_fold(our_scale.data(), our_shift.data(), our_inv_std.data(), gamma.data(), beta.data(),
                            our_mean.data(), our_var.data(), eps, c);
        cpu::batchnorm_normalize(our_z.data(), y.data(), {our_scale.data(), our_shift.data(), act}, added, rows, c);
        expect_near(mean, our_mean, "mean");
        expect_near(var, our_var, "var");
        expect_near(scale, our_scale, "scale");
        expect_near(shift, our_shift, "shift");
        expect_near(inv_std, our_inv_std, "inv_std");
        expect_near(z, our_z, "z");

        Floats dy = nan(rows * c), dgamma = nan(c), dbeta = nan(c), our_dy = dy, our_dgamma = dgamma, our_dbeta = dbeta;
        const BatchnormBatch batch{mean.data(), var.data(), inv_std.data(), eps};
        onednn::batchnorm_backward(dy.data(), dgamma.data(), dbeta.data(), dz.data(), y.data(), z.data(), batch,
                                   gamma.data(), act, rows, c);
        const Normalize normalize{our_scale.data(), our_shift.data(), act};
        cpu::batchnorm_reduce(nullptr, {our_mean.data(), our_inv_std.data(), our_dgamma.data(), our_dbeta.data()},
                              dz.data(), y.data(), normalize, rows, c);
        Floats a = nan(c), b = nan(c), d = nan(c);
        cpu::batchnorm_gradient_coefficients(a.data(), b.data(), d.data(), gamma.data(), our_mean.data(),
                                             our_inv_std.data(), our_dgamma.data(), our_dbeta.data(), rows, c);
        cpu::batchnorm_apply_gradient(our_dy.data(), dz.data(), {y.data(), a.data(), b.data(), d.data()}, &normalize,
                                      rows, c);
        expect_near(dgamma, our_dgamma, "dgamma");
        expect_near(dbeta, our_dbeta, "dbeta");
        expect_near(dy, our_dy, "dy");
        Floats again_gamma = nan(c), again_beta = nan(c);
        onednn::batchnorm_backward(nullptr, again_gamma.data(), again_beta.data(), dz.data(), y.data(), z.data(), batch,
                                   gamma.data(), act, rows, c);
        expect_near(again_gamma, dgamma, "dgamma without dy");
        expect_near(again_beta, dbeta, "dbeta without dy");
    }
}

TEST(Onednn, ValueByValue) {
    const std::int64_t n = 1003;
    Floats x = noise(n, 1);
    for (float& value : x) {
        value *= 9.0f;
    }
    x[3] = 0.0f;
    x[4] = 6.0f;
    const Floats dy = noise(n, 2);
    for (const Activation act : {Activation::relu, Activation::relu6}) {
        Floats y = nan(n), our_y = y, dx = y, our_dx = y;
        onednn::activation_forward(y.data(), x.data(), act, n);
        cpu::activation_forward(our_y.data(), x.data(), act, n);
        onednn::activation_backward(dx.data(), dy.data(), x.data(), act, n);
        cpu::activation_backward(our_dx.data(), dy.data(), x.data(), act, n);
        EXPECT_EQ(y, our_y);
        EXPECT_EQ(dx, our_dx);
    }
    Floats sum = nan(n), our_sum = sum;
    onednn::add(sum.data(), x.data(), dy.data(), n);
    cpu::add(our_sum.data(), x.data(), dy.data(), n);
    EXPECT_EQ(sum, our_sum);
    Floats p = nan(n), our_p = p;
    onednn::softmax(p.data(), x.data(), 17, 59);
    cpu::softmax(our_p.data(), x.data(), 17, 59);
    p.resize(17 * 59);
    our_p.resize(17 * 59);
    expect_near(p, our_p, "softmax");
}

TEST(Onednn, Pooling) {
    for (const PoolShape& s :
         {PoolShape{2, 8, 6, 5, 2, 2, 0}, PoolShape{1, 7, 9, 16, 3, 2, 1}, PoolShape{2, 8, 8, 16, 3, 2, 0, true},
          PoolShape{3, 5, 5, 3, 3, 1, 1}, PoolShape{1, 6, 6, 8, 5, 3, 0}, PoolShape{1, 14, 14, 7, 3, 2, 1, true}}) {
        SCOPED_TRACE(::testing::Message() << s.h << "x" << s.w << " window " << s.window << " stride " << s.stride);
        const std::int64_t in = std::int64_t{s.n} * s.h * s.w * s.c, out = std::int64_t{s.n} * s.p() * s.q() * s.c;
        const Floats x = noise(in, 1), dy = noise(out, 2);
        std::vector<std::uint8_t> marks(static_cast<std::size_t>(onednn::max_pool_marks(s))),
            our_marks(static_cast<std::size_t>(out));
        Floats y = nan(out), our_y = y, dx = nan(in), our_dx = dx;
        onednn::max_pool_forward(y.data(), marks.data(), x.data(), s);
        onednn::max_pool_backward(dx.data(), dy.data(), marks.data(), s);
        cpu::max_pool_forward(our_y.data(), our_marks.data(), x.data(), s);
        cpu::max_pool_backward(our_dx.data(), dy.data(), our_marks.data(), s);
        expect_near(y, our_y, "max y");
        expect_near(dx, our_dx, "max dx");
        y = our_y = nan(out);
        dx = our_dx = nan(in);
        onednn::average_pool_forward(y.data(), x.data(), s);
        onednn::average_pool_backward(dx.data(), dy.data(), s);
        cpu::average_pool_forward(our_y.data(), x.data(), s);
        cpu::average_pool_backward(our_dx.data(), dy.data(), s);
        expect_near(y, our_y, "average y");
        expect_near(dx, our_dx, "average dx");
    }
    const int n = 3, hw = 49, c = 21;
    const Floats x = noise(n * hw * c, 1), dy = noise(n * c, 2);
    Floats y = nan(n * c), our_y = y, dx = nan(n * hw * c), our_dx = dx;
    onednn::global_average_pool_forward(y.data(), x.data(), nullptr, n, hw, c);
    onednn::global_average_pool_backward(dx.data(), dy.data(), nullptr, nullptr, nullptr, n, hw, c);
    cpu::global_average_pool_forward(our_y.data(), x.data(), nullptr, n, hw, c);
    cpu::global_average_pool_backward(our_dx.data(), dy.data(), nullptr, nullptr, nullptr, n, hw, c);
    expect_near(y, our_y, "global y");
    expect_near(dx, our_dx, "global dx");
}

TEST(Onednn, LocalResponseNormAndConcatenation) {
    const std::int64_t rows = 35;
    const int c = 24;
    const Floats x = noise(rows * c, 1), dy = noise(rows * c, 2);
    const LocalResponseNorm norm{.size = 5, .alpha = 0.3f, .beta = 0.75f, .k = 2.0f};
    ASSERT_TRUE(onednn::serves(norm));
    EXPECT_FALSE(onednn::serves(LocalResponseNorm{.size = 4}));
    std::vector<char> workspace(static_cast<std::size_t>(onednn::local_response_norm_workspace_bytes(norm, rows, c)) +
                                1);
    Floats y = nan(rows * c), our_y = y, dx = y, our_dx = y;
    onednn::vendor_local_response_norm_forward(y.data(), workspace.data(), x.data(), norm, rows, c);
    onednn::vendor_local_response_norm_backward(dx.data(), dy.data(), x.data(), workspace.data(), norm, rows, c);
    cpu::local_response_norm_forward(our_y.data(), x.data(), norm, rows, c);
    cpu::local_response_norm_backward(our_dx.data(), dy.data(), x.data(), norm, rows, c);
    expect_near(y, our_y, "y");
    expect_near(dx, our_dx, "dx");

    const ChannelPart<const float> parts[] = {{x.data(), 5}, {dy.data(), 16}, {our_y.data(), 3}};
    Floats joined = nan(rows * 24), our_joined = joined;
    onednn::concat_channels(joined.data(), parts, rows);
    cpu::concat_channels(our_joined.data(), parts, rows);
    EXPECT_EQ(joined, our_joined);
}

TEST(Onednn, Lstm) {
    for (const LstmShape& s : {LstmShape{3, 7, 10, 12}, LstmShape{1, 1, 5, 4}, LstmShape{2, 49, 33, 16}}) {
        for (const bool started : {false, true}) {
            SCOPED_TRACE(::testing::Message() << s.n << " x " << s.t << " x " << s.c << ", h " << s.h << started);
            const std::int64_t steps = std::int64_t{s.n} * s.t, states = std::int64_t{s.n} * s.h;
            const Floats x = noise(steps * s.c, 1), w_ih = noise(4 * s.h * s.c, 2), w_hh = noise(4 * s.h * s.h, 3),
                         b_ih = noise(4 * s.h, 4), b_hh = noise(4 * s.h, 5), h0 = noise(states, 6),
                         c0 = noise(states, 7), dy = noise(steps * s.h, 8), dc_n = noise(states, 9);
            const LstmWeights weights{w_ih.data(), w_hh.data(), b_ih.data(), started ? nullptr : b_hh.data()};
            const LstmState start{started ? h0.data() : nullptr, started ? c0.data() : nullptr};
            const float* const from_above = started ? dc_n.data() : nullptr;
            Floats y = nan(steps * s.h), our_y = y, c_n = nan(states), our_c_n = c_n;
            std::vector<char> workspace(static_cast<std::size_t>(onednn::lstm_workspace_bytes(s)));
            Floats gates = nan(steps * 4 * s.h), cells = nan(steps * s.h);
            onednn::vendor_lstm_forward(y.data(), c_n.data(), workspace.data(), x.data(), weights, start, s);
            cpu::lstm_forward(our_y.data(), {gates.data(), cells.data()}, x.data(), weights, start, s);
            for (int i = 0; i < s.n; ++i) {
                std::copy_n(cells.data() + (std::int64_t{i} * s.t + s.t - 1) * s.h, s.h, our_c_n.data() + i * s.h);
            }
            expect_near(y, our_y, "y");
            expect_near(c_n, our_c_n, "c_n");
            Floats dx = nan(steps * s.c), dw_ih = nan(4 * s.h * s.c), dw_hh = nan(4 * s.h * s.h), db = nan(4 * s.h),
                   dh0 = nan(states), dc0 = nan(states);
            Floats our_dx = dx, our_dw_ih = dw_ih, our_dw_hh = dw_hh, our_db = db, our_dh0 = dh0, our_dc0 = dc0;
            onednn::vendor_lstm_backward({dx.data(), dw_ih.data(), dw_hh.data(), db.data(),
                                          started ? dh0.data() : nullptr, started ? dc0.data() : nullptr},
                                         dy.data(), from_above, x.data(), y.data(), c_n.data(), workspace.data(),
                                         weights, start, s);
            cpu::lstm_backward({our_dx.data(), our_dw_ih.data(), our_dw_hh.data(), our_db.data(),
                                started ? our_dh0.data() : nullptr, started ? our_dc0.data() : nullptr},
                               dy.data(), from_above, x.data(), our_y.data(), {gates.data(), cells.data()}, weights,
                               start, s);
            expect_near(dx, our_dx, "dx");
            expect_near(dw_ih, our_dw_ih, "dw_ih");
            expect_near(dw_hh, our_dw_hh, "dw_hh");
            expect_near(db, our_db, "db");
            if (started) {
                expect_near(dh0, our_dh0, "dh0");
                expect_near(dc0, our_dc0, "dc0");
            }
        }
    }
}

TEST(Onednn, RefusesWhatItCannotDo) {
    const Floats some(64, 1.0f);
    Floats out(64, 0.0f);
    const Normalize on_load{some.data(), some.data(), Activation::relu6};
    EXPECT_TRUE(is_line_with(
        error_of([&] { onednn::pointwise_forward(out.data(), some.data(), some.data(), &on_load, nullptr, 4, 4, 4); }),
        "pointwise convolution: joined batchnorm"));
    const ConvShape too_large{1, 2, 2, 1, 1, 5, 5, 1, 0};
    EXPECT_TRUE(is_line_with(
        error_of([&] { onednn::conv_forward(out.data(), some.data(), some.data(), nullptr, too_large, nullptr); }),
        "oneDNN, sizes 1 x 1 x -2 x -2"));
}

}  // namespace
}  // namespace cutis
