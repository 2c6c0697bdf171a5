#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/step_state.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

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

/// On a GPU one call updates all parameters. What a call reads of them stands in tables in device memory, which the
/// host makes once, so that a captured step can be replayed while learning rates and counts change.
namespace cuda {

/// One parameter; all pointers are to device memory, each on 16 bytes.
struct OptimizerParameter {
    float* weight = nullptr;
    const float* gradient = nullptr;
    float* first = nullptr;             ///< SGD's and RMSprop's momentum, AdamW's m; not read where momentum is 0
    float* second = nullptr;            ///< RMSprop's and AdamW's v; not read by SGD
    BFloat16* narrow_weight = nullptr;  ///< gets the new weight as bf16, for matrix products to read; null: not wanted
    float* updates = nullptr;           ///< 1 value: the steps that the parameter has had, exact to 2^24; counted on
    std::int64_t n = 0;
    float lr = 1.0f;            ///< multiplies the options' lr
    float weight_decay = 1.0f;  ///< multiplies the options' weight_decay; 0 for parameters that must not decay
};

/// What one block of threads works on: `count` values of tensor number `tensor`, from value `begin` on.
struct TensorChunk {
    std::int64_t begin;
    std::int32_t tensor;
    std::int32_t count;  ///< up to kChunkValues
};
inline constexpr std::int64_t kChunkValues = 4096;

/// The chunks of tensors of these sizes, in order.
std::vector<TensorChunk> chunks_of(std::span<const std::int64_t> sizes);

/// All parameters of a step; both arrays are in device memory.
struct OptimizerTable {
    const OptimizerParameter* parameters = nullptr;
    int parameter_count = 0;
    const TensorChunk* chunks = nullptr;  ///< chunks_of the parameters' sizes
    int chunk_count = 0;
};

/// In device memory: what every gradient is multiplied by when it is read, and the gradients' norm with it.
struct GradientScale {
    double norm = 0.0;    ///< of all gradients times the accumulated batches' factor, before clipping
    float factor = 1.0f;  ///< NaN: the norm is not finite, and steps change nothing, neither weights nor counts
};

/// scale->norm = the L2 norm of factor * all gradients (fp64, always in one order); scale->factor = factor, times limit
/// / (norm + 1e-6) where the norm exceeds the limit (torch.nn.utils.clip_grad_norm_).
/// @param factor  1 / k where gradients are sums over k batches
void gradient_scale(GradientScale* scale, const OptimizerTable& table, float factor, float limit, Stream stream);

/// One step of every parameter, as cpu:: does it, with lr = options.lr * parameter's lr * state->lr_factor (a product
/// in fp64) and each gradient times scale->factor. The first step and AdamW's step number are told by the parameters'
/// own counts, which go up by one.
/// @param state  in device memory, or null for lr_factor 1
/// @param scale  in device memory, or null for 1
void sgd_step(const OptimizerTable& table, const SgdOptions& options, const StepState* state,
              const GradientScale* scale, Stream stream);
void rmsprop_step(const OptimizerTable& table, const RmspropOptions& options, const StepState* state,
                  const GradientScale* scale, Stream stream);
void adamw_step(const OptimizerTable& table, const AdamwOptions& options, const StepState* state,
                const GradientScale* scale, Stream stream);

/// A tensor and its average; pointers to device memory, each on 16 bytes.
struct AveragedTensor {
    float* average = nullptr;
    const float* w = nullptr;
    std::int64_t n = 0;
};

/// average = decay * average + (1 - decay) * w for all tensors, decay = state->ema_decay. All arrays in device memory.
void ema_update(const AveragedTensor* tensors, const TensorChunk* chunks, int chunk_count, const StepState* state,
                Stream stream);

/// What of a step depends on pointers and options.
struct OptimizerForm {
    bool momentum = false;  ///< of SGD and RMSprop is not 0
    bool narrow_weights = false, state = false, scale = false;
};

// Bytes for tensors of these sizes: each value of each array once, and the tables, which every thread of a chunk reads.

Traffic gradient_scale_traffic(std::span<const std::int64_t> sizes);
Traffic sgd_step_traffic(std::span<const std::int64_t> sizes, const OptimizerForm& form);
Traffic rmsprop_step_traffic(std::span<const std::int64_t> sizes, const OptimizerForm& form);
Traffic adamw_step_traffic(std::span<const std::int64_t> sizes, const OptimizerForm& form);
Traffic ema_update_traffic(std::span<const std::int64_t> sizes);

}  // namespace cuda
}  // namespace cutis
