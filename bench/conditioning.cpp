// How far a step's gradient turns when the input changes a little: what no precision can do better than
// (docs/precision.md).
//
//   build/<preset>/bench/conditioning tools/sample/ham10000/images
//   tools/sample/weights/mobilenet_v2_imagenet_features.safetensors
//
// MobileNetV2, training mode, cross-entropy against labels 0..6 in turn. Each row: network, size, batch, how much each
// input value was multiplied by at most (1 +- change, uniform), the cosine between the gradients of all parameters with
// and without. In a build with CUDA kernels also the cosine between fp32's gradients and bf16's.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/augment.h"
#include "engine/cuda_device.h"
#include "engine/image.h"
#include "engine/resize.h"
#include "kernels/error.h"
#include "kernels/philox.h"
#include "models/model.h"
#include "models/weights.h"
#include "tools/inference.h"

namespace cutis {
namespace {

struct Setting {
    const char* name;
    bool pretrained;
    float width;
    int size, batch;
};
constexpr Setting kSettings[] = {
    {"random weights, width 0.35", false, 0.35f, 32, 16},
    {"random weights, width 0.35", false, 0.35f, 32, 64},
    {"ImageNet weights", true, 1.0f, 32, 16},
    {"ImageNet weights", true, 1.0f, 64, 16},
    {"ImageNet weights", true, 1.0f, 128, 16},
};
constexpr float kChanges[] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 4e-3f};

struct Input {
    Tensor images, labels;
};

Input read_input(const std::vector<std::filesystem::path>& paths, const Setting& setting) {
    const int size = setting.size, values = size * size * 3;
    Input input{Tensor::empty({setting.batch, size, size, 3}), Tensor::empty({setting.batch}, DType::i32)};
    for (int i = 0; i < setting.batch; ++i) {
        // Far apart in the folder, whose images lie in the order of their numbers.
        const Image image = fit_square(load_image(paths[static_cast<std::size_t>(i) * 37 % paths.size()]), size, false);
        to_float(image.rgb.data(), size, size, kImageNetMean.data(), kImageNetStd.data(),
                 input.images.data() + std::int64_t{i} * values);
        input.labels.data<std::int32_t>()[i] = i % 7;
    }
    return input;
}

std::vector<float> gradients(const Setting& setting, const char* weights, const Input& input, Device device,
                             DType activations) {
    const std::unique_ptr<Model> model = make_model("mobilenet_v2", {.classes = 7, .width = setting.width, .seed = 1});
    if (setting.pretrained) {
        load_weights(*model, SafetensorsFile(weights), true);
    }
    const Parts parts = model->parts();
    parts.move_to(device);
    const Tensor images = cast(input.images.to(device), activations);
    cross_entropy(model->forward(Variable(images), {.training = true}), input.labels.to(device)).backward();
    std::vector<float> all;
    for (const ParameterRef& parameter : parts.parameters) {
        const Tensor gradient = std::as_const(parameter.variable).grad().to(Device{});
        all.insert(all.end(), gradient.values().begin(), gradient.values().end());
    }
    return all;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const auto x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return ab / std::sqrt(aa * bb);
}

void run(const char* folder, const char* weights) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (is_image_path(entry.path())) {
            paths.push_back(entry.path());
        }
    }
    require(!paths.empty(), "{}: no images", folder);
    std::sort(paths.begin(), paths.end());
    for (const Setting& setting : kSettings) {
        const Input input = read_input(paths, setting);
        const std::vector<float> expected = gradients(setting, weights, input, {}, DType::f32);
        const auto print = [&](const std::string& change, double value) {
            fmt::print("{:<28}{:>4} px  batch {:>3}  {:<16}{:.5f}\n", setting.name, setting.size, setting.batch, change,
                       value);
        };
        for (const float change : kChanges) {
            Input changed{input.images.clone(), input.labels};
            PhiloxStream random(1, RandomPurpose::test);
            float* const values = changed.images.data();
            for (std::int64_t i = 0; i < changed.images.elements(); ++i) {
                values[i] *= 1.0f + change * (2.0f * random.uniform() - 1.0f);
            }
            print(fmt::format("input {:.0e}", change),
                  cosine(expected, gradients(setting, weights, changed, {}, DType::f32)));
        }
        if (cuda_device_count() > 0) {
            const Device gpu{DeviceKind::cuda, 0};
            print("bf16", cosine(expected, gradients(setting, weights, input, gpu, DType::bf16)));
        }
    }
}

}  // namespace
}  // namespace cutis

int main(int count, char** arguments) {
    if (count != 3) {
        fmt::print(stderr, "usage: conditioning IMAGE_FOLDER WEIGHTS.safetensors\n");
        return 2;
    }
    try {
        cutis::run(arguments[1], arguments[2]);
        return 0;
    } catch (const std::exception& error) {
        fmt::print(stderr, "conditioning: {}\n", error.what());
        return 1;
    }
}
