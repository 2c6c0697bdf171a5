#include "models/alexnet.h"

#include "layers/layer.h"
#include "models/network.h"

namespace cutis {
namespace {

// Behind both: whatever side the map has, 6 x 6 means of it; then three linear layers with dropout before the first
// two.
Sequential classifier(const ModelOptions& options) {
    Sequential layers;
    layers.add(Dropout(options.dropout, 0, 2))
        .add(Linear({.c_in = 256, .c_out = 4096, .height = 6, .width = 6}))
        .add(Relu())
        .add(Dropout(options.dropout, 1, 2))
        .add(Linear({.c_in = 4096, .c_out = 4096}))
        .add(Relu())
        .add(Linear({.c_in = 4096, .c_out = options.classes}));
    return layers;
}

std::unique_ptr<Model> network(const char* name, const ModelOptions& options, Sequential features, int least_size) {
    check_classes(name, options.classes);
    Sequential layers;
    layers.add("features", std::move(features))
        .add("avgpool", AdaptiveAveragePool(6, 6))
        .add("classifier", classifier(options));
    return std::make_unique<Network>(Network::Facts{name, "classifier.6.", options.classes, least_size},
                                     std::move(layers));
}

}  // namespace

std::unique_ptr<Model> make_alexnet(const ModelOptions& options) {
    Sequential features;
    features
        .add(Conv2d({.c_in = 3, .c_out = 64, .kernel = 11, .stride = 4, .padding = 2}))  // 224 -> 55
        .add(Relu())
        .add(MaxPool({.window = 3, .stride = 2}))  // 27
        .add(Conv2d({.c_in = 64, .c_out = 192, .kernel = 5, .padding = 2}))
        .add(Relu())
        .add(MaxPool({.window = 3, .stride = 2}))  // 13
        .add(Conv2d({.c_in = 192, .c_out = 384, .padding = 1}))
        .add(Relu())
        .add(Conv2d({.c_in = 384, .c_out = 256, .padding = 1}))
        .add(Relu())
        .add(Conv2d({.c_in = 256, .c_out = 256, .padding = 1}))
        .add(Relu())
        .add(MaxPool({.window = 3, .stride = 2}));  // 6
    return network("alexnet", options, std::move(features), 63);
}

std::unique_ptr<Model> make_alexnet_original(const ModelOptions& options) {
    const LocalResponseNorm norm{
        .size = 5, .alpha = 5 * 1e-4f, .beta = 0.75f, .k = 2.0f};  // the paper does not divide alpha
    Sequential features;
    features
        .add(Conv2d({.c_in = 3, .c_out = 96, .kernel = 11, .stride = 4}))  // 227 -> 55
        .add(Relu())
        .add(LocalResponseNormLayer(norm))
        .add(MaxPool({.window = 3, .stride = 2}))  // 27
        .add(Conv2d({.c_in = 96, .c_out = 256, .kernel = 5, .padding = 2, .groups = 2}))
        .add(Relu())
        .add(LocalResponseNormLayer(norm))
        .add(MaxPool({.window = 3, .stride = 2}))  // 13
        .add(Conv2d({.c_in = 256, .c_out = 384, .padding = 1}))
        .add(Relu())
        .add(Conv2d({.c_in = 384, .c_out = 384, .padding = 1, .groups = 2}))
        .add(Relu())
        .add(Conv2d({.c_in = 384, .c_out = 256, .padding = 1, .groups = 2}))
        .add(Relu())
        .add(MaxPool({.window = 3, .stride = 2}));  // 6
    return network("alexnet_original", options, std::move(features), 67);
}

}  // namespace cutis
