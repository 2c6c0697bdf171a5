#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>

#include "engine/safetensors.h"
#include "models/model.h"
#include "models/weights.h"

/// Classifies one grey image with the installed weights; leaves with 0 when that gives a finite logit for each class.
int main() {
    try {
        const auto path = std::filesystem::path(SAMPLE_DIR) / "weights" / "mobilenet_v2_imagenet_features.safetensors";
        const auto model = cutis::make_model("mobilenet_v2", {.classes = 7});
        const cutis::LoadReport report = cutis::load_weights(*model, cutis::SafetensorsFile(path), true);
        const cutis::NoGrad no_grad;
        const cutis::Variable images(cutis::Tensor::zeros({1, 64, 64, 3}));
        const cutis::Variable logits = model->forward(images, {});
        int finite = 0;
        for (const float logit : logits.value().values()) {
            finite += std::isfinite(logit) ? 1 : 0;
        }
        std::printf("%d tensors loaded, %d finite logits\n", static_cast<int>(report.matched), finite);
        return finite == 7 ? 0 : 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
