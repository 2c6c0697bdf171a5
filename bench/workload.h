#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kernels/conv.h"
#include "kernels/pool.h"

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

// What other networks add, each different shape once; a narrow workload has a fraction of its sides and channels.

/// AlexNet's dense convolutions and the first of ResNet.
std::vector<ConvShape> dense_shapes(const Workload& workload);
/// Max pooling of AlexNet, ResNet (or GoogLeNet) and inside of inception blocks.
std::vector<PoolShape> max_pool_shapes(const Workload& workload);
/// Inputs and outputs of linear layers: MobileNetV2's classifier and AlexNet's.
std::vector<std::pair<int, int>> linear_shapes(const Workload& workload);
/// Side and channels of what the original AlexNet normalises over its channels.
std::vector<std::pair<int, int>> response_norm_shapes(const Workload& workload);

}  // namespace cutis::bench
