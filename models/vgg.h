#pragma once

#include <memory>

#include "models/model.h"

namespace cutis {

/// Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan and Zisserman, ICLR 2015),
/// configuration D, "VGG-16": as in the paper, and with batchnorm behind each convolution, which the paper predates.
/// torchvision's names and initial weights; any input side from 32 px.
std::unique_ptr<Model> make_vgg16(const ModelOptions& options);
std::unique_ptr<Model> make_vgg16_bn(const ModelOptions& options);

}  // namespace cutis
