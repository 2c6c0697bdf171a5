#include <fmt/format.h>

#include <array>
#include <memory>

#include "bench/cpu_cases.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/pointwise.h"
#ifdef CUTIS_WITH_ONEDNN
#include "kernels/vendor/onednn.h"
#endif

namespace cutis::bench {
namespace {

double floats(std::initializer_list<std::int64_t> counts) {
    double bytes = 0;
    for (const std::int64_t count : counts) {
        bytes += 4.0 * static_cast<double>(count);
    }
    return bytes;
}

// The figures per channel around a batchnorm; small beside activations, and not counted.
struct Norm {
    explicit Norm(int c)
        : mean(noise(c)),
          var(ones(c)),
          inv_std(var),
          gamma(var),
          beta(noise(c)),
          scale(ones(c)),
          shift(noise(c)),
          dgamma(noise(c)),
          dbeta(noise(c)),
          a(noise(c)),
          b(noise(c)),
          d(noise(c)) {}
    Normalize normalize() const { return {scale->data(), shift->data(), Activation::relu6}; }
    BatchStatistics statistics() const { return {mean->data(), var->data()}; }
    NormalizeBackward before() const { return {mean->data(), inv_std->data(), dgamma->data(), dbeta->data()}; }
    GradientOnLoad on_load(const Array& y) const { return {y->data(), a->data(), b->data(), d->data()}; }
    BatchnormSaved saved() const { return {mean->data(), var->data(), scale->data(), shift->data(), inv_std->data()}; }
    BatchnormBatch batch() const { return {mean->data(), var->data(), inv_std->data(), 1e-5f}; }
    Array mean, var, inv_std, gamma, beta, scale, shift, dgamma, dbeta, a, b, d;
};

// ---- one operation

CpuPair conv_forward(const ConvShape& s) {
    const std::int64_t in = std::int64_t{s.n} * s.h * s.w * s.c, out = std::int64_t{s.n} * s.p() * s.q() * s.k;
    const std::int64_t filter = std::int64_t{s.k} * s.r * s.s * s.c / s.groups;
    const Array x = noise(in), w = noise(filter), bias = noise(s.k), y = noise(out);
    CpuPair pair{floats({in, filter, out}), 2.0 * static_cast<double>(out) * s.r * s.s * s.c / s.groups, {}, {}};
    pair.ours = [=] { cpu::conv_forward(y->data(), x->data(), w->data(), bias->data(), s, nullptr); };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] { onednn::conv_forward(y->data(), x->data(), w->data(), bias->data(), s, nullptr); };
#endif
    return pair;
}

CpuPair conv_backward(const ConvShape& s, bool wants_dx) {
    const std::int64_t in = std::int64_t{s.n} * s.h * s.w * s.c, out = std::int64_t{s.n} * s.p() * s.q() * s.k;
    const std::int64_t filter = std::int64_t{s.k} * s.r * s.s * s.c / s.groups;
    const Array x = noise(in), w = noise(filter), dy = noise(out), dx = noise(in), dw = noise(filter), db = noise(s.k);
    const double flops = 2.0 * static_cast<double>(out) * s.r * s.s * s.c / s.groups;
    CpuPair pair{floats({in, wants_dx ? in : 0, filter, filter, out}), wants_dx ? 2 * flops : flops, {}, {}};
    float* const into = wants_dx ? dx->data() : nullptr;
    pair.ours = [=] { cpu::conv_backward(into, dw->data(), db->data(), dy->data(), nullptr, x->data(), w->data(), s); };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {
        onednn::conv_backward(into, dw->data(), db->data(), dy->data(), nullptr, x->data(), w->data(), s);
    };
#endif
    pair.keep(dx);
    return pair;
}

struct Pointwise {
    std::int64_t rows;
    int c, k;
    double flops() const { return 2.0 * static_cast<double>(rows) * c * k; }
};

CpuPair pointwise_forward(const Pointwise& s) {
    const Array x = noise(s.rows * s.c), w = noise(std::int64_t{s.c} * s.k), y = noise(s.rows * s.k);
    CpuPair pair{floats({s.rows * s.c, std::int64_t{s.c} * s.k, s.rows * s.k}), s.flops(), {}, {}};
    pair.ours = [=] { cpu::pointwise_forward(y->data(), x->data(), w->data(), nullptr, nullptr, s.rows, s.c, s.k); };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {
        onednn::pointwise_forward(y->data(), x->data(), w->data(), nullptr, nullptr, s.rows, s.c, s.k);
    };
#endif
    return pair;
}

CpuPair pointwise_backward(const Pointwise& s, bool input, bool weights) {
    const Array x = noise(s.rows * s.c), w = noise(std::int64_t{s.c} * s.k), dy = noise(s.rows * s.k),
                dx = noise(s.rows * s.c), dw = noise(std::int64_t{s.c} * s.k);
    CpuPair pair{floats({s.rows * s.c, std::int64_t{s.c} * s.k, s.rows * s.k}), s.flops(), {}, {}};
    float* const into = input ? dx->data() : nullptr;
    float* const weight_gradient = weights ? dw->data() : nullptr;
    pair.ours = [=] {
        cpu::pointwise_backward(into, weight_gradient, dy->data(), nullptr, x->data(), nullptr, nullptr, nullptr,
                                w->data(), s.rows, s.c, s.k);
    };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {
        onednn::pointwise_backward(into, weight_gradient, dy->data(), nullptr, x->data(), nullptr, nullptr, nullptr,
                                   w->data(), s.rows, s.c, s.k);
    };
#endif
    pair.keep(dx);
    pair.keep(dw);
    return pair;
}

struct Depthwise : DepthwiseShape {
    std::int64_t in() const { return std::int64_t{n} * h * w * c; }
    std::int64_t out() const { return std::int64_t{n} * p() * q() * c; }
    double flops() const { return 18.0 * static_cast<double>(out()); }
};

CpuPair depthwise_forward(const Depthwise& s) {
    const Array x = noise(s.in()), w = noise(9 * s.c), y = noise(s.out());
    CpuPair pair{floats({s.in(), s.out()}), s.flops(), {}, {}};
    pair.ours = [=] { cpu::depthwise_forward(y->data(), x->data(), w->data(), nullptr, nullptr, s); };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] { onednn::depthwise_forward(y->data(), x->data(), w->data(), nullptr, nullptr, s); };
#endif
    return pair;
}

CpuPair depthwise_backward(const Depthwise& s, bool input, bool weights) {
    const Array x = noise(s.in()), w = noise(9 * s.c), dy = noise(s.out()), dx = noise(s.in()), dw = noise(9 * s.c);
    CpuPair pair{floats({s.out(), input ? s.in() : 0, weights ? s.in() : 0}), (input + weights) * s.flops(), {}, {}};
    float* const into = input ? dx->data() : nullptr;
    float* const weight_gradient = weights ? dw->data() : nullptr;
    pair.ours = [=] {
        cpu::depthwise_backward(into, weight_gradient, dy->data(), nullptr, x->data(), nullptr, nullptr, w->data(), s);
    };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {
        onednn::depthwise_backward(into, weight_gradient, dy->data(), nullptr, x->data(), nullptr, nullptr, w->data(),
                                   s);
    };
#endif
    pair.keep(dx);
    pair.keep(dw);
    return pair;
}

// ---- chains: what a training step does around one convolution. Forward: x normalised and clamped, convolved, and the
// statistics that the next batchnorm needs (the vendor's batchnorm takes those of x instead: as much work). Backward:
// the batchnorm behind the convolution, both gradients of it, and the sums for the batchnorm before it.

CpuPair depthwise_chain_forward(const Depthwise& s) {
    const Array x = noise(s.in()), w = noise(9 * s.c), y = noise(s.out()), z = noise(s.in());
    const Norm before(s.c), after(s.c);
    CpuPair pair{floats({s.in(), s.out()}), s.flops(), {}, {}};
    pair.ours = [=] {
        const Normalize normalize = before.normalize();
        const BatchStatistics statistics = after.statistics();
        cpu::depthwise_forward(y->data(), x->data(), w->data(), &normalize, &statistics, s);
    };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {
        onednn::batchnorm_forward(z->data(), before.saved(), x->data(), before.gamma->data(), before.beta->data(),
                                  1e-5f, Activation::relu6, nullptr, s.in() / s.c, s.c);
        onednn::depthwise_forward(y->data(), z->data(), w->data(), nullptr, nullptr, s);
    };
#endif
    return pair;
}

CpuPair depthwise_chain_backward(const Depthwise& s) {
    const Array x = noise(s.in()), z = noise(s.in()), w = noise(9 * s.c), g = noise(s.out()), y = noise(s.out()),
                out = noise(s.out()), dy = noise(s.out()), dx = noise(s.in()), dw = noise(9 * s.c);
    const Norm before(s.c), after(s.c);
    CpuPair pair{floats({s.in(), s.in(), s.out(), s.out()}), 2 * s.flops(), {}, {}};
    pair.ours = [=] {
        const Normalize normalize = before.normalize();
        const NormalizeBackward reduce = before.before();
        const GradientOnLoad on_load = after.on_load(y);
        cpu::depthwise_backward(dx->data(), dw->data(), g->data(), &on_load, x->data(), &normalize, &reduce, w->data(),
                                s);
    };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {
        onednn::batchnorm_backward(dy->data(), after.dgamma->data(), after.dbeta->data(), g->data(), y->data(),
                                   out->data(), after.batch(), after.gamma->data(), Activation::relu6, s.out() / s.c,
                                   s.c);
        onednn::depthwise_backward(dx->data(), dw->data(), dy->data(), nullptr, z->data(), nullptr, nullptr, w->data(),
                                   s);
    };
#endif
    return pair;
}

CpuPair pointwise_chain_forward(const Pointwise& s) {
    const Array x = noise(s.rows * s.c), w = noise(std::int64_t{s.c} * s.k), y = noise(s.rows * s.k),
                z = noise(s.rows * s.c);
    const Norm before(s.c), after(s.k);
    CpuPair pair{floats({s.rows * s.c, s.rows * s.k}), s.flops(), {}, {}};
    pair.ours = [=] {
        const Normalize normalize = before.normalize();
        const BatchStatistics statistics = after.statistics();
        cpu::pointwise_forward(y->data(), x->data(), w->data(), &normalize, &statistics, s.rows, s.c, s.k);
    };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {
        onednn::batchnorm_forward(z->data(), before.saved(), x->data(), before.gamma->data(), before.beta->data(),
                                  1e-5f, Activation::relu6, nullptr, s.rows, s.c);
        onednn::pointwise_forward(y->data(), z->data(), w->data(), nullptr, nullptr, s.rows, s.c, s.k);
    };
#endif
    return pair;
}

CpuPair pointwise_chain_backward(const Pointwise& s) {
    const Array x = noise(s.rows * s.c), z = noise(s.rows * s.c), w = noise(std::int64_t{s.c} * s.k),
                g = noise(s.rows * s.k), y = noise(s.rows * s.k), dy = noise(s.rows * s.k), dx = noise(s.rows * s.c),
                dw = noise(std::int64_t{s.c} * s.k);
    const Norm before(s.c), after(s.k);
    CpuPair pair{floats({2 * s.rows * s.c, 2 * s.rows * s.k}), 2 * s.flops(), {}, {}};
    pair.ours = [=] {
        const Normalize normalize = before.normalize();
        const NormalizeBackward reduce = before.before();
        const GradientOnLoad on_load = after.on_load(y);
        cpu::pointwise_backward(dx->data(), dw->data(), g->data(), &on_load, x->data(), &normalize, &reduce, nullptr,
                                w->data(), s.rows, s.c, s.k);
    };
#ifdef CUTIS_WITH_ONEDNN
    pair.vendor = [=] {  // the batchnorm behind a projection has no activation
        onednn::batchnorm_backward(dy->data(), after.dgamma->data(), after.dbeta->data(), g->data(), y->data(), nullptr,
                                   after.batch(), after.gamma->data(), Activation::identity, s.rows, s.k);
        onednn::pointwise_backward(dx->data(), dw->data(), dy->data(), nullptr, z->data(), nullptr, nullptr, nullptr,
                                   w->data(), s.rows, s.c, s.k);
    };
#endif
    return pair;
}

}  // namespace

std::vector<CpuCase> convolution_cases(const Workload& workload) {
    std::vector<CpuCase> cases;
    const auto add = [&](const char* op, const std::string& shape, std::function<CpuPair()> make) {
        cases.push_back({op, shape, std::move(make)});
    };
    for (const ConvLayer& layer : conv_layers(workload)) {
        const int side = layer.side, c = layer.c, k = layer.k;
        if (layer.kind == "conv") {
            const ConvShape s{workload.batch, side, side, c, k, 3, 3, 2, 1};
            const std::string shape = fmt::format("{0}x{0}x{1}to{2}k3s2", side, c, k);
            add("conv_forward", shape, [=] { return conv_forward(s); });
            add("conv_backward", shape, [=] { return conv_backward(s, false); });
        } else if (layer.kind == "pointwise") {
            const Pointwise s{std::int64_t{workload.batch} * side * side, c, k};
            const std::string shape = fmt::format("{0}x{0}x{1}to{2}", side, c, k);
            add("pointwise_forward", shape, [=] { return pointwise_forward(s); });
            add("pointwise_input_gradient", shape, [=] { return pointwise_backward(s, true, false); });
            add("pointwise_weight_gradient", shape, [=] { return pointwise_backward(s, false, true); });
            if (c > k) {  // a projection, behind ReLU6
                add("chain_pointwise_forward", shape, [=] { return pointwise_chain_forward(s); });
                add("chain_pointwise_backward", shape, [=] { return pointwise_chain_backward(s); });
            }
        } else {
            const Depthwise s{{workload.batch, side, side, c, layer.side_out == side ? 1 : 2}};
            const std::string shape = fmt::format("{0}x{0}x{1}s{2}", side, c, s.stride);
            add("depthwise_forward", shape, [=] { return depthwise_forward(s); });
            add("depthwise_input_gradient", shape, [=] { return depthwise_backward(s, true, false); });
            add("depthwise_weight_gradient", shape, [=] { return depthwise_backward(s, false, true); });
            add("depthwise_backward", shape, [=] { return depthwise_backward(s, true, true); });
            add("chain_depthwise_forward", shape, [=] { return depthwise_chain_forward(s); });
            add("chain_depthwise_backward", shape, [=] { return depthwise_chain_backward(s); });
        }
    }
    for (const ConvShape& s : dense_shapes(workload)) {
        const std::string shape = fmt::format("{0}x{0}x{1}to{2}k{3}s{4}{5}", s.h, s.c, s.k, s.r, s.stride,
                                              s.groups > 1 ? fmt::format("g{}", s.groups) : "");
        add("conv_forward", shape, [=] { return conv_forward(s); });
        add("conv_backward", shape, [=] { return conv_backward(s, s.c > 3); });
    }
    return cases;
}

}  // namespace cutis::bench
