#pragma once

#include <vector>

#include "layers/conv_bn.h"
#include "models/model.h"

namespace cutis {

/// A bottleneck of MobileNetV2: expand 1x1 (left out at expansion 1), depthwise 3x3, project 1x1 without activation;
/// the input is added where stride is 1 and the widths agree.
struct InvertedResidual {
    std::vector<ConvBn> units;
    bool residual = false;

    InvertedResidual(int c_in, int c_out, int stride, int expansion);
    Variable forward(const Variable& x, const ForwardContext& context);
};

/// MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler, Howard, Zhu, Zhmoginov, Chen, CVPR 2018). Names and
/// initial weights as in torchvision's mobilenet_v2; any input side from 32 px.
struct MobileNetV2 final : Model {
    explicit MobileNetV2(const ModelOptions& options);

    Variable forward(const Variable& images, const ForwardContext& context) override;
    void visit(Parts& parts) const override;
    std::string_view classifier_prefix() const override { return "classifier."; }
    void init(std::uint64_t seed) override;
    std::vector<LayerSummary> summarize(int size) const override;
    int classes() const override { return options.classes; }
    int least_size() const override { return 32; }

    /// The pooled features, n x last width (1280 at width 1).
    Variable features(const Variable& images, const ForwardContext& context);

    ModelOptions options;
    std::vector<ConvBn> stem;                     ///< features.0, one unit
    std::vector<InvertedResidual> blocks;         ///< features.1 to features.17
    std::vector<ConvBn> head;                     ///< features.18, one unit
    Variable classifier_weight, classifier_bias;  ///< classifier.1
};

}  // namespace cutis
