#include "kernels/pool.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/reduction.h"
#include "kernels/simd/rows.h"

// Pooling reads each value once (windows overlap in the cache) and is bound by memory: 4 bytes a value of x and y, 5
// for max pooling's y with its mark.

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

void check_max_pool(const PoolShape& s) {
    check_pool(s);
    require(s.window <= kMaxPoolWindow, "max pooling: the window {} is larger than {}", s.window, kMaxPoolWindow);
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

using Reaches = std::vector<simd::Reach>;
Reaches reach_of_windows(const PoolAxis& axis) {
    Reaches all;
    for (int i = 0; i < axis.outputs; ++i) {
        const Span inputs = axis.inputs_of(i);
        all.push_back({inputs.begin, inputs.end, axis.origin_of(i)});
    }
    return all;
}
Reaches reach_of_inputs(const PoolAxis& axis) {
    Reaches all;
    for (int i = 0; i < axis.size; ++i) {
        const Span windows = axis.outputs_of(i);
        all.push_back({windows.begin, windows.end, i + axis.padding});
    }
    return all;
}

// Rows of windows that are taken together, so that what they share is read once. Their input rows are the streams that
// a core reads at a time: more than 7 crowd each other out of the 8 ways of its first-level cache, where rows of many
// widths begin in the same place.
int strip_rows(const PoolShape& s) {
    constexpr int kInputRows = 7;
    return std::max(1, (kInputRows - s.window) / s.stride + 1);
}

// body(image, first_row, count) for strips of at most `strip` of each image's rows, which are shared out; a strip's
// work is so many values. A backward pass gathers for each input what comes from the windows that hold it.
template <class Body>
void for_strips(std::int64_t images, int rows, int strip, std::int64_t strip_values, Body&& body) {
    const int strips = (rows + strip - 1) / strip;
    parallel_for(images * strips, std::max<std::int64_t>(1, kGrainValues / (strip_values + 1)),
                 [&](std::int64_t begin, std::int64_t end, int) {
                     for (std::int64_t i = begin; i < end; ++i) {
                         const int first = static_cast<int>(i % strips) * strip;
                         body(i / strips, first, std::min(strip, rows - first));
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
    for_strips(s.n, p, 1, std::int64_t{s.h} * s.w * c / p, [&](std::int64_t image, int row, int) {
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
    for_strips(s.n, s.h, 1, std::int64_t{s.w} * s.c, [&](std::int64_t image, int row, int) {
        for (int column = 0; column < s.w; ++column) {
            kernels.gather_shares(dx + ((image * s.h + row) * s.w + column) * s.c, dy + image * p * q * s.c,
                                  shares.data(),
                                  window_of(row_axis.outputs_of(row), column_axis.outputs_of(column), q, s.c, s.c));
        }
    });
}

}  // namespace

void global_average_pool_forward(float* y, const float* x, const Normalize* on_load, int n, int hw, int c, Stream) {
    check_global_pool(hw, c);
    const auto& kernels = simd::row_kernels();
    const Clamp clamp = clamp_of(on_load != nullptr ? on_load->act : Activation::identity);
    const std::int64_t block = block_pixels(c), image = std::int64_t{hw} * c;
    constexpr int kFewPixels = 64;  // one sum of so many loses little
    parallel_for(n, std::max<std::int64_t>(1, kGrainValues / image), [&](std::int64_t begin, std::int64_t end, int) {
        float* const z = on_load != nullptr ? thread_scratch(kBlock, block * c) : nullptr;
        float* const sum = thread_scratch(kSum, c);
        for (std::int64_t i = begin; i < end; ++i) {
            float* const out = y + i * c;
            if (on_load == nullptr && hw <= kFewPixels) {
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

void max_pool_forward(float* y, std::uint8_t* marks, const float* x, const PoolShape& s, Stream) {
    check_max_pool(s);
    const std::int64_t image = std::int64_t{s.h} * s.w * s.c, row_values = std::int64_t{s.q()} * s.c;
    const Reaches rows = reach_of_windows(s.rows()), columns = reach_of_windows(s.columns());
    const bool stream = too_large_to_cache(s.n * s.p() * row_values);
    const int strip = strip_rows(s);
    for_strips(s.n, s.p(), strip, std::int64_t{strip} * s.stride * s.w * s.c,
               [&](std::int64_t n, int first, int count) {
                   const std::int64_t at = (n * s.p() + first) * row_values;
                   simd::row_kernels().largest(y + at, marks + at, x + n * image,
                                               {.rows = rows.data() + first,
                                                .columns = columns.data(),
                                                .row_count = count,
                                                .column_count = s.q(),
                                                .width = s.w,
                                                .c = s.c,
                                                .window = s.window,
                                                .stride = s.stride},
                                               stream);
               });
}

void max_pool_backward(float* dx, const float* dy, const std::uint8_t* marks, const PoolShape& s, Stream) {
    check_max_pool(s);
    const std::int64_t outputs = std::int64_t{s.p()} * s.q() * s.c, row_values = std::int64_t{s.w} * s.c;
    const Reaches rows = reach_of_inputs(s.rows()), columns = reach_of_inputs(s.columns());
    const bool stream = too_large_to_cache(s.n * s.h * row_values);
    for_strips(s.n, s.h, 1, row_values, [&](std::int64_t n, int row, int count) {
        simd::row_kernels().gather_largest(dx + (n * s.h + row) * row_values, marks + n * outputs, dy + n * outputs,
                                           {.rows = rows.data() + row,
                                            .columns = columns.data(),
                                            .row_count = count,
                                            .column_count = s.w,
                                            .width = s.q(),
                                            .c = s.c,
                                            .window = s.window,
                                            .stride = s.stride},
                                           stream);
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
