#pragma once

#include "layers/lstm.h"
#include "models/mobilenet_v2.h"

namespace cutis {

/// MobileNetV2 whose features an LSTM reads before the classifier: Srinivasu, SivaSai, Ijaz, Bhoi, Kim, Kang,
/// "Classification of skin disease using deep learning neural networks with MobileNet V2 and LSTM", Sensors 21(8),
/// 2021. The paper leaves open how the two are joined, so both ways are here. The trunk has MobileNetV2's names; the
/// LSTM belongs to the classifier (classifier.lstm.weight_ih_l0, ..), so that MobileNetV2's weights load and it starts
/// anew.
struct MobileNetV2LstmBase : Model, MobileNetV2Trunk {
    MobileNetV2LstmBase(const ModelOptions& options, bool pooled);

    Variable forward(const Variable& images, const ForwardContext& context) override;
    void visit(Parts& parts) const override;
    std::vector<std::string> classifier_prefixes() const override { return {"classifier."}; }
    void init(std::uint64_t seed) override;
    std::vector<LayerSummary> summarize(int size) const override;
    int classes() const override { return options.classes; }
    int least_size() const override { return 32; }

    ModelOptions options;
    bool pooled;
    Lstm lstm;          ///< classifier.lstm
    Linear classifier;  ///< classifier.1, from the last hidden state
};

/// The last map (7 x 7 x 1280 at 224 px) is a sequence of 49 steps, row by row.
struct MobileNetV2Lstm final : MobileNetV2LstmBase {
    explicit MobileNetV2Lstm(const ModelOptions& chosen) : MobileNetV2LstmBase(chosen, false) {}
};
/// The pooled vector is a sequence of one step.
struct MobileNetV2LstmPooled final : MobileNetV2LstmBase {
    explicit MobileNetV2LstmPooled(const ModelOptions& chosen) : MobileNetV2LstmBase(chosen, true) {}
};

}  // namespace cutis
