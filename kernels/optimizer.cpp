#include "kernels/optimizer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/error.h"
#include "kernels/for_values.h"
#include "kernels/parallel.h"

// Bound by memory: 20 bytes a parameter for SGD with momentum, 24 for RMSprop with momentum, 28 for AdamW. Plain loops
// that every compiler vectorises, at four lanes already faster than memory.

namespace cutis {
namespace cpu {

void sgd_step(float* w, float* momentum, const float* g, const SgdOptions& options, bool first_step, std::int64_t n,
              Stream) {
    const float lr = options.lr, decay = options.weight_decay, keep = first_step ? 0.0f : options.momentum;
    if (options.momentum == 0.0f) {
        for_values(n, [=](std::int64_t i) { w[i] -= lr * (g[i] + decay * w[i]); });
        return;
    }
    require(momentum != nullptr, "sgd: momentum {} without a buffer for it", options.momentum);
    const float ahead = options.momentum;
    if (options.nesterov) {
        for_values(n, [=](std::int64_t i) {
            const float d = g[i] + decay * w[i];
            const float m = keep * momentum[i] + d;
            momentum[i] = m;
            w[i] -= lr * (d + ahead * m);
        });
    } else {
        for_values(n, [=](std::int64_t i) {
            const float m = keep * momentum[i] + (g[i] + decay * w[i]);
            momentum[i] = m;
            w[i] -= lr * m;
        });
    }
}

void rmsprop_step(float* w, float* square, float* momentum, const float* g, const RmspropOptions& options,
                  std::int64_t n, Stream) {
    const float lr = options.lr, decay = options.weight_decay, alpha = options.alpha, eps = options.eps;
    const float keep = options.momentum;
    require(keep == 0.0f || momentum != nullptr, "rmsprop: momentum {} without a buffer for it", keep);
    if (keep == 0.0f) {
        for_values(n, [=](std::int64_t i) {
            const float d = g[i] + decay * w[i];
            const float v = alpha * square[i] + (1.0f - alpha) * d * d;
            square[i] = v;
            w[i] -= lr * (d / (std::sqrt(v) + eps));
        });
    } else {
        for_values(n, [=](std::int64_t i) {
            const float d = g[i] + decay * w[i];
            const float v = alpha * square[i] + (1.0f - alpha) * d * d;
            const float m = keep * momentum[i] + d / (std::sqrt(v) + eps);
            square[i] = v;
            momentum[i] = m;
            w[i] -= lr * m;
        });
    }
}

void adamw_step(float* w, float* mean, float* square, const float* g, const AdamwOptions& options, std::int64_t step,
                std::int64_t n, Stream) {
    require(step >= 1, "adamw: step {}; steps count from 1", step);
    const float beta1 = options.beta1, beta2 = options.beta2, eps = options.eps;
    const auto count = static_cast<double>(step);
    const double bias1 = 1.0 - std::pow(static_cast<double>(beta1), count);
    const double bias2 = 1.0 - std::pow(static_cast<double>(beta2), count);
    const float rate = static_cast<float>(static_cast<double>(options.lr) / bias1);
    const float inv_root = static_cast<float>(1.0 / std::sqrt(bias2));
    const float kept = 1.0f - options.lr * options.weight_decay;
    for_values(n, [=](std::int64_t i) {
        const float m = beta1 * mean[i] + (1.0f - beta1) * g[i];
        const float v = beta2 * square[i] + (1.0f - beta2) * g[i] * g[i];
        mean[i] = m;
        square[i] = v;
        w[i] = kept * w[i] - rate * (m / (std::sqrt(v) * inv_root + eps));
    });
}

void ema_update(float* average, const float* w, float decay, std::int64_t n, Stream) {
    for_values(n, [=](std::int64_t i) { average[i] = decay * average[i] + (1.0f - decay) * w[i]; });
}

double squared_norm(const float* x, std::int64_t n, Stream) {
    constexpr std::int64_t kPart = 8192;  // the parts, not the threads, decide the order of the sum
    constexpr int kLanes = 8;             // independent sums, so that the loop vectorises
    std::vector<double> parts(static_cast<std::size_t>((n + kPart - 1) / kPart));
    parallel_for(static_cast<std::int64_t>(parts.size()), 4, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t part = begin; part < end; ++part) {
            const std::int64_t last = std::min(n, (part + 1) * kPart);
            double sums[kLanes] = {};
            std::int64_t i = part * kPart;
            for (; i + kLanes <= last; i += kLanes) {
                for (int lane = 0; lane < kLanes; ++lane) {
                    const auto value = static_cast<double>(x[i + lane]);
                    sums[lane] += value * value;
                }
            }
            for (; i < last; ++i) {
                sums[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
            }
            double total = 0.0;
            for (const double sum : sums) {
                total += sum;
            }
            parts[static_cast<std::size_t>(part)] = total;
        }
    });
    double total = 0.0;
    for (const double part : parts) {
        total += part;
    }
    return total;
}

}  // namespace cpu

std::vector<cuda::TensorChunk> cuda::chunks_of(std::span<const std::int64_t> sizes) {
    std::vector<TensorChunk> chunks;
    for (std::size_t tensor = 0; tensor < sizes.size(); ++tensor) {
        for (std::int64_t begin = 0; begin < sizes[tensor]; begin += kChunkValues) {
            const std::int64_t count = std::min(kChunkValues, sizes[tensor] - begin);
            chunks.push_back({begin, static_cast<std::int32_t>(tensor), static_cast<std::int32_t>(count)});
        }
    }
    return chunks;
}

}  // namespace cutis
