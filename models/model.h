#pragma once

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
    float width = 1.0f;     ///< width multiplier, where the model has one
    float dropout = 0.2f;   ///< before the classifier
    int lstm_hidden = 128;  ///< hidden size, where the model has an LSTM
    std::uint64_t seed = 0;
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

/// Throws Error naming the model unless `images` is n x h x w x 3 with h and w of at least `least_size`.
void require_images(std::string_view model, const Shape& images, int least_size);
/// Throws Error naming the model unless 1 <= classes <= 100000.
void check_classes(std::string_view model, int classes);

/// An initialised model whose parameters know their names; throws Error naming the known ones for an unknown name.
std::unique_ptr<Model> make_model(std::string_view name, const ModelOptions& options);

}  // namespace cutis
