#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "bench/cpu_cases.h"
#include "kernels/batchnorm.h"
#include "kernels/concat.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/lrn.h"
#include "kernels/pool.h"
#include "kernels/softmax_cross_entropy.h"
#ifdef CUTIS_WITH_ONEDNN
#include "kernels/vendor/onednn.h"
#endif

namespace cutis::bench {
namespace {

double floats(std::int64_t count) {
    return 4.0 * static_cast<double>(count);
}

// Batchnorm and ReLU6 of rows x c.
CpuPair batchnorm_forward(std::int64_t rows, int c) {
    const Array y = noise(rows * c), z = noise(rows * c), gamma = noise(c), beta = noise(c), mean = noise(c),
                var = noise(c), scale = noise(c), shift = noise(c), inv_std = noise(c);
    CpuPair pair{3 * floats(rows * c), 8.0 * static_cast<double>(rows * c), {}, {}};  // y twice: for sums, then again
    pair.ours = [=] {
        cpu::batchnorm_statistics(mean->data(), var->data(), y->data(), rows, c);
        cpu::batchnorm_fold(scale->data(), shift->data(), inv_std->data(), gamma->data(), beta->data(), mean->data(),
                            var->data(), 1e-5f, c);
        cpu::batchnorm_normalize(z->data(), y->data(), {scale->data(), shift->data(), Activation::relu6}, nullptr, rows,
                                 c);
    };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {
        onednn::batchnorm_forward(z->data(), {mean->data(), var->data(), scale->data(), shift->data(), inv_std->data()},
                                  y->data(), gamma->data(), beta->data(), 1e-5f, Activation::relu6, nullptr, rows, c);
    };
#endif
    return pair;
}

CpuPair batchnorm_backward(std::int64_t rows, int c) {
    const Array y = noise(rows * c), z = noise(rows * c), dz = noise(rows * c), dy = noise(rows * c), gamma = noise(c),
                mean = noise(c), var = ones(c), scale = noise(c), shift = noise(c), dgamma = noise(c), dbeta = noise(c),
                a = noise(c), b = noise(c), d = noise(c);
    CpuPair pair{5 * floats(rows * c), 14.0 * static_cast<double>(rows * c), {}, {}};  // y and dz twice, dy
    pair.ours = [=] {
        const Normalize normalize{scale->data(), shift->data(), Activation::relu6};
        cpu::batchnorm_reduce(nullptr, {mean->data(), var->data(), dgamma->data(), dbeta->data()}, dz->data(),
                              y->data(), normalize, rows, c);
        cpu::batchnorm_gradient_coefficients(a->data(), b->data(), d->data(), gamma->data(), mean->data(), var->data(),
                                             dgamma->data(), dbeta->data(), rows, c);
        cpu::batchnorm_apply_gradient(dy->data(), dz->data(), {y->data(), a->data(), b->data(), d->data()}, &normalize,
                                      rows, c);
    };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {
        onednn::batchnorm_backward(dy->data(), dgamma->data(), dbeta->data(), dz->data(), y->data(), z->data(),
                                   {mean->data(), var->data(), var->data(), 1e-5f}, gamma->data(), Activation::relu6,
                                   rows, c);
    };
#endif
    return pair;
}

CpuPair activation(std::int64_t n, bool backward) {
    const Array x = noise(n), y = noise(n), dy = noise(n);
    CpuPair pair{(backward ? 3 : 2) * floats(n), static_cast<double>(n), {}, {}};
    if (backward) {
        pair.ours = [=] { cpu::activation_backward(y->data(), dy->data(), x->data(), Activation::relu, n); };
    } else {
        pair.ours = [=] { cpu::activation_forward(y->data(), x->data(), Activation::relu, n); };
    }
#ifdef CUTIS_WITH_ONEDNN
    if (backward) {
        pair.vendor = [=] { onednn::activation_backward(y->data(), dy->data(), x->data(), Activation::relu, n); };
    } else {
        pair.vendor = [=] { onednn::activation_forward(y->data(), x->data(), Activation::relu, n); };
    }
#endif
    return pair;
}

CpuPair sum(std::int64_t n) {
    const Array a = noise(n), b = noise(n), z = noise(n);
    CpuPair pair{3 * floats(n), static_cast<double>(n), {}, {}};
    pair.ours = [=] { cpu::add(z->data(), a->data(), b->data(), n); };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] { onednn::add(z->data(), a->data(), b->data(), n); };
#endif
    return pair;
}

CpuPair softmax(int n, int c) {
    const Array x = noise(std::int64_t{n} * c), y = noise(std::int64_t{n} * c);
    CpuPair pair{2 * floats(std::int64_t{n} * c), 5.0 * n * c, {}, {}};
    pair.ours = [=] { cpu::softmax(y->data(), x->data(), n, c); };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] { onednn::softmax(y->data(), x->data(), n, c); };
#endif
    return pair;
}

CpuPair concatenation(std::int64_t rows, const std::vector<int>& channels) {
    std::vector<Array> arrays;
    std::vector<ChannelPart<const float>> parts;
    int c = 0;
    for (const int part : channels) {
        arrays.push_back(noise(rows * part));
        parts.push_back({arrays.back()->data(), part});
        c += part;
    }
    const Array y = noise(rows * c);
    CpuPair pair{2 * floats(rows * c), 0.0, {}, {}};
    pair.ours = [=] { cpu::concat_channels(y->data(), parts, rows); };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] { onednn::concat_channels(y->data(), parts, rows); };
#endif
    for (const Array& array : arrays) {
        pair.keep(array);
    }
    return pair;
}

CpuPair max_pool(const PoolShape& s, bool backward) {
    const std::int64_t in = std::int64_t{s.n} * s.h * s.w * s.c, out = std::int64_t{s.n} * s.p() * s.q() * s.c;
    const Array x = noise(in), y = noise(out), dx = noise(in), dy = noise(out);
    const auto our_marks = std::make_shared<std::vector<std::uint8_t>>(out);
    CpuPair pair{floats(in + out) + static_cast<double>(out),
                 static_cast<double>(out) * (backward ? 1 : s.window * s.window),
                 {},
                 {}};
    cpu::max_pool_forward(y->data(), our_marks->data(), x->data(), s);
    if (backward) {
        pair.ours = [=] { cpu::max_pool_backward(dx->data(), dy->data(), our_marks->data(), s); };
    } else {
        pair.ours = [=] { cpu::max_pool_forward(y->data(), our_marks->data(), x->data(), s); };
    }
#ifdef CUTIS_WITH_ONEDNN
    const auto marks = std::make_shared<std::vector<std::uint8_t>>(onednn::max_pool_marks(s));
    onednn::max_pool_forward(y->data(), marks->data(), x->data(), s);
    if (backward) {
        pair.vendor = [=] { onednn::max_pool_backward(dx->data(), dy->data(), marks->data(), s); };
    } else {
        pair.vendor = [=] { onednn::max_pool_forward(y->data(), marks->data(), x->data(), s); };
    }
#endif
    return pair;
}

CpuPair average_pool(const PoolShape& s, bool backward) {
    const std::int64_t in = std::int64_t{s.n} * s.h * s.w * s.c, out = std::int64_t{s.n} * s.p() * s.q() * s.c;
    const Array x = noise(in), y = noise(out);
    CpuPair pair{floats(in + out), static_cast<double>(out) * s.window * s.window, {}, {}};
    if (backward) {
        pair.ours = [=] { cpu::average_pool_backward(x->data(), y->data(), s); };
    } else {
        pair.ours = [=] { cpu::average_pool_forward(y->data(), x->data(), s); };
    }
#ifdef CUTIS_WITH_ONEDNN
    if (backward) {
        pair.vendor = [=] { onednn::average_pool_backward(x->data(), y->data(), s); };
    } else {
        pair.vendor = [=] { onednn::average_pool_forward(y->data(), x->data(), s); };
    }
#endif
    return pair;
}

CpuPair global_average_pool(int n, int hw, int c, bool backward) {
    const std::int64_t in = std::int64_t{n} * hw * c, out = std::int64_t{n} * c;
    const Array x = noise(in), y = noise(out);
    CpuPair pair{floats(in + out), static_cast<double>(in), {}, {}};
    if (backward) {
        pair.ours = [=] {
            cpu::global_average_pool_backward(x->data(), y->data(), nullptr, nullptr, nullptr, n, hw, c);
        };
    } else {
        pair.ours = [=] { cpu::global_average_pool_forward(y->data(), x->data(), nullptr, n, hw, c); };
    }
#ifdef CUTIS_WITH_ONEDNN
    if (backward) {
        pair.vendor = [=] {
            onednn::global_average_pool_backward(x->data(), y->data(), nullptr, nullptr, nullptr, n, hw, c);
        };
    } else {
        pair.vendor = [=] { onednn::global_average_pool_forward(y->data(), x->data(), nullptr, n, hw, c); };
    }
#endif
    return pair;
}

CpuPair local_response_norm(std::int64_t rows, int c, bool backward) {
    const LocalResponseNorm norm{};
    const Array x = noise(rows * c), y = noise(rows * c), dy = noise(rows * c);
    CpuPair pair{(backward ? 3 : 2) * floats(rows * c), 15.0 * static_cast<double>(rows * c), {}, {}};
    if (backward) {
        pair.ours = [=] { cpu::local_response_norm_backward(y->data(), dy->data(), x->data(), norm, rows, c); };
    } else {
        pair.ours = [=] { cpu::local_response_norm_forward(y->data(), x->data(), norm, rows, c); };
    }
#ifdef CUTIS_WITH_ONEDNN
    const auto workspace =
        std::make_shared<std::vector<char>>(onednn::local_response_norm_workspace_bytes(norm, rows, c) + 1);
    onednn::vendor_local_response_norm_forward(y->data(), workspace->data(), x->data(), norm, rows, c);
    if (backward) {
        pair.vendor = [=] {
            onednn::vendor_local_response_norm_backward(y->data(), dy->data(), x->data(), workspace->data(), norm, rows,
                                                        c);
        };
    } else {
        pair.vendor = [=] {
            onednn::vendor_local_response_norm_forward(y->data(), workspace->data(), x->data(), norm, rows, c);
        };
    }
#endif
    return pair;
}

CpuPair linear(std::int64_t rows, int c, int k, bool backward) {
    const Array x = noise(rows * c), w = noise(std::int64_t{c} * k), bias = noise(k), y = noise(rows * k),
                dx = noise(rows * c), dw = noise(std::int64_t{c} * k);
    const double flops = 2.0 * static_cast<double>(rows) * c * k;
    CpuPair pair{
        floats(rows * c + rows * k + std::int64_t{c} * k) * (backward ? 2 : 1), backward ? 2 * flops : flops, {}, {}};
    if (backward) {
        pair.ours = [=] {
            cpu::linear_backward(dx->data(), dw->data(), bias->data(), y->data(), x->data(), w->data(), rows, c, k);
        };
    } else {
        pair.ours = [=] { cpu::linear_forward(y->data(), x->data(), w->data(), bias->data(), rows, c, k); };
    }
#ifdef CUTIS_WITH_ONEDNN
    if (backward) {
        pair.vendor = [=] {
            onednn::linear_backward(dx->data(), dw->data(), bias->data(), y->data(), x->data(), w->data(), rows, c, k);
        };
    } else {
        pair.vendor = [=] { onednn::linear_forward(y->data(), x->data(), w->data(), bias->data(), rows, c, k); };
    }
#endif
    return pair;
}

}  // namespace

std::vector<CpuCase> other_cases(const Workload& workload) {
    std::vector<CpuCase> cases;
    const int n = workload.batch;
    const auto add = [&](const char* op, const std::string& shape, std::function<CpuPair()> make) {
        cases.push_back({op, shape, std::move(make)});
    };
    const auto both = [&](const std::string& op, const std::string& shape, auto make) {
        add((op + "_forward").c_str(), shape, [=] { return make(false); });
        add((op + "_backward").c_str(), shape, [=] { return make(true); });
    };
    std::vector<std::pair<int, int>> normalised;
    for (const ConvLayer& layer : conv_layers(workload)) {
        if (const std::pair next{layer.side_out, layer.k};
            std::find(normalised.begin(), normalised.end(), next) == normalised.end()) {
            normalised.push_back(next);
        }
    }
    for (const auto& [side, c] : normalised) {
        const std::int64_t rows = std::int64_t{n} * side * side;
        both("batchnorm_relu6", fmt::format("{0}x{0}x{1}", side, c), [rows, channels = c](bool backward) {
            return backward ? batchnorm_backward(rows, channels) : batchnorm_forward(rows, channels);
        });
    }
    const std::int64_t small = std::int64_t{n} * 28 * 28 * 128, large = std::int64_t{n} * 55 * 55 * 64;
    for (const auto& [shape, count] : {std::pair<const char*, std::int64_t>{"28x28x128", small}, {"55x55x64", large}}) {
        both("relu", shape, [elements = count](bool backward) { return activation(elements, backward); });
        add("sum", shape, [elements = count] { return sum(elements); });
    }
    for (const PoolShape& s : max_pool_shapes(workload)) {
        both("max_pool", fmt::format("{0}x{0}x{1}k3s{2}", s.h, s.c, s.stride),
             [=](bool backward) { return max_pool(s, backward); });
    }
    const PoolShape auxiliary{n, 14, 14, 512, 5, 3, 0};
    both("average_pool", "14x14x512k5s3", [=](bool backward) { return average_pool(auxiliary, backward); });
    both("global_average_pool", "7x7x1280", [=](bool backward) { return global_average_pool(n, 49, 1280, backward); });
    for (const auto& [side, c] : response_norm_shapes(workload)) {
        const std::int64_t rows = std::int64_t{n} * side * side;
        both("local_response_norm", fmt::format("{0}x{0}x{1}", side, c),
             [rows, channels = c](bool backward) { return local_response_norm(rows, channels, backward); });
    }
    add("concatenation", "28x28x64+128+32+32", [=] {
        return concatenation(std::int64_t{n} * 28 * 28, {64, 128, 32, 32});
    });
    for (const auto& [c, k] : linear_shapes(workload)) {
        both("linear", fmt::format("{}to{}", c, k),
             [n, in = c, out = k](bool backward) { return linear(n, in, out, backward); });
    }
    add("softmax", "7", [=] { return softmax(n, 7); });
    add("softmax", "1000", [=] { return softmax(n, 1000); });
    return cases;
}

}  // namespace cutis::bench
