#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/autograd.h"
#include "kernels/activation.h"
#include "kernels/lrn.h"
#include "kernels/step_state.h"

/// Differentiable operations. Images and activations are n x h x w x c (NHWC), fp32. Each validates its shapes once
/// (Error names the op, the rule and the shapes), computes, and records its backward pass. These are the plain
/// definitions; layers may run the same mathematics in a fused schedule.

namespace cutis {

/// Dense convolution. x: n h w c; w: k r s c/groups; bias: k or empty; y: n p q k with p = (h + 2 padding - r) / stride
/// + 1.
Variable conv2d(const Variable& x, const Variable& w, const Variable& bias, int stride, int padding, int groups = 1);

/// 1x1 convolution. x: n h w c; w: k c; y: n h w k.
Variable pointwise_conv(const Variable& x, const Variable& w);

/// Depthwise 3x3 convolution, padding 1. x: n h w c; w: 3 3 c; stride 1 or 2; y: n ceil(h/stride) ceil(w/stride) c.
Variable depthwise_conv(const Variable& x, const Variable& w, int stride);

/// Running statistics of a batchnorm, length c, and its constants (PyTorch's conventions: new = old + momentum * (batch
/// - old), running variance unbiased).
struct BatchNormState {
    Tensor running_mean, running_var;
    float eps = 1e-5f;
    float momentum = 0.1f;
};

/// z = act(gamma * (y - mean) / sqrt(var + eps) + beta) + residual over the last dimension c; gamma, beta: c; residual
/// like y or empty. In training, mean and var are the batch's and the running statistics move; else they are the
/// running statistics.
Variable batchnorm(const Variable& y, const Variable& gamma, const Variable& beta, BatchNormState& state,
                   Activation act, const Variable& residual, bool training);

Variable relu(const Variable& x);
Variable relu6(const Variable& x);
/// a + b, equal shapes.
Variable add(const Variable& a, const Variable& b);
/// factor * x.
Variable scale(const Variable& x, float factor);
/// The same elements under another shape.
Variable reshape(const Variable& x, const Shape& shape);
/// Mean over h and w. x: n h w c; y: n c.
Variable global_average_pool(const Variable& x);

/// Square windows of `window` pixels, `stride` apart (0: window). With `ceil` a last window may reach beyond the
/// padding, as long as it begins before it (torch's ceil_mode).
struct PoolOptions {
    int window = 2, stride = 0, padding = 0;
    bool ceil = false;
};
/// The largest value of each window; padding never wins. x: n h w c; y: n p q c.
Variable max_pool(const Variable& x, const PoolOptions& options);
/// The mean of each window; padding counts as zeros. x: n h w c; y: n p q c.
Variable average_pool(const Variable& x, const PoolOptions& options);
/// Means of p x q windows of nearly one size (torch.nn.AdaptiveAvgPool2d). x: n h w c; y: n p q c.
Variable adaptive_average_pool(const Variable& x, int p, int q);

/// Local response normalisation over the last dimension (kernels/lrn.h).
Variable local_response_norm(const Variable& x, const LocalResponseNorm& norm);

/// Tensors side by side in the last dimension; all others are equal.
Variable concat_channels(std::span<const Variable> parts);

/// For each row of a result the row of its source, or none; no row is taken twice. Both ways on one device.
struct RowMap {
    /// @param index_of_rows   of each row of the result: a row of the source, or -1 for zeros
    RowMap(const std::vector<std::int32_t>& index_of_rows, std::int64_t rows_of_source, Device device);
    Tensor index, inverse;  ///< i32
};
/// The rows (last dimension) of x in another order, as a tensor of `shape`.
Variable gather_rows(const Variable& x, const RowMap& map, const Shape& shape);
/// The rows of all parts, one part after the other: rows x c.
Variable concat_rows(std::span<const Variable> parts);

/// One layer and direction of an LSTM as PyTorch has it (kernels/lstm.h). w_ih: 4h c, w_hh: 4h h, biases: 4h or empty,
/// rows in the order i, f, g, o.
struct LstmParameters {
    Variable w_ih, w_hh, b_ih, b_hh;
};
struct LstmOutput {
    Variable y;     ///< n t h
    Variable cell;  ///< n h, fp32: the cell state after the last step
};
/// x: n t c; h0: n h of x's type, c0: n h of fp32, each empty for zeros.
LstmOutput lstm(const Variable& x, const LstmParameters& parameters, const Variable& h0 = {}, const Variable& c0 = {});

/// y = x w^T + bias. x: n c; w: k c; bias: k or empty; y: n k.
Variable linear(const Variable& x, const Variable& w, const Variable& bias);

/// Where a dropout mask comes from: the run's seed, and a number that no other dropout of the run shares (step and
/// layer). On a GPU a step that is replayed reads its number from device memory: then the mask's number is offset +
/// stride * state->step.
struct DropoutKey {
    std::uint64_t seed = 0, offset = 0;
    const StepState* state = nullptr;
    std::uint64_t stride = 1;
};
/// Zeroes each element with `probability` (in [0, 1)) and scales the others by 1 / (1 - probability).
Variable dropout(const Variable& x, float probability, DropoutKey key);

struct LossOptions {
    Tensor class_weights;          ///< one per class, or empty
    float label_smoothing = 0.0f;  ///< in [0, 1)
    float focal_gamma = 0.0f;      ///< 0: cross-entropy; else focal loss (Lin et al. 2017)
};
/// Softmax cross-entropy, mean over the batch weighted as in torch.nn.CrossEntropyLoss. logits: n c; labels: n of i32
/// in [0, c); the result is a scalar.
Variable cross_entropy(const Variable& logits, const Tensor& labels, const LossOptions& options = {});

/// The tensor's values as `dtype` (f32 or bf16); this very tensor where it has that type. Weights are kept as fp32 and
/// cast for a step in bf16; the ops do that by themselves.
Tensor cast(const Tensor& tensor, DType dtype);

/// Rows of softmax(logits); no gradient. logits: n c.
Tensor softmax(const Tensor& logits);

}  // namespace cutis
