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

/// What MobileNetV2 and its relatives share: everything before the classifier, torchvision's "features".
struct MobileNetV2Trunk {
    explicit MobileNetV2Trunk(float width);

    /// @param pooled  the mean over the map's pixels, n x c, else the map, n x h x w x c
    Variable features(const Variable& images, const ForwardContext& context, bool pooled);
    void visit_features(Parts& parts) const;
    void init_features(std::uint64_t seed);
    /// Appends the lines and returns the last map's sizes, 1 h w c.
    Shape summarize_features(int size, std::vector<LayerSummary>& lines) const;
    /// Channels of the last map: 1280 at width 1.
    int last_channels() const { return head.front().config.c_out; }

    std::vector<ConvBn> stem;              ///< features.0, one unit
    std::vector<InvertedResidual> blocks;  ///< features.1 to features.17
    std::vector<ConvBn> head;              ///< features.18, one unit
};

/// MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler, Howard, Zhu, Zhmoginov, Chen, CVPR 2018). Names and
/// initial weights as in torchvision's mobilenet_v2; any input side from 32 px.
struct MobileNetV2 final : Model, MobileNetV2Trunk {
    explicit MobileNetV2(const ModelOptions& options);

    Variable forward(const Variable& images, const ForwardContext& context) override;
    void visit(Parts& parts) const override;
    std::vector<std::string> classifier_prefixes() const override { return {"classifier."}; }
    void init(std::uint64_t seed) override;
    std::vector<LayerSummary> summarize(int size) const override;
    int classes() const override { return options.classes; }
    int least_size() const override { return 32; }

    ModelOptions options;
    Linear classifier;  ///< classifier.1
};

}  // namespace cutis
