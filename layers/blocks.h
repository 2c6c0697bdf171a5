#pragma once

#include <string>
#include <utility>
#include <vector>

#include "layers/layer.h"

/// What convolutional networks are put together from beside plain layers: batchnorm as a layer of its own, a block
/// whose input is added to its output, and branches side by side.

namespace cutis {

/// Batchnorm over the last dimension with the activation behind it (Ioffe and Szegedy 2015): gamma starts at 1, beta at
/// 0. Frozen (gamma wants no gradient), it stays as in evaluation.
class BatchNorm final : public Layer {
  public:
    struct Config {
        int c = 0;
        Activation act = Activation::identity;
        float eps = 1e-5f;
    };
    explicit BatchNorm(const Config& config);

    Variable forward(const Variable& x, const ForwardContext& context) override;
    /// The same with `residual` (of x's shape) added behind the activation, in the same pass over memory.
    Variable forward(const Variable& x, const Variable& residual, const ForwardContext& context);
    void visit(const std::string& name, Parts& parts) const override;
    void init(std::uint64_t seed, const std::string& name) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;

    Config config;
    Variable gamma, beta;  ///< c; "weight" and "bias" in files
    BatchNormState norm;   ///< running statistics, c
};

/// The mean of each channel. x: n h w c; y: n c.
class GlobalAveragePool final : public Layer {
  public:
    Variable forward(const Variable& x, const ForwardContext& context) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;
};

/// y = relu(norm(body(x)) + shortcut(x)) (He et al. 2016, figure 2). The shortcut is x itself where it has no layers;
/// else its layers are named "downsample", as torchvision names them.
class Residual final : public Layer {
  public:
    /// @param norm_name  the name, beside the body's layers, of the batchnorm that ends the body
    Residual(Sequential body, std::string norm_name, BatchNorm norm, Sequential shortcut = {});

    Variable forward(const Variable& x, const ForwardContext& context) override;
    void visit(const std::string& name, Parts& parts) const override;
    void init(std::uint64_t seed, const std::string& name) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;

  private:
    Sequential body_, shortcut_;
    std::string norm_name_;
    BatchNorm norm_;
};

/// Every branch gets x; their outputs, of one height and width, stand side by side in the channels (Szegedy et al.
/// 2015, figure 2). x: n h w c.
class Branches final : public Layer {
  public:
    Branches& add(std::string name, Sequential branch);

    Variable forward(const Variable& x, const ForwardContext& context) override;
    void visit(const std::string& name, Parts& parts) const override;
    void init(std::uint64_t seed, const std::string& name) override;
    Shape summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const override;

  private:
    std::vector<std::pair<std::string, Sequential>> branches_;
};

}  // namespace cutis
