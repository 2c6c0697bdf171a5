#pragma once

#include "layers/layer.h"
#include "models/model.h"

namespace cutis {

/// Going Deeper with Convolutions (Szegedy et al., CVPR 2015): inception modules, and two auxiliary heads in their
/// middle that count in training alone. torchvision's names and initial weights; as there, every convolution has a
/// batchnorm behind it (Ioffe and Szegedy 2015) in place of the paper's biases and response normalisation, and the
/// third branch has 3x3 filters where the paper has 5x5. Any input side from 15 px.
struct GoogLeNet final : Model {
    explicit GoogLeNet(const ModelOptions& options);

    Variable forward(const Variable& images, const ForwardContext& context) override;
    /// The heads count 0.3 each (section 5).
    TrainingOutput forward_training(const Variable& images, const ForwardContext& context) override;
    void visit(Parts& parts) const override;
    std::vector<std::string> classifier_prefixes() const override { return {"fc.", "aux1.fc2.", "aux2.fc2."}; }
    std::vector<std::string> auxiliary_prefixes() const override { return {"aux1.", "aux2."}; }
    void init(std::uint64_t seed) override;
    /// Without the auxiliary heads.
    std::vector<LayerSummary> summarize(int size) const override;
    int classes() const override { return options.classes; }
    /// torchvision lays its transform_input before them, which turns ImageNet's normalisation into this one.
    Normalisation published_normalisation() const override { return {{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}}; }
    int least_size() const override { return 15; }

    ModelOptions options;
    Sequential to_4a, to_4d, to_logits;  ///< conv1 to inception4a, inception4b to 4d, inception4e to fc
    Sequential aux1, aux2;               ///< behind inception4a, behind inception4d
};

}  // namespace cutis
