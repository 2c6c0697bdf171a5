#pragma once

#include <memory>

#include "models/model.h"

namespace cutis {

/// AlexNet on one GPU ("One weird trick for parallelizing convolutional neural networks", Krizhevsky 2014):
/// torchvision's alexnet, with its names and initial weights. Any input side from 63 px; 224 is usual.
std::unique_ptr<Model> make_alexnet(const ModelOptions& options);

/// The original AlexNet (Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural
/// networks", NIPS 2012): two groups, as on its two GPUs, and local response normalisation; 227 px give its 55 x 55
/// map. Names as torchvision's would be.
std::unique_ptr<Model> make_alexnet_original(const ModelOptions& options);

}  // namespace cutis
