#include <memory>
#include <utility>
#include <vector>

#include "engine/on_device.h"
#include "engine/profiler.h"
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
    Tensor w{};                                  // the weight in the type that the kernel takes
    Tensor y{};                                  // raw convolution output
    Tensor mean{}, scale{}, shift{}, inv_std{};  // c_out each

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

// The names that the plain ops have, so that a profile of the schedule reads like one of the composition.
constexpr const char* op_name(ConvKind kind) {
    switch (kind) {
        case ConvKind::pointwise:
            return "pointwise convolution";
        case ConvKind::depthwise:
            return "depthwise convolution";
        case ConvKind::dense:
            break;
    }
    return "conv2d";
}

double convolution_flops(const UnitState& unit) {
    const std::int64_t filter = unit.w.elements() / unit.config.c_out;  // values that one output is a sum over
    return 2.0 * static_cast<double>(unit.y.elements() * filter);
}

template <class T>
void convolve(UnitState& unit, const T* x, const Normalize* on_load, const BatchStatistics* statistics) {
    const Device device = unit.y.device();
    switch (unit.config.kind) {
        case ConvKind::dense:
            on::conv_forward(device, unit.y.data<T>(), x, std::as_const(unit.w).data<T>(),
                             static_cast<const float*>(nullptr), dense_shape(unit), statistics);
            break;
        case ConvKind::pointwise:
            on::pointwise_forward(device, unit.y.data<T>(), x, std::as_const(unit.w).data<T>(), on_load, statistics,
                                  unit.rows(), unit.config.c_in, unit.config.c_out);
            break;
        case ConvKind::depthwise:
            on::depthwise_forward(device, unit.y.data<T>(), x, std::as_const(unit.w).data(), on_load, statistics,
                                  depthwise_shape(unit));
            break;
    }
}

// dw and, behind the activation of the unit before, dx.
template <class T>
void convolve_backward(const UnitState& unit, T* dx, float* dw, const T* g, const GradientOnLoadT<T>& gradient,
                       const T* x, const Normalize* on_load, const NormalizeBackward* before, const T* dx_add) {
    const Device device = unit.y.device();
    const GradientOnLoadT<T>* const on_gradient = &gradient;
    switch (unit.config.kind) {
        case ConvKind::dense:
            on::conv_backward(device, dx, dw, static_cast<float*>(nullptr), g, on_gradient, x, unit.w.data<T>(),
                              dense_shape(unit));
            break;
        case ConvKind::pointwise:
            on::pointwise_backward(device, dx, dw, g, on_gradient, x, on_load, before, dx_add, unit.w.data<T>(),
                                   unit.rows(), unit.config.c_in, unit.config.c_out);
            break;
        case ConvKind::depthwise:
            on::depthwise_backward(device, dx, dw, g, on_gradient, x, on_load, before, unit.w.data(),
                                   depthwise_shape(unit));
            break;
    }
}

template <class T>
Tensor run_forward(ChainState& chain, const Tensor& x, std::span<ConvBn* const> units, const ForwardContext& context) {
    const Device device = x.device();
    const DType type = x.dtype();
    const T* input = x.data<T>();
    Shape shape = x.shape();
    Normalize on_load{};
    const bool keep = context.training;
    for (std::size_t i = 0; i < units.size(); ++i) {
        ConvBn& layer = *units[i];
        const ProfileRange range(op_name(layer.config.kind), layer.weight.name());
        const Shape channels{layer.config.c_out};
        const auto per_channel = [&] { return Tensor::empty(channels, DType::f32, device); };
        UnitState unit{.weight = layer.weight,
                       .gamma = layer.gamma,
                       .beta = layer.beta,
                       .config = layer.config,
                       .in = shape,
                       .out = layer.output_shape(shape)};
        const Tensor& weight = std::as_const(layer.weight).value();
        unit.w = layer.config.kind == ConvKind::depthwise ? weight : cast(weight, type);
        unit.y = Tensor::empty(unit.out, type, device);
        unit.scale = per_channel();
        unit.shift = per_channel();
        unit.inv_std = per_channel();
        const Normalize* const before = i > 0 ? &on_load : nullptr;
        Tensor var = layer.norm.running_var;
        unit.mean = layer.norm.running_mean;
        if (context.training) {
            unit.mean = per_channel();
            var = per_channel();
            const BatchStatistics statistics{unit.mean.data(), var.data()};
            convolve<T>(unit, input, before, &statistics);
            on::batchnorm_update_running(device, layer.norm.running_mean.data(), layer.norm.running_var.data(),
                                         std::as_const(unit.mean).data(), std::as_const(var).data(), unit.rows(),
                                         layer.norm.momentum, layer.config.c_out);
            layer.norm.running_mean.mark_changed();
            layer.norm.running_var.mark_changed();
        } else {
            convolve<T>(unit, input, before, nullptr);
        }
        on::batchnorm_fold(device, unit.scale.data(), unit.shift.data(), unit.inv_std.data(),
                           std::as_const(layer.gamma).value().data(), std::as_const(layer.beta).value().data(),
                           std::as_const(unit.mean).data(), std::as_const(var).data(), layer.norm.eps,
                           layer.config.c_out);
        profile_work(convolution_flops(unit), {i > 0 ? &chain.units.back().y : &x, &unit.w, &unit.y});
        if (!keep && i > 0) {
            chain.units.back().y = {};
        }
        chain.units.push_back(std::move(unit));
        const UnitState& last = chain.units.back();
        input = last.y.data<T>();
        shape = last.out;
        on_load = last.normalize();
    }
    const UnitState& last = chain.units.back();
    if (chain.pool) {
        const ProfileRange range("global average pool", last.gamma.name());
        Tensor pooled = Tensor::empty({shape[0], shape[3]}, type, device);
        const Normalize* const normalize = &on_load;
        on::global_average_pool_forward(device, pooled.data<T>(), last.y.data<T>(), normalize,
                                        static_cast<int>(shape[0]), static_cast<int>(shape[1] * shape[2]),
                                        static_cast<int>(shape[3]));
        profile_work(0, {&last.y, &pooled});
        return pooled;
    }
    const ProfileRange range("batchnorm", last.gamma.name());
    Tensor z = Tensor::empty(shape, type, device);
    on::batchnorm_normalize(device, z.data<T>(), last.y.data<T>(), on_load, chain.residual ? x.data<T>() : nullptr,
                            last.rows(), last.config.c_out);
    profile_work(0, {&last.y, chain.residual ? &x : nullptr, &z});
    return z;
}

template <class T>
void run_backward(ChainState& chain, const Variable& x, const Tensor& saved_x, const Tensor& dout) {
    const Device device = dout.device();
    const DType type = dout.dtype();
    const auto per_channel = [&](const UnitState& unit) {
        return Tensor::empty({unit.config.c_out}, DType::f32, device);
    };
    // The gradient of the last unit's z behind its activation, and its batchnorm's gradients.
    Tensor g, dgamma, dbeta;
    {
        const UnitState& last = chain.units.back();
        const ProfileRange range(chain.pool ? "global average pool" : "batchnorm", last.gamma.name());
        dgamma = per_channel(last);
        dbeta = per_channel(last);
        const NormalizeBackward before{last.mean.data(), last.inv_std.data(), dgamma.data(), dbeta.data()};
        const Normalize normalize = last.normalize();
        if (chain.pool) {
            g = Tensor::empty(last.out, type, device);
            const Normalize* const on_load = &normalize;
            const NormalizeBackward* const sums = &before;
            on::global_average_pool_backward(device, g.data<T>(), dout.data<T>(), last.y.data<T>(), on_load, sums,
                                             static_cast<int>(last.out[0]), static_cast<int>(last.out[1] * last.out[2]),
                                             last.config.c_out);
            profile_work(0, {&dout, &last.y, &g});
        } else {
            const bool masked = last.config.act != Activation::identity;
            g = masked ? Tensor::empty(last.out, type, device) : dout;
            on::batchnorm_reduce(device, masked ? g.data<T>() : nullptr, before, dout.data<T>(), last.y.data<T>(),
                                 normalize, last.rows(), last.config.c_out);
            profile_work(0, {&dout, &last.y, masked ? &g : nullptr});
        }
    }
    for (std::size_t i = chain.units.size(); i-- > 0;) {
        UnitState& unit = chain.units[i];
        const ProfileRange range(op_name(unit.config.kind), unit.weight.name());
        Tensor a = per_channel(unit), b = per_channel(unit), d = per_channel(unit);
        on::batchnorm_gradient_coefficients(
            device, a.data(), b.data(), d.data(), std::as_const(unit.gamma).value().data(), unit.mean.data(),
            unit.inv_std.data(), dgamma.data(), dbeta.data(), unit.rows(), unit.config.c_out);
        unit.gamma.accumulate(dgamma);
        unit.beta.accumulate(dbeta);
        const GradientOnLoadT<T> gradient{std::as_const(unit.y).data<T>(), a.data(), b.data(), d.data()};
        Tensor dw = Tensor::empty(unit.weight.shape(), DType::f32, device);
        profile_work(convolution_flops(unit), {&g, &unit.y, &dw});
        if (i > 0) {
            const UnitState& producer = chain.units[i - 1];
            Tensor next_g = Tensor::empty(unit.in, type, device);
            dgamma = per_channel(producer);
            dbeta = per_channel(producer);
            const NormalizeBackward before{producer.mean.data(), producer.inv_std.data(), dgamma.data(), dbeta.data()};
            const Normalize on_load = producer.normalize();
            convolve_backward<T>(unit, next_g.data<T>(), dw.data(), std::as_const(g).data<T>(), gradient,
                                 producer.y.data<T>(), &on_load, &before, nullptr);
            profile_work(convolution_flops(unit), {&producer.y, &unit.w, &next_g});
            g = std::move(next_g);
        } else {
            Tensor dx = x.requires_grad() ? Tensor::empty(unit.in, type, device) : Tensor();
            const T* const shortcut =
                chain.residual && unit.config.kind == ConvKind::pointwise ? dout.data<T>() : nullptr;
            convolve_backward<T>(unit, dx ? dx.data<T>() : nullptr, dw.data(), std::as_const(g).data<T>(), gradient,
                                 saved_x.data<T>(), nullptr, nullptr, shortcut);
            profile_work(dx ? convolution_flops(unit) : 0,
                         {&saved_x, dx ? &unit.w : nullptr, &dx, shortcut != nullptr ? &dout : nullptr});
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
    bool all_wanted = true, any_wanted = x.requires_grad(),
         schedulable = context.fused && !on::by_vendor(x.value().device());
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

    const ProfileRange range("convolution chain", units.front()->weight.name());
    auto chain = std::make_shared<ChainState>();
    chain->residual = residual;
    chain->pool = pool;
    ForwardContext run = context;
    run.training = trains;
    Tensor out = by_type(x.value().dtype(), [&]<class T>() { return run_forward<T>(*chain, x.value(), units, run); });
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
        by_type(dout.dtype(), [&]<class T>() { run_backward<T>(*chain, x, saved.front().get(), dout); });
    });
}

}  // namespace cutis
