#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/elementwise.h"
#include "tests/kernels/op_cases.h"
#ifdef CUTIS_WITH_CUDA
#include "kernels/launch.h"
#endif

namespace cutis::testing {
namespace {

using namespace reference;

constexpr float kEps = 1e-5f;

const char* name_of(Activation act) {
    switch (act) {
        case Activation::relu:
            return "relu";
        case Activation::relu6:
            return "relu6";
        case Activation::identity:
            break;
    }
    return "identity";
}

std::string shape_of(std::int64_t rows, int c) {
    return fmt::format("rows{}_c{}", rows, c);
}

// The parts of a training step's batchnorm, put together.
struct Batchnorm {
    Batchnorm(const float* y, const float* gamma, const float* beta, Activation act, std::int64_t rows, int c)
        : values(8, std::vector<float>(static_cast<std::size_t>(c))), normalize{at(2), at(3), act} {
        cpu::batchnorm_statistics(at(0), at(1), y, rows, c);
        cpu::batchnorm_fold(at(2), at(3), at(4), gamma, beta, at(0), at(1), kEps, c);
    }
    float* at(std::size_t i) { return values[i].data(); }  // mean, var, scale, shift, inv_std, a, b, d
    std::vector<std::vector<float>> values;
    Normalize normalize;
};

#ifdef CUTIS_WITH_CUDA
// The same on a GPU. Freed in stream order, behind the kernels that read it.
struct CudaBatchnorm {
    template <class T>
    CudaBatchnorm(const T* y, const float* gamma, const float* beta, Activation act, std::int64_t rows, int c)
        : values(std::int64_t{8} * c, {}), channels(c), normalize{at(2), at(3), act} {
        cuda::batchnorm_statistics(at(0), at(1), y, rows, c, {});
        cuda::batchnorm_fold(at(2), at(3), at(4), gamma, beta, at(0), at(1), kEps, c, {});
    }
    float* at(int i) const { return values.data() + i * channels; }
    cuda::Scratch<float> values;
    int channels;
    Normalize normalize;
};
#endif

template <class T>
void cuda_batchnorm_forward([[maybe_unused]] const DeviceArrays& in, [[maybe_unused]] const DeviceArrays& out,
                            [[maybe_unused]] Activation act, [[maybe_unused]] bool with_residual,
                            [[maybe_unused]] std::int64_t rows, [[maybe_unused]] int c) {
#ifdef CUTIS_WITH_CUDA
    const CudaBatchnorm norm(in.get<const T>(0), in.get(1), in.get(2), act, rows, c);
    cuda::batchnorm_normalize(out.get<T>(0), in.get<const T>(0), norm.normalize, with_residual ? in.get<T>(3) : nullptr,
                              rows, c, {});
#endif
}

template <class T>
void cuda_batchnorm_backward([[maybe_unused]] const DeviceArrays& in, [[maybe_unused]] const T* dy,
                             [[maybe_unused]] const DeviceArrays& grad, [[maybe_unused]] Activation act,
                             [[maybe_unused]] bool with_residual, [[maybe_unused]] std::int64_t rows,
                             [[maybe_unused]] int c) {
#ifdef CUTIS_WITH_CUDA
    const T* const y = in.get<const T>(0);
    const CudaBatchnorm norm(y, in.get(1), in.get(2), act, rows, c);
    cuda::batchnorm_reduce(nullptr, {norm.at(0), norm.at(4), grad.get(1), grad.get(2)}, dy, y, norm.normalize, rows, c,
                           {});
    cuda::batchnorm_gradient_coefficients(norm.at(5), norm.at(6), norm.at(7), in.get(1), norm.at(0), norm.at(4),
                                          grad.get(1), grad.get(2), rows, c, {});
    const GradientOnLoadT<T> on_load{y, norm.at(5), norm.at(6), norm.at(7)};
    cuda::batchnorm_apply_gradient(grad.get<T>(0), dy, on_load, &norm.normalize, rows, c, {});
    if (with_residual) {
        cuda::scale(grad.get<T>(3), dy, 1.0f, rows * c, {});
    }
#endif
}

OpCase batchnorm_case(std::int64_t rows, int c, Activation act, bool with_residual) {
    // One row has no spread: 1 / sqrt(eps) multiplies whatever is left of its gradient.
    const double magnitude = rows == 1 ? 1.0 / std::sqrt(static_cast<double>(kEps)) : 4.0;
    OpCase op{
        .op = fmt::format("batchnorm_{}", name_of(act)),
        .shape = fmt::format("{}rows{}_c{}", with_residual ? "residual_" : "", rows, c),
        .inputs = {{"y", rows * c, -2, 2, true, rows, true, true},
                   {"gamma", c, -4, 4, true, rows},
                   {"beta", c, 0, 6, true, rows}},
        .outputs = {{"z", rows * c, 0, 0, false, 4 + statistics_terms(rows), false, true}},
        .run =
            [=](const Inputs& in, const Outputs& out) {
                Batchnorm norm(in[0], in[1], in[2], act, rows, c);
                cpu::batchnorm_normalize(out[0], in[0], norm.normalize, with_residual ? in[3] : nullptr, rows, c);
            },
        .define =
            [=](const Arrays& in) {
                const Values z = batchnorm(in[0], in[1], in[2], static_cast<double>(kEps), act);
                return Arrays{with_residual ? add(z, in[3]) : z};
            },
        .backward =
            [=](const Inputs& in, const float* dy, const Outputs& grad) {
                Batchnorm norm(in[0], in[1], in[2], act, rows, c);
                cpu::batchnorm_reduce(nullptr, {norm.at(0), norm.at(4), grad[1], grad[2]}, dy, in[0], norm.normalize,
                                      rows, c);
                cpu::batchnorm_gradient_coefficients(norm.at(5), norm.at(6), norm.at(7), in[1], norm.at(0), norm.at(4),
                                                     grad[1], grad[2], rows, c);
                const GradientOnLoad on_load{in[0], norm.at(5), norm.at(6), norm.at(7)};
                cpu::batchnorm_apply_gradient(grad[0], dy, on_load, &norm.normalize, rows, c);
                if (with_residual) {
                    std::copy_n(dy, rows * c, grad[3]);
                }
            },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            cuda_batchnorm_forward<T>(in, out, act, with_residual, rows, c);
        }),
        .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
            cuda_batchnorm_backward<T>(in, dy, grad, act, with_residual, rows, c);
        }),
        .flops = 12.0 * static_cast<double>(rows * c),
        .magnitude = magnitude};
    if (with_residual) {
        op.inputs.push_back({"residual", rows * c, -2, 2, true, 1, true, true});
    }
    return op;
}

OpCase statistics_case(std::int64_t rows, int c) {
    return {
        .op = "batchnorm_statistics",
        .shape = shape_of(rows, c),
        .inputs = {{.name = "y", .size = rows * c, .activation = true}},
        .outputs = {{"mean", c, 0, 0, false, 4 + statistics_terms(rows), false},
                    {"var", c, 0, 0, false, 4 + statistics_terms(rows), false}},
        .run = [=](const Inputs& in, const Outputs& out) { cpu::batchnorm_statistics(out[0], out[1], in[0], rows, c); },
        .define =
            [=](const Arrays& in) {
                const Moments m = moments(in[0], c);
                return Arrays{m.mean, m.var};
            },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            cuda::batchnorm_statistics(out.get(0), out.get(1), in.get<const T>(0), rows, c, {});
        }),
        .flops = 3.0 * static_cast<double>(rows * c)};
}

OpCase normalize_case(std::int64_t rows, int c, Activation act) {
    return {.op = fmt::format("batchnorm_normalize_{}", name_of(act)),
            .shape = shape_of(rows, c),
            .inputs = {{.name = "y", .size = rows * c, .activation = true},
                       {"scale", c, -3, 3},
                       {"shift", c, 0, 6},
                       {.name = "residual", .size = rows * c, .activation = true}},
            .outputs = {{.name = "z", .size = rows * c, .activation = true}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    cpu::batchnorm_normalize(out[0], in[0], {in[1], in[2], act}, in[3], rows, c);
                },
            .define = [=](const Arrays& in) { return Arrays{add(normalize(in[0], in[1], in[2], act), in[3])}; },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::batchnorm_normalize(out.get<T>(0), in.get<const T>(0), {in.get(1), in.get(2), act},
                                          in.get<const T>(3), rows, c, {});
            }),
            .flops = 5.0 * static_cast<double>(rows * c)};
}

// The masked gradient is stored over dz, as the unfused schedule does.
OpCase reduce_case(std::int64_t rows, int c, Activation act) {
    return {.op = fmt::format("batchnorm_reduce_{}", name_of(act)),
            .shape = shape_of(rows, c),
            .inputs = {{.name = "dz", .size = rows * c, .activation = true},
                       {.name = "y", .size = rows * c, .activation = true},
                       {"scale", c, -3, 3},
                       {"shift", c, 0, 6},
                       {"mean", c},
                       {"inv_std", c, 1, 2}},
            .outputs = {{.name = "g", .size = rows * c, .activation = true},
                        {"dgamma", c, 0, 0, false, rows},
                        {"dbeta", c, 0, 0, false, rows}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    std::copy_n(in[0], rows * c, out[0]);
                    cpu::batchnorm_reduce(out[0], {in[4], in[5], out[1], out[2]}, out[0], in[1], {in[2], in[3], act},
                                          rows, c);
                },
            .define =
                [=](const Arrays& in) {
                    const Values g = masked(in[0], in[1], in[2], in[3], act);
                    return Arrays{g, gamma_gradient(g, in[1], in[4], in[5]), column_sum(g, c)};
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::scale(out.get<T>(0), in.get<const T>(0), 1.0f, rows * c, {});
                cuda::batchnorm_reduce(out.get<T>(0), {in.get(4), in.get(5), out.get(1), out.get(2)},
                                       out.get<const T>(0), in.get<const T>(1), {in.get(2), in.get(3), act}, rows, c,
                                       {});
            }),
            .flops = 7.0 * static_cast<double>(rows * c)};
}

OpCase apply_gradient_case(std::int64_t rows, int c, bool with_mask) {
    return {.op = fmt::format("batchnorm_apply_gradient{}", with_mask ? "_masked" : ""),
            .shape = shape_of(rows, c),
            .inputs = {{.name = "dz", .size = rows * c, .activation = true},
                       {.name = "y", .size = rows * c, .activation = true},
                       {"a", c},
                       {"b", c},
                       {"d", c},
                       {"scale", c, -3, 3},
                       {"shift", c, 0, 6}},
            .outputs = {{.name = "dy", .size = rows * c, .activation = true}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    const Normalize normalize{in[5], in[6], Activation::relu6};
                    cpu::batchnorm_apply_gradient(out[0], in[0], {in[1], in[2], in[3], in[4]},
                                                  with_mask ? &normalize : nullptr, rows, c);
                },
            .define =
                [=](const Arrays& in) {
                    const Values g = with_mask ? masked(in[0], in[1], in[5], in[6], Activation::relu6) : in[0];
                    return Arrays{gradient_on_load(g, in[1], in[2], in[3], in[4])};
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const Normalize normalize{in.get(5), in.get(6), Activation::relu6};
                const GradientOnLoadT<T> on_load{in.get<const T>(1), in.get(2), in.get(3), in.get(4)};
                cuda::batchnorm_apply_gradient(out.get<T>(0), in.get<const T>(0), on_load,
                                               with_mask ? &normalize : nullptr, rows, c, {});
            }),
            .flops = 6.0 * static_cast<double>(rows * c)};
}

OpCase activation_case(std::int64_t n, Activation act) {
    return {.op = fmt::format("activation_{}", name_of(act)),
            .shape = fmt::format("n{}", n),
            .inputs = {{.name = "x", .size = n, .low = -4, .high = 9, .differentiable = true, .activation = true}},
            .outputs = {{.name = "y", .size = n, .activation = true}},
            .run = [=](const Inputs& in, const Outputs& out) { cpu::activation_forward(out[0], in[0], act, n); },
            .define = [=](const Arrays& in) { return Arrays{activation(in[0], act)}; },
            .backward = [=](const Inputs& in, const float* dy,
                            const Outputs& grad) { cpu::activation_backward(grad[0], dy, in[0], act, n); },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::activation_forward(out.get<T>(0), in.get<const T>(0), act, n, {});
            }),
            .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
                cuda::activation_backward(grad.get<T>(0), dy, in.get<const T>(0), act, n, {});
            }),
            .flops = 2.0 * static_cast<double>(n)};
}

// At integers the ends of the clamp are met: no gradient passes there. The gradient may stand where dy stood.
OpCase activation_gradient_case(std::int64_t n, Activation act) {
    return {.op = fmt::format("activation_gradient_{}", name_of(act)),
            .shape = fmt::format("n{}", n),
            .inputs = {{.name = "dy", .size = n, .activation = true},
                       {.name = "x", .size = n, .low = -4, .high = 9, .activation = true}},
            .outputs = {{.name = "dx", .size = n, .activation = true}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    std::copy_n(in[0], n, out[0]);
                    cpu::activation_backward(out[0], out[0], in[1], act, n);
                },
            .define = [=](const Arrays& in) { return Arrays{activation_gradient(in[0], in[1], act)}; },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::scale(out.get<T>(0), in.get<const T>(0), 1.0f, n, {});
                cuda::activation_backward(out.get<T>(0), out.get<const T>(0), in.get<const T>(1), act, n, {});
            }),
            .flops = 2.0 * static_cast<double>(n)};
}

OpCase add_case(std::int64_t n) {
    return {.op = "add",
            .shape = fmt::format("n{}", n),
            .inputs = {{"a", n, -2, 2, true, 1, true, true}, {"b", n, -2, 2, true, 1, true, true}},
            .outputs = {{.name = "z", .size = n, .activation = true}},
            .run = [=](const Inputs& in, const Outputs& out) { cpu::add(out[0], in[0], in[1], n); },
            .define = [](const Arrays& in) { return Arrays{add(in[0], in[1])}; },
            .backward =
                [=](const Inputs&, const float* dy, const Outputs& grad) {
                    std::copy_n(dy, n, grad[0]);
                    std::copy_n(dy, n, grad[1]);
                },
            .run_cuda = cuda_forward([n]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                cuda::add(out.get<T>(0), in.get<T>(0), in.get<T>(1), n, {});
            }),
            .linear = true,
            .flops = static_cast<double>(n)};
}

OpCase scale_and_axpy_case(std::int64_t n) {
    constexpr float kFactor = 3.0f;
    return {
        .op = "scale_axpy",
        .shape = fmt::format("n{}", n),
        .inputs = {{.name = "x", .size = n, .activation = true}, {.name = "y", .size = n, .activation = true}},
        .outputs = {{.name = "scaled", .size = n, .activation = true}, {.name = "sum", .size = n, .activation = true}},
        .run =
            [=](const Inputs& in, const Outputs& out) {
                cpu::scale(out[0], in[0], kFactor, n);
                std::copy_n(in[1], n, out[1]);
                cpu::axpy(out[1], kFactor, in[0], n);
            },
        .define =
            [](const Arrays& in) {
                Values scaled = in[0];
                for (double& value : scaled) {
                    value *= static_cast<double>(kFactor);
                }
                return Arrays{scaled, add(in[1], scaled)};
            },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            cuda::scale(out.get<T>(0), in.get<const T>(0), kFactor, n, {});
            cuda::scale(out.get<T>(1), in.get<const T>(1), 1.0f, n, {});
            cuda::axpy(out.get<T>(1), kFactor, in.get<const T>(0), n, {});
        }),
        .flops = 3.0 * static_cast<double>(n)};
}

OpCase fill_case(std::int64_t n) {
    constexpr float kValue = -1.5f;
    return {.op = "fill",
            .shape = fmt::format("n{}", n),
            .inputs = {},
            .outputs = {{.name = "x", .size = n, .activation = true}},
            .run = [=](const Inputs&, const Outputs& out) { cpu::fill(out[0], kValue, n); },
            .define = [=](const Arrays&) { return Arrays{Values(static_cast<std::size_t>(n), -1.5)}; },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays&, const DeviceArrays& out) {
                cuda::fill(out.get<T>(0), kValue, n, {});
            })};
}

}  // namespace

std::vector<OpCase> normalisation_cases() {
    std::vector<OpCase> cases;
    for (const Activation act : {Activation::identity, Activation::relu, Activation::relu6}) {
        for (const auto& [rows, c] : std::vector<std::array<int, 2>>{{1, 1}, {2, 3}, {7, 16}, {31, 17}, {12, 37}}) {
            cases.push_back(batchnorm_case(rows, c, act, rows % 2 == 0));
            cases.push_back(normalize_case(rows, c, act));
            cases.push_back(reduce_case(rows, c, act));
        }
        for (const std::int64_t n : {1, 3, 17, 1000}) {
            cases.push_back(activation_case(n, act));
            cases.push_back(activation_gradient_case(n, act));
        }
    }
    for (const auto& [rows, c] : std::vector<std::array<int, 2>>{{1, 1}, {5, 3}, {6, 16}, {9, 35}, {2100, 33}}) {
        cases.push_back(statistics_case(rows, c));
        cases.push_back(apply_gradient_case(rows, c, false));
        cases.push_back(apply_gradient_case(rows, c, true));
    }
    for (const std::int64_t n : {1, 5, 16, 333}) {
        cases.push_back(add_case(n));
        cases.push_back(scale_and_axpy_case(n));
        cases.push_back(fill_case(n));
    }
    // Enough for several threads.
    cases.push_back(batchnorm_case(5000, 9, Activation::relu6, true));
    cases.push_back(normalize_case(5000, 9, Activation::relu6));
    cases.push_back(reduce_case(5000, 9, Activation::relu6));
    cases.push_back(activation_gradient_case(70001, Activation::relu6));
    cases.back().run_cuda = {};  // of so many values some round to the clamp's end in bf16
    cases.push_back(add_case(70001));
    cases.push_back(scale_and_axpy_case(70001));
    cases.push_back(fill_case(70001));
    return cases;
}

}  // namespace cutis::testing
