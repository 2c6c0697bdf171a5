#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/philox.h"
#include "kernels/pointwise.h"
#include "tests/support/device_array.h"

// Every form of the convolutions' kernels against the CPU's: with and without a batchnorm on each side, and each
// gradient alone. The table of op cases has them plain and with everything.

namespace cutis::testing {
namespace {

std::vector<float> random_values(std::int64_t n, std::uint32_t seed, float low = -2.0f, float high = 2.0f) {
    PhiloxStream words(seed, RandomPurpose::test);
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) {
        value = words.uniform(low, high);
    }
    return values;
}

void expect_near(const std::vector<float>& actual, const std::vector<float>& expected, const char* what) {
    ASSERT_EQ(actual.size(), expected.size());
    float largest = 1.0f;
    for (const float value : expected) {
        largest = std::max(largest, std::abs(value));
    }
    for (std::size_t i = 0; i < actual.size(); ++i) {
        ASSERT_NEAR(actual[i], expected[i], 2e-5f * largest) << what << "[" << i << "]";
    }
}

// The same values in the host's memory and on the device.
struct Array {
    explicit Array(std::vector<float> start) : host(std::move(start)), device(host) {}
    explicit Array(std::int64_t n) : Array(std::vector<float>(static_cast<std::size_t>(n))) {}
    void expect_same(const char* what) const {
        expect_near(device.values(), host, what);
        EXPECT_TRUE(device.intact()) << what;
    }
    std::vector<float> host;
    DeviceArray<float> device;
};

float* host_of(Array& array) {
    return array.host.data();
}
float* device_of(Array& array) {
    return array.device.data();
}

// Which parts a call has.
struct Form {
    bool dx, dw, gradient_on_load, on_load, before;
};

// All forms that mean something: batchnorm gradients need dx and a normalised x.
std::vector<Form> backward_forms() {
    std::vector<Form> forms;
    for (int bits = 0; bits < 32; ++bits) {
        const Form form{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0};
        if ((form.dx || form.dw) && (!form.before || (form.dx && form.on_load))) {
            forms.push_back(form);
        }
    }
    return forms;
}

// What a convolution with batchnorms around it has, c channels before and k behind.
struct Arrays {
    Arrays(std::int64_t inputs, std::int64_t outputs, std::int64_t weights, int c, int k)
        : x(random_values(inputs * c, 1)),
          w(random_values(weights, 2)),
          g(random_values(outputs * k, 3)),
          y(random_values(outputs * k, 4)),
          a(random_values(k, 5)),
          b(random_values(k, 6)),
          d(random_values(k, 7)),
          scale(random_values(c, 8)),
          shift(random_values(c, 9, 0.0f, 6.0f)),
          mean(random_values(c, 10)),
          inv_std(random_values(c, 11, 0.5f, 2.0f)),
          out(outputs * k),
          out_mean(k),
          out_var(k),
          dx(inputs * c),
          dw(weights),
          dgamma(c),
          dbeta(c) {}
    Array x, w, g, y, a, b, d, scale, shift, mean, inv_std;
    Array out, out_mean, out_var, dx, dw, dgamma, dbeta;
};

// call(pointer of an array, on_load or null, statistics or null) for both devices.
template <class Cpu, class Cuda>
void expect_same_forward(Arrays& all, bool with_load, bool with_statistics, Cpu&& on_cpu, Cuda&& on_gpu) {
    SCOPED_TRACE(::testing::Message() << "on_load " << with_load << " statistics " << with_statistics);
    const auto call = [&](auto&& pointer, auto&& run) {
        const Normalize on_load{pointer(all.scale), pointer(all.shift), Activation::relu6};
        const BatchStatistics statistics{pointer(all.out_mean), pointer(all.out_var)};
        run(pointer, with_load ? &on_load : nullptr, with_statistics ? &statistics : nullptr);
    };
    call(host_of, on_cpu);
    call(device_of, on_gpu);
    all.out.expect_same("y");
    if (with_statistics) {
        all.out_mean.expect_same("mean");
        all.out_var.expect_same("var");
    }
}

// call(pointer, dx or null, dw or null, gradient_on_load or null, on_load or null, before or null) for both devices.
template <class Cpu, class Cuda>
void expect_same_backward(Arrays& all, const Form& form, Cpu&& on_cpu, Cuda&& on_gpu) {
    SCOPED_TRACE(::testing::Message() << "dx " << form.dx << " dw " << form.dw << " gradient_on_load "
                                      << form.gradient_on_load << " on_load " << form.on_load << " before "
                                      << form.before);
    const auto call = [&](auto&& pointer, auto&& run) {
        const GradientOnLoad gradient{pointer(all.y), pointer(all.a), pointer(all.b), pointer(all.d)};
        const Normalize on_load{pointer(all.scale), pointer(all.shift), Activation::relu6};
        const NormalizeBackward before{pointer(all.mean), pointer(all.inv_std), pointer(all.dgamma),
                                       pointer(all.dbeta)};
        run(pointer, form.dx ? pointer(all.dx) : nullptr, form.dw ? pointer(all.dw) : nullptr,
            form.gradient_on_load ? &gradient : nullptr, form.on_load ? &on_load : nullptr,
            form.before ? &before : nullptr);
    };
    call(host_of, on_cpu);
    call(device_of, on_gpu);
    if (form.dx) {
        all.dx.expect_same("dx");
    }
    if (form.dw) {
        all.dw.expect_same("dw");
    }
    if (form.before) {
        all.dgamma.expect_same("dgamma");
        all.dbeta.expect_same("dbeta");
    }
}

constexpr bool kBoth[] = {false, true};

TEST(CudaForms, OfADepthwiseConvolution) {
    for (const DepthwiseShape& s : {DepthwiseShape{2, 5, 6, 16, 1}, DepthwiseShape{2, 5, 6, 16, 2},
                                    DepthwiseShape{1, 6, 5, 5, 1}, DepthwiseShape{1, 6, 5, 5, 2}}) {
        SCOPED_TRACE(::testing::Message() << "c " << s.c << " stride " << s.stride);
        Arrays all(std::int64_t{s.n} * s.h * s.w, std::int64_t{s.n} * s.p() * s.q(), std::int64_t{9} * s.c, s.c, s.c);
        for (const bool with_load : kBoth) {
            for (const bool with_statistics : kBoth) {
                expect_same_forward(
                    all, with_load, with_statistics,
                    [&](auto&& at, const Normalize* on_load, const BatchStatistics* statistics) {
                        cpu::depthwise_forward(at(all.out), at(all.x), at(all.w), on_load, statistics, s);
                    },
                    [&](auto&& at, const Normalize* on_load, const BatchStatistics* statistics) {
                        cuda::depthwise_forward<float>(at(all.out), at(all.x), at(all.w), on_load, statistics, s, {});
                    });
            }
        }
        for (const Form& form : backward_forms()) {
            expect_same_backward(
                all, form,
                [&](auto&& at, float* dx, float* dw, const GradientOnLoad* gradient, const Normalize* on_load,
                    const NormalizeBackward* before) {
                    cpu::depthwise_backward(dx, dw, at(all.g), gradient, at(all.x), on_load, before, at(all.w), s);
                },
                [&](auto&& at, float* dx, float* dw, const GradientOnLoad* gradient, const Normalize* on_load,
                    const NormalizeBackward* before) {
                    cuda::depthwise_backward<float>(dx, dw, at(all.g), gradient, at(all.x), on_load, before, at(all.w),
                                                    s, {});
                });
        }
    }
}

TEST(CudaForms, OfAPointwiseConvolution) {
    constexpr std::int64_t kRows = 37;
    for (const auto& [c, k] : {std::pair{8, 16}, std::pair{5, 9}}) {
        SCOPED_TRACE(::testing::Message() << "c " << c << " k " << k);
        Arrays all(kRows, kRows, std::int64_t{k} * c, c, k);
        const int inputs = c, outputs = k;
        for (const bool with_load : kBoth) {
            for (const bool with_statistics : kBoth) {
                expect_same_forward(
                    all, with_load, with_statistics,
                    [&](auto&& at, const Normalize* on_load, const BatchStatistics* statistics) {
                        cpu::pointwise_forward(at(all.out), at(all.x), at(all.w), on_load, statistics, kRows, inputs,
                                               outputs);
                    },
                    [&](auto&& at, const Normalize* on_load, const BatchStatistics* statistics) {
                        cuda::pointwise_forward<float>(at(all.out), at(all.x), at(all.w), on_load, statistics, kRows,
                                                       inputs, outputs, {}, {});
                    });
            }
        }
        for (const Form& form : backward_forms()) {
            if (form.dx && form.on_load != form.before) {
                continue;  // not taken: dx behind a normalised x is masked and reduced
            }
            expect_same_backward(
                all, form,
                [&](auto&& at, float* dx, float* dw, const GradientOnLoad* gradient, const Normalize* on_load,
                    const NormalizeBackward* before) {
                    cpu::pointwise_backward(dx, dw, at(all.g), gradient, at(all.x), on_load, before, nullptr, at(all.w),
                                            kRows, inputs, outputs);
                },
                [&](auto&& at, float* dx, float* dw, const GradientOnLoad* gradient, const Normalize* on_load,
                    const NormalizeBackward* before) {
                    cuda::pointwise_backward<float>(dx, dw, at(all.g), gradient, at(all.x), on_load, before, nullptr,
                                                    at(all.w), kRows, inputs, outputs, {}, {});
                });
        }
    }
}

// dx, dw and db alone, each with and without the batchnorm's gradient made on load.
TEST(CudaForms, OfADenseConvolution) {
    for (const ConvShape& s : {ConvShape{2, 6, 5, 8, 16, 3, 3, 2, 1}, ConvShape{1, 7, 6, 3, 5, 3, 3, 1, 1}}) {
        SCOPED_TRACE(::testing::Message() << "c " << s.c);
        Arrays all(std::int64_t{s.n} * s.h * s.w, std::int64_t{s.n} * s.p() * s.q(),
                   std::int64_t{s.k} * s.r * s.s * s.c, s.c, s.k);
        Array db(s.k);
        for (const Form& form : backward_forms()) {
            if (form.on_load || form.before) {
                continue;  // a stem's input is an image
            }
            for (const bool with_db : kBoth) {
                expect_same_backward(
                    all, form,
                    [&](auto&& at, float* dx, float* dw, const GradientOnLoad* gradient, const Normalize*,
                        const NormalizeBackward*) {
                        cpu::conv_backward(dx, dw, with_db ? at(db) : nullptr, at(all.g), gradient, at(all.x),
                                           at(all.w), s);
                    },
                    [&](auto&& at, float* dx, float* dw, const GradientOnLoad* gradient, const Normalize*,
                        const NormalizeBackward*) {
                        cuda::conv_backward<float>(dx, dw, with_db ? at(db) : nullptr, at(all.g), gradient, at(all.x),
                                                   at(all.w), s, {}, {});
                    });
                if (with_db) {
                    db.expect_same("db");
                }
            }
        }
    }
}

}  // namespace
}  // namespace cutis::testing
