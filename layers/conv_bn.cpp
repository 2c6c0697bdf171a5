#include "layers/conv_bn.h"

#include <cmath>

#include "kernels/error.h"

namespace cutis {

ConvBn::ConvBn(const Config& c) : config(c) {
    require(c.c_in >= 1 && c.c_out >= 1 && (c.stride == 1 || c.stride == 2),
            "convolution: {} to {} channels, stride {}", c.c_in, c.c_out, c.stride);
    Shape shape;
    switch (c.kind) {
        case ConvKind::dense:
            shape = {c.c_out, c.kernel, c.kernel, c.c_in};
            break;
        case ConvKind::pointwise:
            require(c.kernel == 1 && c.stride == 1, "pointwise convolution: kernel {}, stride {}", c.kernel, c.stride);
            shape = {c.c_out, c.c_in};
            break;
        case ConvKind::depthwise:
            require(c.kernel == 3 && c.c_in == c.c_out, "depthwise convolution: kernel {}, {} to {} channels", c.kernel,
                    c.c_in, c.c_out);
            shape = {3, 3, c.c_out};
            break;
    }
    const Shape channels{c.c_out};
    weight = Variable(Tensor::zeros(shape), true);
    gamma = Variable(Tensor::full(channels, 1.0f), true);
    beta = Variable(Tensor::zeros(channels), true);
    norm.running_mean = Tensor::zeros(channels);
    norm.running_var = Tensor::full(channels, 1.0f);
}

WeightLayout ConvBn::layout() const {
    switch (config.kind) {
        case ConvKind::pointwise:
            return WeightLayout::pointwise;
        case ConvKind::depthwise:
            return WeightLayout::depthwise;
        case ConvKind::dense:
            break;
    }
    return WeightLayout::dense;
}

void ConvBn::init(std::uint64_t seed, const std::string& conv_name) {
    // Fan out as PyTorch counts it: output channels of the stored tensor times taps, groups not taken off.
    const float fan_out = static_cast<float>(config.c_out * config.kernel * config.kernel);
    init_normal(weight.value(), layout(), std::sqrt(2.0f / fan_out), seed, conv_name + ".weight");
    gamma.value().fill(1.0f);
    beta.value().fill(0.0f);
    norm.running_mean.fill(0.0f);
    norm.running_var.fill(1.0f);
}

void ConvBn::visit(const std::string& conv_name, const std::string& norm_name, Parts& parts) const {
    parts.parameters.push_back({conv_name + ".weight", weight, layout(), true});
    parts.parameters.push_back({norm_name + ".weight", gamma, WeightLayout::same, false});
    parts.parameters.push_back({norm_name + ".bias", beta, WeightLayout::same, false});
    parts.buffers.push_back({norm_name + ".running_mean", norm.running_mean});
    parts.buffers.push_back({norm_name + ".running_var", norm.running_var});
}

Shape ConvBn::output_shape(const Shape& x) const {
    const std::int64_t padding = (config.kernel - 1) / 2;
    return {x[0], (x[1] + 2 * padding - config.kernel) / config.stride + 1,
            (x[2] + 2 * padding - config.kernel) / config.stride + 1, config.c_out};
}

Variable ConvBn::forward(const Variable& x, const Variable& residual, const ForwardContext& context) {
    Variable y;
    switch (config.kind) {
        case ConvKind::dense:
            y = conv2d(x, weight, Variable(), config.stride, (config.kernel - 1) / 2);
            break;
        case ConvKind::pointwise:
            y = pointwise_conv(x, weight);
            break;
        case ConvKind::depthwise:
            y = depthwise_conv(x, weight, config.stride);
            break;
    }
    return batchnorm(y, gamma, beta, norm, config.act, residual, norm_trains(context));
}

}  // namespace cutis
