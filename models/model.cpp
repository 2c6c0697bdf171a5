#include "models/model.h"

#include "kernels/error.h"
#include "models/alexnet.h"
#include "models/mobilenet_v2.h"
#include "models/mobilenet_v2_lstm.h"

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
    {"mobilenet_v2_lstm1", "MobileNetV2, its pooled features read by an LSTM as one step",
     make<MobileNetV2LstmPooled>},
    {"alexnet", "AlexNet as torchvision has it (Krizhevsky 2014)", make_alexnet},
    {"alexnet_original", "The original AlexNet, two groups and response normalisation (Krizhevsky et al. 2012)",
     make_alexnet_original},
};

}  // namespace

void require_images(std::string_view model, const Shape& images, int least_size) {
    require(images.rank() == 4 && images[3] == 3 && images[1] >= least_size && images[2] >= least_size,
            "{}: images {}; n x h x w x 3 with h and w of at least {} were expected", model, to_string(images),
            least_size);
}

void check_classes(std::string_view model, int classes) {
    require(classes >= 1 && classes <= 100000, "{}: {} classes; 1 to 100000 are possible", model, classes);
}

std::span<const ModelEntry> model_table() {
    return kModels;
}

std::unique_ptr<Model> make_model(std::string_view name, const ModelOptions& options) {
    std::string known;
    for (const ModelEntry& entry : kModels) {
        if (entry.name == name) {
            auto model = entry.make(options);
            model->init(options.seed);
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

}  // namespace cutis
