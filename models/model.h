#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "layers/parts.h"

namespace cutis {

/// Choices that every model understands.
struct ModelOptions {
    int classes = 7;
    float width = 1.0f;    ///< width multiplier, where the model has one
    float dropout = 0.2f;  ///< before the classifier
    std::uint64_t seed = 0;
};

/// One layer of a summary: sizes for one image.
struct LayerSummary {
    std::string name, kind;
    Shape output;  ///< h w c, or c
    std::int64_t parameters = 0;
    std::int64_t macs = 0;  ///< multiply-adds of convolutions and linear layers
};

/// A classifier: images n x h x w x 3, normalised, to logits n x classes.
class Model {
  public:
    virtual ~Model() = default;

    virtual Variable forward(const Variable& images, const ForwardContext& context) = 0;
    virtual void visit(Parts& parts) const = 0;
    /// Names that start with this belong to the classifier, which is re-initialised for another number of classes.
    virtual std::string_view classifier_prefix() const = 0;
    /// Draws every weight anew (by name, from the seed).
    virtual void init(std::uint64_t seed) = 0;
    /// Layer by layer for one image of size x size; throws Error for a size the model cannot take.
    virtual std::vector<LayerSummary> summarize(int size) const = 0;
    virtual int classes() const = 0;
    /// Smallest input side in pixels.
    virtual int least_size() const = 0;

    Parts parts() const {
        Parts all;
        visit(all);
        return all;
    }
};

struct ModelEntry {
    std::string_view name;
    std::string_view description;
    std::unique_ptr<Model> (*make)(const ModelOptions&);
};

/// The table of models; a new one is a new file and a line there.
std::span<const ModelEntry> model_table();

/// An initialised model whose parameters know their names; throws Error naming the known ones for an unknown name.
std::unique_ptr<Model> make_model(std::string_view name, const ModelOptions& options);

}  // namespace cutis
