#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "kernels/philox.h"
#include "kernels/pointwise.h"
#include "kernels/vendor/cudnn.h"
#include "tests/support/device_array.h"
#include "tests/support/error_of.h"

// The vendor's kernels beside our own, which test_cuda_ops.cpp holds to their definitions: equal for small integers,
// close for what takes roots or exponentials. In a simt build cuDNN's stand-in computes from the descriptors alone; on
// a GPU an engine may transform a convolution (Winograd's), so that it is close, too.

namespace cutis::testing {
namespace {

std::vector<float> numbers(std::int64_t n, std::uint32_t seed) {
    PhiloxStream words(seed, RandomPurpose::test);
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) {
        value = static_cast<float>(static_cast<int>(words.next() % 5) - 2);
    }
    return values;
}
std::vector<float> scaled(std::vector<float> values, float factor) {
    for (float& value : values) {
        value *= factor;
    }
    return values;
}

template <class T>
std::vector<float> rounded(std::vector<float> values) {
    if (sizeof(T) == 2) {
        for (float& value : values) {
            value = bf16_to_f32(f32_to_bf16(value));
        }
    }
    return values;
}

/// Output of a call: guarded memory.
template <class T>
struct Output {
    explicit Output(std::int64_t n) : array(n) {}
    std::vector<float> values() const {
        EXPECT_TRUE(array.intact());
        return array.values();
    }
    T* data() const { return array.data(); }
    DeviceArray<T> array;
};

void expect_close(const std::vector<float>& actual, const std::vector<float>& expected, float allowed,
                  const char* what) {
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
        ASSERT_LE(std::abs(actual[i] - expected[i]), allowed * std::max(1.0f, std::abs(expected[i])))
            << what << ", value " << i << ": " << actual[i] << " for " << expected[i];
    }
}

template <class T>
void expect_equal(const std::vector<float>& actual, const std::vector<float>& expected, const char* what) {
#ifdef CUTIS_WITH_SIMT
    expect_close(actual, expected, 0.0f, what);
#else
    expect_close(actual, expected, sizeof(T) == 4 ? 1e-4f : 2e-2f, what);
#endif
}

template <class T>
class Cudnn : public ::testing::Test {
  protected:
    void SetUp() override {
        const std::string found = error_of([] {
            cudnn::lstm_workspace_bytes<float>({1, 1, 1, 1}, MatrixPrecision::fp32);
        });
        if (found.find("is not found") != std::string::npos) {
            GTEST_SKIP() << found;
        }
    }
};
using Types = ::testing::Types<float, BFloat16>;
struct TypeName {
    template <class T>
    static std::string GetName(int) {
        return sizeof(T) == 4 ? "fp32" : "bf16";
    }
};
TYPED_TEST_SUITE(Cudnn, Types, TypeName);

constexpr MatrixPrecision kExact = MatrixPrecision::fp32;

const ConvShape kConvolutions[] = {
    {2, 7, 5, 8, 16, 3, 3, 1, 1},    {1, 9, 11, 3, 5, 3, 3, 2, 1}, {3, 6, 6, 4, 8, 1, 1, 1, 0},
    {2, 8, 8, 8, 4, 5, 5, 2, 2},     {1, 5, 7, 12, 6, 3, 1, 1, 0}, {2, 6, 5, 8, 12, 3, 3, 1, 1, 4},
    {1, 13, 13, 3, 7, 11, 11, 4, 2},
};

TYPED_TEST(Cudnn, CudaConvolutionsAreOurs) {
    using T = TypeParam;
    for (const ConvShape& s : kConvolutions) {
        for (const bool with_bias : {false, true}) {
            SCOPED_TRACE(::testing::Message() << s.c << " to " << s.k << ", stride " << s.stride << ", groups "
                                              << s.groups << (with_bias ? ", bias" : ""));
            const std::int64_t nx = std::int64_t{s.n} * s.h * s.w * s.c, ny = std::int64_t{s.n} * s.p() * s.q() * s.k,
                               nw = std::int64_t{s.k} * s.r * s.s * s.c / s.groups;
            const DeviceArray<T> x(numbers(nx, 1)), w(numbers(nw, 2)), dy(numbers(ny, 3));
            const DeviceArray<float> bias(numbers(s.k, 4));
            const float* const added = with_bias ? bias.data() : nullptr;
            const Output<T> y(ny), own_y(ny), dx(nx), own_dx(nx);
            const Output<float> dw(nw), own_dw(nw), db(s.k), own_db(s.k);
            cudnn::conv_forward<T>(y.data(), x.data(), w.data(), added, s, nullptr, kExact, {});
            cuda::conv_forward<T>(own_y.data(), x.data(), w.data(), added, s, nullptr, kExact, {});
            expect_equal<T>(y.values(), own_y.values(), "y");
            cudnn::conv_backward<T>(dx.data(), dw.data(), db.data(), dy.data(), nullptr, x.data(), w.data(), s, kExact,
                                    {});
            cuda::conv_backward<T>(own_dx.data(), own_dw.data(), own_db.data(), dy.data(), nullptr, x.data(), w.data(),
                                   s, kExact, {});
            expect_equal<T>(dx.values(), own_dx.values(), "dx");
            expect_equal<T>(dw.values(), rounded<T>(own_dw.values()), "dw");
            expect_equal<T>(db.values(), own_db.values(), "db");
        }
    }
}

TYPED_TEST(Cudnn, CudaPointwiseConvolutionsAreOurs) {
    using T = TypeParam;
    for (const auto& [rows, c, k] : {std::array{1, 8, 16}, std::array{35, 3, 7}, std::array{64, 24, 8}}) {
        SCOPED_TRACE(::testing::Message() << rows << " rows, " << c << " to " << k);
        const std::int64_t nx = std::int64_t{rows} * c, ny = std::int64_t{rows} * k, nw = std::int64_t{k} * c;
        const DeviceArray<T> x(numbers(nx, 1)), w(numbers(nw, 2)), dy(numbers(ny, 3));
        const Output<T> y(ny), own_y(ny), dx(nx), own_dx(nx);
        const Output<float> dw(nw), own_dw(nw);
        cudnn::pointwise_forward<T>(y.data(), x.data(), w.data(), nullptr, nullptr, rows, c, k, kExact, {});
        cuda::pointwise_forward<T>(own_y.data(), x.data(), w.data(), nullptr, nullptr, rows, c, k, kExact, {});
        expect_equal<T>(y.values(), own_y.values(), "y");
        cudnn::pointwise_backward<T>(dx.data(), dw.data(), dy.data(), nullptr, x.data(), nullptr, nullptr, nullptr,
                                     w.data(), rows, c, k, kExact, {});
        cuda::pointwise_backward<T>(own_dx.data(), own_dw.data(), dy.data(), nullptr, x.data(), nullptr, nullptr,
                                    nullptr, w.data(), rows, c, k, kExact, {});
        expect_equal<T>(dx.values(), own_dx.values(), "dx");
        expect_equal<T>(dw.values(), rounded<T>(own_dw.values()), "dw");
    }
}

TYPED_TEST(Cudnn, CudaDepthwiseConvolutionsAreOurs) {
    using T = TypeParam;
    for (const DepthwiseShape& s :
         {DepthwiseShape{2, 7, 5, 8, 1}, DepthwiseShape{1, 8, 9, 16, 2}, DepthwiseShape{1, 1, 3, 5, 1}}) {
        SCOPED_TRACE(::testing::Message() << s.c << " channels, stride " << s.stride);
        const std::int64_t nx = std::int64_t{s.n} * s.h * s.w * s.c, ny = std::int64_t{s.n} * s.p() * s.q() * s.c,
                           nw = std::int64_t{9} * s.c;
        const DeviceArray<T> x(numbers(nx, 1)), dy(numbers(ny, 3));
        const DeviceArray<float> w(numbers(nw, 2));
        const Output<T> y(ny), own_y(ny), dx(nx), own_dx(nx);
        const Output<float> dw(nw), own_dw(nw);
        cudnn::depthwise_forward<T>(y.data(), x.data(), w.data(), nullptr, nullptr, s, {});
        cuda::depthwise_forward<T>(own_y.data(), x.data(), w.data(), nullptr, nullptr, s, {});
        expect_equal<T>(y.values(), own_y.values(), "y");
        cudnn::depthwise_backward<T>(dx.data(), dw.data(), dy.data(), nullptr, x.data(), nullptr, nullptr, w.data(), s,
                                     {});
        cuda::depthwise_backward<T>(own_dx.data(), own_dw.data(), dy.data(), nullptr, x.data(), nullptr, nullptr,
                                    w.data(), s, {});
        expect_equal<T>(dx.values(), own_dx.values(), "dx");
        expect_equal<T>(dw.values(), rounded<T>(own_dw.values()), "dw");
    }
}

// What our own parts say of a batchnorm.
template <class T>
struct OwnBatchnorm {
    OwnBatchnorm(const T* y, const float* gamma, const float* beta, const T* dz, Activation act, const T* residual,
                 std::int64_t rows, int c)
        : z(rows * c), dy(rows * c), mean(c), var(c), scale(c), shift(c), inv_std(c), dgamma(c), dbeta(c) {
        const DeviceArray<float> a(c), b(c), d(c);
        const Normalize normalize{scale.data(), shift.data(), act};
        cuda::batchnorm_statistics(mean.data(), var.data(), y, rows, c, {});
        cuda::batchnorm_fold(scale.data(), shift.data(), inv_std.data(), gamma, beta, mean.data(), var.data(), 1e-5f, c,
                             {});
        cuda::batchnorm_normalize<T>(z.data(), y, normalize, residual, rows, c, {});
        cuda::batchnorm_reduce<T>(nullptr, {mean.data(), inv_std.data(), dgamma.data(), dbeta.data()}, dz, y, normalize,
                                  rows, c, {});
        cuda::batchnorm_gradient_coefficients(a.data(), b.data(), d.data(), gamma, mean.data(), inv_std.data(),
                                              dgamma.data(), dbeta.data(), rows, c, {});
        cuda::batchnorm_apply_gradient<T>(dy.data(), dz, {y, a.data(), b.data(), d.data()}, &normalize, rows, c, {});
        cuda::check(cudaDeviceSynchronize(), "test");
    }
    Output<T> z, dy;
    Output<float> mean, var, scale, shift, inv_std, dgamma, dbeta;
};

TYPED_TEST(Cudnn, CudaBatchnormIsOurs) {
    using T = TypeParam;
    const float allowed = sizeof(T) == 4 ? 2e-5f : 2e-2f;
    for (const auto& [rows, c] : {std::pair{30, 8}, std::pair{7, 16}, std::pair{9, 5}}) {  // 5 channels: ours after all
        for (const Activation act : {Activation::identity, Activation::relu, Activation::relu6}) {
            for (const bool with_residual : {false, true}) {
                if (with_residual && act != Activation::identity) {
                    continue;
                }
                SCOPED_TRACE(::testing::Message() << rows << " x " << c << ", activation " << static_cast<int>(act));
                const std::int64_t n = std::int64_t{rows} * c;
                // Odd multiples of a step: no normalised value lies on the end of a clamp, where rounding decides.
                const DeviceArray<T> y(numbers(n, 5)), dz(numbers(n, 6)), residual(numbers(n, 7));
                const DeviceArray<float> gamma(scaled(numbers(c, 8), 3.7f)), beta(scaled(numbers(c, 9), 1.3f));
                const T* const added = with_residual ? residual.data() : nullptr;
                const OwnBatchnorm<T> own(y.data(), gamma.data(), beta.data(), dz.data(), act, added, rows, c);
                const Output<T> z(n), dy(n);
                const Output<float> mean(c), var(c), scale(c), shift(c), inv_std(c), dgamma(c), dbeta(c);
                cudnn::batchnorm_forward<T>(z.data(),
                                            {mean.data(), var.data(), scale.data(), shift.data(), inv_std.data()},
                                            y.data(), gamma.data(), beta.data(), 1e-5f, act, added, rows, c, {});
                expect_close(z.values(), own.z.values(), allowed, "z");
                expect_close(mean.values(), own.mean.values(), 1e-5f, "mean");
                expect_close(var.values(), own.var.values(), 1e-5f, "var");
                expect_close(scale.values(), own.scale.values(), 1e-5f, "scale");
                expect_close(shift.values(), own.shift.values(), 1e-5f, "shift");
                cudnn::batchnorm_backward<T>(dy.data(), dgamma.data(), dbeta.data(), dz.data(), y.data(), z.data(),
                                             {mean.data(), var.data(), inv_std.data(), 1e-5f}, gamma.data(), act, rows,
                                             c, {});
                if (with_residual) {
                    continue;  // the gradients are the same
                }
                expect_close(dy.values(), own.dy.values(), allowed, "dy");
                expect_close(dgamma.values(), own.dgamma.values(), 2e-5f, "dgamma");
                expect_close(dbeta.values(), own.dbeta.values(), 2e-5f, "dbeta");
                const Output<float> alone(c);
                cudnn::batchnorm_backward<T>(nullptr, alone.data(), dbeta.data(), dz.data(), y.data(), z.data(),
                                             {mean.data(), var.data(), inv_std.data(), 1e-5f}, gamma.data(), act, rows,
                                             c, {});
                EXPECT_EQ(alone.values(), dgamma.values()) << "without dy";
            }
        }
    }
}

TYPED_TEST(Cudnn, CudaLstmIsOurs) {
    using T = TypeParam;
    const float allowed = sizeof(T) == 4 ? 2e-5f : 4e-2f;
    for (const LstmShape& s : {LstmShape{2, 3, 5, 8}, LstmShape{1, 1, 3, 4}, LstmShape{3, 4, 8, 4}}) {
        for (const bool with_state : {false, true}) {
            SCOPED_TRACE(::testing::Message()
                         << s.n << " x " << s.t << ", hidden " << s.h << (with_state ? ", state" : ""));
            const std::int64_t nx = std::int64_t{s.n} * s.t * s.c, ny = std::int64_t{s.n} * s.t * s.h,
                               states = std::int64_t{s.n} * s.h, ih = std::int64_t{4} * s.h * s.c,
                               hh = std::int64_t{4} * s.h * s.h, biases = std::int64_t{4} * s.h;
            const DeviceArray<T> x(numbers(nx, 1)), w_ih(scaled(numbers(ih, 2), 0.125f)),
                w_hh(scaled(numbers(hh, 3), 0.25f)), h0(scaled(numbers(states, 4), 0.25f)), dy(numbers(ny, 5));
            const DeviceArray<float> b_ih(scaled(numbers(biases, 6), 0.25f)), b_hh(scaled(numbers(biases, 7), 0.125f)),
                c0(scaled(numbers(states, 8), 0.5f)), dc_n(numbers(states, 9));
            const LstmWeightsT<T> weights{w_ih.data(), w_hh.data(), with_state ? b_ih.data() : nullptr, b_hh.data()};
            const LstmStateT<T> start{with_state ? h0.data() : nullptr, with_state ? c0.data() : nullptr};

            const DeviceArray<T> gates(ny * 4);
            const DeviceArray<float> cells(ny);
            const Output<T> own_y(ny), own_dx(nx), own_dh0(states), y(ny), dx(nx), dh0(states);
            const Output<float> own_dw_ih(ih), own_dw_hh(hh), own_db(biases), own_dc0(states);
            const Output<float> dw_ih(ih), dw_hh(hh), db(biases), dc0(states), c_n(states);
            const LstmSavedT<T> saved{gates.data(), cells.data()};
            cuda::lstm_forward<T>(own_y.data(), saved, x.data(), weights, start, s, {}, {});
            const LstmGradientsT<T> own{own_dx.data(), own_dw_ih.data(), own_dw_hh.data(),
                                        own_db.data(), own_dh0.data(),   own_dc0.data()};
            cuda::lstm_backward<T>(own, dy.data(), dc_n.data(), x.data(), own_y.data(), saved, weights, start, s, {},
                                   {});

            const DeviceArray<float> workspace((cudnn::lstm_workspace_bytes<T>(s, kExact) + 3) / 4);
            cudnn::vendor_lstm_forward<T>(y.data(), c_n.data(), workspace.data(), x.data(), weights, start, s, kExact,
                                          {});
            const LstmGradientsT<T> gradients{dx.data(), dw_ih.data(), dw_hh.data(), db.data(), dh0.data(), dc0.data()};
            cudnn::vendor_lstm_backward<T>(gradients, dy.data(), dc_n.data(), x.data(), y.data(), c_n.data(),
                                           workspace.data(), weights, start, s, kExact, {});
            EXPECT_TRUE(workspace.intact());
            expect_close(y.values(), own_y.values(), allowed, "y");
            const std::vector<float> all_cells = cells.values();
            std::vector<float> last;
            for (int sample = 0; sample < s.n; ++sample) {
                const auto end = all_cells.begin() + std::int64_t{sample + 1} * s.t * s.h;
                last.insert(last.end(), end - s.h, end);
            }
            expect_close(c_n.values(), last, allowed, "c_n");
            expect_close(dx.values(), own_dx.values(), allowed, "dx");
            expect_close(dw_ih.values(), own_dw_ih.values(), allowed, "dw_ih");
            expect_close(dw_hh.values(), own_dw_hh.values(), allowed, "dw_hh");
            expect_close(db.values(), own_db.values(), allowed, "db");
            expect_close(dh0.values(), own_dh0.values(), allowed, "dh0");
            expect_close(dc0.values(), own_dc0.values(), allowed, "dc0");

            const Output<float> alone(hh);
            cudnn::vendor_lstm_forward<T>(y.data(), c_n.data(), workspace.data(), x.data(), weights, start, s, kExact,
                                          {});
            cudnn::vendor_lstm_backward<T>({.dw_hh = alone.data()}, dy.data(), dc_n.data(), x.data(), y.data(),
                                           c_n.data(), workspace.data(), weights, start, s, kExact, {});
            EXPECT_EQ(alone.values(), dw_hh.values()) << "without the other gradients";
        }
    }
}

// The library has no batchnorm to join on: what would ask for one is refused, not forgotten.
TEST(CudnnRules, CudaRefusesWhatTheLibraryCannotJoin) {
    float value = 0.0f;
    float* const none = nullptr;
    const BatchStatistics statistics{none, none};
    const ConvShape shape{1, 4, 4, 4, 4, 3, 3, 1, 1};
    EXPECT_EQ(error_of([&] { cudnn::conv_forward<float>(none, none, none, none, shape, &statistics, kExact, {}); }),
              "convolution: cuDNN joins no batchnorm or sum on; pass null, or use --backend native");
    EXPECT_EQ(error_of([&] {
                  cudnn::pointwise_backward<float>(none, none, none, nullptr, none, nullptr, nullptr, &value, none, 1,
                                                   4, 4, kExact, {});
              }),
              "pointwise convolution: cuDNN joins no batchnorm or sum on; pass null, or use --backend native");
    EXPECT_EQ(error_of([&] {
                  cudnn::depthwise_forward<float>(none, none, none, nullptr, &statistics, {1, 4, 4, 4, 1}, {});
              }),
              "depthwise convolution: cuDNN joins no batchnorm or sum on; pass null, or use --backend native");
}

}  // namespace
}  // namespace cutis::testing
