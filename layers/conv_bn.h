#pragma once

#include <span>
#include <string>

#include "engine/ops.h"
#include "layers/parts.h"

namespace cutis {

enum class ConvKind { dense, pointwise, depthwise };

/// Convolution without bias, batchnorm, activation: the brick that MobileNetV2 and its relatives are made of.
struct ConvBn {
    struct Config {
        ConvKind kind = ConvKind::dense;
        int c_in = 0, c_out = 0;
        int kernel = 3;  ///< 1 for pointwise, 3 for depthwise; padding is (kernel - 1) / 2
        int stride = 1;
        Activation act = Activation::identity;
    };

    Config config;
    Variable weight;       ///< k r s c (dense), k c (pointwise), 3 3 c (depthwise)
    Variable gamma, beta;  ///< c_out
    BatchNormState norm;   ///< running statistics, c_out

    explicit ConvBn(const Config& config);

    /// Kaiming normal, fan out (torchvision's rule for MobileNetV2); gamma 1, beta 0, running mean 0, running
    /// variance 1.
    void init(std::uint64_t seed, const std::string& conv_name);
    void visit(const std::string& conv_name, const std::string& norm_name, Parts& parts) const;

    WeightLayout layout() const;
    /// The output's n h w c for an input n h w c.
    Shape output_shape(const Shape& x) const;
    /// Whether training moves the batch statistics: a frozen batchnorm stays as in evaluation.
    bool norm_trains(const ForwardContext& context) const { return context.training && gamma.requires_grad(); }
    /// The three ops one after another, residual added last where there is one.
    Variable forward(const Variable& x, const Variable& residual, const ForwardContext& context);
};

/// Units run one after another on x (n h w c).
/// - residual: x is added to the last unit's output (equal shapes; the last unit has no activation).
/// - pool: the result is the mean over h and w of the last unit's output, n x c; not together with residual.
///
/// This is one differentiable op with a hand-written schedule where that is possible (training with every parameter of
/// the units wanted, or inference), and the composition of plain ops elsewhere and with context.fused off. Both compute
/// the same function; the composition is the definition. In the schedule each unit stores only its raw convolution
/// output: the statistics come from the producer's epilogue, the consumer normalises and clamps as it loads, and
/// walking back, batchnorm's input gradient is applied as the gradient is loaded. A dense unit can only stand first.
Variable conv_chain(const Variable& x, std::span<ConvBn* const> units, bool residual, bool pool,
                    const ForwardContext& context);

}  // namespace cutis
