#include "models/resnet.h"

#include <string>
#include <utility>

#include "layers/blocks.h"
#include "models/network.h"

namespace cutis {
namespace {

// Table 1 of the paper: repeats of the block in each stage. A stage's blocks are of one width, and its first one halves
// the map, but for the first stage's.
constexpr int kStages = 4;
struct Depth {
    const char* name;
    int repeats[kStages];
    bool bottleneck;
};
constexpr Depth kResNet18{"resnet18", {2, 2, 2, 2}, false}, kResNet50{"resnet50", {3, 4, 6, 3}, true};
constexpr int kWidths[kStages] = {64, 128, 256, 512};  // at 224 px: 56 x 56, 28 x 28, 14 x 14, 7 x 7
constexpr int kExpansion = 4;                          // a bottleneck's output over its width

Conv2d conv(int c_in, int c_out, int kernel, int stride = 1) {
    return Conv2d({.c_in = c_in,
                   .c_out = c_out,
                   .kernel = kernel,
                   .stride = stride,
                   .padding = kernel / 2,
                   .bias = false,
                   .init = WeightInit::fan_out});
}
BatchNorm norm(int c, Activation act = Activation::identity) {
    return BatchNorm({.c = c, .act = act});
}

// The identity where sizes agree, else a projection (option B of the paper).
Sequential shortcut(int c_in, int c_out, int stride) {
    Sequential layers;
    if (stride != 1 || c_in != c_out) {
        layers.add(conv(c_in, c_out, 1, stride)).add(norm(c_out));
    }
    return layers;
}

// Figure 5, left: 3x3, 3x3.
Residual basic_block(int c_in, int width, int stride) {
    Sequential body;
    body.add("conv1", conv(c_in, width, 3, stride))
        .add("bn1", norm(width, Activation::relu))
        .add("conv2", conv(width, width, 3));
    return Residual(std::move(body), "bn2", norm(width), shortcut(c_in, width, stride));
}

// Figure 5, right: 1x1 to fewer channels, 3x3, 1x1 to four times as many.
Residual bottleneck(int c_in, int width, int stride) {
    const int c_out = width * kExpansion;
    Sequential body;
    body.add("conv1", conv(c_in, width, 1))
        .add("bn1", norm(width, Activation::relu))
        .add("conv2", conv(width, width, 3, stride))
        .add("bn2", norm(width, Activation::relu))
        .add("conv3", conv(width, c_out, 1));
    return Residual(std::move(body), "bn3", norm(c_out), shortcut(c_in, c_out, stride));
}

std::unique_ptr<Model> make_resnet(const Depth& depth, const ModelOptions& options) {
    int c = scaled_channels(64, options.width);
    Sequential layers;
    layers
        .add("conv1", conv(3, c, 7, 2))  // 224 -> 112
        .add("bn1", norm(c, Activation::relu))
        .add("maxpool", MaxPool({.window = 3, .stride = 2, .padding = 1}));  // 56
    for (int s = 0; s < kStages; ++s) {
        const int width = scaled_channels(kWidths[s], options.width);
        Sequential stage;
        for (int i = 0; i < depth.repeats[s]; ++i) {
            const int stride = s > 0 && i == 0 ? 2 : 1;
            stage.add(depth.bottleneck ? bottleneck(c, width, stride) : basic_block(c, width, stride));
            c = depth.bottleneck ? width * kExpansion : width;
        }
        layers.add("layer" + std::to_string(s + 1), std::move(stage));
    }
    layers.add("avgpool", GlobalAveragePool())
        .add("dropout", Dropout(options.dropout, 0, 1))  // of ours, without parameters: the paper has none
        .add("fc", Linear({.c_in = c, .c_out = options.classes}));
    return std::make_unique<Network>(Network::Facts{depth.name, "fc.", options.classes, 1}, std::move(layers));
}

}  // namespace

std::unique_ptr<Model> make_resnet18(const ModelOptions& options) {
    return make_resnet(kResNet18, options);
}
std::unique_ptr<Model> make_resnet50(const ModelOptions& options) {
    return make_resnet(kResNet50, options);
}

}  // namespace cutis
