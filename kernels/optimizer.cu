#include "kernels/optimizer.h"

#include <cmath>
#include <limits>

#include "kernels/launch.h"
#include "kernels/vector.cuh"

// One launch for all parameters of a network. MobileNetV2 has 158 of them, most with a few hundred values: a launch
// for each would take longer than all the bytes. Instead the host cuts them into chunks of 4096 values once, and a
// block takes a chunk:
//
//   parameters    0: conv weight    1: gamma   2: beta   3: conv weight ..
//   chunks        [ 0 ][ 1 ][ 2 ]   [ 3 ]      [ 4 ]     [ 5 ][ 6 ] ..
//   blocks          0    1    2       3          4         5    6   ..
//
// A block's way to its values: chunk -> parameter -> pointers, two dependent loads from the cache. What is the same for
// all values of a parameter (this step's learning rate, bias corrections) one small kernel computes before in fp64, a
// thread per parameter, and it counts the parameter's steps.
//
//   Bytes per value (weights fp32; 2 more where a bf16 copy is stored):
//                               reads         writes     sum
//     SGD                       w g           w          12
//     SGD with momentum         w g m         w m        20
//     RMSprop                   w g v         w v        20
//     RMSprop with momentum     w g v m       w v m      28
//     AdamW                     w g m v       w m v      28
//     norm of the gradients     g                         4
//     average of the weights    a w           a          12
//   and per chunk 96 bytes of tables. FLOPs: 4 to 14 a value. 3.5 million values in AdamW: 98 MB.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int N = 4;  // values of a 16-byte access
static_assert(kChunkValues % (kThreads * N) == 0);

// What a step computes once per parameter.
struct StepConstants {
    float gradient;  // factor of the gradient; NaN: the step is left out
    float lr;
    float weight_decay;
    float keep;            // SGD: momentum, 0 at the first step
    float rate, inv_root;  // AdamW: lr / (1 - beta1^step), 1 / sqrt(1 - beta2^step)
};

struct ConstantsArguments {
    float lr, weight_decay, momentum;
    double log_beta1, log_beta2;  // AdamW's
    const StepState* state;
    const GradientScale* scale;
};

__global__ void __launch_bounds__(kThreads)
    constants_kernel(StepConstants* constants, const OptimizerParameter* parameters, int count,
                     ConstantsArguments arg) {
    const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    if (i >= count) {
        return;
    }
    const OptimizerParameter& parameter = parameters[i];
    StepConstants& result = constants[i];
    const float updates = *parameter.updates;
    const double step = static_cast<double>(updates) + 1.0;
    const auto bias1 = static_cast<float>(-expm1(step * arg.log_beta1));  // 1 - beta^step
    const auto bias2 = static_cast<float>(-expm1(step * arg.log_beta2));
    const double factor = arg.state != nullptr ? arg.state->lr_factor : 1.0;
    const auto lr = static_cast<float>(static_cast<double>(arg.lr) * static_cast<double>(parameter.lr) * factor);
    result.lr = lr;
    result.rate = lr / bias1;
    result.inv_root = 1.0f / sqrtf(bias2);
    result.weight_decay = arg.weight_decay * parameter.weight_decay;
    result.keep = updates == 0.0f ? 0.0f : arg.momentum;
    const float gradient = arg.scale != nullptr ? arg.scale->factor : 1.0f;
    result.gradient = gradient;
    if (gradient == gradient) {
        *parameter.updates = updates + 1.0f;
    }
}

// The rules, value by value: w, m and v are updated in place from gradient g.
struct Sgd {
    static constexpr bool kFirst = false, kSecond = false;
    __device__ __forceinline__ void operator()(const StepConstants& k, float g, float& w, float&, float&) const {
        w -= k.lr * (g + k.weight_decay * w);
    }
};
struct SgdMomentum {
    static constexpr bool kFirst = true, kSecond = false;
    float momentum;
    bool nesterov;
    __device__ __forceinline__ void operator()(const StepConstants& k, float g, float& w, float& m, float&) const {
        const float d = g + k.weight_decay * w;
        m = k.keep * m + d;
        w -= k.lr * (nesterov ? d + momentum * m : m);
    }
};
template <bool HasMomentum>
struct Rmsprop {
    static constexpr bool kFirst = HasMomentum, kSecond = true;
    float alpha, eps, momentum;
    __device__ __forceinline__ void operator()(const StepConstants& k, float g, float& w, float& m, float& v) const {
        const float d = g + k.weight_decay * w;
        v = alpha * v + (1.0f - alpha) * d * d;
        const float u = d / (sqrtf(v) + eps);
        m = HasMomentum ? momentum * m + u : u;
        w -= k.lr * m;
    }
};
struct Adamw {
    static constexpr bool kFirst = true, kSecond = true;
    float beta1, beta2, eps;
    __device__ __forceinline__ void operator()(const StepConstants& k, float g, float& w, float& m, float& v) const {
        m = beta1 * m + (1.0f - beta1) * g;
        v = beta2 * v + (1.0f - beta2) * g * g;
        w = (1.0f - k.lr * k.weight_decay) * w - k.rate * (m / (sqrtf(v) * k.inv_root + eps));
    }
};

template <class Rule, int Values>
__device__ __forceinline__ void update(const Rule& rule, const StepConstants& k, const OptimizerParameter& p,
                                       std::int64_t i) {
    const Floats<Values> g = load<Values>(p.gradient + i);
    Floats<Values> w = load<Values>(p.weight + i), first = splat<Values>(0.0f), second = splat<Values>(0.0f);
    if constexpr (Rule::kFirst) {
        first = load<Values>(p.first + i);
    }
    if constexpr (Rule::kSecond) {
        second = load<Values>(p.second + i);
    }
#pragma unroll
    for (int j = 0; j < Values; ++j) {
        rule(k, k.gradient * g[j], w[j], first[j], second[j]);
    }
    store<Values>(p.weight + i, w);
    if constexpr (Rule::kFirst) {
        store<Values>(p.first + i, first);
    }
    if constexpr (Rule::kSecond) {
        store<Values>(p.second + i, second);
    }
    if (p.narrow_weight != nullptr) {
        store<Values>(p.narrow_weight + i, w);
    }
}

// Calls vector(i) for pieces of N values and single(i) for the last few values, i counted in the tensor.
template <class Vector, class Single>
__device__ __forceinline__ void for_chunk(std::int64_t begin, std::int64_t n, Vector vector, Single single) {
    const std::int64_t end = begin + kChunkValues < n ? begin + kChunkValues : n;
    for (std::int64_t i = begin + threadIdx.x * N; i < end; i += kThreads * N) {
        if (i + N <= end) {
            vector(i);
        } else {
            for (std::int64_t j = i; j < end; ++j) {
                single(j);
            }
        }
    }
}

template <class Rule>
__global__ void __launch_bounds__(kThreads) step_kernel(Rule rule, const OptimizerParameter* parameters,
                                                        const TensorChunk* chunks, const StepConstants* constants) {
    const TensorChunk chunk = chunks[blockIdx.x];
    const StepConstants k = constants[chunk.tensor];
    const OptimizerParameter& parameter = parameters[chunk.tensor];
    if (k.gradient != k.gradient) {
        return;
    }
    for_chunk(
        chunk.begin, parameter.n, [&](std::int64_t i) { update<Rule, N>(rule, k, parameter, i); },
        [&](std::int64_t i) { update<Rule, 1>(rule, k, parameter, i); });
}

// The block's sum of `value`, in thread 0, always by the same tree.
__device__ __forceinline__ double block_sum(double value) {
    SIMT_SHARED(double, of_warps, [kThreads / 32]);
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        value += __shfl_xor_sync(0xFFFFFFFFu, value, bits);
    }
    if (threadIdx.x % 32 == 0) {
        of_warps[threadIdx.x / 32] = value;
    }
    __syncthreads();  // every warp's sum is there
    double sum = 0.0;
    if (threadIdx.x == 0) {
#pragma unroll
        for (int warp = 0; warp < kThreads / 32; ++warp) {
            sum += of_warps[warp];
        }
    }
    return sum;
}

// squares[chunk] = the chunk's sum of squares; in fp64, where even the square of the largest fp32 value is finite.
__global__ void __launch_bounds__(kThreads)
    squares_kernel(double* squares, const OptimizerParameter* parameters, const TensorChunk* chunks) {
    const TensorChunk chunk = chunks[blockIdx.x];
    const float* const gradient = parameters[chunk.tensor].gradient;
    double sum = 0.0;
    for_chunk(
        chunk.begin, parameters[chunk.tensor].n,
        [&](std::int64_t i) {
            const Floats<N> g = load<N>(gradient + i);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                sum += static_cast<double>(g[j]) * static_cast<double>(g[j]);
            }
        },
        [&](std::int64_t i) { sum += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]); });
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        squares[blockIdx.x] = sum;
    }
}

__global__ void __launch_bounds__(kThreads)
    scale_kernel(GradientScale* scale, const double* squares, int chunks, float factor, float limit) {
    double sum = 0.0;
    for (int chunk = static_cast<int>(threadIdx.x); chunk < chunks; chunk += kThreads) {
        sum += squares[chunk];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        const double norm = fabs(static_cast<double>(factor)) * sqrt(sum), most = static_cast<double>(limit);
        scale->norm = norm;
        if (!(norm <= std::numeric_limits<double>::max())) {
            scale->factor = std::numeric_limits<float>::quiet_NaN();
        } else {
            scale->factor = norm > most ? factor * static_cast<float>(most / (norm + 1e-6)) : factor;
        }
    }
}

__global__ void __launch_bounds__(kThreads)
    average_kernel(const AveragedTensor* tensors, const TensorChunk* chunks, const StepState* state) {
    const TensorChunk chunk = chunks[blockIdx.x];
    const AveragedTensor tensor = tensors[chunk.tensor];
    const float decay = state->ema_decay;
    const auto mix = [&](float average, float w) { return decay * average + (1.0f - decay) * w; };
    for_chunk(
        chunk.begin, tensor.n,
        [&](std::int64_t i) {
            const Floats<N> w = load<N>(tensor.w + i);
            Floats<N> average = load<N>(tensor.average + i);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                average[j] = mix(average[j], w[j]);
            }
            store<N>(tensor.average + i, average);
        },
        [&](std::int64_t i) { tensor.average[i] = mix(tensor.average[i], tensor.w[i]); });
}

template <class Rule>
void step(const Rule& rule, const OptimizerTable& table, const ConstantsArguments& arguments, Stream stream) {
    const Scratch<StepConstants> constants(table.parameter_count, stream);
    launch<constants_kernel>({.grid = blocks_for(table.parameter_count, kThreads), .block = kThreads}, stream,
                             constants.data(), table.parameters, table.parameter_count, arguments);
    launch<step_kernel<Rule>>({.grid = static_cast<unsigned>(table.chunk_count), .block = kThreads}, stream, rule,
                              table.parameters, table.chunks, static_cast<const StepConstants*>(constants.data()));
}

}  // namespace

void gradient_scale(GradientScale* scale, const OptimizerTable& table, float factor, float limit, Stream stream) {
    const Scratch<double> squares(table.chunk_count, stream);
    launch<squares_kernel>({.grid = static_cast<unsigned>(table.chunk_count), .block = kThreads}, stream,
                           squares.data(), table.parameters, table.chunks);
    launch<scale_kernel>({.grid = 1, .block = kThreads}, stream, scale, static_cast<const double*>(squares.data()),
                         table.chunk_count, factor, limit);
}

void sgd_step(const OptimizerTable& table, const SgdOptions& options, const StepState* state,
              const GradientScale* scale, Stream stream) {
    const ConstantsArguments arguments{options.lr, options.weight_decay, options.momentum, 0.0, 0.0, state, scale};
    if (options.momentum == 0.0f) {
        step(Sgd{}, table, arguments, stream);
    } else {
        step(SgdMomentum{options.momentum, options.nesterov}, table, arguments, stream);
    }
}

void rmsprop_step(const OptimizerTable& table, const RmspropOptions& options, const StepState* state,
                  const GradientScale* scale, Stream stream) {
    const ConstantsArguments arguments{options.lr, options.weight_decay, options.momentum, 0.0, 0.0, state, scale};
    if (options.momentum == 0.0f) {
        step(Rmsprop<false>{options.alpha, options.eps, 0.0f}, table, arguments, stream);
    } else {
        step(Rmsprop<true>{options.alpha, options.eps, options.momentum}, table, arguments, stream);
    }
}

void adamw_step(const OptimizerTable& table, const AdamwOptions& options, const StepState* state,
                const GradientScale* scale, Stream stream) {
    const double log_beta1 = std::log(static_cast<double>(options.beta1));
    const double log_beta2 = std::log(static_cast<double>(options.beta2));
    step(Adamw{options.beta1, options.beta2, options.eps}, table,
         {options.lr, options.weight_decay, 0.0f, log_beta1, log_beta2, state, scale}, stream);
}

void ema_update(const AveragedTensor* tensors, const TensorChunk* chunks, int chunk_count, const StepState* state,
                Stream stream) {
    launch<average_kernel>({.grid = static_cast<unsigned>(chunk_count), .block = kThreads}, stream, tensors, chunks,
                           state);
}

}  // namespace cutis::cuda
