#pragma once

#include <memory>

#include "models/model.h"

namespace cutis {

/// Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun, CVPR 2016), with 18 layers in basic blocks and
/// with 50 in bottlenecks. torchvision's names and initial weights; as there, a bottleneck that halves the map does so
/// in its 3x3 convolution, where the paper has the stride in the 1x1 before it ("ResNet v1.5"). Any input side.
std::unique_ptr<Model> make_resnet18(const ModelOptions& options);
std::unique_ptr<Model> make_resnet50(const ModelOptions& options);

}  // namespace cutis
