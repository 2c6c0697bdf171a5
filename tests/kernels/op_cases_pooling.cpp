#include <fmt/format.h>

#include <cstdint>

#include "tests/kernels/op_cases.h"
#ifdef CUTIS_WITH_CUDA
#include "tests/support/device_values.h"
#endif

namespace cutis::testing {
namespace {

using namespace reference;

std::string shape_of(int n, int hw, int c) {
    return fmt::format("n{}_hw{}_c{}", n, hw, c);
}

Operand activation(Operand operand) {
    operand.activation = true;
    return operand;
}

OpCase global_average_pool_case(int n, int hw, int c) {
    const std::int64_t size = std::int64_t{n} * hw * c;
    return {.op = "global_average_pool",
            .shape = shape_of(n, hw, c),
            .inputs = {activation({"x", size, -2, 2, true})},
            .outputs = {activation({"y", std::int64_t{n} * c, 0, 0, false, hw})},
            .run = [=](const Inputs& in,
                       const Outputs& out) { cpu::global_average_pool_forward(out[0], in[0], nullptr, n, hw, c); },
            .define = [=](const Arrays& in) { return Arrays{global_average_pool(in[0], n, hw, c)}; },
            .backward =
                [=](const Inputs&, const float* dy, const Outputs& grad) {
                    cpu::global_average_pool_backward(grad[0], dy, nullptr, nullptr, nullptr, n, hw, c);
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::global_average_pool_forward<T>(out.get<T>(0), in.get<T>(0), nullptr, n, hw, c, {});
            }),
            .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays&, const T* dy, const DeviceArrays& grad) {
                cuda::global_average_pool_backward<T>(grad.get<T>(0), dy, nullptr, nullptr, nullptr, n, hw, c, {});
            }),
            .flops = static_cast<double>(size)};
}

// With mean 0 and inv_std 1 the sums for the batchnorm before are the gradients of scale and shift.
OpCase global_average_pool_fused_case(int n, int hw, int c) {
    const std::int64_t size = std::int64_t{n} * hw * c;
    return {.op = "global_average_pool_fused",
            .shape = shape_of(n, hw, c),
            .inputs = {activation({"x", size, -2, 2, true}),
                       {"scale", c, -3, 3, true, std::int64_t{n} * hw},
                       {"shift", c, 0, 6, true, std::int64_t{n} * hw}},
            .outputs = {activation({"y", std::int64_t{n} * c, 0, 0, false, hw})},
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
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const Normalize on_load{in.get(1), in.get(2), Activation::relu6};
                cuda::global_average_pool_forward<T>(out.get<T>(0), in.get<T>(0), &on_load, n, hw, c, {});
            }),
            .flops = 4.0 * static_cast<double>(size)};
}

OpCase global_average_pool_fused_backward_case(int n, int hw, int c) {
    const std::int64_t size = std::int64_t{n} * hw * c;
    return {.op = "global_average_pool_fused_backward",
            .shape = shape_of(n, hw, c),
            .inputs = {activation({"dy", std::int64_t{n} * c}),
                       activation({"x", size}),
                       {"scale", c, -3, 3},
                       {"shift", c, 0, 6},
                       {"mean", c},
                       {"inv_std", c, 1, 2}},
            .outputs = {activation({"dx", size}),
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
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const Normalize on_load{in.get(2), in.get(3), Activation::relu6};
                const NormalizeBackward before{in.get(4), in.get(5), out.get(1), out.get(2)};
                cuda::global_average_pool_backward<T>(out.get<T>(0), in.get<T>(0), in.get<T>(1), &on_load, &before, n,
                                                      hw, c, {});
            }),
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
    return fmt::format("n{}_h{}_w{}_c{}_window{}_stride{}_pad{}{}", s.n, s.h, s.w, s.c, s.window, s.stride, s.padding,
                       s.ceil ? "_ceil" : "");
}

template <class T>
void max_pool_on_gpu([[maybe_unused]] T* y, [[maybe_unused]] const T* x, [[maybe_unused]] std::int64_t outputs,
                     [[maybe_unused]] const PoolShape& s) {
#ifdef CUTIS_WITH_CUDA
    const DeviceValues<std::uint8_t> marks(std::vector<std::uint8_t>(static_cast<std::size_t>(outputs)));
    cuda::max_pool_forward(y, marks.data(), x, s, {});
    cuda::check(cudaDeviceSynchronize(), "max pool");
#endif
}
template <class T>
void max_pool_gradient_on_gpu([[maybe_unused]] T* dx, [[maybe_unused]] const T* dy, [[maybe_unused]] const T* x,
                              [[maybe_unused]] std::int64_t outputs, [[maybe_unused]] const PoolShape& s) {
#ifdef CUTIS_WITH_CUDA
    const DeviceValues<std::uint8_t> marks(std::vector<std::uint8_t>(static_cast<std::size_t>(outputs)));
    const cuda::Scratch<T> y(outputs, {});
    cuda::max_pool_forward(y.data(), marks.data(), x, s, {});
    cuda::max_pool_backward(dx, dy, static_cast<const std::uint8_t*>(marks.data()), s, {});
    cuda::check(cudaDeviceSynchronize(), "max pool");
#endif
}

OpCase max_pool_case(const PoolShape& s) {
    const PoolSizes size(s);
    const auto chosen = static_cast<std::size_t>(size.y);
    return {.op = "max_pool",
            .shape = shape_of(s),
            .inputs = {activation({"x", size.x, -9, 9, true, std::int64_t{s.window} * s.window})},
            .outputs = {activation({"y", size.y})},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    std::vector<std::uint8_t> marks(chosen);
                    cpu::max_pool_forward(out[0], marks.data(), in[0], s);
                },
            .define = [=](const Arrays& in) { return Arrays{max_pool(in[0], s)}; },
            .backward =
                [=](const Inputs& in, const float* dy, const Outputs& grad) {
                    std::vector<std::uint8_t> marks(chosen);
                    std::vector<float> y(chosen);
                    cpu::max_pool_forward(y.data(), marks.data(), in[0], s);
                    cpu::max_pool_backward(grad[0], dy, marks.data(), s);
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                max_pool_on_gpu<T>(out.get<T>(0), in.get<T>(0), size.y, s);
            }),
            .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
                max_pool_gradient_on_gpu<T>(grad.get<T>(0), dy, in.get<T>(0), size.y, s);
            }),
            .chooses = true,
            .flops = size.flops};
}

OpCase average_pool_case(const PoolShape& s) {
    const PoolSizes size(s);
    const std::int64_t window = std::int64_t{s.window} * s.window;
    return {
        .op = "average_pool",
        .shape = shape_of(s),
        .inputs = {activation({"x", size.x, -2, 2, true, window})},
        .outputs = {activation({"y", size.y, 0, 0, false, window})},
        .run = [=](const Inputs& in, const Outputs& out) { cpu::average_pool_forward(out[0], in[0], s); },
        .define = [=](const Arrays& in) { return Arrays{average_pool(in[0], s)}; },
        .backward = [=](const Inputs&, const float* dy,
                        const Outputs& grad) { cpu::average_pool_backward(grad[0], dy, s); },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            cuda::average_pool_forward<T>(out.get<T>(0), in.get<T>(0), s, {});
        }),
        .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays&, const T* dy, const DeviceArrays& grad) {
            cuda::average_pool_backward<T>(grad.get<T>(0), dy, s, {});
        }),
        .linear = !s.ceil && (s.window == 1 || s.window == 2 || s.window == 4),  // others divide integers to fractions
        .flops = size.flops};
}

OpCase adaptive_average_pool_case(const AdaptivePoolShape& s) {
    const std::int64_t x = std::int64_t{s.n} * s.h * s.w * s.c, y = std::int64_t{s.n} * s.p * s.q * s.c;
    const std::int64_t window = std::int64_t{s.h / s.p + 2} * (s.w / s.q + 2);  // at most
    const std::int64_t windows = std::int64_t{s.p / s.h + 2} * (s.q / s.w + 2);
    return {.op = "adaptive_average_pool",
            .shape = fmt::format("n{}_h{}_w{}_c{}_p{}_q{}", s.n, s.h, s.w, s.c, s.p, s.q),
            .inputs = {activation({"x", x, -2, 2, true, windows})},
            .outputs = {activation({"y", y, 0, 0, false, window, false})},
            .run = [=](const Inputs& in, const Outputs& out) { cpu::adaptive_average_pool_forward(out[0], in[0], s); },
            .define = [=](const Arrays& in) { return Arrays{adaptive_average_pool(in[0], s)}; },
            .backward = [=](const Inputs&, const float* dy,
                            const Outputs& grad) { cpu::adaptive_average_pool_backward(grad[0], dy, s); },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::adaptive_average_pool_forward<T>(out.get<T>(0), in.get<T>(0), s, {});
            }),
            .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays&, const T* dy, const DeviceArrays& grad) {
                cuda::adaptive_average_pool_backward<T>(grad.get<T>(0), dy, s, {});
            }),
            .flops = static_cast<double>(y * window)};
}

}  // namespace

std::vector<OpCase> pooling_cases() {
    std::vector<OpCase> cases;
    for (const auto& [n, hw, c] : std::vector<std::array<int, 3>>{
             {1, 1, 1}, {2, 1, 3}, {1, 9, 17}, {3, 49, 40}, {2, 300, 5}, {7, 110, 70}, {65, 4, 8}}) {
        cases.push_back(global_average_pool_case(n, hw, c));
        cases.push_back(global_average_pool_fused_case(n, hw, c));
        cases.push_back(global_average_pool_fused_backward_case(n, hw, c));
    }
    //  n  h  w  c  window stride padding
    for (const PoolShape& s :
         {PoolShape{1, 1, 1, 1, 1, 1, 0}, PoolShape{2, 4, 6, 3, 2, 2, 0}, PoolShape{1, 7, 5, 17, 3, 2, 1},
          PoolShape{2, 5, 5, 6, 3, 1, 1}, PoolShape{1, 6, 9, 4, 3, 3, 0}, PoolShape{1, 3, 4, 70, 2, 3, 1},
          PoolShape{3, 19, 18, 33, 3, 2, 0}, PoolShape{2, 13, 13, 16, 3, 2, 0},  // as AlexNet's
          PoolShape{1, 14, 9, 24, 3, 2, 1},
          // One window more in rows, in columns (GoogLeNet's), and none, since it would begin in the padding.
          PoolShape{2, 8, 9, 5, 3, 2, 0, true}, PoolShape{1, 14, 7, 16, 3, 2, 0, true},
          PoolShape{1, 3, 5, 8, 2, 2, 1, true}, PoolShape{1, 2, 4, 3, 2, 3, 1, true},
          // A window larger than the image (GoogLeNet's on small ones).
          PoolShape{2, 2, 3, 5, 3, 2, 0, true}, PoolShape{1, 1, 1, 8, 2, 2, 0, true}}) {
        cases.push_back(max_pool_case(s));
        cases.push_back(average_pool_case(s));
    }
    //  n  h  w  c  p  q
    for (const AdaptivePoolShape& s :
         {AdaptivePoolShape{1, 1, 1, 1, 1, 1}, AdaptivePoolShape{2, 7, 5, 3, 3, 2}, AdaptivePoolShape{1, 3, 2, 8, 6, 6},
          AdaptivePoolShape{2, 13, 12, 17, 6, 6}, AdaptivePoolShape{1, 6, 6, 40, 6, 6},
          AdaptivePoolShape{3, 7, 7, 16, 1, 1}, AdaptivePoolShape{1, 5, 4, 1, 2, 7}}) {
        cases.push_back(adaptive_average_pool_case(s));
    }
    return cases;
}

}  // namespace cutis::testing
