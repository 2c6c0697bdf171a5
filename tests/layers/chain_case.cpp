#include "tests/layers/chain_case.h"

#include <cmath>
#include <utility>

#include "kernels/error.h"

namespace cutis::testing {
namespace {

constexpr double kEps = 1e-5;

// Channels differ: some gammas are negative, some channels reach ReLU6's upper end.
void fill(ConvBn& unit, std::uint64_t seed) {
    const std::int64_t c = unit.config.c_out;
    const double fan_in = static_cast<double>(unit.weight.value().elements()) / static_cast<double>(c);
    const double limit = std::sqrt(3.0 / fan_in);
    const auto set = [](Tensor& tensor, const Values& values) { tensor.copy_from(to_tensor(values, tensor.shape())); };
    set(unit.weight.value(), random_values(unit.weight.value().elements(), seed, -limit, limit));
    Values gamma = random_values(c, seed + 1, 0.5, 1.5), beta = random_values(c, seed + 2, -0.5, 1.0);
    for (std::size_t i = 0; i < gamma.size(); ++i) {
        gamma[i] *= i % 5 == 2 ? -1.0 : i % 7 == 3 ? 4.0 : 1.0;
    }
    set(unit.gamma.value(), gamma);
    set(unit.beta.value(), beta);
    set(unit.norm.running_mean, random_values(c, seed + 3, -0.3, 0.3));
    set(unit.norm.running_var, random_values(c, seed + 4, 0.2, 0.8));
}

Values convolve(const ConvBn::Config& config, const Shape& in, const Values& x, const Values& w) {
    const int n = static_cast<int>(in[0]), h = static_cast<int>(in[1]), width = static_cast<int>(in[2]);
    if (config.kind == ConvKind::depthwise) {
        return reference::depthwise(x, w, {n, h, width, config.c_in, config.stride});
    }
    return reference::conv(
        x, w, {},
        {n, h, width, config.c_in, config.c_out, config.kernel, config.kernel, config.stride, (config.kernel - 1) / 2});
}

}  // namespace

Chain::Chain(const ChainCase& chosen, std::uint64_t seed) : definition(chosen) {
    const Shape shape{chosen.n, chosen.h, chosen.w, chosen.units.front().c_in};
    x = Variable(to_tensor(random_values(shape.elements(), 1000 * seed), shape), true, "x");
    for (const ConvBn::Config& config : chosen.units) {
        units.emplace_back(config);
        fill(units.back(), 1000 * seed + 10 * units.size());
    }
    dout = random_values(output_shape().elements(), 1000 * seed + 1);
}

Shape Chain::output_shape() const {
    Shape shape = x.shape();
    for (const ConvBn& unit : units) {
        shape = unit.output_shape(shape);
    }
    return definition.pool ? Shape{shape[0], shape[3]} : shape;
}

Variable Chain::forward(const ForwardContext& context) {
    std::vector<ConvBn*> pointers;
    for (ConvBn& unit : units) {
        pointers.push_back(&unit);
    }
    return conv_chain(x, pointers, definition.residual, definition.pool, context);
}

Variable Chain::run(const ForwardContext& context) {
    Variable out = forward(context);
    weighted_sum(out, dout).backward();
    return out;
}

std::vector<Variable> Chain::inputs() const {
    std::vector<Variable> all{x};
    for (const ConvBn& unit : units) {
        all.insert(all.end(), {unit.weight, unit.gamma, unit.beta});
    }
    return all;
}

std::vector<std::string> Chain::input_names() const {
    std::vector<std::string> names{"x"};
    for (std::size_t i = 0; i < units.size(); ++i) {
        for (const char* part : {" weight", " gamma", " beta"}) {
            names.push_back("unit " + std::to_string(i) + part);
        }
    }
    return names;
}

std::vector<Tensor> Chain::statistics() const {
    std::vector<Tensor> all;
    for (const ConvBn& unit : units) {
        all.insert(all.end(), {unit.norm.running_mean, unit.norm.running_var});
    }
    return all;
}

std::vector<Values> Chain::input_values() const {
    std::vector<Values> all;
    for (const Variable& input : inputs()) {
        all.push_back(to_values(input.value()));
    }
    return all;
}

Definition Chain::reference(bool batch_statistics) const {
    std::vector<Values> running;
    for (const Tensor& tensor : statistics()) {
        running.push_back(to_values(tensor));
    }
    return [this, batch_statistics, running](const std::vector<Values>& in) {
        Values z = in.front();
        Shape shape = x.shape();
        for (std::size_t i = 0; i < units.size(); ++i) {
            const ConvBn& unit = units[i];
            const Values &weight = in[1 + 3 * i], &gamma = in[2 + 3 * i], &beta = in[3 + 3 * i];
            const Values y = convolve(unit.config, shape, z, weight);
            shape = unit.output_shape(shape);
            if (batch_statistics) {
                z = reference::batchnorm(y, gamma, beta, kEps, unit.config.act);
            } else {
                Values scale(gamma.size()), shift(gamma.size());
                for (std::size_t c = 0; c < gamma.size(); ++c) {
                    scale[c] = gamma[c] / std::sqrt(running[2 * i + 1][c] + kEps);
                    shift[c] = beta[c] - running[2 * i][c] * scale[c];
                }
                z = reference::normalize(y, scale, shift, unit.config.act);
            }
        }
        if (definition.residual) {
            z = reference::add(z, in.front());
        }
        return definition.pool
                   ? reference::global_average_pool(z, static_cast<int>(shape[0]),
                                                    static_cast<int>(shape[1] * shape[2]), static_cast<int>(shape[3]))
                   : z;
    };
}

std::uint64_t smooth_seed(const ChainCase& chain, bool batch_statistics, std::uint64_t first) {
    constexpr std::uint64_t kTries = 60;
    for (std::uint64_t seed = first; seed < first + kTries; ++seed) {
        const Chain candidate(chain, seed);
        reference::reset_kinks();
        candidate.reference(batch_statistics)(candidate.input_values());
        if (reference::nearest_kink() > kFarFromKinks) {
            return seed;
        }
    }
    fail("{}: none of {} seeds stays away from kinks", chain.name, kTries);
}

std::vector<ConvBn::Config> bottleneck(int c_in, int hidden, int c_out, int stride) {
    return {{ConvKind::pointwise, c_in, hidden, 1, 1, Activation::relu6},
            {ConvKind::depthwise, hidden, hidden, 3, stride, Activation::relu6},
            {ConvKind::pointwise, hidden, c_out, 1, 1, Activation::identity}};
}

}  // namespace cutis::testing
