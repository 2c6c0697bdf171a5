#pragma once

#include "models/network.h"

namespace cutis {

/// Three convolutions, each followed by ReLU and pooling, and a linear layer. Any input side from 32 px.
inline std::unique_ptr<Model> make_small_cnn(const ModelOptions& options) {
    Sequential features;
    int c = 3;
    for (const int width : {32, 64, 128}) {
        const int c_out = scaled_channels(width, options.width);
        features.add(Conv2d({.c_in = c, .c_out = c_out, .padding = 1, .init = WeightInit::fan_out}))
            .add(Relu())
            .add(MaxPool({.window = 2}));
        c = c_out;
    }
    Sequential classifier;
    classifier.add(Dropout(options.dropout, 0, 1))
        .add(Linear({.c_in = c, .c_out = options.classes, .height = 4, .width = 4}));
    Sequential layers;
    layers.add("features", std::move(features))
        .add("avgpool", AdaptiveAveragePool(4, 4))
        .add("classifier", std::move(classifier));
    return std::make_unique<Network>(Network::Facts{"small_cnn", "classifier.", options.classes, 32},
                                     std::move(layers));
}

}  // namespace cutis
