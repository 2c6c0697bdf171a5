#include "kernels/depthwise.h"

#include <optional>

#include "kernels/channel_checks.h"
#include "kernels/depthwise_tile.cuh"

// The gradients, depthwise_tile.cuh's march over dy and x. A thread owns pixels of x; the dy around them stays in a
// window of registers while the march goes down, and serves both gradients:
//
//   stride 1     dy  . . . .       x  . .      dx = sum of taps[r][s] * dy[h + 1 - r][w + 1 - s]
//                    . . . .   -->    o o      dw[r][s] += z * dy[h + 1 - r][w + 1 - s], z = on_load(x)
//                    . . . .          . .      two pixels of x see 3 x 4 values of dy, of which 4 are new
//
//   stride 2     dy  . .           x  o o      one value of dy and its neighbours right and below for a patch
//                    . .       -->    o o      of 2 x 2 pixels of x: nine products, as at stride 1
//
// x is read without a halo, whatever the stride: each of its values once. dy = a * g + b * y + d is made when a thread
// reads g and y from shared memory; dx is masked and summed for the batchnorm before while it is in registers. A thread
// sums its share of dw (36 registers) over its rows, a block over its threads, reduce.cu over the blocks.
//
//   Bytes: sizeof(T) c n times h w (dx) + h w (x: dw or `before`) + p q (g) + p q (y of gradient_on_load). Seams: two
//   rows (stride 2: one) of g and y again where strips of rows meet, two columns (one) where tiles of columns do. To
//   each block the figures per channel that it needs: 36 of taps for dx, 12 a b d, 8 scale shift, 4 mean. Partials per
//   block and channel: 36 (dw), 8 (`before`), written and read. FLOPs: 18 per
//   value of y for each gradient, about 10 more per value where loads and epilogue are fused: in bf16 46 per 8 bytes
//   with everything, a quarter of what a H100's fp32 units do meanwhile.

namespace cutis::cuda {
namespace {

// At most. With all that is joined on, dw alone takes up to 160 registers a thread, dx alone up to 176, both up to 216
// (bf16, sm_90): three, two and two blocks fit a multiprocessor, and one computes while another waits at its barrier.
constexpr int kThreads = 128;

/// What a kernel is compiled for.
struct Wanted {
    bool dx, dw;
    bool gradient_on_load;
    bool on_load;  ///< z = act(scale * x + shift) for dw, or the mask of `before`
    bool before;
    constexpr bool x() const { return dw || before; }
};

// Rows of the figures per channel in shared memory.
struct CoefficientRows {
    int taps, a, scale, mean, count;
};
constexpr CoefficientRows coefficient_rows(const Wanted& wanted) {
    CoefficientRows rows{};
    rows.taps = 0;
    rows.a = wanted.dx ? 9 : 0;
    rows.scale = rows.a + (wanted.gradient_on_load ? 3 : 0);
    rows.mean = rows.scale + (wanted.on_load ? 2 : 0);
    rows.count = rows.mean + (wanted.before ? 1 : 0);
    return rows;
}

/// Columns of dy in a run, and what that makes of x.
template <int kStride>
inline constexpr int kRun = kStride == 1 ? 2 : 1;

template <class T>
struct BackwardArrays {
    T* dx;
    const T *g, *x;
    GradientOnLoadT<T> gradient_on_load;
    Normalize on_load;
    const float *mean, *w;
    float *dw_parts, *sum_parts;
};

/// The three rows of a slot in shared memory: g, y (gradient_on_load) and x, which at stride 2 is a pair of rows.
template <class T, bool kVectors, int kStride>
struct BackwardSlot {
    static constexpr int K = kChunk<T, kVectors>, L = kRun<kStride>;
    using GradientRow = TileRow<T, K, L>;
    using InputRow = TileRow<T, K, L * kStride>;
    GradientRow gradient;
    InputRow input;
    int y_at, x_at, values;

    __host__ __device__ BackwardSlot(const DepthwiseTiling& t, const Wanted& wanted)
        : gradient{t.runs * L + (kStride == 1 ? 2 : 1), t.slice * K}, input{t.runs * L * kStride, t.slice * K} {
        const int gradients = t.strips * gradient.strip_values();
        y_at = gradients;
        x_at = y_at + (wanted.gradient_on_load ? gradients : 0);
        values = x_at + (wanted.x() ? kStride * t.strips * input.strip_values() : 0);
    }
};

template <class T, bool kVectors, int kStride>
DepthwiseTiling backward_tiling(const DepthwiseShape& s) {
    return depthwise_tiling(s.n, s.p(), s.q(), s.c, kChunk<T, kVectors>, kOwn<kVectors>, kRun<kStride>, kThreads);
}

template <class T, bool kVectors, int kStride, bool kDx, bool kDw, bool kGradientOnLoad, bool kOnLoad, bool kBefore>
__global__ void __launch_bounds__(kThreads, kDx&& kDw ? 1 : 2)
    backward_kernel(BackwardArrays<T> arrays, DepthwiseShape s, DepthwiseTiling t) {
    constexpr Wanted kWanted{kDx, kDw, kGradientOnLoad, kOnLoad, kBefore};
    constexpr CoefficientRows kRows = coefficient_rows(kWanted);
    constexpr bool kNeedsX = kDw || kBefore;
    constexpr int N = kOwn<kVectors>, K = kChunk<T, kVectors>, L = kRun<kStride>, kSlots = kStages<T>;
    // The window of dy: rows and columns; of them the first that a step needs before it has pixels of x.
    constexpr int kWindowRows = kStride == 1 ? 3 : 2, kWindow = kStride == 1 ? L + 2 : L + 1;
    constexpr int kBorder = kStride == 1 ? 1 : 0;  // rows and columns of dy before the first own one
    constexpr int kPixels = L * kStride;           // of x, next to each other in a row

    const int p = (s.h - 1) / kStride + 1, q = (s.w - 1) / kStride + 1, c = s.c;
    const DepthwisePlace place = depthwise_place<K, N>(t, s.n, p, c, L);
    const int slice_values = t.slice * K, first_channel = place.slice * slice_values;
    const BackwardSlot<T, kVectors, kStride> shape(t, kWanted);

    float* const coefficients = simt::dynamic_shared<float>();
    T* const ring = reinterpret_cast<T*>(coefficients + kRows.count * slice_values);
    const auto fetch_figures = [&](int row, const float* from, int rows) {
        fetch_coefficients(coefficients + row * slice_values, from, rows, slice_values, first_channel, c);
    };
    if constexpr (kDx) {
        fetch_figures(kRows.taps, arrays.w, 9);
    }
    if constexpr (kGradientOnLoad) {
        fetch_figures(kRows.a, arrays.gradient_on_load.a, 1);
        fetch_figures(kRows.a + 1, arrays.gradient_on_load.b, 1);
        fetch_figures(kRows.a + 2, arrays.gradient_on_load.d, 1);
    }
    if constexpr (kOnLoad) {
        fetch_figures(kRows.scale, arrays.on_load.scale, 1);
        fetch_figures(kRows.scale + 1, arrays.on_load.shift, 1);
    }
    if constexpr (kBefore) {
        fetch_figures(kRows.mean, arrays.mean, 1);
    }

    // Step k brings row place.row - kBorder + k of dy and, kStride rows each from step kWindowRows - 1 on, the rows of
    // x that have all of their dy then.
    const int steps = t.rows + kWindowRows - 1, first_row = place.row - kBorder;
    const int tile_column = place.tile_column - kBorder;
    using Slot = BackwardSlot<T, kVectors, kStride>;
    const auto fetch = [&](int step, int slot) {
        if (step < steps) {
            T* const at = ring + slot * shape.values;
            const int r = first_row + step;
            const bool inside = r >= 0 && r < p && r <= place.row_end;
            if constexpr (kGradientOnLoad) {
                fetch_row<K>({at, at + shape.y_at}, {arrays.g, arrays.gradient_on_load.y}, shape.gradient, r, inside,
                             tile_column, p, q, c, place);
            } else {
                fetch_row<K>({at}, {arrays.g}, shape.gradient, r, inside, tile_column, p, q, c, place);
            }
            if constexpr (kNeedsX) {
                if (step >= kWindowRows - 1) {
#pragma unroll
                    for (int i = 0; i < kStride; ++i) {
                        const int row = (place.row + step - kWindowRows + 1) * kStride + i;
                        fetch_row<K>({at + shape.x_at + i * t.strips * shape.input.strip_values()}, {arrays.x},
                                     shape.input, row, row < s.h && row < place.row_end * kStride,
                                     place.tile_column * kStride, s.h, s.w, c, place);
                    }
                }
            }
        }
        ptx::cp_async_commit();  // also an empty group: the wait counts groups
    };
#pragma unroll
    for (int step = 0; step < kSlots - 1; ++step) {
        fetch(step, step);
    }
    __syncthreads();  // the coefficients are there

    const auto coefficient = [&](int row) { return load<N>(coefficients + row * slice_values + place.own * N); };
    Floats<N> taps[9], dw[9], sums[2];
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
        dw[tap] = splat<N>(0.0f);
        if constexpr (kDx) {
            if (place.works) {
                taps[tap] = coefficient(kRows.taps + tap);
            }
        }
    }
    sums[0] = sums[1] = splat<N>(0.0f);
    const int my_column = place.tile_column + place.run * L;  // of dy; of x the kStride-fold
    const T* const my_g = ring + place.strip * shape.gradient.strip_values() +
                          shape.gradient.place_of(place.run * L) * slice_values + place.own * N;
    const T* const my_x = ring + shape.x_at + place.strip * shape.input.strip_values() +
                          shape.input.place_of(place.run * kPixels) * slice_values + place.own * N;
    const Clamp clamp = clamp_of(arrays.on_load.act);

    // One row of dy into the window; zero outside the image.
    const auto take_gradient = [&](Floats<N>(&row)[kWindow], int step, int slot) {
        const T* const tile = my_g + slot * shape.values;
        [[maybe_unused]] Floats<N> a, b, d;
        if constexpr (kGradientOnLoad) {
            a = coefficient(kRows.a);
            b = coefficient(kRows.a + 1);
            d = coefficient(kRows.a + 2);
        }
#pragma unroll
        for (int j = 0; j < kWindow; ++j) {
            const int at = Slot::GradientRow::place_of(j) * slice_values;
            row[j] = load<N>(tile + at);
            if constexpr (kGradientOnLoad) {
                const Floats<N> y = load<N>(tile + shape.y_at + at);
                const int r = first_row + step, column = my_column - kBorder + j;
                const bool inside = r >= 0 && r < p && column >= 0 && column < q;
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    row[j][i] = inside ? fmaf(a[i], row[j][i], fmaf(b[i], y[i], d[i])) : 0.0f;
                }
            }
        }
    };
    // All that a pixel of x gives: of row `row` of x, its `pixel`-th of this thread. `gradient(tap)` is the dy that tap
    // takes to this pixel, null where none does.
    const auto take_pixel = [&](int row, int pixel, const T* tile, auto&& gradient) {
        const int column = my_column * kStride + pixel;
        const bool inside = row < s.h && column < s.w;
        [[maybe_unused]] Floats<N> x, normalized;
        if constexpr (kNeedsX) {
            x = load<N>(tile + Slot::InputRow::place_of(pixel) * slice_values);
        }
        if constexpr (kOnLoad) {
            const Floats<N> scale = coefficient(kRows.scale), shift = coefficient(kRows.scale + 1);
#pragma unroll
            for (int i = 0; i < N; ++i) {
                normalized[i] = fmaf(scale[i], x[i], shift[i]);
            }
        }
        if constexpr (kDw) {
            const Clamp bounds = inside ? clamp : Clamp{0.0f, 0.0f};  // padding is zero behind the activation
#pragma unroll
            for (int i = 0; i < N; ++i) {
                const float z = kOnLoad ? clamped(normalized[i], bounds) : x[i];
#pragma unroll
                for (int tap = 0; tap < 9; ++tap) {
                    if (const Floats<N>* const dy = gradient(tap)) {
                        dw[tap][i] = fmaf(z, (*dy)[i], dw[tap][i]);
                    }
                }
            }
        }
        if constexpr (kDx) {
            Floats<N> dx = splat<N>(0.0f);
#pragma unroll
            for (int tap = 0; tap < 9; ++tap) {
                if (const Floats<N>* const dy = gradient(tap)) {
#pragma unroll
                    for (int i = 0; i < N; ++i) {
                        dx[i] = fmaf(taps[tap][i], (*dy)[i], dx[i]);
                    }
                }
            }
            if (inside) {
                if constexpr (kBefore) {
                    const Floats<N> mean = coefficient(kRows.mean);
#pragma unroll
                    for (int i = 0; i < N; ++i) {
                        dx[i] = passes(normalized[i], clamp) ? rounded<T>(dx[i]) : 0.0f;
                        sums[0][i] += dx[i];
                        sums[1][i] = fmaf(dx[i], x[i] - mean[i], sums[1][i]);
                    }
                }
                store<N>(arrays.dx + ((place.image * s.h + row) * s.w + column) * c + place.channel, dx);
            }
        }
    };

    int slot = 0;
    const auto arrive = [&](int step) {
        if (step >= steps) {
            return false;
        }
        ptx::cp_async_wait<kSlots - 2>();  // this thread's part of the rows is here
        __syncthreads();  // this step's rows are there for all; the slot of the step before is free
        fetch(step + kSlots - 1, slot == 0 ? kSlots - 1 : slot - 1);
        return true;
    };
    const auto leave = [&] { slot = slot == kSlots - 1 ? 0 : slot + 1; };

    Floats<N> window[kWindowRows][kWindow];
#pragma unroll
    for (int i = 0; i < kWindowRows * kWindow; ++i) {
        window[i / kWindow][i % kWindow] = splat<N>(0.0f);
    }
    if constexpr (kStride == 1) {
        // The window's rows change their roles, so that no value moves.
        const auto step_of = [&](int step, Floats<N>(&above)[kWindow], Floats<N>(&same)[kWindow],
                                 Floats<N>(&below)[kWindow]) {
            if (!arrive(step)) {
                return;
            }
            if (place.works) {
                take_gradient(below, step, slot);
                const int row = place.row + step - 2;
                if (step >= 2 && row < place.row_end) {
#pragma unroll
                    for (int o = 0; o < L; ++o) {
                        take_pixel(row, o, my_x + slot * shape.values, [&](int tap) -> const Floats<N>* {
                            const int column = o + 2 - tap % 3;
                            return tap < 3 ? &below[column] : tap < 6 ? &same[column] : &above[column];
                        });
                    }
                }
            }
            leave();
        };
        for (int step = 0; step < steps; step += 3) {
            step_of(step, window[0], window[1], window[2]);
            step_of(step + 1, window[1], window[2], window[0]);
            step_of(step + 2, window[2], window[0], window[1]);
        }
    } else {
        const auto step_of = [&](int step, Floats<N>(&same)[kWindow], Floats<N>(&below)[kWindow]) {
            if (!arrive(step)) {
                return;
            }
            if (place.works) {
                take_gradient(below, step, slot);
                const int row = place.row + step - 1;
                if (step >= 1 && row < place.row_end) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const int odd_row = i / 2, odd_column = i % 2;
                        const T* const tile =
                            my_x + slot * shape.values + odd_row * t.strips * shape.input.strip_values();
                        take_pixel(2 * row + odd_row, odd_column, tile, [&](int tap) -> const Floats<N>* {
                            const int r = tap / 3, column = tap % 3;
                            if ((r == 1) == (odd_row == 1) || (column == 1) == (odd_column == 1)) {
                                return nullptr;
                            }
                            return &(r == 0 ? below : same)[column == 0 ? 1 : 0];
                        });
                    }
                }
            }
            leave();
        };
        for (int step = 0; step < steps; step += 2) {
            step_of(step, window[0], window[1]);
            step_of(step + 1, window[1], window[0]);
        }
    }

    float* const buffer = coefficients;
    if constexpr (kDw) {
        float* const out = arrays.dw_parts + static_cast<std::int64_t>(place.part) * 9 * c;
#pragma unroll
        for (int r = 0; r < 3; ++r) {  // a filter row at a time: the buffer need not be large
            const Floats<N> figures[3] = {dw[3 * r], dw[3 * r + 1], dw[3 * r + 2]};
            store_block_sums(out + static_cast<std::int64_t>(3 * r) * c, figures, buffer, place, t, slice_values,
                             first_channel, c);
        }
    }
    if constexpr (kBefore) {
        store_block_sums(arrays.sum_parts + static_cast<std::int64_t>(place.part) * 2 * c, sums, buffer, place, t,
                         slice_values, first_channel, c);
    }
}

template <class T, bool kVectors, int kStride, bool kDx, bool kDw, bool kGradientOnLoad, bool kOnLoad, bool kBefore>
void backward(BackwardArrays<T> arrays, float* dw, const NormalizeBackward* before, const DepthwiseShape& s,
              Stream stream) {
    constexpr Wanted kWanted{kDx, kDw, kGradientOnLoad, kOnLoad, kBefore};
    const DepthwiseTiling t = backward_tiling<T, kVectors, kStride>(s);
    const BackwardSlot<T, kVectors, kStride> slot(t, kWanted);
    const std::size_t floats = static_cast<std::size_t>(t.slice) * kChunk<T, kVectors>;
    const std::size_t tiles = static_cast<std::size_t>(coefficient_rows(kWanted).count) * floats * sizeof(float) +
                              static_cast<std::size_t>(kStages<T> * slot.values) * sizeof(T);
    const std::size_t sums = static_cast<std::size_t>(t.strips * t.runs) * floats * sizeof(float) *
                             (kDw       ? 3
                              : kBefore ? 2
                                        : 0);
    [[maybe_unused]] const std::int64_t parts = t.parts();
    std::optional<Scratch<float>> scratch;
    if constexpr (kDw || kBefore) {
        scratch.emplace(parts * s.c * ((kDw ? 9 : 0) + (kBefore ? 2 : 0)), stream);
        arrays.dw_parts = scratch->data();
        arrays.sum_parts = scratch->data() + parts * s.c * (kDw ? 9 : 0);
    }
    launch<backward_kernel<T, kVectors, kStride, kDx, kDw, kGradientOnLoad, kOnLoad, kBefore>>(
        {.grid = static_cast<unsigned>(t.blocks()),
         .block = static_cast<unsigned>(t.threads()),
         .shared_bytes = tiles > sums ? tiles : sums},
        stream, arrays, s, t);
    if constexpr (kDw) {
        finish_sum(dw, arrays.dw_parts, t.parts(), std::int64_t{9} * s.c, stream);
    }
    if constexpr (kBefore) {
        finish_sums(before->dbeta, before->dgamma, before->inv_std, arrays.sum_parts, t.parts(), s.c, stream);
    }
}

// Calls body.operator()<value>() with a value that was known at run time only.
template <class Body>
void with_bool(bool value, Body&& body) {
    value ? body.template operator()<true>() : body.template operator()<false>();
}

}  // namespace

template <class T>
void depthwise_backward(T* dx, float* dw, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* w,
                        const DepthwiseShape& s, Stream stream) {
    check_depthwise_backward(s, dx != nullptr, on_load != nullptr, before != nullptr);
    if (dx == nullptr && dw == nullptr) {
        return;
    }
    BackwardArrays<T> arrays{};
    arrays.dx = dx;
    arrays.g = g;
    arrays.x = x;
    arrays.gradient_on_load = gradient_on_load != nullptr ? *gradient_on_load : GradientOnLoadT<T>{};
    arrays.on_load = on_load != nullptr ? *on_load : Normalize{nullptr, nullptr, Activation::identity};
    arrays.mean = before != nullptr ? before->mean : nullptr;
    arrays.w = w;
    with_bool(s.c % kVector<T> == 0, [&]<bool kVectors>() {
        with_bool(s.stride == 1, [&]<bool kStride1>() {
            with_bool(gradient_on_load != nullptr, [&]<bool kGradient>() {
                constexpr int kStride = kStride1 ? 1 : 2;
                const bool masked = dx != nullptr && before != nullptr;
                const auto call = [&]<bool kDx, bool kDw, bool kOnLoad, bool kBefore>() {
                    backward<T, kVectors, kStride, kDx, kDw, kGradient, kOnLoad, kBefore>(arrays, dw, before, s,
                                                                                          stream);
                };
                if (dw == nullptr) {
                    masked ? call.template operator()<true, false, true, true>()
                           : call.template operator()<true, false, false, false>();
                } else if (dx == nullptr) {
                    on_load != nullptr ? call.template operator()<false, true, true, false>()
                                       : call.template operator()<false, true, false, false>();
                } else if (masked) {
                    call.template operator()<true, true, true, true>();
                } else {
                    on_load != nullptr ? call.template operator()<true, true, true, false>()
                                       : call.template operator()<true, true, false, false>();
                }
            });
        });
    });
}

template <class T>
Traffic depthwise_backward_traffic(const DepthwiseBackwardForm& form, const DepthwiseShape& s) {
    if (!form.dx && !form.dw) {
        return {};
    }
    const DepthwiseTiling t = s.c % kVector<T> == 0
                                  ? (s.stride == 1 ? backward_tiling<T, true, 1>(s) : backward_tiling<T, true, 2>(s))
                                  : (s.stride == 1 ? backward_tiling<T, false, 1>(s) : backward_tiling<T, false, 2>(s));
    const bool before = form.dx && form.before;
    const Wanted wanted{form.dx, form.dw, form.gradient_on_load, before || (form.dw && form.on_load), before};
    const std::int64_t pixel = std::int64_t{sizeof(T)} * s.c, channels = 4 * std::int64_t{s.c}, parts = t.parts();
    const std::int64_t inputs = std::int64_t{s.n} * s.h * s.w, outputs = std::int64_t{s.n} * s.p() * s.q();
    const std::int64_t gradients = form.gradient_on_load ? 2 : 1;
    Traffic traffic{gradients * depthwise_pixels_loaded(t, s.n, s.p(), s.q(), 3 - s.stride) * pixel,
                    gradients * outputs * pixel};
    traffic += Traffic::once(((wanted.x() ? 1 : 0) + (form.dx ? 1 : 0)) * inputs * pixel);
    traffic += Traffic::times(parts, coefficient_rows(wanted).count * channels);
    if (form.dw) {
        traffic += Traffic::once(parts * 9 * channels) + finish_sum_traffic(t.parts(), std::int64_t{9} * s.c);
    }
    if (before) {
        traffic += Traffic::once(parts * 2 * channels) + finish_sums_traffic(t.parts(), s.c);
    }
    return traffic;
}
template Traffic depthwise_backward_traffic<float>(const DepthwiseBackwardForm&, const DepthwiseShape&);
template Traffic depthwise_backward_traffic<BFloat16>(const DepthwiseBackwardForm&, const DepthwiseShape&);

template void depthwise_backward(float*, float*, const float*, const GradientOnLoadT<float>*, const float*,
                                 const Normalize*, const NormalizeBackward*, const float*, const DepthwiseShape&,
                                 Stream);
template void depthwise_backward(BFloat16*, float*, const BFloat16*, const GradientOnLoadT<BFloat16>*, const BFloat16*,
                                 const Normalize*, const NormalizeBackward*, const float*, const DepthwiseShape&,
                                 Stream);

}  // namespace cutis::cuda
