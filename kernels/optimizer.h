#pragma once

#include <cstdint>

#include "kernels/stream.h"

/// One step of an optimiser over a flat parameter of n values with gradient g, as torch.optim defines it, fp32. State
/// arrays have n values and start at zero. `lr` is the learning rate of this step.

namespace cutis {

/// d = g + weight_decay * w; momentum buffer m = momentum * m + d (first step: m = d); w -= lr * m, or, with Nesterov,
/// w -= lr * (d + momentum * m).
struct SgdOptions {
    float lr;
    float momentum = 0.0f;
    float weight_decay = 0.0f;
    bool nesterov = false;
};

/// d = g + weight_decay * w; v = alpha * v + (1 - alpha) * d^2; u = d / (sqrt(v) + eps); with momentum m = momentum * m
/// + u and w -= lr * m, else w -= lr * u. Not centered.
struct RmspropOptions {
    float lr;
    float alpha = 0.99f;
    float eps = 1e-8f;
    float weight_decay = 0.0f;
    float momentum = 0.0f;
};

/// w -= lr * weight_decay * w; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2;
/// w -= lr * m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps) (Loshchilov and Hutter 2019).
struct AdamwOptions {
    float lr;
    float beta1 = 0.9f;
    float beta2 = 0.999f;
    float eps = 1e-8f;
    float weight_decay = 0.01f;
};

namespace cpu {

/// @param momentum  the buffer; may be null where options.momentum is 0, and is then left alone
void sgd_step(float* w, float* momentum, const float* g, const SgdOptions& options, bool first_step, std::int64_t n,
              Stream stream = {});

/// @param square    v above
/// @param momentum  m above; may be null where options.momentum is 0, and is then left alone
void rmsprop_step(float* w, float* square, float* momentum, const float* g, const RmspropOptions& options,
                  std::int64_t n, Stream stream = {});

/// @param mean,square  m and v above
/// @param step         this step's number, from 1
void adamw_step(float* w, float* mean, float* square, const float* g, const AdamwOptions& options, std::int64_t step,
                std::int64_t n, Stream stream = {});

/// average = decay * average + (1 - decay) * w.
void ema_update(float* average, const float* w, float decay, std::int64_t n, Stream stream = {});

/// The sum of squares of x, summed in fp64 in an order that depends on n alone: for clipping gradients by their norm.
double squared_norm(const float* x, std::int64_t n, Stream stream = {});

}  // namespace cpu
}  // namespace cutis
