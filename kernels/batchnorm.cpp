#include "kernels/batchnorm.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/reduction.h"
#include "kernels/simd/rows.h"

namespace cutis::cpu {
namespace {

// Rows below which waking the other threads costs more than it saves.
constexpr std::int64_t kGrainValues = 16384;

std::int64_t grain_rows(int c) {
    return std::max<std::int64_t>(1, kGrainValues / std::max(c, 1));
}

// Calls body(first_row, rows, thread) for blocks of the thread's rows.
template <class Body>
void for_row_blocks(std::int64_t rows, int c, Body&& body) {
    const std::int64_t block = rows_per_block(c);
    parallel_for(rows, grain_rows(c), [&](std::int64_t begin, std::int64_t end, int thread) {
        for (std::int64_t row = begin; row < end; row += block) {
            body(row, std::min(block, end - row), thread);
        }
    });
}

}  // namespace

void batchnorm_statistics(float* mean, float* var, const float* y, std::int64_t rows, int c, Stream) {
    require(rows >= 1, "batchnorm: statistics of {} rows; at least one is needed", rows);
    ChannelSums sums(thread_count(), c);
    const auto& kernels = simd::row_kernels();
    for_row_blocks(rows, c, [&](std::int64_t row, std::int64_t count, int thread) {
        const float* block = y + row * c;
        kernels.statistics(sums.first(thread), sums.second(thread), block, sums.center(thread, block), count, c,
                           nullptr);
        sums.end_block(thread, count);
    });
    sums.finish_statistics(mean, var);
}

void batchnorm_fold(float* scale, float* shift, float* inv_std, const float* gamma, const float* beta,
                    const float* mean, const float* var, float eps, int c, Stream) {
    for (int i = 0; i < c; ++i) {
        inv_std[i] = 1.0f / std::sqrt(var[i] + eps);
        scale[i] = gamma[i] * inv_std[i];
        shift[i] = beta[i] - mean[i] * scale[i];
    }
}

void batchnorm_update_running(float* running_mean, float* running_var, const float* mean, const float* var,
                              std::int64_t rows, float momentum, int c, Stream) {
    const float unbias =
        rows > 1 ? static_cast<float>(static_cast<double>(rows) / static_cast<double>(rows - 1)) : 1.0f;
    for (int i = 0; i < c; ++i) {
        running_mean[i] += momentum * (mean[i] - running_mean[i]);
        running_var[i] += momentum * (var[i] * unbias - running_var[i]);
    }
}

void batchnorm_normalize(float* z, const float* y, const Normalize& normalize, const float* residual, std::int64_t rows,
                         int c, Stream) {
    const Clamp clamp = clamp_of(normalize.act);
    const auto& kernels = simd::row_kernels();
    parallel_for(rows, grain_rows(c), [&](std::int64_t begin, std::int64_t end, int) {
        kernels.normalize(z + begin * c, y + begin * c, residual != nullptr ? residual + begin * c : nullptr,
                          normalize.scale, normalize.shift, clamp.lo, clamp.hi, end - begin, c);
    });
}

void batchnorm_reduce(float* g, const NormalizeBackward& out, const float* dz, const float* y,
                      const Normalize& normalize, std::int64_t rows, int c, Stream) {
    const Clamp clamp = clamp_of(normalize.act);
    const auto& kernels = simd::row_kernels();
    ChannelSums sums(thread_count(), c);
    for_row_blocks(rows, c, [&](std::int64_t row, std::int64_t count, int thread) {
        kernels.gradient_reduce(g != nullptr ? g + row * c : nullptr, sums.first(thread), sums.second(thread),
                                dz + row * c, y + row * c, out.mean, normalize.scale, normalize.shift, clamp.lo,
                                clamp.hi, count, c, false);
        sums.end_block(thread, count);
    });
    sums.finish_sums(out.dbeta, out.dgamma, out.inv_std);
}

void batchnorm_gradient_coefficients(float* a, float* b, float* d, const float* gamma, const float* mean,
                                     const float* inv_std, const float* dgamma, const float* dbeta, std::int64_t rows,
                                     int c, Stream) {
    const float per_row = 1.0f / static_cast<float>(rows);
    for (int i = 0; i < c; ++i) {
        a[i] = gamma[i] * inv_std[i];
        b[i] = -a[i] * inv_std[i] * dgamma[i] * per_row;
        d[i] = -a[i] * dbeta[i] * per_row - b[i] * mean[i];
    }
}

void batchnorm_apply_gradient(float* dy, const float* dz, const GradientOnLoad& on_load, const Normalize* normalize,
                              std::int64_t rows, int c, Stream) {
    const Clamp clamp = clamp_of(normalize != nullptr ? normalize->act : Activation::identity);
    const float* const scale = normalize != nullptr ? normalize->scale : nullptr;
    const float* const shift = normalize != nullptr ? normalize->shift : nullptr;
    const auto& kernels = simd::row_kernels();
    parallel_for(rows, grain_rows(c), [&](std::int64_t begin, std::int64_t end, int) {
        kernels.gradient_apply(dy + begin * c, dz + begin * c, on_load.y + begin * c, on_load.a, on_load.b, on_load.d,
                               scale, shift, clamp.lo, clamp.hi, end - begin, c);
    });
}

}  // namespace cutis::cpu
