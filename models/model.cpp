#include "models/model.h"

#include "kernels/error.h"
#include "models/mobilenet_v2.h"

namespace cutis {
namespace {

template <class M>
std::unique_ptr<Model> make(const ModelOptions& options) {
    return std::make_unique<M>(options);
}

constexpr ModelEntry kModels[] = {
    {"mobilenet_v2", "MobileNetV2 (Sandler et al. 2018), inverted residuals", make<MobileNetV2>},
};

}  // namespace

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
