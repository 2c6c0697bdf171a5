#include "models/vgg.h"

#include <string>
#include <utility>

#include "layers/blocks.h"
#include "models/network.h"

namespace cutis {
namespace {

// Table 1 of the paper, column D: 3x3 convolutions, as many as `n`, to c channels; behind each stage the map is halved.
struct Stage {
    int n, c;
};
constexpr Stage kStages[] = {
    {2, 64},   // 224 x 224
    {2, 128},  // 112 x 112
    {3, 256},  // 56 x 56
    {3, 512},  // 28 x 28
    {3, 512},  // 14 x 14 -> 7 x 7
};

std::unique_ptr<Model> make_vgg(const char* name, bool norm, const ModelOptions& options) {
    int c = 3, index = 0;  // torchvision's number of a layer; there ReLU has its own behind a batchnorm
    Sequential features;
    for (const Stage& stage : kStages) {
        const int c_out = scaled_channels(stage.c, options.width);
        for (int i = 0; i < stage.n; ++i) {
            features.add(std::to_string(index++),
                         Conv2d({.c_in = c, .c_out = c_out, .padding = 1, .init = WeightInit::fan_out}));
            if (norm) {
                features.add(std::to_string(index++), BatchNorm({.c = c_out, .act = Activation::relu}));
                ++index;
            } else {
                features.add(std::to_string(index++), Relu());
            }
            c = c_out;
        }
        features.add(std::to_string(index++), MaxPool({.window = 2}));
    }
    const int hidden = scaled_channels(4096, options.width);
    Sequential classifier;
    classifier.add(Linear({.c_in = c, .c_out = hidden, .height = 7, .width = 7, .init = WeightInit::small}))
        .add(Relu())
        .add(Dropout(options.dropout, 0, 2))
        .add(Linear({.c_in = hidden, .c_out = hidden, .init = WeightInit::small}))
        .add(Relu())
        .add(Dropout(options.dropout, 1, 2))
        .add(Linear({.c_in = hidden, .c_out = options.classes, .init = WeightInit::small}));
    Sequential layers;
    layers.add("features", std::move(features))
        .add("avgpool", AdaptiveAveragePool(7, 7))
        .add("classifier", std::move(classifier));
    return std::make_unique<Network>(Network::Facts{name, "classifier.6.", options.classes, 32}, std::move(layers));
}

}  // namespace

std::unique_ptr<Model> make_vgg16(const ModelOptions& options) {
    return make_vgg("vgg16", false, options);
}
std::unique_ptr<Model> make_vgg16_bn(const ModelOptions& options) {
    return make_vgg("vgg16_bn", true, options);
}

}  // namespace cutis
