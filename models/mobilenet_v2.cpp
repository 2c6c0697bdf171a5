#include "models/mobilenet_v2.h"

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/error.h"

namespace cutis {
namespace {

// Table 2 of the paper: expansion t, output channels c, repeats n, stride s of the first repeat.
struct Stage {
    int t, c, n, s;
};
constexpr Stage kStages[] = {
    {1, 16, 1, 1},   // 112 x 112 x 32 -> 112 x 112 x 16
    {6, 24, 2, 2},   //                -> 56 x 56 x 24
    {6, 32, 3, 2},   //                -> 28 x 28 x 32
    {6, 64, 4, 2},   //                -> 14 x 14 x 64
    {6, 96, 3, 1},   //                -> 14 x 14 x 96
    {6, 160, 3, 2},  //                -> 7 x 7 x 160
    {6, 320, 1, 1},  //                -> 7 x 7 x 320
};

constexpr int kLeastSize = 32;  // px

std::vector<ConvBn*> pointers(std::vector<ConvBn>& units) {
    std::vector<ConvBn*> all;
    for (ConvBn& unit : units) {
        all.push_back(&unit);
    }
    return all;
}

// Calls body(unit, convolution name, batchnorm name) in order; Self is const or not.
template <class Self, class Body>
void for_each_unit(Self& self, Body&& body) {
    body(self.stem.front(), std::string("features.0.0"), std::string("features.0.1"));
    for (std::size_t i = 0; i < self.blocks.size(); ++i) {
        auto& units = self.blocks[i].units;
        const std::string prefix = "features." + std::to_string(i + 1) + ".conv.";
        for (std::size_t u = 0; u + 1 < units.size(); ++u) {
            const std::string unit = prefix + std::to_string(u);
            body(units[u], unit + ".0", unit + ".1");
        }
        const std::size_t last = units.size() - 1;
        body(units[last], prefix + std::to_string(last), prefix + std::to_string(last + 1));
    }
    const std::string head = "features." + std::to_string(self.blocks.size() + 1);
    body(self.head.front(), head + ".0", head + ".1");
}

const ModelOptions& checked(const ModelOptions& options) {
    check_classes("mobilenet_v2", options.classes);
    return options;
}

}  // namespace

InvertedResidual::InvertedResidual(int c_in, int c_out, int stride, int expansion)
    : residual(stride == 1 && c_in == c_out) {
    const int hidden = c_in * expansion;
    if (expansion != 1) {
        units.emplace_back(ConvBn::Config{ConvKind::pointwise, c_in, hidden, 1, 1, Activation::relu6});
    }
    units.emplace_back(ConvBn::Config{ConvKind::depthwise, hidden, hidden, 3, stride, Activation::relu6});
    units.emplace_back(ConvBn::Config{ConvKind::pointwise, hidden, c_out, 1, 1, Activation::identity});
}

Variable InvertedResidual::forward(const Variable& x, const ForwardContext& context) {
    return conv_chain(x, pointers(units), residual, false, context);
}

MobileNetV2Trunk::MobileNetV2Trunk(float width) {
    check_width("mobilenet_v2", width);
    int c = scaled_channels(32, width);
    stem.emplace_back(ConvBn::Config{ConvKind::dense, 3, c, 3, 2, Activation::relu6});
    for (const Stage& stage : kStages) {
        const int c_out = scaled_channels(stage.c, width);
        for (int i = 0; i < stage.n; ++i) {
            blocks.emplace_back(c, c_out, i == 0 ? stage.s : 1, stage.t);
            c = c_out;
        }
    }
    const int last = scaled_channels(1280, std::max(1.0f, width));
    head.emplace_back(ConvBn::Config{ConvKind::pointwise, c, last, 1, 1, Activation::relu6});
}

Variable MobileNetV2Trunk::features(const Variable& images, const ForwardContext& context, bool pooled) {
    require_images("mobilenet_v2", images.shape(), kLeastSize);
    // Stem and first block run as one chain, except where the block adds its input: at widths that give both as many
    // channels (0.25, say) the stem's output has a second consumer.
    const bool joined = !blocks.front().residual;
    std::vector<ConvBn*> first = pointers(stem);
    for (std::size_t u = 0; joined && u < blocks.front().units.size(); ++u) {
        first.push_back(&blocks.front().units[u]);
    }
    Variable x = conv_chain(images, first, false, false, context);
    for (std::size_t i = joined ? 1 : 0; i < blocks.size(); ++i) {
        x = blocks[i].forward(x, context);
    }
    return conv_chain(x, pointers(head), false, pooled, context);
}

void MobileNetV2Trunk::visit_features(Parts& parts) const {
    for_each_unit(*this, [&](const ConvBn& unit, const std::string& conv, const std::string& norm) {
        unit.visit(conv, norm, parts);
    });
}

void MobileNetV2Trunk::init_features(std::uint64_t seed) {
    for_each_unit(*this, [&](ConvBn& unit, const std::string& conv, const std::string&) { unit.init(seed, conv); });
}

Shape MobileNetV2Trunk::summarize_features(int size, std::vector<LayerSummary>& lines) const {
    require(size >= kLeastSize, "mobilenet_v2: an input of {} px; at least {} px are needed", size, kLeastSize);
    Shape shape{1, size, size, 3};
    for_each_unit(*this, [&](const ConvBn& unit, const std::string& conv, const std::string& norm) {
        constexpr const char* kKinds[] = {"conv", "pointwise", "depthwise"};
        shape = unit.output_shape(shape);
        const std::int64_t weights = unit.weight.value().elements();
        lines.push_back({conv,
                         kKinds[static_cast<int>(unit.config.kind)],
                         {shape[1], shape[2], shape[3]},
                         weights,
                         weights * shape[1] * shape[2]});
        lines.push_back({norm,
                         unit.config.act == Activation::identity ? "batchnorm" : "batchnorm+relu6",
                         {shape[1], shape[2], shape[3]},
                         2 * shape[3],
                         0});
    });
    return shape;
}

MobileNetV2::MobileNetV2(const ModelOptions& chosen)
    : MobileNetV2Trunk(chosen.width),
      options(checked(chosen)),
      classifier({.c_in = last_channels(), .c_out = chosen.classes, .init = WeightInit::small}) {}

Variable MobileNetV2::forward(const Variable& images, const ForwardContext& context) {
    Variable x = features(images, context, true);
    if (context.training) {
        x = dropout(x, options.dropout, context.dropout_key());
    }
    return classifier.forward(x, context);
}

void MobileNetV2::visit(Parts& parts) const {
    visit_features(parts);
    classifier.visit("classifier.1", parts);
}

void MobileNetV2::init(std::uint64_t seed) {
    init_features(seed);
    classifier.init(seed, "classifier.1");
}

std::vector<LayerSummary> MobileNetV2::summarize(int size) const {
    std::vector<LayerSummary> layers;
    const Shape shape = summarize_features(size, layers);
    layers.push_back({"pool", "global average", {shape[3]}, 0, 0});
    classifier.summarize("classifier.1", {shape[3]}, layers);
    return layers;
}

}  // namespace cutis
