#include <fmt/format.h>

#include <cstdint>

#include "tests/kernels/op_cases.h"

namespace cutis::testing {
namespace {

using namespace reference;

std::string shape_of(int n, int hw, int c) {
    return fmt::format("n{}_hw{}_c{}", n, hw, c);
}

OpCase global_average_pool_case(int n, int hw, int c) {
    const std::int64_t size = std::int64_t{n} * hw * c;
    return {.op = "global_average_pool",
            .shape = shape_of(n, hw, c),
            .inputs = {{"x", size, -2, 2, true}},
            .outputs = {{"y", std::int64_t{n} * c, 0, 0, false, hw}},
            .run = [=](const Inputs& in,
                       const Outputs& out) { cpu::global_average_pool_forward(out[0], in[0], nullptr, n, hw, c); },
            .define = [=](const Arrays& in) { return Arrays{global_average_pool(in[0], n, hw, c)}; },
            .backward =
                [=](const Inputs&, const float* dy, const Outputs& grad) {
                    cpu::global_average_pool_backward(grad[0], dy, nullptr, nullptr, nullptr, n, hw, c);
                },
            .flops = static_cast<double>(size)};
}

// With mean 0 and inv_std 1 the sums for the batchnorm before are the gradients of scale and shift.
OpCase global_average_pool_fused_case(int n, int hw, int c) {
    const std::int64_t size = std::int64_t{n} * hw * c;
    return {.op = "global_average_pool_fused",
            .shape = shape_of(n, hw, c),
            .inputs = {{"x", size, -2, 2, true},
                       {"scale", c, -3, 3, true, std::int64_t{n} * hw},
                       {"shift", c, 0, 6, true, std::int64_t{n} * hw}},
            .outputs = {{"y", std::int64_t{n} * c, 0, 0, false, hw}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    const Normalize on_load{in[1], in[2], Activation::relu6};
                    cpu::global_average_pool_forward(out[0], in[0], &on_load, n, hw, c);
                },
            .define =
                [=](const Arrays& in) {
                    return Arrays{global_average_pool(normalize(in[0], in[1], in[2], Activation::relu6), n, hw, c)};
                },
            .backward =
                [=](const Inputs& in, const float* dy, const Outputs& grad) {
                    const Normalize on_load{in[1], in[2], Activation::relu6};
                    const auto channels = static_cast<std::size_t>(c);
                    const std::vector<float> zero(channels, 0.0f), one(channels, 1.0f);
                    const NormalizeBackward before{zero.data(), one.data(), grad[1], grad[2]};
                    cpu::global_average_pool_backward(grad[0], dy, in[0], &on_load, &before, n, hw, c);
                    for (std::int64_t i = 0; i < size; ++i) {
                        grad[0][i] *= in[1][i % c];
                    }
                },
            .flops = 4.0 * static_cast<double>(size)};
}

OpCase global_average_pool_fused_backward_case(int n, int hw, int c) {
    const std::int64_t size = std::int64_t{n} * hw * c;
    return {.op = "global_average_pool_fused_backward",
            .shape = shape_of(n, hw, c),
            .inputs = {{"dy", std::int64_t{n} * c},
                       {"x", size},
                       {"scale", c, -3, 3},
                       {"shift", c, 0, 6},
                       {"mean", c},
                       {"inv_std", c, 1, 2}},
            .outputs = {{"dx", size},
                        {"dgamma", c, 0, 0, false, std::int64_t{n} * hw, false},
                        {"dbeta", c, 0, 0, false, std::int64_t{n} * hw, false}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    const Normalize on_load{in[2], in[3], Activation::relu6};
                    const NormalizeBackward before{in[4], in[5], out[1], out[2]};
                    cpu::global_average_pool_backward(out[0], in[0], in[1], &on_load, &before, n, hw, c);
                },
            .define =
                [=](const Arrays& in) {
                    Values dz(in[1].size());
                    for (std::size_t i = 0; i < dz.size(); ++i) {
                        const std::size_t channels = in[2].size();
                        dz[i] = in[0][i / (channels * static_cast<std::size_t>(hw)) * channels + i % channels] / hw;
                    }
                    const Values dx = masked(dz, in[1], in[2], in[3], Activation::relu6);
                    return Arrays{dx, gamma_gradient(dx, in[1], in[4], in[5]), column_sum(dx, c)};
                },
            .flops = 7.0 * static_cast<double>(size)};
}

struct PoolSizes {
    explicit PoolSizes(const PoolShape& s)
        : x(std::int64_t{s.n} * s.h * s.w * s.c),
          y(std::int64_t{s.n} * s.p() * s.q() * s.c),
          flops(static_cast<double>(y) * s.window * s.window) {}
    std::int64_t x, y;
    double flops;
};

std::string shape_of(const PoolShape& s) {
    return fmt::format("n{}_h{}_w{}_c{}_window{}_stride{}_pad{}", s.n, s.h, s.w, s.c, s.window, s.stride, s.padding);
}

OpCase max_pool_case(const PoolShape& s) {
    const PoolSizes size(s);
    const auto chosen = static_cast<std::size_t>(size.y);
    return {.op = "max_pool",
            .shape = shape_of(s),
            .inputs = {{"x", size.x, -9, 9, true, std::int64_t{s.window} * s.window}},
            .outputs = {{"y", size.y}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    std::vector<std::int32_t> argmax(chosen);
                    cpu::max_pool_forward(out[0], argmax.data(), in[0], s);
                },
            .define = [=](const Arrays& in) { return Arrays{max_pool(in[0], s)}; },
            .backward =
                [=](const Inputs& in, const float* dy, const Outputs& grad) {
                    std::vector<std::int32_t> argmax(chosen);
                    std::vector<float> y(chosen);
                    cpu::max_pool_forward(y.data(), argmax.data(), in[0], s);
                    cpu::max_pool_backward(grad[0], dy, argmax.data(), s);
                },
            .flops = size.flops};
}

OpCase average_pool_case(const PoolShape& s) {
    const PoolSizes size(s);
    const std::int64_t window = std::int64_t{s.window} * s.window;
    return {.op = "average_pool",
            .shape = shape_of(s),
            .inputs = {{"x", size.x, -2, 2, true, window}},
            .outputs = {{"y", size.y, 0, 0, false, window}},
            .run = [=](const Inputs& in, const Outputs& out) { cpu::average_pool_forward(out[0], in[0], s); },
            .define = [=](const Arrays& in) { return Arrays{average_pool(in[0], s)}; },
            .backward = [=](const Inputs&, const float* dy,
                            const Outputs& grad) { cpu::average_pool_backward(grad[0], dy, s); },
            .linear = s.window == 1 || s.window == 2 || s.window == 4,  // others divide integers to fractions
            .flops = size.flops};
}

}  // namespace

std::vector<OpCase> pooling_cases() {
    std::vector<OpCase> cases;
    for (const auto& [n, hw, c] :
         std::vector<std::array<int, 3>>{{1, 1, 1}, {2, 1, 3}, {1, 9, 17}, {3, 49, 40}, {2, 300, 5}, {7, 110, 70}}) {
        cases.push_back(global_average_pool_case(n, hw, c));
        cases.push_back(global_average_pool_fused_case(n, hw, c));
        cases.push_back(global_average_pool_fused_backward_case(n, hw, c));
    }
    //  n  h  w  c  window stride padding
    for (const PoolShape& s :
         {PoolShape{1, 1, 1, 1, 1, 1, 0}, PoolShape{2, 4, 6, 3, 2, 2, 0}, PoolShape{1, 7, 5, 17, 3, 2, 1},
          PoolShape{2, 5, 5, 6, 3, 1, 1}, PoolShape{1, 6, 9, 4, 3, 3, 0}, PoolShape{1, 3, 4, 70, 2, 3, 1},
          PoolShape{3, 19, 18, 33, 3, 2, 0}}) {
        cases.push_back(max_pool_case(s));
        cases.push_back(average_pool_case(s));
    }
    return cases;
}

}  // namespace cutis::testing
