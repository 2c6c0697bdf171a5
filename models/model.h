#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "layers/layer.h"
#include "layers/parts.h"

namespace cutis {

/// Choices that every model understands.
struct ModelOptions {
    int classes = 7;
    float width = 1.0f;     ///< width multiplier: of all channels, and of hidden linear layers
    float dropout = 0.2f;   ///< before the classifier
    int lstm_hidden = 128;  ///< hidden size, where the model has an LSTM
    std::uint64_t seed = 0;
};

/// Images are given as (x / 255 - mean) / std, channel by channel.
struct Normalisation {
    std::array<float, 3> mean{}, std{};
};
/// torchvision's figures for ImageNet.
inline constexpr std::array<float, 3> kImageNetMean{0.485f, 0.456f, 0.406f};
inline constexpr std::array<float, 3> kImageNetStd{0.229f, 0.224f, 0.225f};

/// What a head beside the classifier says in training, and how much its loss counts.
struct AuxiliaryLogits {
    Variable logits;  ///< n x classes
    float weight = 0.0f;
};

/// What training looks at.
struct TrainingOutput {
    Variable logits;  ///< n x classes
    std::vector<AuxiliaryLogits> auxiliary;
};

/// A classifier: images n x h x w x 3, normalised, to logits n x classes.
class Model {
  public:
    virtual ~Model() = default;

    /// The logits, in evaluation or training; auxiliary heads stay out.
    virtual Variable forward(const Variable& images, const ForwardContext& context) = 0;
    /// The same with the logits of auxiliary heads, for models that have some.
    virtual TrainingOutput forward_training(const Variable& images, const ForwardContext& context) {
        return {forward(images, context), {}};
    }
    virtual void visit(Parts& parts) const = 0;
    /// Names that start with one of these belong to layers whose size is the number of classes: they are re-initialised
    /// for another one. The first is the classifier's, others those of auxiliary heads.
    virtual std::vector<std::string> classifier_prefixes() const = 0;
    /// Names that start with one of these belong to auxiliary heads: files may lack them, and they are not counted.
    virtual std::vector<std::string> auxiliary_prefixes() const { return {}; }
    /// Draws every weight anew (by name, from the seed).
    virtual void init(std::uint64_t seed) = 0;
    /// Layer by layer for one image of size x size; throws Error for a size the model cannot take.
    virtual std::vector<LayerSummary> summarize(int size) const = 0;
    virtual int classes() const = 0;
    /// What torchvision's published weights were trained with; the files do not say so.
    virtual Normalisation published_normalisation() const { return {kImageNetMean, kImageNetStd}; }
    /// Smallest input side in pixels.
    virtual int least_size() const = 0;

    Parts parts() const {
        Parts all;
        visit(all);
        return all;
    }
    bool in_classifier(std::string_view name) const;
    bool in_auxiliary_head(std::string_view name) const;
    /// Parameters without those of auxiliary heads, as papers count them.
    std::int64_t parameter_count() const;
};

/// Cross-entropy of the logits, and of each auxiliary head's times its weight.
Variable training_loss(const TrainingOutput& output, const Tensor& labels, const LossOptions& options = {});

struct ModelEntry {
    std::string_view name;
    std::string_view description;
    std::unique_ptr<Model> (*make)(const ModelOptions&);
};

/// The table of models; a new one is a new file and a line there.
std::span<const ModelEntry> model_table();

/// Throws Error naming the model unless `images` is n x h x w x 3 with h and w of at least `least_size`.
void require_images(std::string_view model, const Shape& images, int least_size);
/// Throws Error naming the model unless 1 <= classes <= 100000.
void check_classes(std::string_view model, int classes);
/// Throws Error naming the model unless 0.1 <= width <= 4.
void check_width(std::string_view model, float width);
/// `channels` times a width multiplier, rounded to a multiple of 8 that is at least 8 and never less than nine tenths
/// of the product (the rule of MobileNetV2's authors). Multiples of 8 stay as they are at width 1.
int scaled_channels(int channels, float width);

/// A model whose parameters know their names, with weights of 0 (and gammas of 1): for reading its layers, or for
/// loading weights into it, where drawing some hundred million values would be for nothing. Throws Error naming the
/// known models for an unknown name.
std::unique_ptr<Model> build_model(std::string_view name, const ModelOptions& options);
/// The same with its weights drawn.
std::unique_ptr<Model> make_model(std::string_view name, const ModelOptions& options);

}  // namespace cutis
