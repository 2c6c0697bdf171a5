#include "kernels/depthwise.h"

#include "kernels/channel_checks.h"
#include "kernels/depthwise_tile.cuh"

// The forward pass, depthwise_tile.cuh's march. A row of x, once it is in shared memory, is read by each thread at its
// own columns and one (stride 1: two) beyond, and added to the rows of y that it belongs to, which wait in registers:
//
//   stride 1     row r of x times taps 2 --> y row r-1: finished, stored, counted for the statistics
//                           times taps 1 --> y row r
//                           times taps 0 --> y row r+1: begun
//   stride 2     odd rows finish one row of y and begin the next, even rows are the middle of one
//
// A thread keeps 4 channels of the 9 taps (36 registers) and of 2 columns of 3 (stride 2: 2) rows of y. Each value of x
// is written to shared memory once and read from there 2 (1.25) times.
//
//   Bytes: x and y once, sizeof(T) c n (h w + p q). Seams: two rows of x again (stride 2: one) where strips of rows
//   meet, two columns (one) where tiles of columns do; tiles hold 64 columns of y or more, strips whole images unless
//   there are too few for a grid. To each block 36 bytes of taps per channel (44 with on_load); with
//   statistics 8 bytes of partials per channel, written and read, and one count.
//   FLOPs: 18 per value of y; on_load adds 8 (stride 1, where two threads normalise each value of x; stride 2: 20),
//   statistics 4: at stride 1 and 4 bytes per value (bf16) 4.5 to 7.5 FLOPs per byte, where a H100 has about 20 fp32
//   FLOPs per byte: memory is the floor. bf16 values of y leave in 8-byte stores, 64 bytes of a pixel next to each
//   other: eight channels a thread would need 72 registers for taps alone.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;  // at most; with 128 registers each two blocks fit a multiprocessor
constexpr int kRun = 2;        // columns of y

template <int kStride>
constexpr int tile_columns(int runs) {
    return runs * kRun * kStride + (kStride == 1 ? 2 : 1);
}

template <class T, bool kVectors, int kStride>
DepthwiseTiling forward_tiling(const DepthwiseShape& s) {
    return depthwise_tiling(s.n, s.p(), s.q(), s.c, kChunk<T, kVectors>, kOwn<kVectors>, kRun, kThreads);
}

template <class T, bool kVectors, int kStride, bool kOnLoad, bool kStatistics>
__global__ void __launch_bounds__(kThreads, 2)
    forward_kernel(T* y, const T* x, const float* w, Normalize on_load, float* partials, float* part_rows,
                   DepthwiseShape s, DepthwiseTiling t) {
    constexpr int N = kOwn<kVectors>, K = kChunk<T, kVectors>, L = kRun, kInputs = L * kStride + 3 - kStride;
    constexpr int kSlots = kStages<T>;
    using Row = TileRow<T, K, L * kStride>;

    const int p = (s.h - 1) / kStride + 1, q = (s.w - 1) / kStride + 1, c = s.c, slice_values = t.slice * K;
    const DepthwisePlace place = depthwise_place<K, N>(t, s.n, p, c, L);
    const int first_channel = place.slice * slice_values;
    const Row row{tile_columns<kStride>(t.runs), slice_values};
    const int slot_values = t.strips * row.strip_values();

    float* const coefficients = simt::dynamic_shared<float>();
    T* const ring = reinterpret_cast<T*>(coefficients + (kOnLoad ? 11 : 9) * slice_values);
    fetch_coefficients(coefficients, w, 9, slice_values, first_channel, c);
    if constexpr (kOnLoad) {
        fetch_coefficients(coefficients + 9 * slice_values, on_load.scale, 1, slice_values, first_channel, c);
        fetch_coefficients(coefficients + 10 * slice_values, on_load.shift, 1, slice_values, first_channel, c);
    }

    // Step k takes row first_row + k of x; all strips take as many steps, but rows past their own end are not read.
    const int first_row = place.row * kStride - 1, first_column = place.tile_column * kStride - 1;
    const int steps = t.rows * kStride + 3 - kStride;
    const auto fetch = [&](int step, int slot) {
        if (step < steps) {
            const int r = first_row + step;
            fetch_row<K>({ring + slot * slot_values}, {x}, row, r,
                         r >= 0 && r < s.h && r < (place.row_end - 1) * kStride + 2, first_column, s.h, s.w, c, place);
        }
        ptx::cp_async_commit();  // also an empty group: the wait counts groups
    };
#pragma unroll
    for (int step = 0; step < kSlots - 1; ++step) {
        fetch(step, step);
    }
    __syncthreads();  // the coefficients are there

    Floats<N> taps[9];
    if (place.works) {
#pragma unroll
        for (int tap = 0; tap < 9; ++tap) {
            taps[tap] = load<N>(coefficients + tap * slice_values + place.own * N);
        }
    }
    const int my_column = first_column + place.run * L * kStride;  // of x, the first that this thread reads
    const int my_out = place.tile_column + place.run * L, outs = min(L, q - my_out);
    const T* const my_tile =
        ring + place.strip * row.strip_values() + row.place_of(place.run * L * kStride) * slice_values + place.own * N;
    T* out = y + ((place.image * p + place.row) * q + my_out) * c + place.channel;
    const Clamp clamp = clamp_of(on_load.act);
    ShiftedSums<N> sums;
    int slot = 0;

    // The row's values at this thread's columns, column by column: body(j, values).
    const auto for_inputs = [&](int step, auto&& body) {
        [[maybe_unused]] const int r = first_row + step;
        [[maybe_unused]] const bool row_inside = r >= 0 && r < s.h;
        const T* const tile = my_tile + slot * slot_values;
        [[maybe_unused]] Floats<N> scale, shift;
        if constexpr (kOnLoad) {  // again every step: the registers are worth more
            scale = load<N>(coefficients + 9 * slice_values + place.own * N);
            shift = load<N>(coefficients + 10 * slice_values + place.own * N);
        }
#pragma unroll
        for (int j = 0; j < kInputs; ++j) {
            Floats<N> values = load<N>(tile + Row::place_of(j) * slice_values);
            if constexpr (kOnLoad) {
                // Padding is zero behind the activation.
                const bool inside = row_inside && my_column + j >= 0 && my_column + j < s.w;
                const Clamp bounds = inside ? clamp : Clamp{0.0f, 0.0f};
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    values[i] = clamped(fmaf(scale[i], values[i], shift[i]), bounds);
                }
            }
            body(j, values);
        }
    };
    const auto finish = [&](int out_row, Floats<N>(&values)[L]) {
        if (place.row + out_row >= place.row_end) {
            return;
        }
#pragma unroll
        for (int o = 0; o < L; ++o) {
            if (o < outs) {
                if constexpr (kStatistics) {
#pragma unroll
                    for (int i = 0; i < N; ++i) {
                        values[o][i] = rounded<T>(values[o][i]);
                    }
                    if (o == 0 && out_row == 0) {
                        sums.start(values[0]);
                    }
                    sums.add(values[o]);
                }
                store<N>(out + static_cast<std::int64_t>(o) * c, values[o]);
            }
        }
        out += static_cast<std::int64_t>(q) * c;
    };
    // Adds taps 3 * r ... 3 * r + 2 times column j to the sums that have it; `begin`: these are the first.
    const auto add = [&](Floats<N>(&sum)[L], int r, int j, const Floats<N>& values, bool begin) {
#pragma unroll
        for (int o = 0; o < L; ++o) {
            const int tap = j - o * kStride;
            if (tap >= 0 && tap < 3) {
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    sum[o][i] = begin && tap == 0 ? taps[3 * r][i] * values[i]
                                                  : fmaf(taps[3 * r + tap][i], values[i], sum[o][i]);
                }
            }
        }
    };
    // Makes the step's row available. False after the last one.
    const auto arrive = [&](int step) {
        if (step >= steps) {
            return false;
        }
        ptx::cp_async_wait<kSlots - 2>();  // this thread's part of the row is here
        __syncthreads();  // this step's row is there for all; the slot of the one before is free
        fetch(step + kSlots - 1, slot == 0 ? kSlots - 1 : slot - 1);
        return true;
    };
    const auto leave = [&] { slot = slot == kSlots - 1 ? 0 : slot + 1; };

    if constexpr (kStride == 1) {
        Floats<N> a[L], b[L], d[L];
#pragma unroll
        for (int o = 0; o < L; ++o) {
            a[o] = b[o] = d[o] = splat<N>(0.0f);
        }
        const auto step_of = [&](int step, Floats<N>(&done)[L], Floats<N>(&middle)[L], Floats<N>(&begun)[L]) {
            if (!arrive(step)) {
                return;
            }
            if (place.works) {
                for_inputs(step, [&](int j, const Floats<N>& values) {
                    add(done, 2, j, values, false);
                    add(middle, 1, j, values, false);
                    add(begun, 0, j, values, true);
                });
                if (step >= 2) {
                    finish(step - 2, done);
                }
            }
            leave();
        };
        for (int step = 0; step < steps; step += 3) {
            step_of(step, a, b, d);
            step_of(step + 1, b, d, a);
            step_of(step + 2, d, a, b);
        }
    } else {
        Floats<N> sum[L], next[L];
#pragma unroll
        for (int o = 0; o < L; ++o) {
            sum[o] = next[o] = splat<N>(0.0f);
        }
        for (int step = 0; step < steps; step += 2) {
            arrive(step);
            if (place.works) {
                for_inputs(step, [&](int j, const Floats<N>& values) {
                    add(sum, 2, j, values, false);
                    add(next, 0, j, values, true);
                });
                if (step >= 2) {
                    finish(step / 2 - 1, sum);
                }
#pragma unroll
                for (int o = 0; o < L; ++o) {
                    sum[o] = next[o];
                }
            }
            leave();
            if (!arrive(step + 1)) {
                break;
            }
            if (place.works) {
                for_inputs(step + 1, [&](int j, const Floats<N>& values) { add(sum, 1, j, values, false); });
            }
            leave();
        }
    }

    if constexpr (kStatistics) {
        const int rows = place.row_end - place.row, members = t.strips * t.runs;
        const float count = place.works && outs > 0 ? static_cast<float>(rows * outs) : 0.0f;
        float* const counts = coefficients;  // members, then their figures; the ring has been read by all
        float* const figures = coefficients + members;
        __syncthreads();  // nobody reads coefficients or rows any more
        if (place.strip < t.strips) {
            if (place.own == 0) {
                counts[place.member] = count;
            }
#pragma unroll
            for (int i = 0; i < N; ++i) {
                const Moments m = sums.moments(i, count);
                figures[place.member * slice_values + place.own * N + i] = m.mean;
                figures[(members + place.member) * slice_values + place.own * N + i] = m.spread;
            }
        }
        __syncthreads();  // a channel's figures are other threads'
        for (int i = static_cast<int>(threadIdx.x); i < slice_values; i += static_cast<int>(blockDim.x)) {
            if (first_channel + i < c) {
                Moments all{counts[0], figures[i], figures[members * slice_values + i]};
                for (int m = 1; m < members; ++m) {
                    all = joined(all,
                                 {counts[m], figures[m * slice_values + i], figures[(members + m) * slice_values + i]});
                }
                float* const part = partials + static_cast<std::int64_t>(place.part) * 2 * c + first_channel + i;
                store<1>(part, splat<1>(all.mean));
                store<1>(part + c, splat<1>(all.spread));
                if (first_channel + i == 0) {
                    store<1>(part_rows + place.part, splat<1>(all.count));
                }
            }
        }
    }
}

template <class T, bool kVectors, int kStride, bool kOnLoad, bool kStatistics>
void forward(T* y, const T* x, const float* w, const Normalize* on_load, const BatchStatistics* statistics,
             const DepthwiseShape& s, Stream stream) {
    constexpr int K = kChunk<T, kVectors>;
    const DepthwiseTiling t = forward_tiling<T, kVectors, kStride>(s);
    const TileRow<T, K, kRun * kStride> row{tile_columns<kStride>(t.runs), t.slice * K};
    const std::size_t floats = static_cast<std::size_t>(t.slice) * K,
                      members = static_cast<std::size_t>(t.strips * t.runs);
    const std::size_t tiles = (kOnLoad ? 11 : 9) * floats * sizeof(float) +
                              static_cast<std::size_t>(kStages<T> * t.strips * row.strip_values()) * sizeof(T);
    const std::size_t join = kStatistics ? members * (2 * floats + 1) * sizeof(float) : 0;
    const simt::LaunchShape shape{.grid = static_cast<unsigned>(t.blocks()),
                                  .block = static_cast<unsigned>(t.threads()),
                                  .shared_bytes = tiles > join ? tiles : join};
    const Normalize normalize = on_load != nullptr ? *on_load : Normalize{nullptr, nullptr, Activation::identity};
    if constexpr (kStatistics) {
        const Scratch<float> partials(std::int64_t{t.parts()} * (2 * s.c + 1), stream);
        float* const part_rows = partials.data() + std::int64_t{t.parts()} * 2 * s.c;
        launch<forward_kernel<T, kVectors, kStride, kOnLoad, true>>(shape, stream, y, x, w, normalize, partials.data(),
                                                                    part_rows, s, t);
        finish_statistics(statistics->mean, statistics->var, partials.data(), t.parts(), part_rows, s.c, stream);
    } else {
        launch<forward_kernel<T, kVectors, kStride, kOnLoad, false>>(shape, stream, y, x, w, normalize, nullptr,
                                                                     nullptr, s, t);
    }
}

}  // namespace

template <class T>
void depthwise_forward(T* y, const T* x, const float* w, const Normalize* on_load, const BatchStatistics* statistics,
                       const DepthwiseShape& s, Stream stream) {
    check_depthwise(s, statistics != nullptr);
    const auto choose = [&]<bool kVectors, int kStride>() {
        if (on_load != nullptr) {
            statistics != nullptr ? forward<T, kVectors, kStride, true, true>(y, x, w, on_load, statistics, s, stream)
                                  : forward<T, kVectors, kStride, true, false>(y, x, w, on_load, statistics, s, stream);
        } else {
            statistics != nullptr
                ? forward<T, kVectors, kStride, false, true>(y, x, w, on_load, statistics, s, stream)
                : forward<T, kVectors, kStride, false, false>(y, x, w, on_load, statistics, s, stream);
        }
    };
    if (s.c % kVector<T> == 0) {
        s.stride == 1 ? choose.template operator()<true, 1>() : choose.template operator()<true, 2>();
    } else {
        s.stride == 1 ? choose.template operator()<false, 1>() : choose.template operator()<false, 2>();
    }
}

template <class T>
Traffic depthwise_forward_traffic(bool on_load, bool statistics, const DepthwiseShape& s) {
    if (s.n == 0) {
        return {};
    }
    const DepthwiseTiling t = s.c % kVector<T> == 0
                                  ? (s.stride == 1 ? forward_tiling<T, true, 1>(s) : forward_tiling<T, true, 2>(s))
                                  : (s.stride == 1 ? forward_tiling<T, false, 1>(s) : forward_tiling<T, false, 2>(s));
    const std::int64_t pixel = std::int64_t{sizeof(T)} * s.c, parts = t.parts();
    Traffic traffic{depthwise_pixels_loaded(t, s.n, s.h, s.w, 3 - s.stride) * pixel,
                    std::int64_t{s.n} * s.h * s.w * pixel};
    traffic += Traffic::once(std::int64_t{s.n} * s.p() * s.q() * pixel);
    traffic += Traffic::times(parts, (on_load ? 11 : 9) * 4 * std::int64_t{s.c});
    if (statistics) {
        traffic += Traffic::once(parts * 4 * (2 * s.c + 1)) + finish_statistics_traffic(t.parts(), true, s.c);
    }
    return traffic;
}
template Traffic depthwise_forward_traffic<float>(bool, bool, const DepthwiseShape&);
template Traffic depthwise_forward_traffic<BFloat16>(bool, bool, const DepthwiseShape&);

template void depthwise_forward(float*, const float*, const float*, const Normalize*, const BatchStatistics*,
                                const DepthwiseShape&, Stream);
template void depthwise_forward(BFloat16*, const BFloat16*, const float*, const Normalize*, const BatchStatistics*,
                                const DepthwiseShape&, Stream);

}  // namespace cutis::cuda
