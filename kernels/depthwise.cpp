#include "kernels/depthwise.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/reduction.h"
#include "kernels/simd/rows.h"

// Each thread owns a contiguous run of output rows, over image borders. It keeps a ring of three input rows, normalised
// as they come in and padded by a zero pixel on both sides, so that each value of x is read and normalised once (and
// twice at the seam between two threads), and the inner loop has no border cases. The backward pass keeps a second ring
// for dy and takes both gradients from the same sweep. A forward pass that normalises nothing can do without the copy.

namespace cutis::cpu {
namespace {

enum Slot { kInputRing, kGradientRing, kDw, kRow, kEdge };

// Three rows of one image, padded left and right; rows outside the image are zero.
class RowRing {
  public:
    RowRing(int slot, int height, int width, int c)
        : height_(height), width_(width), c_(c), row_floats_(static_cast<std::int64_t>(width + 2) * c) {
        rows_ = thread_scratch(slot, 3 * row_floats_);
        for (int i = 0; i < 3; ++i) {
            std::memset(rows_ + i * row_floats_, 0, static_cast<std::size_t>(c) * sizeof(float));
            std::memset(rows_ + i * row_floats_ + row_floats_ - c, 0, static_cast<std::size_t>(c) * sizeof(float));
        }
    }

    /// Forgets the rows: the next image or run begins.
    void restart() { newest_ = kNone; }

    /// Makes row `index` and its two predecessors present; fill(destination, row) writes one row of width x c.
    template <class Fill>
    void advance(int index, Fill&& fill) {
        int next = newest_ == kNone ? index - 2 : std::max(newest_ + 1, index - 2);
        for (; next <= index; ++next) {
            float* const inside = row(next) + c_;
            if (next < 0 || next >= height_) {
                std::memset(inside, 0, static_cast<std::size_t>(width_) * static_cast<std::size_t>(c_) * sizeof(float));
            } else {
                fill(inside, next);
            }
        }
        newest_ = std::max(newest_, index);
    }

    /// The padded row, (width + 2) x c.
    float* row(int index) const { return rows_ + (index + 3) % 3 * row_floats_; }

  private:
    static constexpr int kNone = -1000000;
    int height_, width_, c_;
    std::int64_t row_floats_;
    float* rows_;
    int newest_ = kNone;
};

// Calls body(image, first, last) for the pieces of the thread's output rows [begin, end) that lie in one image.
template <class Body>
void for_images(std::int64_t begin, std::int64_t end, int rows_per_image, Body&& body) {
    for (std::int64_t row = begin; row < end;) {
        const std::int64_t image = row / rows_per_image;
        const std::int64_t stop = std::min(end, (image + 1) * rows_per_image);
        body(image, static_cast<int>(row - image * rows_per_image), static_cast<int>(stop - image * rows_per_image));
        row = stop;
    }
}

void check(const DepthwiseShape& s) {
    require(s.n >= 0 && s.h >= 1 && s.w >= 1 && s.c >= 1 && (s.stride == 1 || s.stride == 2),
            "depthwise convolution: n {} h {} w {} c {} stride {}; sizes are positive and the stride is 1 or 2", s.n,
            s.h, s.w, s.c, s.stride);
}

// Writes rows of z = on_load(x).
auto input_filler(const float* image, const Normalize* on_load, const DepthwiseShape& s) {
    const Clamp clamp = clamp_of(on_load != nullptr ? on_load->act : Activation::identity);
    return [=](float* out, int h) {
        const float* const row = image + static_cast<std::int64_t>(h) * s.w * s.c;
        if (on_load != nullptr) {
            simd::row_kernels().normalize(out, row, nullptr, on_load->scale, on_load->shift, clamp.lo, clamp.hi, s.w,
                                          s.c);
        } else {
            std::memcpy(out, row, static_cast<std::size_t>(s.w) * static_cast<std::size_t>(s.c) * sizeof(float));
        }
    };
}

// Output rows of an image as it lies in memory, which costs no copy: the inner loop runs over it, but for the first and
// the last window, whose parts outside are zero.
class ImageRows {
  public:
    explicit ImageRows(const DepthwiseShape& s) : s_(s), scratch_(thread_scratch(kEdge, std::int64_t{s.w + 9} * s.c)) {
        std::memset(zero_row(), 0, static_cast<std::size_t>(s.w) * static_cast<std::size_t>(s.c) * sizeof(float));
    }

    /// The first `columns` outputs of `row`; what else there is as in RowKernels::depthwise_row.
    void convolve(float* y, float* sum, float* square, const float* image, int row, const float* w, const float* center,
                  int columns, bool stream) const {
        const float* rows[3];
        for (int i = 0; i < 3; ++i) {
            const int h = row * s_.stride - 1 + i;
            rows[i] = h >= 0 && h < s_.h ? image + std::int64_t{h} * s_.w * s_.c : zero_row();
        }
        const int inside =
            s_.w >= 2 ? std::min((s_.w - 2) / s_.stride + 1, columns) : 1;  // windows 1 .. inside - 1 are
        edge(y, sum, square, rows, w, center, 0);
        if (inside > 1) {
            const std::int64_t first = std::int64_t{s_.stride - 1} * s_.c;
            simd::row_kernels().depthwise_row(y + s_.c, sum, square, rows[0] + first, rows[1] + first, rows[2] + first,
                                              w, center, inside - 1, s_.c, s_.stride, stream);
        }
        for (int column = inside; column < columns; ++column) {
            edge(y, sum, square, rows, w, center, column);
        }
    }

  private:
    float* zero_row() const { return scratch_ + std::int64_t{9} * s_.c; }

    void edge(float* y, float* sum, float* square, const float* const (&rows)[3], const float* w, const float* center,
              int column) const {
        const std::int64_t c = s_.c;
        for (int i = 0; i < 9; ++i) {
            const int at = column * s_.stride - 1 + i % 3;
            if (at >= 0 && at < s_.w) {
                std::copy_n(rows[i / 3] + at * c, c, scratch_ + i * c);
            } else {
                std::fill_n(scratch_ + i * c, c, 0.0f);
            }
        }
        simd::row_kernels().depthwise_row(y + column * c, sum, square, scratch_, scratch_ + 3 * c, scratch_ + 6 * c, w,
                                          center, 1, s_.c, s_.stride, false);
    }

    const DepthwiseShape& s_;
    float* scratch_;  // a window, then a row of zeros
};

}  // namespace

void depthwise_forward(float* y, const float* x, const float* w, const Normalize* on_load,
                       const BatchStatistics* statistics, const DepthwiseShape& s, Stream) {
    check(s);
    const auto& kernels = simd::row_kernels();
    const int p = s.p(), q = s.q(), c = s.c;
    std::optional<ChannelSums> sums;
    if (statistics != nullptr) {
        require(s.n >= 1, "depthwise convolution: statistics of an empty batch");
        sums.emplace(thread_count(), c);
    }
    const bool stream = sums && too_large_to_cache(std::int64_t{s.n} * p * q * c);
    parallel_for(static_cast<std::int64_t>(s.n) * p, 4, [&](std::int64_t begin, std::int64_t end, int thread) {
        std::optional<RowRing> ring;
        std::optional<ImageRows> rows;
        // A row that fits into the first-level cache need not be copied there in order, but for narrow images at stride
        // 1: their copies are read three times, and too much of a row is edges.
        const bool as_it_lies = std::int64_t{s.w} * c <= 8192 && (s.stride == 2 || s.w >= 64);
        if (on_load != nullptr || !as_it_lies) {
            ring.emplace(kInputRing, s.h, s.w, c);
        } else {
            rows.emplace(s);
        }
        for_images(begin, end, p, [&](std::int64_t image, int first, int last) {
            const float* const in = x + image * s.h * s.w * c;
            const auto fill = input_filler(in, on_load, s);
            if (ring) {
                ring->restart();
            }
            for (int row = first; row < last; ++row) {
                const int h = row * s.stride;
                float* const out = y + ((image * p + row) * q) * c;
                if (ring) {
                    ring->advance(h + 1, fill);
                }
                const auto convolve = [&](float* sum, float* square, const float* center, int columns, bool past) {
                    if (ring) {
                        kernels.depthwise_row(out, sum, square, ring->row(h - 1), ring->row(h), ring->row(h + 1), w,
                                              center, columns, c, s.stride, past);
                    } else {
                        rows->convolve(out, sum, square, in, row, w, center, columns, past);
                    }
                };
                if (!sums) {
                    convolve(nullptr, nullptr, nullptr, q, stream);
                    continue;
                }
                if (!sums->has_center(thread)) {
                    convolve(nullptr, nullptr, nullptr, 1, false);
                }
                convolve(sums->first(thread), sums->second(thread), sums->center(thread, out), q, stream);
            }
            if (sums) {
                sums->end_block(thread, static_cast<std::int64_t>(last - first) * q);
            }
        });
    });
    if (sums) {
        sums->finish_statistics(statistics->mean, statistics->var);
    }
}

void depthwise_backward(float* dx, float* dw, const float* g, const GradientOnLoad* gradient_on_load, const float* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* w,
                        const DepthwiseShape& s, Stream) {
    check(s);
    const auto& kernels = simd::row_kernels();
    const int p = s.p(), q = s.q(), c = s.c;
    const std::int64_t taps = std::int64_t{9} * c;
    const int threads = thread_count();
    std::optional<ChannelSums> sums;
    if (dx != nullptr && before != nullptr) {
        require(on_load != nullptr, "depthwise convolution: batchnorm gradients are wanted but x is loaded as it is");
        sums.emplace(threads, c);
    }
    const Clamp clamp = clamp_of(on_load != nullptr ? on_load->act : Activation::identity);
    const bool stream = sums && too_large_to_cache(std::int64_t{s.n} * s.h * s.w * c);

    // At stride 1 the input gradient is the same convolution of dy with the taps in reverse order.
    std::vector<float> reversed;
    if (dx != nullptr && s.stride == 1) {
        reversed.resize(static_cast<std::size_t>(taps));
        for (int tap = 0; tap < 9; ++tap) {
            std::copy_n(w + static_cast<std::int64_t>(8 - tap) * c, c,
                        reversed.begin() + static_cast<std::ptrdiff_t>(tap) * c);
        }
    }
    std::vector<const float*> parts(static_cast<std::size_t>(threads), nullptr);

    parallel_for(static_cast<std::int64_t>(s.n) * p, 4, [&](std::int64_t begin, std::int64_t end, int thread) {
        RowRing inputs(kInputRing, s.h, s.w, c);
        RowRing gradients(kGradientRing, p, q, c);
        float* const my_dw = thread_scratch(kDw, taps);
        std::fill_n(my_dw, taps, 0.0f);
        parts[static_cast<std::size_t>(thread)] = my_dw;

        for_images(begin, end, p, [&](std::int64_t image, int first, int last) {
            const float* const x_image = x + image * s.h * s.w * c;
            const std::int64_t y_image = image * p * q * c;
            const auto fill_input = input_filler(x_image, on_load, s);
            const auto fill_gradient = [&](float* out, int row) {
                const std::int64_t at = y_image + static_cast<std::int64_t>(row) * q * c;
                if (gradient_on_load != nullptr) {
                    kernels.gradient_apply(out, g + at, gradient_on_load->y + at, gradient_on_load->a,
                                           gradient_on_load->b, gradient_on_load->d, nullptr, nullptr, 0.0f, 0.0f, q,
                                           c);
                } else {
                    std::memcpy(out, g + at, static_cast<std::size_t>(q) * static_cast<std::size_t>(c) * sizeof(float));
                }
            };
            // A row of dx is made in place or, where it goes past the caches, in scratch; then it is masked and reduced
            // for the batchnorm before, while it is still in the cache.
            float* const dx_image = dx != nullptr ? dx + image * s.h * s.w * c : nullptr;
            const auto row_of_dx = [&](int h) { return dx_image + static_cast<std::int64_t>(h) * s.w * c; };
            float* const scratch = stream ? thread_scratch(kRow, static_cast<std::int64_t>(s.w) * c) : nullptr;
            const auto finish = [&](const float* made, int h) {
                if (sums) {
                    kernels.gradient_reduce(row_of_dx(h), sums->first(thread), sums->second(thread), made,
                                            x_image + static_cast<std::int64_t>(h) * s.w * c, before->mean,
                                            on_load->scale, on_load->shift, clamp.lo, clamp.hi, s.w, c, stream);
                }
            };
            inputs.restart();
            gradients.restart();
            for (int row = first; row < last; ++row) {
                // As it lies, where it is neither made nor needs its neighbours.
                const float* row_of_g = g + y_image + std::int64_t{row} * q * c;
                if (dx != nullptr || gradient_on_load != nullptr) {
                    gradients.advance(row + 1, fill_gradient);
                    row_of_g = gradients.row(row) + c;
                }
                if (dw != nullptr) {
                    const int h = row * s.stride;
                    inputs.advance(h + 1, fill_input);
                    kernels.depthwise_weight_row(my_dw, inputs.row(h - 1), inputs.row(h), inputs.row(h + 1), row_of_g,
                                                 q, c, s.stride);
                }
                if (dx == nullptr) {
                    continue;
                }
                if (s.stride == 1) {
                    float* const out = stream ? scratch : row_of_dx(row);
                    kernels.depthwise_row(out, nullptr, nullptr, gradients.row(row - 1), gradients.row(row),
                                          gradients.row(row + 1), reversed.data(), nullptr, s.w, c, 1, false);
                    finish(out, row);
                } else {
                    for (int h = 2 * row; h < std::min(2 * row + 2, s.h); ++h) {
                        float* const out = stream ? scratch : row_of_dx(h);
                        kernels.depthwise_input_row_stride2(out, gradients.row(row), gradients.row(row + 1), w, s.w, c,
                                                            h % 2 != 0);
                        finish(out, h);
                    }
                }
            }
            if (sums) {
                sums->end_block(thread, 0);
            }
        });
    });
    if (sums) {
        sums->finish_sums(before->dbeta, before->dgamma, before->inv_std);
    }
    if (dw != nullptr) {
        std::fill_n(dw, taps, 0.0f);
        for (const float* part : parts) {
            if (part != nullptr) {
                kernels.add(dw, dw, part, taps);
            }
        }
    }
}

}  // namespace cutis::cpu
