#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "layers/conv_bn.h"
#include "tests/support/numeric_gradient.h"

/// Chains of convolution, batchnorm and activation with random parameters, and their float64 definition.

namespace cutis::testing {

struct ChainCase {
    std::string name;
    int n, h, w;
    std::vector<ConvBn::Config> units;
    bool residual = false, pool = false;
};

inline std::ostream& operator<<(std::ostream& out, const ChainCase& chain) {
    return out << chain.name;
}

/// The units of a case, filled from a seed, and their input.
struct Chain {
    const ChainCase definition;
    std::vector<ConvBn> units;
    Variable x;
    Values dout;  ///< a gradient for the output

    Chain(const ChainCase& chosen, std::uint64_t seed);

    Variable forward(const ForwardContext& context);
    /// Forward and, from dout, backward.
    Variable run(const ForwardContext& context);
    /// x and, unit by unit, weight, gamma, beta: what has a gradient.
    std::vector<Variable> inputs() const;
    /// Running mean and variance, unit by unit.
    std::vector<Tensor> statistics() const;
    std::vector<std::string> input_names() const;

    /// The output in float64 from arrays in the order of inputs(). With batch statistics, or the running ones of this
    /// moment.
    Definition reference(bool batch_statistics) const;
    std::vector<Values> input_values() const;
    Shape output_shape() const;
};

/// The first seed from `first` on whose chain stays away from every kink.
std::uint64_t smooth_seed(const ChainCase& chain, bool batch_statistics, std::uint64_t first = 1);

/// Expansion, depthwise and projection as in MobileNetV2.
std::vector<ConvBn::Config> bottleneck(int c_in, int hidden, int c_out, int stride);

}  // namespace cutis::testing
