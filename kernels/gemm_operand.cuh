#pragma once

#include "kernels/conv.h"
#include "kernels/gemm_tile.cuh"
#include "kernels/reduce.cuh"

/// The factors of a matrix product as they lie in global memory, and the way of one depth tile of them into shared
/// memory.
///
/// A view is a matrix that need not exist: it says where the value of a row and a column is. What depends on the row
/// alone or on the column alone is computed apart, since a thread keeps one of the two for the whole product.
///
/// Chunks of 16 bytes are copied past the registers (cp.async), three depth tiles ahead. What is to be done with values
/// on load is done in place, when they have arrived, by the thread that copied them: it knows of their arrival without
/// a barrier, and nothing but the sums is in registers while the block multiplies.
///
///   global --cp.async--> shared --registers: fp32, act(scale * x + shift), T--> the same place --barrier--> fragments
///
/// Where rows are not whole 16-byte accesses (a stem's three channels), a chunk is put together value by value.

namespace cutis::cuda::matrix {

/// Quotients by a number that is known at launch, of 0 <= n < 2^31 (Granlund and Montgomery 1994).
struct Divisor {
    Divisor() = default;
    explicit Divisor(int value) : divisor(static_cast<unsigned>(value)) {
        while ((std::uint64_t{1} << shift) < divisor) {
            ++shift;
        }
        multiplier =
            static_cast<unsigned>(((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - divisor)) / divisor + 1);
    }
    __device__ __forceinline__ int divide(int n) const {
        const auto numerator = static_cast<unsigned>(n);
        return static_cast<int>((__umulhi(numerator, multiplier) + numerator) >> shift);
    }

    unsigned divisor = 1, multiplier = 1, shift = 0;
};

inline constexpr std::int64_t kOutside = -1;

/// rows x cols values, `ld` apart. The view of group i starts i * group_stride values later.
template <class T>
struct MatrixView {
    using Row = int;
    using Col = int;

    const T* data;
    std::int64_t ld;
    int rows, cols;
    std::int64_t group_stride = 0;

    __device__ __forceinline__ Row row(int i) const { return i; }
    __device__ __forceinline__ Col col(int j) const { return j; }
    __device__ __forceinline__ std::int64_t offset(Row row, Col col) const {
        return row < rows && col < cols ? row * ld + col : kOutside;
    }
};

/// A row per output pixel of a convolution and a column per tap and channel (r, s, c): the values of x that make that
/// pixel, zeros beyond the image's edge.
template <class T>
struct FilterInputView {
    struct Row {
        int image, h, w;  // of the first tap; image as the number of its first pixel
    };
    struct Col {
        int h, w, c;  // of the tap, relative to the first; and the channel in the group
    };

    FilterInputView(const T* x, const ConvShape& s)
        : data(x),
          rows(s.n * s.p() * s.q()),
          cols(s.r * s.s * (s.c / s.groups)),
          group_stride(s.c / s.groups),
          height(s.h),
          width(s.w),
          channels(s.c),
          p(s.p()),
          q(s.q()),
          filter_width(s.s),
          group_channels(s.c / s.groups),
          stride(s.stride),
          padding(s.padding),
          by_p(s.p()),
          by_q(s.q()),
          by_channels(s.c / s.groups),
          by_filter_width(s.s) {}

    __device__ __forceinline__ Row row(int pixel) const {
        if (pixel >= rows) {
            return {0, -(1 << 29), 0};  // above every image
        }
        const int line = by_q.divide(pixel), image = by_p.divide(line);
        return {image * height * width, (line - image * p) * stride - padding, (pixel - line * q) * stride - padding};
    }
    __device__ __forceinline__ Col col(int column) const {
        if (column >= cols) {
            return {-(1 << 29), 0, 0};
        }
        const int tap = by_channels.divide(column), r = by_filter_width.divide(tap);
        return {r, tap - r * filter_width, column - tap * group_channels};
    }
    __device__ __forceinline__ std::int64_t offset(Row row, Col col) const {
        const int h = row.h + col.h, w = row.w + col.w;
        if (static_cast<unsigned>(h) >= static_cast<unsigned>(height) ||
            static_cast<unsigned>(w) >= static_cast<unsigned>(width)) {
            return kOutside;
        }
        return static_cast<std::int64_t>(row.image + h * width + w) * channels + col.c;
    }

    const T* data;
    int rows, cols;
    std::int64_t group_stride;
    int height, width, channels, p, q, filter_width, group_channels, stride, padding;
    Divisor by_p, by_q, by_channels, by_filter_width;
};

/// A row per input pixel and a column per tap and output channel (r, s, k): the gradients that this pixel gets through
/// that tap. With a stride most of them are zeros.
template <class T>
struct FilterGradientView {
    struct Row {
        int image, h, w;  // the pixel, padding added
    };
    struct Col {
        int h, w, k;
    };

    FilterGradientView(const T* dy, const ConvShape& s)
        : data(dy),
          rows(s.n * s.h * s.w),
          cols(s.r * s.s * (s.k / s.groups)),
          group_stride(s.k / s.groups),
          height(s.h),
          width(s.w),
          channels(s.k),
          p(s.p()),
          q(s.q()),
          filter_width(s.s),
          group_channels(s.k / s.groups),
          stride(s.stride),
          padding(s.padding),
          by_height(s.h),
          by_width(s.w),
          by_channels(s.k / s.groups),
          by_filter_width(s.s),
          by_stride(s.stride) {}

    __device__ __forceinline__ Row row(int pixel) const {
        if (pixel >= rows) {
            return {0, -(1 << 29), 0};
        }
        const int line = by_width.divide(pixel), image = by_height.divide(line);
        return {image * p * q, line - image * height + padding, pixel - line * width + padding};
    }
    __device__ __forceinline__ Col col(int column) const {
        if (column >= cols) {
            return {1 << 29, 0, 0};
        }
        const int tap = by_channels.divide(column), r = by_filter_width.divide(tap);
        return {r, tap - r * filter_width, column - tap * group_channels};
    }
    __device__ __forceinline__ std::int64_t offset(Row row, Col col) const {
        const int h = row.h - col.h, w = row.w - col.w;
        if (h < 0 || w < 0) {
            return kOutside;
        }
        const int line = by_stride.divide(h), place = by_stride.divide(w);
        if (line * stride != h || place * stride != w || line >= p || place >= q) {
            return kOutside;
        }
        return static_cast<std::int64_t>(row.image + line * q + place) * channels + col.k;
    }

    const T* data;
    int rows, cols;
    std::int64_t group_stride;
    int height, width, channels, p, q, filter_width, group_channels, stride, padding;
    Divisor by_height, by_width, by_channels, by_filter_width, by_stride;
};

/// A row per tap and output channel (r, s, k), as FilterGradientView's columns, and a column per input channel of the
/// group: the weights k x r x s x c seen from the other side.
template <class T>
struct FilterWeightView {
    using Row = std::int64_t;
    using Col = int;

    FilterWeightView(const T* w, const ConvShape& s)
        : data(w),
          rows(s.r * s.s * (s.k / s.groups)),
          cols(s.c / s.groups),
          taps(s.r * s.s),
          group_k(s.k / s.groups),
          group_stride(std::int64_t{s.k / s.groups} * s.r * s.s * (s.c / s.groups)),
          by_k(s.k / s.groups) {}

    __device__ __forceinline__ Row row(int i) const {
        if (i >= rows) {
            return kOutside;
        }
        const int tap = by_k.divide(i);
        return (static_cast<std::int64_t>(i - tap * group_k) * taps + tap) * cols;
    }
    __device__ __forceinline__ Col col(int j) const { return j; }
    __device__ __forceinline__ std::int64_t offset(Row row, Col col) const {
        return row >= 0 && col < cols ? row + col : kOutside;
    }

    const T* data;
    int rows, cols, taps, group_k;
    std::int64_t group_stride;
    Divisor by_k;
};

/// What is done with a value on its way into shared memory: nothing.
struct AsItIs {
    static constexpr bool kGiven = false, kSecond = false;
};

/// act(scale * x + shift) per column, in fp32; x as it is where scale is null.
struct NormalizeOnLoad {
    static constexpr bool kGiven = true, kSecond = false;
    const float* scale = nullptr;
    const float* shift = nullptr;
    Clamp clamp = {0.0f, 0.0f};

    __device__ __forceinline__ bool given() const { return scale != nullptr; }
};

/// a * g + b * y + d per column, in fp32; g as it is where y is null. y lies as g does.
template <class T>
struct DifferentiateOnLoad {
    static constexpr bool kGiven = true, kSecond = true;
    const T* y = nullptr;
    const float* a = nullptr;
    const float* b = nullptr;
    const float* d = nullptr;

    __device__ __forceinline__ bool given() const { return y != nullptr; }
};

template <class View_, class OnLoad_, Storage kStorage_>
struct Operand {
    using View = View_;
    using OnLoad = OnLoad_;
    static constexpr Storage kStorage = kStorage_;

    View view;
    OnLoad on_load;
    /// Every chunk of a row is one aligned access, wholly inside or wholly outside the view; so are those of on_load's
    /// arrays.
    bool aligned;
};

/// Brings depth tiles of one factor into shared memory; the whole block together, each thread the same column of
/// chunks in kPasses rows.
template <class Tile, int kExtent, class Operand>
class Loader {
  public:
    using T = typename Tile::T;
    using View = typename Operand::View;
    using OnLoad = typename Operand::OnLoad;
    using Shared = SharedTile<Tile, kExtent, Operand::kStorage>;

    /// `origin`: the first m (or n) of the block's tile.
    __device__ __forceinline__ Loader(const Operand& operand, int origin, int group)
        : operand_(operand), base_(group * operand.view.group_stride), group_(group) {
        const int thread = static_cast<int>(threadIdx.x);
        chunk_ = thread % Shared::kChunks;
        first_row_ = thread / Shared::kChunks;
        origin_ = origin;
        if constexpr (Shared::kDepthContiguous) {
#pragma unroll
            for (int i = 0; i < kPasses; ++i) {
                rows_[i] = operand.view.row(origin + first_row_ + i * kRowStep);
            }
        } else {
            col_ = operand.view.col(origin + chunk_ * Tile::kVector);
        }
    }

    /// A stage's bytes: the tile of `data`, and behind it that of on_load's y, if it has one.
    static constexpr int kTileBytes = kExtent * kDepthBytes + Tile::kDepth * Tile::kPadding;
    static constexpr int kBytes = kTileBytes * (OnLoad::kSecond ? 2 : 1);

    /// Starts the way of the depth tile from `depth` on to `stage`, which nobody reads any more.
    __device__ __forceinline__ void start(unsigned char* stage, int depth) {
        copy(stage, operand_.view.data, depth);
        if constexpr (OnLoad::kSecond) {
            if (operand_.on_load.given()) {
                copy(stage + kTileBytes, operand_.on_load.y, depth);
            }
        }
    }

    /// Does on `stage`, where this thread's copies have arrived, what is to be done on load. Zeros outside the view
    /// stay zeros, since products over them must not count: rows there are left alone, columns there have zero factors
    /// (and every activation maps 0 to 0).
    __device__ __forceinline__ void apply([[maybe_unused]] unsigned char* stage, [[maybe_unused]] int depth) {
        if constexpr (OnLoad::kGiven) {
            const OnLoad& on_load = operand_.on_load;
            if (!on_load.given()) {
                return;
            }
            constexpr int N = Tile::kVector;
            const int column = (Shared::kDepthContiguous ? depth : origin_) + chunk_ * N;
            Floats<N> factor, factor_y, constant;
            if constexpr (OnLoad::kSecond) {
                factor = per_column(on_load.a, column);
                factor_y = per_column(on_load.b, column);
                constant = per_column(on_load.d, column);
            } else {
                factor = per_column(on_load.scale, column);
                constant = per_column(on_load.shift, column);
            }
            const int rows = operand_.view.rows - (Shared::kDepthContiguous ? origin_ : depth);
#pragma unroll 1
            for (int row = first_row_; row < Shared::kRows; row += kRowStep) {
                if (row >= rows) {
                    return;
                }
                T* const at = reinterpret_cast<T*>(Shared::chunk(stage, row, chunk_));
                Floats<N> values = cuda::load<N>(at);
                if constexpr (OnLoad::kSecond) {
                    const Floats<N> y = cuda::load<N>(at + kTileBytes / sizeof(T));
#pragma unroll
                    for (int e = 0; e < N; ++e) {
                        values[e] = fmaf(factor[e], values[e], fmaf(factor_y[e], y[e], constant[e]));
                    }
                } else {
#pragma unroll
                    for (int e = 0; e < N; ++e) {
                        values[e] = clamped(fmaf(factor[e], values[e], constant[e]), on_load.clamp);
                    }
                }
                cuda::store<N>(at, values);
            }
        }
    }

  private:
    static constexpr int kRowStep = Tile::kThreads / Shared::kChunks;
    static constexpr int kPasses = Shared::kRows / kRowStep;
    // Values under way at once where chunks are put together. With something to do on load few: its figures and the
    // sums leave no more registers, and the layers that have it have whole chunks.
    static constexpr int kUnroll = OnLoad::kGiven ? 1 : 4;
    static_assert(kPasses * kRowStep == Shared::kRows && Tile::kThreads % Shared::kChunks == 0);

    __device__ __forceinline__ void copy(unsigned char* stage, const T* data, int depth) const {
        const View& view = operand_.view;
        data += base_;
        if (operand_.aligned) {
#pragma unroll
            for (int i = 0; i < kPasses; ++i) {
                std::int64_t at;
                if constexpr (Shared::kDepthContiguous) {
                    at = view.offset(rows_[i], view.col(depth + chunk_ * Tile::kVector));
                } else {
                    at = view.offset(view.row(depth + first_row_ + i * kRowStep), col_);
                }
                ptx::cp_async16(Shared::chunk(stage, first_row_ + i * kRowStep, chunk_), data + (at >= 0 ? at : 0),
                                at >= 0);
            }
            return;
        }
        const int column = (Shared::kDepthContiguous ? depth : origin_) + chunk_ * Tile::kVector;
#pragma unroll 1
        for (int row = first_row_; row < Shared::kRows; row += kRowStep) {
            const typename View::Row line = view.row((Shared::kDepthContiguous ? origin_ : depth) + row);
            T* const to = reinterpret_cast<T*>(Shared::chunk(stage, row, chunk_));
#pragma unroll kUnroll
            for (int e = 0; e < Tile::kVector; ++e) {
                const std::int64_t at = view.offset(line, view.col(column + e));
                to[e] = at >= 0 ? data[at] : T{};
            }
        }
    }

    // A chunk of an array with one value per column, those of all groups one behind the other; zeros outside.
    __device__ __forceinline__ Floats<Tile::kVector> per_column(const float* array, int column) const {
        array += group_ * operand_.view.cols + column;
        const int width = operand_.view.cols - column;
        if (operand_.aligned && width > 0) {
            return cuda::load<Tile::kVector>(array);
        }
        Floats<Tile::kVector> values;
#pragma unroll
        for (int e = 0; e < Tile::kVector; ++e) {
            values[e] = e < width ? array[e] : 0.0f;
        }
        return values;
    }

    const Operand& operand_;
    std::int64_t base_;
    int group_, chunk_, first_row_, origin_;
    typename View::Row rows_[Shared::kDepthContiguous ? kPasses : 1];
    typename View::Col col_;
};

}  // namespace cutis::cuda::matrix
