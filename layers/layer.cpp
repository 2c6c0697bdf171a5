#include "layers/layer.h"

#include <cmath>

#include "kernels/error.h"
#include "kernels/pool.h"

namespace cutis {
namespace {

Variable parameter(const Shape& shape) {
    return Variable(Tensor::zeros(shape), true);
}

// fan_in, fan_out: terms of an output, and outputs that a stored input channel reaches, as PyTorch counts them.
void init_weights(const Variable& weight, const Variable& bias, WeightLayout layout, WeightInit how, double fan_in,
                  double fan_out, std::uint64_t seed, const std::string& name) {
    Variable w = weight, b = bias;
    const std::string weight_name = joined(name, "weight"), bias_name = joined(name, "bias");
    const auto bound = static_cast<float>(1.0 / std::sqrt(fan_in));
    switch (how) {
        case WeightInit::torch:
            init_uniform(w.value(), layout, bound, seed, weight_name);
            if (b) {
                init_uniform(b.value(), WeightLayout::same, bound, seed, bias_name);
            }
            return;
        case WeightInit::fan_out:
            init_normal(w.value(), layout, static_cast<float>(std::sqrt(2.0 / fan_out)), seed, weight_name);
            break;
        case WeightInit::small:
            init_normal(w.value(), layout, 0.01f, seed, weight_name);
            break;
    }
    if (b) {
        b.value().fill(0.0f);
    }
}

void require_map(const std::string& name, const Shape& x) {
    require(x.rank() == 3, "{}: an input {}; h x w x c was expected", name, to_string(x));
}

}  // namespace

void Layer::visit(const std::string&, Parts&) const {}
void Layer::init(std::uint64_t, const std::string&) {}

// ---- convolution

Conv2d::Conv2d(const Config& chosen) : config(chosen) {
    const Config& c = config;
    require(c.c_in >= 1 && c.c_out >= 1 && c.kernel >= 1 && c.stride >= 1 && c.padding >= 0 && c.groups >= 1 &&
                c.c_in % c.groups == 0 && c.c_out % c.groups == 0,
            "convolution: {} to {} channels in {} groups, kernel {}, stride {}, padding {}", c.c_in, c.c_out, c.groups,
            c.kernel, c.stride, c.padding);
    weight = parameter({c.c_out, c.kernel, c.kernel, c.c_in / c.groups});
    bias = c.bias ? parameter({c.c_out}) : Variable();
}

Variable Conv2d::forward(const Variable& x, const ForwardContext&) {
    return conv2d(x, weight, bias, config.stride, config.padding, config.groups);
}

void Conv2d::visit(const std::string& name, Parts& parts) const {
    parts.parameters.push_back({joined(name, "weight"), weight, WeightLayout::dense, true});
    if (bias) {
        parts.parameters.push_back({joined(name, "bias"), bias, WeightLayout::same, false});
    }
}

void Conv2d::init(std::uint64_t seed, const std::string& name) {
    const double taps = config.kernel * config.kernel;
    init_weights(weight, bias, WeightLayout::dense, config.init, taps * (config.c_in / config.groups),
                 taps * config.c_out, seed, name);
}

Shape Conv2d::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    require_map(name, x);
    require(
        x[2] == config.c_in && x[0] + 2 * config.padding >= config.kernel && x[1] + 2 * config.padding >= config.kernel,
        "{}: a filter of {} does not fit an input {}", name, config.kernel, to_string(x));
    const auto outputs = [&](std::int64_t size) {
        return (size + 2 * config.padding - config.kernel) / config.stride + 1;
    };
    const Shape y{outputs(x[0]), outputs(x[1]), config.c_out};
    const std::int64_t weights = weight.value().elements();
    lines.push_back({name, "conv", y, weights + (bias ? config.c_out : 0), weights * y[0] * y[1]});
    return y;
}

// ---- linear

Linear::Linear(const Config& chosen) : config(chosen) {
    require(config.c_in >= 1 && config.c_out >= 1 && (config.height > 0) == (config.width > 0),
            "linear: {} to {} values of a map {} x {}", config.c_in, config.c_out, config.height, config.width);
    weight = parameter(flattens() ? Shape{config.c_out, config.height, config.width, config.c_in}
                                  : Shape{config.c_out, config.c_in});
    bias = parameter({config.c_out});
}

std::int64_t Linear::terms() const {
    return std::int64_t{config.c_in} * (flattens() ? config.height * config.width : 1);
}

Variable Linear::forward(const Variable& x, const ForwardContext& context) {
    if (context.linear_input != nullptr) {
        *context.linear_input = x;
    }
    if (!flattens()) {
        return linear(x, weight, bias);
    }
    const Shape& xs = x.shape();
    require(xs.rank() == 4 && xs[1] == config.height && xs[2] == config.width && xs[3] == config.c_in,
            "linear: a map {}; n x {} x {} x {} was expected", to_string(xs), config.height, config.width, config.c_in);
    return linear(reshape(x, {xs[0], terms()}), reshape(weight, {config.c_out, terms()}), bias);
}

void Linear::visit(const std::string& name, Parts& parts) const {
    parts.parameters.push_back({joined(name, "weight"), weight, layout(), true});
    parts.parameters.push_back({joined(name, "bias"), bias, WeightLayout::same, false});
}

void Linear::init(std::uint64_t seed, const std::string& name) {
    init_weights(weight, bias, layout(), config.init, static_cast<double>(terms()), config.c_out, seed, name);
}

Shape Linear::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    require(x.elements() == terms(), "{}: an input {}; {} values were expected", name, to_string(x), terms());
    lines.push_back(
        {name, "linear", {config.c_out}, weight.value().elements() + config.c_out, weight.value().elements()});
    return {config.c_out};
}

// ---- without parameters

Variable Relu::forward(const Variable& x, const ForwardContext&) {
    return relu(x);
}
Shape Relu::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    lines.push_back({name, "relu", x});
    return x;
}

Variable MaxPool::forward(const Variable& x, const ForwardContext&) {
    return max_pool(x, options);
}
Shape MaxPool::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    require_map(name, x);
    const PoolShape shape{1,
                          static_cast<int>(x[0]),
                          static_cast<int>(x[1]),
                          static_cast<int>(x[2]),
                          options.window,
                          options.stride > 0 ? options.stride : options.window,
                          options.padding,
                          options.ceil};
    check_pool(shape);
    const Shape y{shape.p(), shape.q(), x[2]};
    lines.push_back({name, "max pool", y});
    return y;
}

Variable AdaptiveAveragePool::forward(const Variable& x, const ForwardContext&) {
    return adaptive_average_pool(x, p, q);
}
Shape AdaptiveAveragePool::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    require_map(name, x);
    const Shape y{p, q, x[2]};
    lines.push_back({name, "average pool", y});
    return y;
}

Variable LocalResponseNormLayer::forward(const Variable& x, const ForwardContext&) {
    return local_response_norm(x, norm);
}
Shape LocalResponseNormLayer::summarize(const std::string& name, const Shape& x,
                                        std::vector<LayerSummary>& lines) const {
    lines.push_back({name, "response norm", x});
    return x;
}

Variable Dropout::forward(const Variable& x, const ForwardContext& context) {
    if (!context.training) {
        return x;
    }
    return dropout(x, probability,
                   context.dropout_key(static_cast<std::uint64_t>(number), static_cast<std::uint64_t>(of)));
}
Shape Dropout::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    lines.push_back({name, "dropout", x});
    return x;
}

// ---- a chain

Variable Sequential::forward(const Variable& x, const ForwardContext& context) {
    Variable y = x;
    for (const auto& [name, layer] : layers_) {
        y = layer->forward(y, context);
    }
    return y;
}

void Sequential::visit(const std::string& name, Parts& parts) const {
    for (const auto& [own, layer] : layers_) {
        layer->visit(joined(name, own), parts);
    }
}

void Sequential::init(std::uint64_t seed, const std::string& name) {
    for (const auto& [own, layer] : layers_) {
        layer->init(seed, joined(name, own));
    }
}

Shape Sequential::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    Shape y = x;
    for (const auto& [own, layer] : layers_) {
        y = layer->summarize(joined(name, own), y, lines);
    }
    return y;
}

}  // namespace cutis
