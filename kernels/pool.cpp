#include "kernels/pool.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/reduction.h"
#include "kernels/simd/rows.h"

// Pooling reads each value once (windows overlap in the cache) and is bound by memory: 4 bytes a value of x and y, 8
// for max pooling's y with its index.

namespace cutis {

void check_pool(const PoolShape& s) {
    require(
        s.n >= 0 && s.h >= 1 && s.w >= 1 && s.c >= 1 && s.window >= 1 && s.stride >= 1 && s.padding >= 0,
        "pooling: n {} h {} w {} c {} window {} stride {} padding {}; sizes are positive and padding is not negative",
        s.n, s.h, s.w, s.c, s.window, s.stride, s.padding);
    require(s.padding <= s.window / 2, "pooling: padding {} is more than half the window {}", s.padding, s.window);
    const int beyond = s.ceil ? s.stride - 1 : 0;  // how far the only window may reach past the padding
    require(s.window <= s.h + 2 * s.padding + beyond && s.window <= s.w + 2 * s.padding + beyond,
            "pooling: the window {} is larger than the image {}x{} with padding {}", s.window, s.h, s.w, s.padding);
}

void check_pool(const AdaptivePoolShape& s) {
    require(s.n >= 0 && s.h >= 1 && s.w >= 1 && s.c >= 1 && s.p >= 1 && s.q >= 1,
            "adaptive pooling: n {} h {} w {} c {} to {}x{}; sizes are positive", s.n, s.h, s.w, s.c, s.p, s.q);
}

void check_global_pool(int hw, int c) {
    require(hw >= 1 && c >= 1, "global average pooling: {} pixels of {} channels; both are positive", hw, c);
}

void check_global_pool_backward(const Normalize* on_load, const NormalizeBackward* before, int hw, int c) {
    check_global_pool(hw, c);
    require((on_load != nullptr) == (before != nullptr),
            "global average pooling: a gradient behind a normalisation needs both its forward and its backward part");
}

namespace cpu {
namespace {

enum Slot { kBlock, kSum, kGradient };

// Values below which waking the other threads costs more than it saves.
constexpr std::int64_t kGrainValues = 16384;

// Pixels summed in one go: a block of them stays in the first-level cache, and sums of blocks lose less than one long
// sum.
std::int64_t block_pixels(int c) {
    return std::clamp<std::int64_t>(8192 / std::max(c, 1), 4, 64);
}

// body(image, output_row) for all output rows: what a forward pass shares out. Shape is PoolShape or AdaptivePoolShape.
template <class Shape, class Body>
void for_output_rows(const Shape& s, Body&& body) {
    const int p = s.rows().outputs;
    const std::int64_t row_values = std::int64_t{s.h} * s.w * s.c / p + 1;
    parallel_for(std::int64_t{s.n} * p, std::max<std::int64_t>(1, kGrainValues / row_values),
                 [&](std::int64_t begin, std::int64_t end, int) {
                     for (std::int64_t row = begin; row < end; ++row) {
                         body(row / p, static_cast<int>(row % p));
                     }
                 });
}

// body(image, row, column) for all pixels of x, which are shared out by rows: a backward pass gathers for each what
// comes from the windows that hold it.
template <class Shape, class Body>
void for_input_pixels(const Shape& s, Body&& body) {
    const std::int64_t row_values = std::int64_t{s.w} * s.c;
    parallel_for(std::int64_t{s.n} * s.h, std::max<std::int64_t>(1, kGrainValues / row_values),
                 [&](std::int64_t begin, std::int64_t end, int) {
                     for (std::int64_t row = begin; row < end; ++row) {
                         for (int column = 0; column < s.w; ++column) {
                             body(row / s.h, static_cast<int>(row % s.h), column);
                         }
                     }
                 });
}

simd::Window window_of(Span rows, Span columns, int width, std::int64_t pitch, int channels) {
    return {rows.begin, rows.end, columns.begin, columns.end, width, pitch, channels};
}

template <class Shape>
void average_forward(float* y, const float* x, const Shape& s) {
    check_pool(s);
    const auto& kernels = simd::row_kernels();
    const auto row_axis = s.rows();
    const auto column_axis = s.columns();
    const int c = s.c, p = row_axis.outputs, q = column_axis.outputs;
    for_output_rows(s, [&](std::int64_t image, int row) {
        const float* const in = x + image * s.h * s.w * c;
        const Span rows = row_axis.inputs_of(row);
        for (int column = 0; column < q; ++column) {
            const auto area = static_cast<float>(row_axis.divisor(row) * column_axis.divisor(column));
            kernels.mean(y + ((image * p + row) * q + column) * c, in,
                         window_of(rows, column_axis.inputs_of(column), s.w, c, c), area);
        }
    });
}

template <class Shape>
void average_backward(float* dx, const float* dy, const Shape& s) {
    check_pool(s);
    const auto& kernels = simd::row_kernels();
    const auto row_axis = s.rows();
    const auto column_axis = s.columns();
    const int p = row_axis.outputs, q = column_axis.outputs;
    std::vector<float> shares;  // of each window's gradient that one of its pixels gets
    for (int row = 0; row < p; ++row) {
        for (int column = 0; column < q; ++column) {
            shares.push_back(1.0f / static_cast<float>(row_axis.divisor(row) * column_axis.divisor(column)));
        }
    }
    for_input_pixels(s, [&](std::int64_t image, int row, int column) {
        kernels.gather_shares(dx + ((image * s.h + row) * s.w + column) * s.c, dy + image * p * q * s.c, shares.data(),
                              window_of(row_axis.outputs_of(row), column_axis.outputs_of(column), q, s.c, s.c));
    });
}

}  // namespace

void global_average_pool_forward(float* y, const float* x, const Normalize* on_load, int n, int hw, int c, Stream) {
    check_global_pool(hw, c);
    const auto& kernels = simd::row_kernels();
    const Clamp clamp = clamp_of(on_load != nullptr ? on_load->act : Activation::identity);
    const std::int64_t block = block_pixels(c), image = std::int64_t{hw} * c;
    parallel_for(n, std::max<std::int64_t>(1, kGrainValues / image), [&](std::int64_t begin, std::int64_t end, int) {
        float* const z = on_load != nullptr ? thread_scratch(kBlock, block * c) : nullptr;
        float* const sum = thread_scratch(kSum, c);
        for (std::int64_t i = begin; i < end; ++i) {
            float* const out = y + i * c;
            if (on_load == nullptr && hw <= block) {
                kernels.mean(out, x + i * image, {0, 1, 0, hw, hw, c, c}, static_cast<float>(hw));
                continue;
            }
            std::fill_n(out, c, 0.0f);
            for (std::int64_t pixel = 0; pixel < hw; pixel += block) {
                const std::int64_t count = std::min<std::int64_t>(block, hw - pixel);
                const float* in = x + i * image + pixel * c;
                if (on_load != nullptr) {
                    kernels.normalize(z, in, nullptr, on_load->scale, on_load->shift, clamp.lo, clamp.hi, count, c);
                    in = z;
                }
                std::fill_n(sum, c, 0.0f);
                kernels.column_sum(sum, in, count, c);
                kernels.add(out, out, sum, c);
            }
            const float size = static_cast<float>(hw);
            for (int j = 0; j < c; ++j) {
                out[j] /= size;
            }
        }
    });
}

void global_average_pool_backward(float* dx, const float* dy, const float* x, const Normalize* on_load,
                                  const NormalizeBackward* before, int n, int hw, int c, Stream) {
    check_global_pool_backward(on_load, before, hw, c);
    const auto& kernels = simd::row_kernels();
    const Clamp clamp = clamp_of(on_load != nullptr ? on_load->act : Activation::identity);
    const std::int64_t image = std::int64_t{hw} * c;
    std::optional<ChannelSums> sums;
    if (before != nullptr) {
        sums.emplace(thread_count(), c);
    }
    parallel_for(n, std::max<std::int64_t>(1, kGrainValues / image),
                 [&](std::int64_t begin, std::int64_t end, int thread) {
                     float* const share = thread_scratch(kGradient, c);
                     for (std::int64_t i = begin; i < end; ++i) {
                         const float size = static_cast<float>(hw);
                         for (int j = 0; j < c; ++j) {
                             share[j] = dy[i * c + j] / size;
                         }
                         for (std::int64_t pixel = 0; pixel < hw; ++pixel) {
                             float* const out = dx + i * image + pixel * c;
                             if (sums) {
                                 kernels.gradient_reduce(out, sums->first(thread), sums->second(thread), share,
                                                         x + i * image + pixel * c, before->mean, on_load->scale,
                                                         on_load->shift, clamp.lo, clamp.hi, 1, c, false);
                             } else {
                                 std::copy_n(share, c, out);
                             }
                         }
                         if (sums) {
                             sums->end_block(thread, hw);
                         }
                     }
                 });
    if (sums) {
        sums->finish_sums(before->dbeta, before->dgamma, before->inv_std);
    }
}

void max_pool_forward(float* y, std::int32_t* argmax, const float* x, const PoolShape& s, Stream) {
    check_pool(s);
    const auto& kernels = simd::row_kernels();
    const int c = s.c, q = s.q();
    for_output_rows(s, [&](std::int64_t image, int row) {
        const float* const in = x + image * s.h * s.w * c;
        const Span rows = s.rows().inputs_of(row);
        for (int column = 0; column < q; ++column) {
            const std::int64_t at = ((image * s.p() + row) * q + column) * c;
            const Span columns = s.columns().inputs_of(column);
            kernels.largest(y + at, argmax + at, in, window_of(rows, columns, s.w, c, c));
        }
    });
}

void max_pool_backward(float* dx, const float* dy, const std::int32_t* argmax, const PoolShape& s, Stream) {
    check_pool(s);
    const auto& kernels = simd::row_kernels();
    const PoolAxis row_axis = s.rows(), column_axis = s.columns();
    const int q = s.q();
    const std::int64_t outputs = std::int64_t{s.p()} * q * s.c;
    for_input_pixels(s, [&](std::int64_t image, int row, int column) {
        const Span rows = row_axis.outputs_of(row), columns = column_axis.outputs_of(column);
        kernels.gather_largest(dx + ((image * s.h + row) * s.w + column) * s.c, row * s.w + column,
                               argmax + image * outputs, dy + image * outputs, window_of(rows, columns, q, s.c, s.c));
    });
}

void average_pool_forward(float* y, const float* x, const PoolShape& shape, Stream) {
    average_forward(y, x, shape);
}

void average_pool_backward(float* dx, const float* dy, const PoolShape& shape, Stream) {
    average_backward(dx, dy, shape);
}

void adaptive_average_pool_forward(float* y, const float* x, const AdaptivePoolShape& shape, Stream) {
    average_forward(y, x, shape);
}

void adaptive_average_pool_backward(float* dx, const float* dy, const AdaptivePoolShape& shape, Stream) {
    average_backward(dx, dy, shape);
}

}  // namespace cpu
}  // namespace cutis
