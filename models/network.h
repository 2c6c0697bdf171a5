#pragma once

#include <string>
#include <utility>

#include "layers/layer.h"
#include "models/model.h"

namespace cutis {

/// A model that is a chain of named layers.
class Network final : public Model {
  public:
    struct Facts {
        std::string name;               ///< in the table of models
        std::string classifier_prefix;  ///< of the layers that are re-initialised for other classes
        int classes = 0;
        int least_size = 32;  ///< input side in pixels
    };
    Network(Facts facts, Sequential layers) : facts_(std::move(facts)), layers_(std::move(layers)) {}

    Variable forward(const Variable& images, const ForwardContext& context) override;
    void visit(Parts& parts) const override { layers_.visit("", parts); }
    std::vector<std::string> classifier_prefixes() const override { return {facts_.classifier_prefix}; }
    void init(std::uint64_t seed) override { layers_.init(seed, ""); }
    std::vector<LayerSummary> summarize(int size) const override;
    int classes() const override { return facts_.classes; }
    int least_size() const override { return facts_.least_size; }

  private:
    Facts facts_;
    Sequential layers_;
};

}  // namespace cutis
