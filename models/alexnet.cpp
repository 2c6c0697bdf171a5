#include "models/alexnet.h"

#include "layers/layer.h"
#include "models/network.h"

namespace cutis {
namespace {

// A paper's number of channels to that of this width.
auto channels(const ModelOptions& options) {
    return [width = options.width](int paper) { return scaled_channels(paper, width); };
}

// Behind both: whatever side the map has, 6 x 6 means of it; then three linear layers with dropout before the first
// two.
Sequential classifier(const ModelOptions& options) {
    const int map = scaled_channels(256, options.width), hidden = scaled_channels(4096, options.width);
    Sequential layers;
    layers.add(Dropout(options.dropout, 0, 2))
        .add(Linear({.c_in = map, .c_out = hidden, .height = 6, .width = 6}))
        .add(Relu())
        .add(Dropout(options.dropout, 1, 2))
        .add(Linear({.c_in = hidden, .c_out = hidden}))
        .add(Relu())
        .add(Linear({.c_in = hidden, .c_out = options.classes}));
    return layers;
}

std::unique_ptr<Model> network(const char* name, const ModelOptions& options, Sequential features, int least_size) {
    Sequential layers;
    layers.add("features", std::move(features))
        .add("avgpool", AdaptiveAveragePool(6, 6))
        .add("classifier", classifier(options));
    return std::make_unique<Network>(Network::Facts{name, "classifier.6.", options.classes, least_size},
                                     std::move(layers));
}

}  // namespace

std::unique_ptr<Model> make_alexnet(const ModelOptions& options) {
    const auto c = channels(options);
    Sequential features;
    features
        .add(Conv2d({.c_in = 3, .c_out = c(64), .kernel = 11, .stride = 4, .padding = 2}))  // 224 -> 55
        .add(Relu())
        .add(MaxPool({.window = 3, .stride = 2}))  // 27
        .add(Conv2d({.c_in = c(64), .c_out = c(192), .kernel = 5, .padding = 2}))
        .add(Relu())
        .add(MaxPool({.window = 3, .stride = 2}))  // 13
        .add(Conv2d({.c_in = c(192), .c_out = c(384), .padding = 1}))
        .add(Relu())
        .add(Conv2d({.c_in = c(384), .c_out = c(256), .padding = 1}))
        .add(Relu())
        .add(Conv2d({.c_in = c(256), .c_out = c(256), .padding = 1}))
        .add(Relu())
        .add(MaxPool({.window = 3, .stride = 2}));  // 6
    return network("alexnet", options, std::move(features), 63);
}

std::unique_ptr<Model> make_alexnet_original(const ModelOptions& options) {
    const LocalResponseNorm norm{
        .size = 5, .alpha = 5 * 1e-4f, .beta = 0.75f, .k = 2.0f};  // the paper does not divide alpha
    const auto c = channels(options);
    Sequential features;
    features
        .add(Conv2d({.c_in = 3, .c_out = c(96), .kernel = 11, .stride = 4}))  // 227 -> 55
        .add(Relu())
        .add(LocalResponseNormLayer(norm))
        .add(MaxPool({.window = 3, .stride = 2}))  // 27
        .add(Conv2d({.c_in = c(96), .c_out = c(256), .kernel = 5, .padding = 2, .groups = 2}))
        .add(Relu())
        .add(LocalResponseNormLayer(norm))
        .add(MaxPool({.window = 3, .stride = 2}))  // 13
        .add(Conv2d({.c_in = c(256), .c_out = c(384), .padding = 1}))
        .add(Relu())
        .add(Conv2d({.c_in = c(384), .c_out = c(384), .padding = 1, .groups = 2}))
        .add(Relu())
        .add(Conv2d({.c_in = c(384), .c_out = c(256), .padding = 1, .groups = 2}))
        .add(Relu())
        .add(MaxPool({.window = 3, .stride = 2}));  // 6
    return network("alexnet_original", options, std::move(features), 67);
}

}  // namespace cutis
