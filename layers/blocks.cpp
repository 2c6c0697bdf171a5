#include "layers/blocks.h"

#include "kernels/error.h"

namespace cutis {

// ---- batchnorm

BatchNorm::BatchNorm(const Config& chosen) : config(chosen) {
    require(config.c >= 1 && config.eps > 0.0f, "batchnorm: {} channels, eps {}; both must be positive", config.c,
            config.eps);
    const Shape channels{config.c};
    gamma = Variable(Tensor::full(channels, 1.0f), true);
    beta = Variable(Tensor::zeros(channels), true);
    norm = {Tensor::zeros(channels), Tensor::full(channels, 1.0f), config.eps};
}

Variable BatchNorm::forward(const Variable& x, const ForwardContext& context) {
    return forward(x, {}, context);
}

Variable BatchNorm::forward(const Variable& x, const Variable& residual, const ForwardContext& context) {
    return batchnorm(x, gamma, beta, norm, config.act, residual, context.training && gamma.requires_grad());
}

void BatchNorm::visit(const std::string& name, Parts& parts) const {
    parts.parameters.push_back({joined(name, "weight"), gamma, WeightLayout::same, false});
    parts.parameters.push_back({joined(name, "bias"), beta, WeightLayout::same, false});
    parts.buffers.push_back({joined(name, "running_mean"), norm.running_mean});
    parts.buffers.push_back({joined(name, "running_var"), norm.running_var});
}

void BatchNorm::init(std::uint64_t, const std::string&) {
    gamma.value().fill(1.0f);
    beta.value().fill(0.0f);
    norm.running_mean.fill(0.0f);
    norm.running_var.fill(1.0f);
}

Shape BatchNorm::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    require(x.rank() >= 1 && x[-1] == config.c, "{}: an input {}; {} channels were expected", name, to_string(x),
            config.c);
    constexpr const char* kKinds[] = {"batchnorm", "batchnorm+relu", "batchnorm+relu6"};
    lines.push_back({name, kKinds[static_cast<int>(config.act)], x, 2 * std::int64_t{config.c}});
    return x;
}

// ---- the mean of a map

Variable GlobalAveragePool::forward(const Variable& x, const ForwardContext&) {
    return global_average_pool(x);
}

Shape GlobalAveragePool::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    require(x.rank() == 3, "{}: an input {}; h x w x c was expected", name, to_string(x));
    lines.push_back({name, "global average", {x[2]}});
    return {x[2]};
}

// ---- an addition around layers

Residual::Residual(Sequential body, std::string norm_name, BatchNorm norm, Sequential shortcut)
    : body_(std::move(body)),
      shortcut_(std::move(shortcut)),
      norm_name_(std::move(norm_name)),
      norm_(std::move(norm)) {}

Variable Residual::forward(const Variable& x, const ForwardContext& context) {
    return relu(norm_.forward(body_.forward(x, context), shortcut_.forward(x, context), context));
}

void Residual::visit(const std::string& name, Parts& parts) const {
    body_.visit(name, parts);
    norm_.visit(joined(name, norm_name_), parts);
    shortcut_.visit(joined(name, "downsample"), parts);
}

void Residual::init(std::uint64_t seed, const std::string& name) {
    body_.init(seed, name);
    norm_.init(seed, joined(name, norm_name_));
    shortcut_.init(seed, joined(name, "downsample"));
}

Shape Residual::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    const Shape y = norm_.summarize(joined(name, norm_name_), body_.summarize(name, x, lines), lines);
    const Shape shortcut = shortcut_.summarize(joined(name, "downsample"), x, lines);
    require(y == shortcut, "{}: the block makes {}, what it is added to is {}", name, to_string(y),
            to_string(shortcut));
    lines.push_back({name, "add+relu", y});
    return y;
}

// ---- branches

Branches& Branches::add(std::string name, Sequential branch) {
    branches_.emplace_back(std::move(name), std::move(branch));
    return *this;
}

Variable Branches::forward(const Variable& x, const ForwardContext& context) {
    std::vector<Variable> outputs;
    for (auto& [own, branch] : branches_) {
        outputs.push_back(branch.forward(x, context));
    }
    return concat_channels(outputs);
}

void Branches::visit(const std::string& name, Parts& parts) const {
    for (const auto& [own, branch] : branches_) {
        branch.visit(joined(name, own), parts);
    }
}

void Branches::init(std::uint64_t seed, const std::string& name) {
    for (auto& [own, branch] : branches_) {
        branch.init(seed, joined(name, own));
    }
}

Shape Branches::summarize(const std::string& name, const Shape& x, std::vector<LayerSummary>& lines) const {
    require(!branches_.empty(), "{}: no branches", name);
    Shape all;
    std::int64_t channels = 0;
    for (const auto& [own, branch] : branches_) {
        const Shape y = branch.summarize(joined(name, own), x, lines);
        require(y.rank() == 3 && (channels == 0 || (y[0] == all[0] && y[1] == all[1])),
                "{}: a branch makes {} beside {}; equal heights and widths were expected", name, to_string(y),
                to_string(all));
        all = y;
        channels += y[2];
    }
    all = {all[0], all[1], channels};
    lines.push_back({name, "concat", all});
    return all;
}

}  // namespace cutis
