#include "kernels/conv.h"

#include <algorithm>
#include <cstring>
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

// A block of output pixels is turned into a matrix, one row of r * s * c / groups inputs a pixel (im2col), small enough
// to stay in the second-level cache, and multiplied by the weights. Batch statistics are taken and batchnorm's input
// gradient is made while a block is in the cache. In NHWC a filter row is one run of s * c floats, so that a pixel
// costs r copies. FLOPs are the convolution's own; beyond its tensors only the cache is touched. Where the build has
// oneDNN, that answers instead: it needs no copies at all.

namespace cutis::cpu {
namespace {

// Floats of one block, columns and output together: half a second-level cache of 1 MiB.
constexpr std::int64_t kBlockFloats = 128 * 1024;

enum Slot { kColumns, kColumnGradients, kDy, kDw };

void check(const ConvShape& s) {
    require(s.n >= 0 && s.h >= 1 && s.w >= 1 && s.c >= 1 && s.k >= 1 && s.r >= 1 && s.s >= 1 && s.stride >= 1 &&
                s.padding >= 0 && s.groups >= 1,
            "convolution: n {} h {} w {} c {} k {} r {} s {} stride {} padding {} groups {}; sizes are positive and "
            "padding is "
            "not negative",
            s.n, s.h, s.w, s.c, s.k, s.r, s.s, s.stride, s.padding, s.groups);
    require(s.c % s.groups == 0 && s.k % s.groups == 0,
            "convolution: {} groups do not divide {} input and {} output channels", s.groups, s.c, s.k);
    require(s.r <= s.h + 2 * s.padding && s.s <= s.w + 2 * s.padding,
            "convolution: the filter {}x{} is larger than the image {}x{} with padding {}", s.r, s.s, s.h, s.w,
            s.padding);
}

// What the loops need, in the types they count in.
struct Geometry {
    explicit Geometry(const ConvShape& s)
        : shape(s),
          p(s.p()),
          q(s.q()),
          group_c(s.c / s.groups),
          group_k(s.k / s.groups),
          columns(std::int64_t{s.r} * s.s * group_c),
          pixels(std::int64_t{s.n} * p * q),
          weights(s.k * columns),
          is_pointwise(s.r == 1 && s.s == 1 && s.stride == 1 && s.padding == 0 && s.groups == 1) {}

    std::int64_t block(int threads) const {
        const std::int64_t fitting = std::max<std::int64_t>(48, kBlockFloats / (columns + shape.k) / 16 * 16);
        const std::int64_t per_thread = std::max<std::int64_t>(1, (pixels + threads - 1) / threads);
        const std::int64_t blocks = (per_thread + fitting - 1) / fitting;
        return (per_thread + blocks - 1) / blocks;
    }

    ConvShape shape;
    int p, q, group_c, group_k;
    std::int64_t columns;  // floats of one pixel's row of the matrix
    std::int64_t pixels, weights;
    bool is_pointwise;  // x is the matrix already
};

// Walks the filter rows of `count` output pixels from `first` on: body(column, x_offset, before, inside), where the
// row's s taps start at `column` of the matrix, the first `before` lie left of the image, the next `inside` start at
// x_offset, and the rest lie right of it (all of them outside where the row is above or below the image).
template <class Body>
void for_filter_rows(const Geometry& geometry, int group, std::int64_t first, std::int64_t count, Body&& body) {
    const ConvShape& s = geometry.shape;
    const std::int64_t row_floats = std::int64_t{s.s} * geometry.group_c;
    int ow = static_cast<int>(first % geometry.q);
    int oh = static_cast<int>(first / geometry.q % geometry.p);
    std::int64_t image = first / geometry.q / geometry.p;
    std::int64_t column = 0;
    for (std::int64_t pixel = 0; pixel < count; ++pixel) {
        const int left = ow * s.stride - s.padding;
        const int before = std::min(std::max(0, -left), s.s);
        const int inside = std::max(0, std::min(s.s, s.w - left) - before);
        for (int i = 0; i < s.r; ++i, column += row_floats) {
            const int h = oh * s.stride - s.padding + i;
            if (h < 0 || h >= s.h) {
                body(column, std::int64_t{0}, 0, 0);
            } else {
                body(column, ((image * s.h + h) * s.w + left + before) * s.c + std::int64_t{group} * geometry.group_c,
                     before, inside);
            }
        }
        if (++ow == geometry.q) {
            ow = 0;
            if (++oh == geometry.p) {
                oh = 0;
                ++image;
            }
        }
    }
}

// x's part of the matrix for one group. RowFloats: s * c where the compiler is to know it (a stem's short rows are a
// few moves then, not a call), or 0.
template <int RowFloats>
void gather(float* columns, const float* x, const Geometry& geometry, int group, std::int64_t first,
            std::int64_t count) {
    const ConvShape& s = geometry.shape;
    const int c = geometry.group_c;
    for_filter_rows(geometry, group, first, count, [&](std::int64_t column, std::int64_t at, int before, int inside) {
        float* out = columns + column;
        if constexpr (RowFloats > 0) {
            if (inside == s.s) {
                std::memcpy(out, x + at, RowFloats * sizeof(float));
                return;
            }
        }
        out = std::fill_n(out, before * c, 0.0f);
        if (s.groups == 1) {
            out = std::copy_n(x + at, inside * c, out);
        } else {
            for (int i = 0; i < inside; ++i) {
                out = std::copy_n(x + at + std::int64_t{i} * s.c, c, out);
            }
        }
        std::fill_n(out, (s.s - before - inside) * c, 0.0f);
    });
}

const float* matrix(const float* x, const Geometry& geometry, int group, std::int64_t first, std::int64_t count) {
    if (geometry.is_pointwise) {
        return x + first * geometry.shape.c;
    }
    float* const columns = thread_scratch(kColumns, count * geometry.columns);
    const int row_floats = geometry.shape.groups == 1 ? geometry.shape.s * geometry.shape.c : 0;
    switch (row_floats) {
        case 9:  // 3x3 over three channels
            gather<9>(columns, x, geometry, group, first, count);
            break;
        case 21:  // 7x7
            gather<21>(columns, x, geometry, group, first, count);
            break;
        case 33:  // 11x11
            gather<33>(columns, x, geometry, group, first, count);
            break;
        default:
            gather<0>(columns, x, geometry, group, first, count);
    }
    return columns;
}

// Adds the matrix's gradient back to the pixels it was gathered from.
void scatter_add(float* dx, const float* columns, const Geometry& geometry, int group, std::int64_t first,
                 std::int64_t count) {
    const auto& kernels = simd::row_kernels();
    const int c = geometry.group_c;
    for_filter_rows(geometry, group, first, count, [&](std::int64_t column, std::int64_t at, int before, int inside) {
        const float* const in = columns + column + std::int64_t{before} * c;
        if (geometry.shape.groups == 1) {
            kernels.add(dx + at, dx + at, in, std::int64_t{inside} * c);
        } else {
            for (int i = 0; i < inside; ++i) {
                float* const out = dx + at + std::int64_t{i} * geometry.shape.c;
                kernels.add(out, out, in + std::int64_t{i} * c, c);
            }
        }
    });
}

}  // namespace

void conv_forward_im2col(float* y, const float* x, const float* w, const float* bias, const ConvShape& s,
                         const BatchStatistics* statistics, [[maybe_unused]] Stream stream) {
    check(s);
    const Geometry geometry(s);
    require(statistics == nullptr || s.n >= 1, "convolution: statistics of an empty batch");
    std::optional<ChannelSums> sums;
    if (statistics != nullptr) {
        sums.emplace(thread_count(), s.k);
    }
    const std::int64_t block = geometry.block(thread_count());
    parallel_for(geometry.pixels, 16, [&](std::int64_t begin, std::int64_t end, int thread) {
        for (std::int64_t first = begin; first < end; first += block) {
            const std::int64_t count = std::min(block, end - first);
            float* const out = y + first * s.k;
            if (bias != nullptr) {
                for (std::int64_t row = 0; row < count; ++row) {
                    std::copy_n(bias, s.k, out + row * s.k);
                }
            }
            for (int group = 0; group < s.groups; ++group) {
                const float* const columns = matrix(x, geometry, group, first, count);
                const std::int64_t k0 = std::int64_t{group} * geometry.group_k;
                gemm(Transpose::no, Transpose::yes, count, geometry.group_k, geometry.columns, columns,
                     geometry.columns, w + k0 * geometry.columns, geometry.columns, bias != nullptr, out + k0, s.k);
            }
            if (sums) {
                simd::row_kernels().statistics(sums->first(thread), sums->second(thread), out,
                                               sums->center(thread, out), count, s.k, nullptr);
                sums->end_block(thread, count);
            }
        }
    });
    if (sums) {
        sums->finish_statistics(statistics->mean, statistics->var);
    }
}

void conv_backward_im2col(float* dx, float* dw, float* db, const float* g, const GradientOnLoad* gradient_on_load,
                          const float* x, const float* w, const ConvShape& s, [[maybe_unused]] Stream stream) {
    check(s);
    const Geometry geometry(s);
    const auto& kernels = simd::row_kernels();
    const int threads = thread_count();
    const std::int64_t block = geometry.block(threads);
    std::optional<ChannelSums> sums;
    if (db != nullptr) {
        sums.emplace(threads, s.k);
    }
    std::vector<const float*> parts(static_cast<std::size_t>(threads), nullptr);

    // Neighbouring pixels add to the same values of dx, so that a thread then owns whole images.
    const std::int64_t unit = dx != nullptr ? std::int64_t{geometry.p} * geometry.q : 1;
    parallel_for(geometry.pixels / unit, dx != nullptr ? 1 : 16, [&](std::int64_t begin, std::int64_t end, int thread) {
        if (dx != nullptr) {
            const std::int64_t image = std::int64_t{s.h} * s.w * s.c;
            std::fill(dx + begin * image, dx + end * image, 0.0f);
        }
        for (std::int64_t first = begin * unit; first < end * unit; first += block) {
            const std::int64_t count = std::min(block, end * unit - first);
            const float* dy = g + first * s.k;
            if (gradient_on_load != nullptr) {
                float* const made = thread_scratch(kDy, count * s.k);
                kernels.gradient_apply(made, dy, gradient_on_load->y + first * s.k, gradient_on_load->a,
                                       gradient_on_load->b, gradient_on_load->d, nullptr, nullptr, 0.0f, 0.0f, count,
                                       s.k);
                dy = made;
            }
            if (sums) {
                kernels.column_sum(sums->first(thread), dy, count, s.k);
                sums->end_block(thread, count);
            }
            if (dw != nullptr) {
                float* const mine = thread_scratch(kDw, geometry.weights);
                const float*& part = parts[static_cast<std::size_t>(thread)];
                for (int group = 0; group < s.groups; ++group) {
                    const float* const columns = matrix(x, geometry, group, first, count);
                    const std::int64_t k0 = std::int64_t{group} * geometry.group_k;
                    gemm(Transpose::yes, Transpose::no, geometry.group_k, geometry.columns, count, dy + k0, s.k,
                         columns, geometry.columns, part != nullptr, mine + k0 * geometry.columns, geometry.columns);
                }
                part = mine;
            }
            for (int group = 0; dx != nullptr && group < s.groups; ++group) {
                const std::int64_t k0 = std::int64_t{group} * geometry.group_k;
                const float* const group_w = w + k0 * geometry.columns;
                float* const gradients = geometry.is_pointwise
                                             ? dx + first * s.c
                                             : thread_scratch(kColumnGradients, count * geometry.columns);
                gemm(Transpose::no, Transpose::no, count, geometry.columns, geometry.group_k, dy + k0, s.k, group_w,
                     geometry.columns, false, gradients, geometry.columns);
                if (!geometry.is_pointwise) {
                    scatter_add(dx, gradients, geometry, group, first, count);
                }
            }
        }
    });
    if (sums) {
        sums->finish_sums(db, nullptr, nullptr);
    }
    if (dw != nullptr) {
        std::fill_n(dw, geometry.weights, 0.0f);
        for (const float* part : parts) {
            if (part != nullptr) {
                kernels.add(dw, dw, part, geometry.weights);
            }
        }
    }
}

void conv_forward(float* y, const float* x, const float* w, const float* bias, const ConvShape& s,
                  const BatchStatistics* statistics, Stream stream) {
#if defined(CUTIS_WITH_ONEDNN)
    if (s.n > 0) {
        check(s);
        onednn::conv_forward(y, x, w, bias, s, nullptr);
        if (statistics != nullptr) {
            batchnorm_statistics(statistics->mean, statistics->var, y, Geometry(s).pixels, s.k, stream);
        }
        return;
    }
#endif
    conv_forward_im2col(y, x, w, bias, s, statistics, stream);
}

void conv_backward(float* dx, float* dw, float* db, const float* g, const GradientOnLoad* gradient_on_load,
                   const float* x, const float* w, const ConvShape& s, Stream stream) {
#if defined(CUTIS_WITH_ONEDNN)
    if (s.n > 0) {
        check(s);
        const std::int64_t pixels = Geometry(s).pixels;
        const float* dy = g;
        if (gradient_on_load != nullptr) {
            float* const made = thread_scratch(kDy, pixels * s.k);
            batchnorm_apply_gradient(made, g, *gradient_on_load, nullptr, pixels, s.k, stream);
            dy = made;
        }
        onednn::conv_backward(dx, dw, db, dy, nullptr, x, w, s);
        return;
    }
#endif
    conv_backward_im2col(dx, dw, db, g, gradient_on_load, x, w, s, stream);
}

}  // namespace cutis::cpu
