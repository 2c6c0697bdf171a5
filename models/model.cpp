#include "models/model.h"

#include <algorithm>

#include "kernels/error.h"
#include "models/alexnet.h"
#include "models/googlenet.h"
#include "models/mobilenet_v2.h"
#include "models/mobilenet_v2_lstm.h"
#include "models/resnet.h"
#include "models/vgg.h"

namespace cutis {
namespace {

template <class M>
std::unique_ptr<Model> make(const ModelOptions& options) {
    return std::make_unique<M>(options);
}

constexpr ModelEntry kModels[] = {
    {"mobilenet_v2", "MobileNetV2 (Sandler et al. 2018), inverted residuals", make<MobileNetV2>},
    {"mobilenet_v2_lstm49", "MobileNetV2, its last map read by an LSTM pixel by pixel (Srinivasu et al. 2021)",
     make<MobileNetV2Lstm>},
    {"mobilenet_v2_lstm1", "MobileNetV2, its pooled features read by an LSTM as one step", make<MobileNetV2LstmPooled>},
    {"alexnet", "AlexNet as torchvision has it (Krizhevsky 2014)", make_alexnet},
    {"alexnet_original", "The original AlexNet, two groups and response normalisation (Krizhevsky et al. 2012)",
     make_alexnet_original},
    {"googlenet", "GoogLeNet, inception v1 with batchnorm and auxiliary heads (Szegedy et al. 2015)", make<GoogLeNet>},
    {"resnet18", "ResNet-18 (He et al. 2016), basic blocks", make_resnet18},
    {"resnet50", "ResNet-50 (He et al. 2016), bottlenecks", make_resnet50},
    {"vgg16", "VGG-16, configuration D (Simonyan and Zisserman 2015)", make_vgg16},
    {"vgg16_bn", "VGG-16 with batchnorm behind each convolution", make_vgg16_bn},
};

bool starts_with_any(std::string_view name, const std::vector<std::string>& prefixes) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](const std::string& prefix) { return name.starts_with(prefix); });
}

}  // namespace

void require_images(std::string_view model, const Shape& images, int least_size) {
    require(images.rank() == 4 && images[3] == 3 && images[1] >= least_size && images[2] >= least_size,
            "{}: images {}; n x h x w x 3 with h and w of at least {} were expected", model, to_string(images),
            least_size);
}

void check_classes(std::string_view model, int classes) {
    require(classes >= 1 && classes <= 100000, "{}: {} classes; 1 to 100000 are possible", model, classes);
}

void check_width(std::string_view model, float width) {
    require(width >= 0.1f && width <= 4.0f, "{}: width {}; 0.1 to 4 are possible", model, width);
}

int scaled_channels(int channels, float width) {
    const float product = static_cast<float>(channels) * width;
    const int rounded = std::max(8, static_cast<int>(product + 4.0f) / 8 * 8);
    return static_cast<float>(rounded) < 0.9f * product ? rounded + 8 : rounded;
}

bool Model::in_classifier(std::string_view name) const {
    return starts_with_any(name, classifier_prefixes());
}

bool Model::in_auxiliary_head(std::string_view name) const {
    return starts_with_any(name, auxiliary_prefixes());
}

std::int64_t Model::parameter_count() const {
    std::int64_t count = 0;
    for (const ParameterRef& parameter : parts().parameters) {
        count += in_auxiliary_head(parameter.name) ? 0 : parameter.variable.value().elements();
    }
    return count;
}

Variable training_loss(const TrainingOutput& output, const Tensor& labels, const LossOptions& options) {
    Variable loss = cross_entropy(output.logits, labels, options);
    for (const AuxiliaryLogits& head : output.auxiliary) {
        loss = add(loss, scale(cross_entropy(head.logits, labels, options), head.weight));
    }
    return loss;
}

std::span<const ModelEntry> model_table() {
    return kModels;
}

std::unique_ptr<Model> build_model(std::string_view name, const ModelOptions& options) {
    std::string known;
    for (const ModelEntry& entry : kModels) {
        if (entry.name == name) {
            check_classes(name, options.classes);
            check_width(name, options.width);
            auto model = entry.make(options);
            Parts parts = model->parts();
            for (ParameterRef& parameter : parts.parameters) {
                parameter.variable.set_name(parameter.name);  // for messages and profiles
            }
            return model;
        }
        known += (known.empty() ? "" : ", ") + std::string(entry.name);
    }
    fail("model '{}' is unknown; there are: {}", name, known);
}

std::unique_ptr<Model> make_model(std::string_view name, const ModelOptions& options) {
    auto model = build_model(name, options);
    model->init(options.seed);
    return model;
}

}  // namespace cutis
