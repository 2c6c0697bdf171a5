#pragma once

#include <string>
#include <vector>

namespace cutis::bench {

/// What is timed: MobileNetV2's shapes at one batch size.
struct Workload {
    int batch, size;
    float width;
};

/// A convolution of the network: its input and its output.
struct ConvLayer {
    std::string kind;  ///< conv, depthwise or pointwise
    int side, c;
    int side_out, k;
    bool operator==(const ConvLayer&) const = default;
};

/// MobileNetV2's convolutions, in their order, each different one once.
std::vector<ConvLayer> conv_layers(const Workload& workload);

}  // namespace cutis::bench
