#include <memory>
#include <utility>
#include <vector>

#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/error.h"
#include "kernels/pointwise.h"
#include "kernels/pool.h"
#include "layers/conv_bn.h"

// The fused schedule of a chain of convolution-batchnorm-activation units.
//
//   forward   y[i] = conv(z[i-1], w[i])      z[i-1] = act(scale y[i-1] + shift), made while y[i-1] is loaded
//             mean, var of y[i]              in the epilogue of the same kernel
//             z[last] (+ x)                  the only normalised tensor that is stored; with `pool`, not even that
//
//   backward  g[i]: gradient of z[i], already masked by the activation, with dgamma[i] and dbeta[i]
//             dy[i] = a g[i] + b y[i] + d    made while g[i] and y[i] are loaded (batchnorm's input gradient)
//             dw[i], g[i-1]                  from dy[i]; the mask and the sums for dgamma[i-1], dbeta[i-1] in the
//             epilogue
//
// Against the composition of plain ops this saves, per unit, a store and a load of z, a load of y for the statistics,
// and two passes over the gradient: about half of the step's memory traffic on a CPU, where the step is bound by it.

namespace cutis {
namespace {

// What one unit leaves behind for the backward pass.
struct UnitState {
    Variable weight, gamma, beta;
    ConvBn::Config config;
    Shape in, out;
    Tensor y;                            // raw convolution output
    Tensor mean, scale, shift, inv_std;  // c_out each

    std::int64_t rows() const { return out[0] * out[1] * out[2]; }
    Normalize normalize() const { return {scale.data(), shift.data(), config.act}; }
};

struct ChainState {
    std::vector<UnitState> units;
    bool residual = false, pool = false;
};

DepthwiseShape depthwise_shape(const UnitState& unit) {
    return {static_cast<int>(unit.in[0]), static_cast<int>(unit.in[1]), static_cast<int>(unit.in[2]),
            static_cast<int>(unit.in[3]), unit.config.stride};
}

ConvShape dense_shape(const UnitState& unit) {
    const int kernel = unit.config.kernel;
    return {static_cast<int>(unit.in[0]),
            static_cast<int>(unit.in[1]),
            static_cast<int>(unit.in[2]),
            static_cast<int>(unit.in[3]),
            unit.config.c_out,
            kernel,
            kernel,
            unit.config.stride,
            (kernel - 1) / 2};
}

void convolve(UnitState& unit, const float* x, const Normalize* on_load, const BatchStatistics* statistics) {
    const float* const w = std::as_const(unit.weight).value().data();
    switch (unit.config.kind) {
        case ConvKind::dense:
            cpu::conv_forward(unit.y.data(), x, w, nullptr, dense_shape(unit), statistics);
            break;
        case ConvKind::pointwise:
            cpu::pointwise_forward(unit.y.data(), x, w, on_load, statistics, unit.rows(), unit.config.c_in,
                                   unit.config.c_out);
            break;
        case ConvKind::depthwise:
            cpu::depthwise_forward(unit.y.data(), x, w, on_load, statistics, depthwise_shape(unit));
            break;
    }
}

// dw and, behind the activation of the unit before, dx.
void convolve_backward(const UnitState& unit, float* dx, float* dw, const float* g, const GradientOnLoad& gradient,
                       const float* x, const Normalize* on_load, const NormalizeBackward* before, const float* dx_add) {
    const float* const w = unit.weight.value().data();
    switch (unit.config.kind) {
        case ConvKind::dense:
            cpu::conv_backward(dx, dw, nullptr, g, &gradient, x, w, dense_shape(unit));
            break;
        case ConvKind::pointwise:
            cpu::pointwise_backward(dx, dw, g, &gradient, x, on_load, before, dx_add, w, unit.rows(), unit.config.c_in,
                                    unit.config.c_out);
            break;
        case ConvKind::depthwise:
            cpu::depthwise_backward(dx, dw, g, &gradient, x, on_load, before, w, depthwise_shape(unit));
            break;
    }
}

Tensor run_forward(ChainState& chain, const Tensor& x, std::span<ConvBn* const> units, const ForwardContext& context) {
    const float* input = x.data();
    Shape shape = x.shape();
    Normalize on_load{};
    const bool keep = context.training;
    for (std::size_t i = 0; i < units.size(); ++i) {
        ConvBn& layer = *units[i];
        UnitState unit{layer.weight, layer.gamma, layer.beta, layer.config, shape, layer.output_shape(shape),
                       {},           {},          {},         {},           {}};
        const Shape channels{layer.config.c_out};
        unit.y = Tensor::empty(unit.out);
        unit.scale = Tensor::empty(channels);
        unit.shift = Tensor::empty(channels);
        unit.inv_std = Tensor::empty(channels);
        const Normalize* const before = i > 0 ? &on_load : nullptr;
        Tensor var = layer.norm.running_var;
        unit.mean = layer.norm.running_mean;
        if (context.training) {
            unit.mean = Tensor::empty(channels);
            var = Tensor::empty(channels);
            const BatchStatistics statistics{unit.mean.data(), var.data()};
            convolve(unit, input, before, &statistics);
            cpu::batchnorm_update_running(layer.norm.running_mean.data(), layer.norm.running_var.data(),
                                          unit.mean.data(), var.data(), unit.rows(), layer.norm.momentum,
                                          layer.config.c_out);
            layer.norm.running_mean.mark_changed();
            layer.norm.running_var.mark_changed();
        } else {
            convolve(unit, input, before, nullptr);
        }
        cpu::batchnorm_fold(unit.scale.data(), unit.shift.data(), unit.inv_std.data(),
                            std::as_const(layer.gamma).value().data(), std::as_const(layer.beta).value().data(),
                            std::as_const(unit.mean).data(), std::as_const(var).data(), layer.norm.eps,
                            layer.config.c_out);
        if (!keep && i > 0) {
            chain.units.back().y = {};
        }
        chain.units.push_back(std::move(unit));
        const UnitState& last = chain.units.back();
        input = last.y.data();
        shape = last.out;
        on_load = last.normalize();
    }
    const UnitState& last = chain.units.back();
    if (chain.pool) {
        Tensor pooled = Tensor::empty({shape[0], shape[3]});
        cpu::global_average_pool_forward(pooled.data(), last.y.data(), &on_load, static_cast<int>(shape[0]),
                                         static_cast<int>(shape[1] * shape[2]), static_cast<int>(shape[3]));
        return pooled;
    }
    Tensor z = Tensor::empty(shape);
    cpu::batchnorm_normalize(z.data(), last.y.data(), on_load, chain.residual ? x.data() : nullptr, last.rows(),
                             last.config.c_out);
    return z;
}

void run_backward(ChainState& chain, const Variable& x, const Tensor& saved_x, const Tensor& dout) {
    // The gradient of the last unit's z behind its activation, and its batchnorm's gradients.
    Tensor g, dgamma, dbeta;
    {
        const UnitState& last = chain.units.back();
        const Shape channels{last.config.c_out};
        dgamma = Tensor::empty(channels);
        dbeta = Tensor::empty(channels);
        const NormalizeBackward before{last.mean.data(), last.inv_std.data(), dgamma.data(), dbeta.data()};
        const Normalize normalize = last.normalize();
        if (chain.pool) {
            g = Tensor::empty(last.out);
            cpu::global_average_pool_backward(g.data(), dout.data(), last.y.data(), &normalize, &before,
                                              static_cast<int>(last.out[0]),
                                              static_cast<int>(last.out[1] * last.out[2]), last.config.c_out);
        } else {
            const bool masked = last.config.act != Activation::identity;
            g = masked ? Tensor::empty(last.out) : dout;
            cpu::batchnorm_reduce(masked ? g.data() : nullptr, before, dout.data(), last.y.data(), normalize,
                                  last.rows(), last.config.c_out);
        }
    }
    for (std::size_t i = chain.units.size(); i-- > 0;) {
        UnitState& unit = chain.units[i];
        const Shape channels{unit.config.c_out};
        Tensor a = Tensor::empty(channels), b = Tensor::empty(channels), d = Tensor::empty(channels);
        cpu::batchnorm_gradient_coefficients(a.data(), b.data(), d.data(), std::as_const(unit.gamma).value().data(),
                                             unit.mean.data(), unit.inv_std.data(), dgamma.data(), dbeta.data(),
                                             unit.rows(), unit.config.c_out);
        unit.gamma.accumulate(dgamma);
        unit.beta.accumulate(dbeta);
        const GradientOnLoad gradient{unit.y.data(), a.data(), b.data(), d.data()};
        Tensor dw = Tensor::empty(unit.weight.shape());
        if (i > 0) {
            const UnitState& producer = chain.units[i - 1];
            const Shape producer_channels{producer.config.c_out};
            Tensor next_g = Tensor::empty(unit.in);
            dgamma = Tensor::empty(producer_channels);
            dbeta = Tensor::empty(producer_channels);
            const NormalizeBackward before{producer.mean.data(), producer.inv_std.data(), dgamma.data(), dbeta.data()};
            const Normalize on_load = producer.normalize();
            convolve_backward(unit, next_g.data(), dw.data(), g.data(), gradient, producer.y.data(), &on_load, &before,
                              nullptr);
            g = std::move(next_g);
        } else {
            Tensor dx = x.requires_grad() ? Tensor::empty(unit.in) : Tensor();
            const float* const shortcut =
                chain.residual && unit.config.kind == ConvKind::pointwise ? dout.data() : nullptr;
            convolve_backward(unit, dx ? dx.data() : nullptr, dw.data(), g.data(), gradient, saved_x.data(), nullptr,
                              nullptr, shortcut);
            if (dx) {
                x.accumulate(dx);
                if (chain.residual && shortcut == nullptr) {
                    x.accumulate(dout);
                }
            }
        }
        unit.weight.accumulate(dw);
        unit.y = {};
    }
}

Variable composition(const Variable& x, std::span<ConvBn* const> units, bool residual, bool pool,
                     const ForwardContext& context) {
    Variable z = x;
    for (std::size_t i = 0; i < units.size(); ++i) {
        z = units[i]->forward(z, residual && i + 1 == units.size() ? x : Variable(), context);
    }
    return pool ? global_average_pool(z) : z;
}

}  // namespace

Variable conv_chain(const Variable& x, std::span<ConvBn* const> units, bool residual, bool pool,
                    const ForwardContext& context) {
    require(!units.empty(), "convolution chain: no units");
    require(x.shape().rank() == 4 && x.shape()[3] == units.front()->config.c_in,
            "convolution chain: the input is {}; n x h x w x {} was expected", to_string(x.shape()),
            units.front()->config.c_in);
    require(!(residual && pool), "convolution chain: a residual cannot be added to a pooled output");
    require(!residual || units.back()->config.act == Activation::identity,
            "convolution chain: a residual is added behind a unit without activation");
    bool all_wanted = true, any_wanted = x.requires_grad(), schedulable = context.fused;
    Shape shape = x.shape();
    for (std::size_t i = 0; i < units.size(); ++i) {
        const ConvBn& unit = *units[i];
        require(shape[3] == unit.config.c_in, "convolution chain: unit {} takes {} channels, gets {}", i,
                unit.config.c_in, to_string(shape));
        shape = unit.output_shape(shape);
        for (const Variable& parameter : {unit.weight, unit.gamma, unit.beta}) {
            all_wanted = all_wanted && parameter.requires_grad();
            any_wanted = any_wanted || parameter.requires_grad();
        }
        schedulable = schedulable && (i == 0 || unit.config.kind != ConvKind::dense);
    }
    require(!residual || shape == x.shape(), "convolution chain: a residual {} does not fit an output {}",
            to_string(x.shape()), to_string(shape));
    const bool records = grad_enabled() && any_wanted;
    const bool trains = context.training && grad_enabled() && all_wanted;
    const bool infers = !records && (!context.training || !any_wanted);
    if (!schedulable || !(trains || infers)) {
        return composition(x, units, residual, pool, context);
    }

    auto chain = std::make_shared<ChainState>();
    chain->residual = residual;
    chain->pool = pool;
    ForwardContext run = context;
    run.training = trains;
    Tensor out = run_forward(*chain, x.value(), units, run);
    if (!trains) {
        return Variable(std::move(out));
    }
    std::vector<Variable> inputs{x};
    std::vector<Saved> saved{Saved(x.value(), "convolution chain")};
    for (const UnitState& unit : chain->units) {
        inputs.insert(inputs.end(), {unit.weight, unit.gamma, unit.beta});
        saved.emplace_back(unit.weight.value(), "convolution chain");
        saved.emplace_back(unit.gamma.value(), "convolution chain");
    }
    return record("convolution chain", std::move(out), inputs, [chain, x, saved](const Tensor& dout) {
        for (const Saved& tensor : saved) {
            tensor.get();
        }
        run_backward(*chain, x, saved.front().get(), dout);
    });
}

}  // namespace cutis
