#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/ops.h"
#include "layers/parts.h"

namespace cutis {

/// One layer of a summary: sizes for one image.
struct LayerSummary {
    std::string name, kind;
    Shape output;  ///< h w c, or c
    std::int64_t parameters = 0;
    std::int64_t macs = 0;  ///< multiply-adds of convolutions and linear layers
};

/// A part of a network that maps one tensor to one tensor. Its parameters have names behind the layer's own, as in
/// PyTorch: "features.0" and "weight" make "features.0.weight".
class Layer {
  public:
    virtual ~Layer() = default;

    virtual Variable forward(const Variable& x, const ForwardContext& context) = 0;
    /// Appends what it holds.
    virtual void visit(const std::string& name, Parts& parts) const;
    /// Draws its weights anew, by name.
    virtual void init(std::uint64_t seed, const std::string& name);
    /// Appends its lines, and returns its output's sizes for one image of sizes `x`, h w c or c. Throws Error for sizes
    /// that it cannot take.
    virtual Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const = 0;
};

/// How initial weights are drawn; biases are then 0, but for `torch`.
enum class WeightInit {
    torch,    ///< uniform within 1 / sqrt(fan in), bias too: what torch.nn.Conv2d and Linear start with
    fan_out,  ///< normal, variance 2 / fan out (He et al. 2015)
    small     ///< normal, standard deviation 0.01
};

/// Dense or grouped convolution, with a bias unless switched off. x: n h w c.
class Conv2d final : public Layer {
  public:
    struct Config {
        int c_in = 0, c_out = 0, kernel = 3, stride = 1, padding = 0, groups = 1;
        bool bias = true;
        WeightInit init = WeightInit::torch;
    };
    explicit Conv2d(const Config& config);

    Variable forward(const Variable& x, const ForwardContext& context) override;
    void visit(const std::string& name, Parts& parts) const override;
    void init(std::uint64_t seed, const std::string& name) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;

    Config config;
    Variable weight, bias;  ///< k r s c/groups; k
};

/// y = x w^T + b. x: n c, or, with a height and a width, a map n h w c, which PyTorch would flatten to c h w: the
/// weights then lie as k h w c.
class Linear final : public Layer {
  public:
    struct Config {
        int c_in = 0, c_out = 0;
        int height = 0, width = 0;  ///< of a map of c_in channels
        WeightInit init = WeightInit::torch;
    };
    explicit Linear(const Config& config);

    Variable forward(const Variable& x, const ForwardContext& context) override;
    void visit(const std::string& name, Parts& parts) const override;
    void init(std::uint64_t seed, const std::string& name) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;

    Config config;
    Variable weight, bias;

  private:
    bool flattens() const { return config.height > 0; }
    WeightLayout layout() const { return flattens() ? WeightLayout::flattened : WeightLayout::same; }
    std::int64_t terms() const;
};

class Relu final : public Layer {
  public:
    Variable forward(const Variable& x, const ForwardContext& context) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;
};

class MaxPool final : public Layer {
  public:
    explicit MaxPool(const PoolOptions& chosen) : options(chosen) {}
    Variable forward(const Variable& x, const ForwardContext& context) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;
    PoolOptions options;
};

class AdaptiveAveragePool final : public Layer {
  public:
    AdaptiveAveragePool(int height, int width) : p(height), q(width) {}
    Variable forward(const Variable& x, const ForwardContext& context) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;
    int p, q;
};

class LocalResponseNormLayer final : public Layer {
  public:
    explicit LocalResponseNormLayer(const LocalResponseNorm& chosen) : norm(chosen) {}
    Variable forward(const Variable& x, const ForwardContext& context) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;
    LocalResponseNorm norm;
};

/// Dropout number `number` of the `of` in its model, which keeps their masks apart.
class Dropout final : public Layer {
  public:
    Dropout(float drop_probability, int its_number, int all)
        : probability(drop_probability), number(its_number), of(all) {}
    Variable forward(const Variable& x, const ForwardContext& context) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;
    float probability;
    int number, of;
};

/// Layers one after another.
class Sequential final : public Layer {
  public:
    /// Named by their place: "0", "1", ..
    template <std::derived_from<Layer> L>
    Sequential& add(L layer) {
        return add(std::to_string(layers_.size()), std::move(layer));
    }
    template <std::derived_from<Layer> L>
    Sequential& add(std::string name, L layer) {
        layers_.emplace_back(std::move(name), std::make_unique<L>(std::move(layer)));
        return *this;
    }

    Variable forward(const Variable& x, const ForwardContext& context) override;
    void visit(const std::string& name, Parts& parts) const override;
    void init(std::uint64_t seed, const std::string& name) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;

  private:
    std::vector<std::pair<std::string, std::unique_ptr<Layer>>> layers_;
};

}  // namespace cutis
