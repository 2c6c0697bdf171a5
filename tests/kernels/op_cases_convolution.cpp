#include <fmt/format.h>

#include "kernels/linear.h"
#include "kernels/pointwise.h"
#include "tests/kernels/op_cases.h"

namespace cutis::testing {
namespace {

using namespace reference;

constexpr Activation kAct = Activation::relu6;
constexpr MatrixPrecision kPrecision = MatrixPrecision::fp32;

double product(std::initializer_list<std::int64_t> factors) {
    double result = 1.0;
    for (const std::int64_t factor : factors) {
        result *= static_cast<double>(factor);
    }
    return result;
}

// What a GPU stores as bf16 in mixed precision; a weight's gradient is fp32 in any case.
Operand activation(Operand operand) {
    operand.activation = true;
    return operand;
}
Operand weight(Operand operand) {
    operand.activation = operand.parameter = true;
    return operand;
}

// ---- dense and grouped convolution

struct ConvSizes {
    explicit ConvSizes(const ConvShape& s)
        : x(std::int64_t{s.n} * s.h * s.w * s.c),
          w(std::int64_t{s.k} * s.r * s.s * (s.c / s.groups)),
          rows(std::int64_t{s.n} * s.p() * s.q()),
          y(rows * s.k),
          flops(2.0 * product({rows, w})) {}
    std::int64_t x, w, rows, y;
    double flops;
};

std::string shape_of(const ConvShape& s) {
    return fmt::format("n{}_h{}_w{}_c{}_k{}_r{}_s{}_stride{}_pad{}_groups{}", s.n, s.h, s.w, s.c, s.k, s.r, s.s,
                       s.stride, s.padding, s.groups);
}

OpCase conv_case(const ConvShape& s) {
    const ConvSizes size(s);
    const std::int64_t taps = size.w / s.k;
    return {.op = "conv",
            .shape = shape_of(s),
            .inputs = {activation({"x", size.x, -2, 2, true, taps * s.k / s.c}),
                       weight({"w", size.w, -2, 2, true, size.rows}),
                       {"bias", s.k, -2, 2, true, size.rows}},
            .outputs = {activation({"y", size.y, 0, 0, false, taps})},
            .run = [s](const Inputs& in,
                       const Outputs& out) { cpu::conv_forward(out[0], in[0], in[1], in[2], s, nullptr); },
            .define = [s](const Arrays& in) { return Arrays{conv(in[0], in[1], in[2], s)}; },
            .backward =
                [s](const Inputs& in, const float* dy, const Outputs& grad) {
                    cpu::conv_backward(grad[0], grad[1], grad[2], dy, nullptr, in[0], in[1], s);
                },
            .run_cuda = cuda_forward([s]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::conv_forward<T>(out.get<T>(0), in.get<T>(0), in.get<T>(1), in.get(2), s, nullptr, kPrecision, {});
            }),
            .backward_cuda = cuda_backward([s]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
                cuda::conv_backward<T>(grad.get<T>(0), grad.get(1), grad.get(2), dy, nullptr, in.get<T>(0),
                                       in.get<T>(1), s, kPrecision, {});
            }),
            .linear = true,
            .flops = size.flops};
}

OpCase conv_statistics_case(const ConvShape& s) {
    const ConvSizes size(s);
    const std::int64_t taps = size.w / s.k;
    return {.op = "conv_statistics",
            .shape = shape_of(s),
            .inputs = {activation({"x", size.x}), activation({"w", size.w})},
            .outputs = {activation({"y", size.y, 0, 0, false, taps}),
                        {"mean", s.k, 0, 0, false, taps + statistics_terms(size.rows), false},
                        {"var", s.k, 0, 0, false, taps + statistics_terms(size.rows), false}},
            .run =
                [s](const Inputs& in, const Outputs& out) {
                    const BatchStatistics statistics{out[1], out[2]};
                    cpu::conv_forward(out[0], in[0], in[1], nullptr, s, &statistics);
                },
            .define =
                [s](const Arrays& in) {
                    const Values y = conv(in[0], in[1], {}, s);
                    const Moments m = moments(y, s.k);
                    return Arrays{y, m.mean, m.var};
                },
            .run_cuda = cuda_forward([s]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const BatchStatistics statistics{out.get(1), out.get(2)};
                cuda::conv_forward<T>(out.get<T>(0), in.get<T>(0), in.get<T>(1), nullptr, s, &statistics, kPrecision,
                                      {});
            }),
            .flops = size.flops};
}

// The backward pass of a stem: batchnorm's gradient is made from g and y while it is loaded.
OpCase conv_gradient_on_load_case(const ConvShape& s) {
    const ConvSizes size(s);
    const std::int64_t taps = size.w / s.k;
    return {.op = "conv_gradient_on_load",
            .shape = shape_of(s),
            .inputs = {activation({"g", size.y}),
                       activation({"y", size.y}),
                       {"a", s.k},
                       {"b", s.k},
                       {"d", s.k},
                       activation({"x", size.x}),
                       activation({"w", size.w})},
            .outputs = {activation({"dx", size.x, 0, 0, false, taps * s.k / s.c}),
                        {"dw", size.w, 0, 0, false, size.rows},
                        {"db", s.k, 0, 0, false, size.rows}},
            .run =
                [s](const Inputs& in, const Outputs& out) {
                    const GradientOnLoad on_load{in[1], in[2], in[3], in[4]};
                    cpu::conv_backward(out[0], out[1], out[2], in[0], &on_load, in[5], in[6], s);
                },
            .define =
                [s](const Arrays& in) {
                    const Values dy = gradient_on_load(in[0], in[1], in[2], in[3], in[4]);
                    return Arrays{conv_input_gradient(dy, in[6], s), conv_weight_gradient(dy, in[5], s),
                                  column_sum(dy, s.k)};
                },
            .run_cuda = cuda_forward([s]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const GradientOnLoadT<T> on_load{in.get<T>(1), in.get(2), in.get(3), in.get(4)};
                cuda::conv_backward<T>(out.get<T>(0), out.get(1), out.get(2), in.get<T>(0), &on_load, in.get<T>(5),
                                       in.get<T>(6), s, kPrecision, {});
            }),
            .flops = 2.0 * size.flops};
}

// The weight gradient alone: threads share out pixels instead of images.
OpCase conv_weight_gradient_case(const ConvShape& s) {
    const ConvSizes size(s);
    return {.op = "conv_weight_gradient",
            .shape = shape_of(s),
            .inputs = {activation({"dy", size.y}), activation({"x", size.x})},
            .outputs = {{"dw", size.w, 0, 0, false, size.rows}},
            .run =
                [s](const Inputs& in, const Outputs& out) {
                    cpu::conv_backward(nullptr, out[0], nullptr, in[0], nullptr, in[1], nullptr, s);
                },
            .define = [s](const Arrays& in) { return Arrays{conv_weight_gradient(in[0], in[1], s)}; },
            .run_cuda = cuda_forward([s]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::conv_backward<T>(nullptr, out.get(0), nullptr, in.get<T>(0), nullptr, in.get<T>(1), nullptr, s,
                                       kPrecision, {});
            }),
            .flops = size.flops};
}

// ---- linear

std::string shape_of(std::int64_t rows, int c, int k) {
    return fmt::format("rows{}_c{}_k{}", rows, c, k);
}

OpCase linear_case(std::int64_t rows, int c, int k) {
    const ConvShape s = linear_shape(rows, c, k);
    return {.op = "linear",
            .shape = shape_of(rows, c, k),
            .inputs = {activation({"x", rows * c, -2, 2, true, k}),
                       weight({"w", std::int64_t{k} * c, -2, 2, true, rows}),
                       {"bias", k, -2, 2, true, rows}},
            .outputs = {activation({"y", rows * k, 0, 0, false, c})},
            .run = [=](const Inputs& in,
                       const Outputs& out) { cpu::linear_forward(out[0], in[0], in[1], in[2], rows, c, k); },
            .define = [s](const Arrays& in) { return Arrays{conv(in[0], in[1], in[2], s)}; },
            .backward =
                [=](const Inputs& in, const float* dy, const Outputs& grad) {
                    cpu::linear_backward(grad[0], grad[1], grad[2], dy, in[0], in[1], rows, c, k);
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::linear_forward<T>(out.get<T>(0), in.get<T>(0), in.get<T>(1), in.get(2), rows, c, k, kPrecision,
                                        {});
            }),
            .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
                cuda::linear_backward<T>(grad.get<T>(0), grad.get(1), grad.get(2), dy, in.get<T>(0), in.get<T>(1), rows,
                                         c, k, kPrecision, {});
            }),
            .linear = true,
            .flops = 2.0 * product({rows, c, k})};
}

// ---- pointwise

OpCase pointwise_case(std::int64_t rows, int c, int k) {
    const ConvShape s = linear_shape(rows, c, k);
    return {
        .op = "pointwise",
        .shape = shape_of(rows, c, k),
        .inputs = {activation({"x", rows * c, -2, 2, true, k}), weight({"w", std::int64_t{k} * c, -2, 2, true, rows})},
        .outputs = {activation({"y", rows * k, 0, 0, false, c})},
        .run = [=](const Inputs& in,
                   const Outputs& out) { cpu::pointwise_forward(out[0], in[0], in[1], nullptr, nullptr, rows, c, k); },
        .define = [s](const Arrays& in) { return Arrays{conv(in[0], in[1], {}, s)}; },
        .backward =
            [=](const Inputs& in, const float* dy, const Outputs& grad) {
                cpu::pointwise_backward(grad[0], grad[1], dy, nullptr, in[0], nullptr, nullptr, nullptr, in[1], rows, c,
                                        k);
            },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            cuda::pointwise_forward<T>(out.get<T>(0), in.get<T>(0), in.get<T>(1), nullptr, nullptr, rows, c, k,
                                       kPrecision, {});
        }),
        .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
            cuda::pointwise_backward<T>(grad.get<T>(0), grad.get(1), dy, nullptr, in.get<T>(0), nullptr, nullptr,
                                        nullptr, in.get<T>(1), rows, c, k, kPrecision, {});
        }),
        .linear = true,
        .flops = 2.0 * product({rows, c, k})};
}

// With mean 0 and inv_std 1 the sums for the batchnorm before are the gradients of scale and shift.
OpCase pointwise_fused_case(std::int64_t rows, int c, int k) {
    const ConvShape s = linear_shape(rows, c, k);
    return {.op = "pointwise_fused",
            .shape = shape_of(rows, c, k),
            .inputs = {activation({"x", rows * c, -2, 2, true, k}),
                       weight({"w", std::int64_t{k} * c, -2, 2, true, rows}),
                       {"scale", c, -3, 3, true, rows * k},
                       {"shift", c, 0, 6, true, rows * k}},
            .outputs = {activation({"y", rows * k, 0, 0, false, c}),
                        {"mean", k, 0, 0, false, c + statistics_terms(rows), false},
                        {"var", k, 0, 0, false, c + statistics_terms(rows), false}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    const Normalize on_load{in[2], in[3], kAct};
                    const BatchStatistics statistics{out[1], out[2]};
                    cpu::pointwise_forward(out[0], in[0], in[1], &on_load, &statistics, rows, c, k);
                },
            .define =
                [=](const Arrays& in) {
                    const Values y = conv(normalize(in[0], in[2], in[3], kAct), in[1], {}, s);
                    const Moments m = moments(y, k);
                    return Arrays{y, m.mean, m.var};
                },
            .backward =
                [=](const Inputs& in, const float* dy, const Outputs& grad) {
                    const Normalize on_load{in[2], in[3], kAct};
                    const std::vector<float> zero(static_cast<std::size_t>(c), 0.0f),
                        one(static_cast<std::size_t>(c), 1.0f);
                    const NormalizeBackward before{zero.data(), one.data(), grad[2], grad[3]};
                    cpu::pointwise_backward(grad[0], grad[1], dy, nullptr, in[0], &on_load, &before, nullptr, in[1],
                                            rows, c, k);
                    for (std::int64_t i = 0; i < rows * c; ++i) {
                        grad[0][i] *= in[2][i % c];
                    }
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const Normalize on_load{in.get(2), in.get(3), kAct};
                const BatchStatistics statistics{out.get(1), out.get(2)};
                cuda::pointwise_forward<T>(out.get<T>(0), in.get<T>(0), in.get<T>(1), &on_load, &statistics, rows, c, k,
                                           kPrecision, {});
            }),
            .flops = 2.0 * product({rows, c, k})};
}

OpCase pointwise_fused_backward_case(std::int64_t rows, int c, int k) {
    const ConvShape s = linear_shape(rows, c, k);
    return {.op = "pointwise_fused_backward",
            .shape = shape_of(rows, c, k),
            .inputs = {activation({"g", rows * k}),
                       activation({"y", rows * k}),
                       {"a", k},
                       {"b", k},
                       {"d", k},
                       activation({"x", rows * c}),
                       {"scale", c, -3, 3},
                       {"shift", c, 0, 6},
                       {"mean", c},
                       {"inv_std", c, 1, 2},
                       activation({"w", std::int64_t{k} * c})},
            .outputs = {activation({"dx", rows * c, 0, 0, false, k}),
                        {"dw", std::int64_t{k} * c, 0, 0, false, rows},
                        {"dgamma", c, 0, 0, false, rows * k},
                        {"dbeta", c, 0, 0, false, rows * k}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    const GradientOnLoad gradient{in[1], in[2], in[3], in[4]};
                    const Normalize on_load{in[6], in[7], kAct};
                    const NormalizeBackward before{in[8], in[9], out[2], out[3]};
                    cpu::pointwise_backward(out[0], out[1], in[0], &gradient, in[5], &on_load, &before, nullptr, in[10],
                                            rows, c, k);
                },
            .define =
                [=](const Arrays& in) {
                    const Values dy = gradient_on_load(in[0], in[1], in[2], in[3], in[4]);
                    const Values dx = masked(conv_input_gradient(dy, in[10], s), in[5], in[6], in[7], kAct);
                    return Arrays{dx, conv_weight_gradient(dy, normalize(in[5], in[6], in[7], kAct), s),
                                  gamma_gradient(dx, in[5], in[8], in[9]), column_sum(dx, c)};
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const GradientOnLoadT<T> gradient{in.get<T>(1), in.get(2), in.get(3), in.get(4)};
                const Normalize on_load{in.get(6), in.get(7), kAct};
                const NormalizeBackward before{in.get(8), in.get(9), out.get(2), out.get(3)};
                cuda::pointwise_backward<T>(out.get<T>(0), out.get(1), in.get<T>(0), &gradient, in.get<T>(5), &on_load,
                                            &before, nullptr, in.get<T>(10), rows, c, k, kPrecision, {});
            }),
            .flops = 4.0 * product({rows, c, k})};
}

OpCase pointwise_added_backward_case(std::int64_t rows, int c, int k) {
    const ConvShape s = linear_shape(rows, c, k);
    return {
        .op = "pointwise_added_backward",
        .shape = shape_of(rows, c, k),
        .inputs = {activation({"dy", rows * k}), activation({"x", rows * c}), activation({"w", std::int64_t{k} * c}),
                   activation({"dx_add", rows * c})},
        .outputs = {activation({"dx", rows * c, 0, 0, false, k}), {"dw", std::int64_t{k} * c, 0, 0, false, rows}},
        .run =
            [=](const Inputs& in, const Outputs& out) {
                cpu::pointwise_backward(out[0], out[1], in[0], nullptr, in[1], nullptr, nullptr, in[3], in[2], rows, c,
                                        k);
            },
        .define =
            [=](const Arrays& in) {
                return Arrays{add(conv_input_gradient(in[0], in[2], s), in[3]), conv_weight_gradient(in[0], in[1], s)};
            },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            cuda::pointwise_backward<T>(out.get<T>(0), out.get(1), in.get<T>(0), nullptr, in.get<T>(1), nullptr,
                                        nullptr, in.get<T>(3), in.get<T>(2), rows, c, k, kPrecision, {});
        }),
        .flops = 4.0 * product({rows, c, k})};
}

// ---- depthwise

std::string shape_of(const DepthwiseShape& s) {
    return fmt::format("n{}_h{}_w{}_c{}_stride{}", s.n, s.h, s.w, s.c, s.stride);
}

struct DepthwiseSizes {
    explicit DepthwiseSizes(const DepthwiseShape& s)
        : x(std::int64_t{s.n} * s.h * s.w * s.c),
          rows(std::int64_t{s.n} * s.p() * s.q()),
          y(rows * s.c),
          w(std::int64_t{9} * s.c),
          flops(18.0 * static_cast<double>(y)) {}
    std::int64_t x, rows, y, w;
    double flops;
};

OpCase depthwise_case(const DepthwiseShape& s) {
    const DepthwiseSizes size(s);
    return {.op = "depthwise",
            .shape = shape_of(s),
            .inputs = {activation({"x", size.x, -2, 2, true, 9}), {"w", size.w, -2, 2, true, size.rows}},
            .outputs = {activation({"y", size.y, 0, 0, false, 9})},
            .run = [s](const Inputs& in,
                       const Outputs& out) { cpu::depthwise_forward(out[0], in[0], in[1], nullptr, nullptr, s); },
            .define = [s](const Arrays& in) { return Arrays{depthwise(in[0], in[1], s)}; },
            .backward =
                [s](const Inputs& in, const float* dy, const Outputs& grad) {
                    cpu::depthwise_backward(grad[0], grad[1], dy, nullptr, in[0], nullptr, nullptr, in[1], s);
                },
            .run_cuda = cuda_forward([s]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::depthwise_forward<T>(out.get<T>(0), in.get<T>(0), in.get(1), nullptr, nullptr, s, {});
            }),
            .backward_cuda = cuda_backward([s]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
                cuda::depthwise_backward<T>(grad.get<T>(0), grad.get(1), dy, nullptr, in.get<T>(0), nullptr, nullptr,
                                            in.get(1), s, {});
            }),
            .linear = true,
            .flops = size.flops};
}

OpCase depthwise_fused_case(const DepthwiseShape& s) {
    const DepthwiseSizes size(s);
    return {.op = "depthwise_fused",
            .shape = shape_of(s),
            .inputs = {activation({"x", size.x, -2, 2, true, 9}),
                       {"w", size.w, -2, 2, true, size.rows},
                       {"scale", s.c, -3, 3, true, 9 * size.rows},
                       {"shift", s.c, 0, 6, true, 9 * size.rows}},
            .outputs = {activation({"y", size.y, 0, 0, false, 9}),
                        {"mean", s.c, 0, 0, false, 9 + statistics_terms(size.rows), false},
                        {"var", s.c, 0, 0, false, 9 + statistics_terms(size.rows), false}},
            .run =
                [s](const Inputs& in, const Outputs& out) {
                    const Normalize on_load{in[2], in[3], kAct};
                    const BatchStatistics statistics{out[1], out[2]};
                    cpu::depthwise_forward(out[0], in[0], in[1], &on_load, &statistics, s);
                },
            .define =
                [s](const Arrays& in) {
                    const Values y = depthwise(normalize(in[0], in[2], in[3], kAct), in[1], s);
                    const Moments m = moments(y, s.c);
                    return Arrays{y, m.mean, m.var};
                },
            .backward =
                [s, size](const Inputs& in, const float* dy, const Outputs& grad) {
                    const Normalize on_load{in[2], in[3], kAct};
                    const auto channels = static_cast<std::size_t>(s.c);
                    const std::vector<float> zero(channels, 0.0f), one(channels, 1.0f);
                    const NormalizeBackward before{zero.data(), one.data(), grad[2], grad[3]};
                    cpu::depthwise_backward(grad[0], grad[1], dy, nullptr, in[0], &on_load, &before, in[1], s);
                    for (std::int64_t i = 0; i < size.x; ++i) {
                        grad[0][i] *= in[2][i % s.c];
                    }
                },
            .run_cuda = cuda_forward([s]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const Normalize on_load{in.get(2), in.get(3), kAct};
                const BatchStatistics statistics{out.get(1), out.get(2)};
                cuda::depthwise_forward<T>(out.get<T>(0), in.get<T>(0), in.get(1), &on_load, &statistics, s, {});
            }),
            .flops = size.flops,
            .magnitude = 54.0};  // y, whose small variance is left of large values
}

OpCase depthwise_fused_backward_case(const DepthwiseShape& s) {
    const DepthwiseSizes size(s);
    return {.op = "depthwise_fused_backward",
            .shape = shape_of(s),
            .inputs = {activation({"g", size.y}),
                       activation({"y", size.y}),
                       {"a", s.c},
                       {"b", s.c},
                       {"d", s.c},
                       activation({"x", size.x}),
                       {"scale", s.c, -3, 3},
                       {"shift", s.c, 0, 6},
                       {"mean", s.c},
                       {"inv_std", s.c, 1, 2},
                       {"w", size.w}},
            .outputs = {activation({"dx", size.x, 0, 0, false, 9}),
                        {"dw", size.w, 0, 0, false, size.rows},
                        {"dgamma", s.c, 0, 0, false, 9 * size.rows},
                        {"dbeta", s.c, 0, 0, false, 9 * size.rows}},
            .run =
                [s](const Inputs& in, const Outputs& out) {
                    const GradientOnLoad gradient{in[1], in[2], in[3], in[4]};
                    const Normalize on_load{in[6], in[7], kAct};
                    const NormalizeBackward before{in[8], in[9], out[2], out[3]};
                    cpu::depthwise_backward(out[0], out[1], in[0], &gradient, in[5], &on_load, &before, in[10], s);
                },
            .define =
                [s](const Arrays& in) {
                    const Values dy = gradient_on_load(in[0], in[1], in[2], in[3], in[4]);
                    const Values dx = masked(depthwise_input_gradient(dy, in[10], s), in[5], in[6], in[7], kAct);
                    return Arrays{dx, depthwise_weight_gradient(dy, normalize(in[5], in[6], in[7], kAct), s),
                                  gamma_gradient(dx, in[5], in[8], in[9]), column_sum(dx, s.c)};
                },
            .run_cuda = cuda_forward([s]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const GradientOnLoadT<T> gradient{in.get<T>(1), in.get(2), in.get(3), in.get(4)};
                const Normalize on_load{in.get(6), in.get(7), kAct};
                const NormalizeBackward before{in.get(8), in.get(9), out.get(2), out.get(3)};
                cuda::depthwise_backward<T>(out.get<T>(0), out.get(1), in.get<T>(0), &gradient, in.get<T>(5), &on_load,
                                            &before, in.get(10), s, {});
            }),
            .flops = 2.0 * size.flops};
}

}  // namespace

std::vector<OpCase> convolution_cases() {
    std::vector<OpCase> cases;
    //  n  h  w  c   k  r  s  stride padding groups
    for (const ConvShape& s :
         {ConvShape{2, 9, 7, 3, 32, 3, 3, 2, 1},     // the stem
          ConvShape{1, 17, 17, 3, 5, 7, 7, 2, 3},    // the stem of ResNet
          ConvShape{1, 24, 23, 3, 6, 11, 11, 4, 2},  // the stem of AlexNet
          ConvShape{1, 1, 1, 1, 1, 1, 1, 1, 0},      // nothing to sum
          ConvShape{2, 1, 1, 3, 2, 3, 3, 1, 1},      // all padding but one tap
          ConvShape{3, 5, 6, 2, 3, 2, 5, 1, 2},      // a filter that is not square
          ConvShape{2, 6, 5, 7, 4, 1, 1, 2, 0},      // 1x1 with a stride
          ConvShape{2, 5, 5, 6, 9, 1, 1, 1, 0},      // 1x1: no copy is made
          ConvShape{2, 7, 6, 6, 4, 3, 3, 1, 1, 2},   // groups
          ConvShape{1, 5, 5, 5, 5, 3, 3, 2, 1, 5},   // depthwise as groups
          ConvShape{2, 6, 5, 20, 17, 3, 3, 1, 1},    // oneDNN's from here on
          ConvShape{1, 9, 9, 16, 24, 5, 5, 2, 2}, ConvShape{3, 5, 4, 33, 1, 3, 1, 1, 0},
          ConvShape{1, 7, 7, 24, 32, 5, 5, 1, 2},       // AlexNet's second layer, narrower
          ConvShape{2, 6, 5, 32, 16, 3, 3, 1, 1, 2},    // groups of whole 16-byte chunks
          ConvShape{2, 131, 129, 3, 8, 3, 3, 2, 1}}) {  // several threads, each with several blocks
        cases.push_back(conv_case(s));
        cases.push_back(conv_statistics_case(s));
        cases.push_back(conv_gradient_on_load_case(s));
        cases.push_back(conv_weight_gradient_case(s));
    }
    for (const auto& [rows, c, k] :
         std::vector<std::array<int, 3>>{{1, 1, 1}, {1, 13, 7}, {5, 16, 8}, {33, 17, 3}, {70, 40, 50}, {140, 32, 72}}) {
        cases.push_back(linear_case(rows, c, k));
        cases.push_back(pointwise_case(rows, c, k));
        cases.push_back(pointwise_fused_case(rows, c, k));
        cases.push_back(pointwise_fused_backward_case(rows, c, k));
        cases.push_back(pointwise_added_backward_case(rows, c, k));
    }
    // More weights than a thread keeps a copy of, and more rows than one block.
    cases.push_back(pointwise_case(53, 330, 310));
    cases.push_back(pointwise_fused_backward_case(53, 330, 310));
    cases.push_back(pointwise_fused_case(9000, 5, 9));
    cases.push_back(pointwise_fused_backward_case(9000, 5, 9));
    for (const DepthwiseShape& s :
         {DepthwiseShape{1, 1, 1, 1, 1}, DepthwiseShape{2, 1, 1, 5, 2}, DepthwiseShape{1, 2, 3, 4, 2},
          DepthwiseShape{2, 5, 7, 17, 1}, DepthwiseShape{2, 5, 7, 17, 2}, DepthwiseShape{1, 6, 4, 32, 2},
          DepthwiseShape{3, 4, 1, 9, 1}, DepthwiseShape{1, 1, 6, 3, 2}, DepthwiseShape{4, 13, 11, 23, 1},
          DepthwiseShape{4, 13, 12, 23, 2}, DepthwiseShape{1, 40, 9, 8, 1}, DepthwiseShape{2, 9, 20, 72, 1},
          DepthwiseShape{2, 20, 9, 72, 2}, DepthwiseShape{1, 5, 66, 20, 1}}) {
        cases.push_back(depthwise_case(s));
        cases.push_back(depthwise_fused_case(s));
        cases.push_back(depthwise_fused_backward_case(s));
    }
    return cases;
}

std::vector<OpCase> large_cases() {
    const DepthwiseShape stride1{2, 183, 184, 64, 1}, stride2{3, 150, 149, 64, 2};
    return {pointwise_fused_case(66000, 3, 64),     pointwise_fused_backward_case(66000, 64, 3),
            pointwise_fused_case(99000, 3, 43),     depthwise_fused_case(stride1),
            depthwise_fused_backward_case(stride1), depthwise_fused_backward_case(stride2)};
}

}  // namespace cutis::testing
