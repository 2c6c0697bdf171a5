#include "kernels/pointwise.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/error.h"
#include "kernels/gemm.h"
#include "kernels/parallel.h"
#include "kernels/reduction.h"
#include "kernels/simd/rows.h"
#if defined(CUTIS_WITH_ONEDNN)
#include "kernels/vendor/onednn.h"
#endif

// The tensors are cut into blocks of rows that fit the second-level cache together with their result. Each thread
// normalises a block into scratch, multiplies it, and reduces the product while it is still in the cache: the wide
// normalised tensor is never stored, and statistics cost no further pass over memory.

namespace cutis::cpu {
namespace {

// Floats of one block, input and output together: half a second-level cache of 1 MiB.
constexpr std::int64_t kBlockFloats = 128 * 1024;

// Above this many weights a private copy of dw per thread no longer fits the cache beside its block; the threads then
// share out dw's rows instead of the tensor's rows.
constexpr std::int64_t kPrivateWeights = 96 * 1024;

enum Slot { kZ, kDy, kDw, kShared, kOut };

// Rows of one block: an equal share of each thread's rows, a multiple of 16 where there are enough.
std::int64_t block_rows(std::int64_t rows, int c, int k) {
    const std::int64_t fitting = std::max<std::int64_t>(48, kBlockFloats / (c + k) / 16 * 16);
    const std::int64_t per_thread = std::max<std::int64_t>(1, (rows + thread_count() - 1) / thread_count());
    const std::int64_t blocks = (per_thread + fitting - 1) / fitting;
    return (per_thread + blocks - 1) / blocks;
}

// Calls body(first_row, rows, thread) for blocks of `block` rows of each thread's part.
template <class Body>
void for_blocks(std::int64_t rows, std::int64_t block, Body&& body) {
    parallel_for(rows, 16, [&](std::int64_t begin, std::int64_t end, int thread) {
        for (std::int64_t row = begin; row < end; row += block) {
            body(row, std::min(block, end - row), thread);
        }
    });
}

const float* normalized(const float* x, const Normalize* on_load, std::int64_t rows, int c) {
    if (on_load == nullptr) {
        return x;
    }
    const Clamp clamp = clamp_of(on_load->act);
    float* const z = thread_scratch(kZ, rows * c);
    simd::row_kernels().normalize(z, x, nullptr, on_load->scale, on_load->shift, clamp.lo, clamp.hi, rows, c);
    return z;
}

void apply_gradient(float* dy, const float* g, const GradientOnLoad& on_load, std::int64_t first, std::int64_t rows,
                    int k) {
    simd::row_kernels().gradient_apply(dy, g + first * k, on_load.y + first * k, on_load.a, on_load.b, on_load.d,
                                       nullptr, nullptr, 0.0f, 0.0f, rows, k);
}

}  // namespace

void pointwise_forward(float* y, const float* x, const float* w, const Normalize* on_load,
                       const BatchStatistics* statistics, std::int64_t rows, int c, int k, Stream) {
#if defined(CUTIS_WITH_ONEDNN)
    if (on_load == nullptr && statistics == nullptr) {  // nothing to join on
        onednn::pointwise_forward(y, x, w, nullptr, nullptr, rows, c, k);
        return;
    }
#endif
    std::optional<ChannelSums> sums;
    if (statistics != nullptr) {
        require(rows >= 1, "pointwise convolution: statistics of {} rows; at least one is needed", rows);
        sums.emplace(thread_count(), k);
    }
    const bool stream = sums && too_large_to_cache(rows * k);
    for_blocks(rows, block_rows(rows, c, k), [&](std::int64_t first, std::int64_t count, int thread) {
        const float* const z = normalized(x + first * c, on_load, count, c);
        float* const out = stream ? thread_scratch(kOut, count * k) : y + first * k;
        gemm(Transpose::no, Transpose::yes, count, k, c, z, c, w, c, false, out, k);
        if (sums) {
            simd::row_kernels().statistics(sums->first(thread), sums->second(thread), out, sums->center(thread, out),
                                           count, k, stream ? y + first * k : nullptr);
            sums->end_block(thread, count);
        }
    });
    if (sums) {
        sums->finish_statistics(statistics->mean, statistics->var);
    }
}

void pointwise_backward(float* dx, float* dw, const float* g, const GradientOnLoad* gradient_on_load, const float* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* dx_add, const float* w,
                        std::int64_t rows, int c, int k, Stream) {
    require(dx_add == nullptr || on_load == nullptr,
            "pointwise convolution: a gradient can be added to dx only where x is loaded as it is");
    const auto& kernels = simd::row_kernels();
    const std::int64_t weights = std::int64_t{c} * k;
    const std::int64_t block = block_rows(rows, c, k);
    const int threads = thread_count();
    const bool private_dw = dw != nullptr && weights <= kPrivateWeights;
    const bool shared_dw = dw != nullptr && !private_dw;

    std::optional<ChannelSums> sums;
    if (dx != nullptr && before != nullptr) {
        require(on_load != nullptr, "pointwise convolution: batchnorm gradients are wanted but x is loaded as it is");
        sums.emplace(threads, c);
    }
    // With shared dw every thread needs all of dy, so that it is stored once instead of made per block.
    const bool stream = sums && too_large_to_cache(rows * c);
    float* const stored_dy = shared_dw && gradient_on_load != nullptr ? thread_scratch(kShared, rows * k) : nullptr;
    std::vector<const float*> parts(static_cast<std::size_t>(threads), nullptr);

    for_blocks(rows, block, [&](std::int64_t first, std::int64_t count, int thread) {
        const float* dy = g + first * k;
        if (gradient_on_load != nullptr) {
            float* const made = stored_dy != nullptr ? stored_dy + first * k : thread_scratch(kDy, count * k);
            apply_gradient(made, g, *gradient_on_load, first, count, k);
            dy = made;
        }
        if (private_dw) {
            const float* const z = normalized(x + first * c, on_load, count, c);
            const float*& part = parts[static_cast<std::size_t>(thread)];
            const bool started = part != nullptr;
            float* const mine = thread_scratch(kDw, weights);
            gemm(Transpose::yes, Transpose::no, k, c, count, dy, k, z, c, started, mine, c);
            part = mine;
        }
        if (dx != nullptr) {
            float* const out = stream ? thread_scratch(kOut, count * c) : dx + first * c;
            gemm(Transpose::no, Transpose::no, count, c, k, dy, k, w, c, false, out, c);
            if (sums) {
                const Clamp clamp = clamp_of(on_load->act);
                kernels.gradient_reduce(dx + first * c, sums->first(thread), sums->second(thread), out, x + first * c,
                                        before->mean, on_load->scale, on_load->shift, clamp.lo, clamp.hi, count, c,
                                        stream);
                sums->end_block(thread, count);
            } else if (dx_add != nullptr) {
                kernels.add(out, out, dx_add + first * c, count * c);
            }
        }
    });
    if (sums) {
        sums->finish_sums(before->dbeta, before->dgamma, before->inv_std);
    }
    if (private_dw) {
        parallel_for(weights, 16384, [&](std::int64_t begin, std::int64_t end, int) {
            std::fill(dw + begin, dw + end, 0.0f);
            for (const float* part : parts) {
                if (part != nullptr) {
                    kernels.add(dw + begin, dw + begin, part + begin, end - begin);
                }
            }
        });
    }
    if (shared_dw) {
        const float* const dy = stored_dy != nullptr ? stored_dy : g;
        constexpr std::int64_t kDepth = 128;  // rows per product: dy's slice and z's block stay in the cache
        parallel_region([&](int thread, int region_threads) {
            const Range units = static_part((k + 15) / 16, thread, region_threads);
            const std::int64_t k0 = std::min<std::int64_t>(k, units.begin * 16);
            const std::int64_t k1 = std::min<std::int64_t>(k, units.end * 16);
            if (k0 == k1) {
                return;
            }
            for (std::int64_t row = 0; row < rows; row += kDepth) {
                const std::int64_t count = std::min(kDepth, rows - row);
                const float* const z = normalized(x + row * c, on_load, count, c);
                gemm(Transpose::yes, Transpose::no, k1 - k0, c, count, dy + row * k + k0, k, z, c, row > 0, dw + k0 * c,
                     c);
            }
            if (rows == 0) {
                std::fill(dw + k0 * c, dw + k1 * c, 0.0f);
            }
        });
    }
}

}  // namespace cutis::cpu
