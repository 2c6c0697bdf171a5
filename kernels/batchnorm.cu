#include "kernels/batchnorm.h"

#include "kernels/channel_checks.h"
#include "kernels/reduce.cuh"

// Batch normalisation's passes over rows of channels. All have one shape: a block takes a slice of up to 32 accesses
// (16 bytes each) of a pixel and a run of rows, its part; a thread keeps its channels and walks down:
//
//                 slice of channels
//               +---------------------+
//   row 0       | t0   t1   t2  ..    |   part 0 = the rows of block 0: `lanes` rows at a time
//   row 1       | t32  t33  ..        |
//   ...         |                     |
//               +=====================+
//               |                     |   part 1
//
// so that neighbouring threads read neighbouring addresses, scale and shift are read once and stay in registers, and a
// thread's sums are joined with its column's in shared memory, those of the parts by reduce.cu.
//
//   Bytes, per value of sizeof(T): statistics 1 read; normalize 1 read (2 with residual), 1 written; reduce 2 read (and
//   1 written where g is wanted); apply 2 read, 1 written. batchnorm_forward, with a slice in shared memory: 1 read (2
//   with residual), 1 written. Per part and channel 8 bytes of partials, written and read. To every thread 4 for each
//   figure of its channels (normalize 2, reduce 3, apply 3 or with a mask 5, batchnorm_forward 2), which caches serve.
//   FLOPs per value: statistics 4; normalize 4; reduce 7; apply 6: below 4 per byte in bf16, so memory is the floor.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSliceAccesses = 32;  // of a row, in a block: 512 bytes next to each other
// Parts that a tensor is cut into at most, and rows that each lane should have to be worth a block: fixed numbers, so
// that the order of sums does not depend on the GPU.
constexpr std::int64_t kMostBlocks = 1056;
constexpr std::int64_t kLeastRowsOfLane = 8;
constexpr int kUnroll = 4;  // rows under way per thread

/// How rows x c values are cut into blocks.
struct RowTiling {
    int groups;  ///< accesses of a row
    int slice;   ///< of them in a block
    int slices;
    int lanes;               ///< rows that a block reads at a time
    std::int64_t part_rows;  ///< of a block
    int parts;
};

RowTiling row_tiling(std::int64_t rows, int c, int values) {
    RowTiling t{};
    t.groups = c / values;
    t.slices = static_cast<int>(blocks_for(t.groups, kSliceAccesses));
    t.slice = static_cast<int>(blocks_for(t.groups, t.slices));
    t.slices = static_cast<int>(blocks_for(t.groups, t.slice));
    t.lanes = kThreads / t.slice;
    const std::int64_t most = kMostBlocks / t.slices > 1 ? kMostBlocks / t.slices : 1;
    const std::int64_t least_rows = t.lanes * kLeastRowsOfLane;
    std::int64_t parts = (rows + least_rows - 1) / least_rows;
    parts = parts < 1 ? 1 : parts > most ? most : parts;
    t.part_rows = (rows + parts - 1) / parts;
    t.part_rows = t.part_rows < 1 ? 1 : t.part_rows;
    t.parts = static_cast<int>((rows + t.part_rows - 1) / t.part_rows);
    return t;
}

simt::LaunchShape shape_of(const RowTiling& t) {
    return {.grid = {static_cast<unsigned>(t.slices), static_cast<unsigned>(t.parts)}, .block = kThreads};
}

/// Where a thread stands: its channels, and rows [row, end) in steps of `lanes`.
struct RowPlace {
    int lane, column;  ///< of the block
    int channel;
    std::int64_t row, end;
    bool works;
};

template <int N>
__device__ __forceinline__ RowPlace row_place(const RowTiling& t, std::int64_t rows) {
    RowPlace place;
    const int thread = static_cast<int>(threadIdx.x);
    place.lane = thread / t.slice;
    place.column = thread - place.lane * t.slice;
    const int group = static_cast<int>(blockIdx.x) * t.slice + place.column;
    place.channel = group * N;
    place.works = place.lane < t.lanes && group < t.groups;
    const std::int64_t first = blockIdx.y * t.part_rows;
    place.end = first + t.part_rows < rows ? first + t.part_rows : rows;
    place.row = first + place.lane;
    return place;
}

/// Calls body(offset) for this thread's rows, kUnroll of them without a dependence between.
template <class Body>
__device__ __forceinline__ void for_rows(const RowPlace& place, int lanes, int c, Body&& body) {
    if (!place.works) {
        return;
    }
    const std::int64_t step = static_cast<std::int64_t>(lanes) * c;
    std::int64_t offset = place.row * c + place.channel;
#pragma unroll kUnroll
    for (std::int64_t row = place.row; row < place.end; row += lanes) {
        body(offset);
        offset += step;
    }
}

/// The rows that a thread has.
__device__ __forceinline__ float rows_of(const RowPlace& place, int lanes) {
    return place.works && place.row < place.end ? static_cast<float>((place.end - place.row + lanes - 1) / lanes)
                                                : 0.0f;
}

/// Joins two figures per channel over a block's lanes, always in one order: `join(i, other)` takes thread `other`'s
/// figures of channel i into the caller's. The result is lane 0's. A thread publishes once, hence nobody waits until
/// its figures have been read.
template <int N, class Publish, class Join>
__device__ __forceinline__ void join_lanes(const RowPlace& place, const RowTiling& t, Publish&& publish, Join&& join) {
    for (int active = t.lanes; active > 1;) {
        const int half = (active + 1) / 2;
        if (place.lane >= half && place.lane < active) {
            publish();
        }
        __syncthreads();  // the upper half's figures are there
        if (place.lane < active - half) {
            join(static_cast<int>(threadIdx.x) + half * t.slice);
        }
        active = half;
    }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    statistics_kernel(float* partials, const T* y, std::int64_t rows, int c, RowTiling t) {
    SIMT_SHARED(float, means, [N][kThreads]);
    SIMT_SHARED(float, spreads, [N][kThreads]);
    SIMT_SHARED(float, counts, [kThreads]);
    const RowPlace place = row_place<N>(t, rows);
    ShiftedSums<N> sums;
    RowPlace rest = place;
    if (place.works && place.row < place.end) {
        sums.start(load<N>(y + place.row * c + place.channel));  // which adds nothing to sums around itself
        rest.row += t.lanes;
    }
    for_rows(rest, t.lanes, c, [&](std::int64_t offset) { sums.add(load<N>(y + offset)); });
    Moments moments[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
        moments[i] = sums.moments(i, rows_of(place, t.lanes));
    }
    join_lanes<N>(
        place, t,
        [&] {
            counts[threadIdx.x] = moments[0].count;
#pragma unroll
            for (int i = 0; i < N; ++i) {
                means[i][threadIdx.x] = moments[i].mean;
                spreads[i][threadIdx.x] = moments[i].spread;
            }
        },
        [&](int other) {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                moments[i] = joined(moments[i], {counts[other], means[i][other], spreads[i][other]});
            }
        });
    if (place.lane == 0 && place.works) {
        float* const out = partials + static_cast<std::int64_t>(blockIdx.y) * 2 * c + place.channel;
#pragma unroll
        for (int i = 0; i < N; ++i) {
            out[i] = moments[i].mean;
            out[c + i] = moments[i].spread;
        }
    }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    normalize_kernel(T* z, const T* y, Normalize normalize, const T* residual, std::int64_t rows, int c, RowTiling t) {
    const RowPlace place = row_place<N>(t, rows);
    if (!place.works) {
        return;
    }
    const Clamp clamp = clamp_of(normalize.act);
    const Floats<N> scale = load<N>(normalize.scale + place.channel), shift = load<N>(normalize.shift + place.channel);
    for_rows(place, t.lanes, c, [&](std::int64_t offset) {
        Floats<N> values = load<N>(y + offset);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            values[i] = clamped(fmaf(scale[i], values[i], shift[i]), clamp);
        }
        if (residual != nullptr) {
            const Floats<N> added = load<N>(residual + offset);
#pragma unroll
            for (int i = 0; i < N; ++i) {
                values[i] += added[i];
            }
        }
        store<N>(z + offset, values);
    });
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    reduce_kernel(T* g, float* partials, const float* mean, const T* dz, const T* y, Normalize normalize,
                  std::int64_t rows, int c, RowTiling t) {
    SIMT_SHARED(float, of_lanes, [2][N][kThreads]);
    const RowPlace place = row_place<N>(t, rows);
    const Clamp clamp = clamp_of(normalize.act);
    Floats<N> sums[2] = {splat<N>(0.0f), splat<N>(0.0f)};
    if (place.works) {
        const Floats<N> scale = load<N>(normalize.scale + place.channel),
                        shift = load<N>(normalize.shift + place.channel), center = load<N>(mean + place.channel);
        for_rows(place, t.lanes, c, [&](std::int64_t offset) {
            const Floats<N> values = load<N>(y + offset);
            Floats<N> gradient = load<N>(dz + offset);
#pragma unroll
            for (int i = 0; i < N; ++i) {
                gradient[i] = passes(fmaf(scale[i], values[i], shift[i]), clamp) ? gradient[i] : 0.0f;
                sums[0][i] += gradient[i];
                sums[1][i] = fmaf(gradient[i], values[i] - center[i], sums[1][i]);
            }
            if (g != nullptr) {
                store<N>(g + offset, gradient);
            }
        });
    }
    join_lanes<N>(
        place, t,
        [&] {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                of_lanes[0][i][threadIdx.x] = sums[0][i];
                of_lanes[1][i][threadIdx.x] = sums[1][i];
            }
        },
        [&](int other) {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                sums[0][i] += of_lanes[0][i][other];
                sums[1][i] += of_lanes[1][i][other];
            }
        });
    if (place.lane == 0 && place.works) {
        float* const out = partials + static_cast<std::int64_t>(blockIdx.y) * 2 * c + place.channel;
        store<N>(out, sums[0]);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            out[c + i] = sums[1][i];
        }
    }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    apply_gradient_kernel(T* dy, const T* dz, GradientOnLoadT<T> on_load, Normalize normalize, std::int64_t rows, int c,
                          RowTiling t) {
    const RowPlace place = row_place<N>(t, rows);
    if (!place.works) {
        return;
    }
    const bool masks = normalize.scale != nullptr;
    const Clamp clamp = clamp_of(normalize.act);
    const Floats<N> a = load<N>(on_load.a + place.channel), b = load<N>(on_load.b + place.channel),
                    d = load<N>(on_load.d + place.channel);
    const Floats<N> scale = masks ? load<N>(normalize.scale + place.channel) : splat<N>(0.0f);
    const Floats<N> shift = masks ? load<N>(normalize.shift + place.channel) : splat<N>(0.0f);
    for_rows(place, t.lanes, c, [&](std::int64_t offset) {
        const Floats<N> values = load<N>(on_load.y + offset);
        Floats<N> gradient = load<N>(dz + offset);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const float g = !masks || passes(fmaf(scale[i], values[i], shift[i]), clamp) ? gradient[i] : 0.0f;
            gradient[i] = fmaf(a[i], g, fmaf(b[i], values[i], d[i]));
        }
        store<N>(dy + offset, gradient);
    });
}

__global__ void fold_kernel(float* scale, float* shift, float* inv_std, const float* gamma, const float* beta,
                            const float* mean, const float* var, float eps, int c) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < c) {
        const float inverse = 1.0f / sqrtf(var[i] + eps);
        const float factor = gamma[i] * inverse;
        inv_std[i] = inverse;
        scale[i] = factor;
        shift[i] = fmaf(-mean[i], factor, beta[i]);
    }
}

__global__ void complete_kernel(const BatchnormSaved saved, const float* gamma, const float* beta, float eps, int c) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < c) {
        const float inverse = saved.inv_std[i];
        const float factor = gamma[i] * inverse;
        saved.var[i] = not_negative(1.0f / (inverse * inverse) - eps);
        saved.scale[i] = factor;
        saved.shift[i] = fmaf(-saved.mean[i], factor, beta[i]);
    }
}

__global__ void update_running_kernel(float* running_mean, float* running_var, const float* mean, const float* var,
                                      float unbias, float momentum, int c) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < c) {
        running_mean[i] += momentum * (mean[i] - running_mean[i]);
        running_var[i] += momentum * (var[i] * unbias - running_var[i]);
    }
}

__global__ void coefficients_kernel(float* a, float* b, float* d, const float* gamma, const float* mean,
                                    const float* inv_std, const float* dgamma, const float* dbeta, float per_row,
                                    int c) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < c) {
        const float factor = gamma[i] * inv_std[i];
        const float of_y = -factor * inv_std[i] * dgamma[i] * per_row;
        a[i] = factor;
        b[i] = of_y;
        d[i] = -factor * dbeta[i] * per_row - of_y * mean[i];
    }
}

// Accesses of 16 bytes where rows are whole ones, else single values.
template <class T, class Body>
void with_width(int c, Body&& body) {
    if (c % kVector<T> == 0) {
        body.template operator()<kVector<T>>();
    } else {
        body.template operator()<1>();
    }
}

// ---- the single-read form. A block owns one access (16 bytes) of each row, for all rows:
//
//   y  |  . . [16 B] . .  |  row 0        --> shared memory, values as stored
//      |  . . [16 B] . .  |  row 1            statistics of the slice: no other block has a say
//      |        ...       |  ...              scale and shift in registers, z written from shared memory
//
// A neighbouring block reads the other half of each 32-byte sector at about the same time, so that L2 serves it.

constexpr std::size_t kSliceBytes = 96 * 1024;

template <class T, int N>
constexpr std::int64_t fitting_rows() {
    return static_cast<std::int64_t>(kSliceBytes / (N * sizeof(T)));
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    single_read_kernel(T* z, BatchnormSaved saved, const T* y, const float* gamma, const float* beta, float eps,
                       Activation act, const T* residual, std::int64_t rows, int c) {
    SIMT_SHARED(float, means, [N][kThreads]);
    SIMT_SHARED(float, spreads, [N][kThreads]);
    SIMT_SHARED(float, counts, [kThreads]);
    T* const slice = simt::dynamic_shared<T>();
    const int thread = static_cast<int>(threadIdx.x), channel = static_cast<int>(blockIdx.x) * N;
    ShiftedSums<N> sums;
    float count = 0.0f;
#pragma unroll kUnroll
    for (int row = thread; row < rows; row += kThreads) {
        const Floats<N> values = load<N>(y + static_cast<std::int64_t>(row) * c + channel);
        store<N>(slice + row * N, values);  // read again by this thread alone
        if (row == thread) {
            sums.start(values);
        }
        sums.add(values);
        count += 1.0f;
    }
    Moments moments[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
        moments[i] = sums.moments(i, count);
        means[i][thread] = moments[i].mean;
        spreads[i][thread] = moments[i].spread;
    }
    counts[thread] = count;
    for (int half = kThreads / 2; half > 0; half /= 2) {
        __syncthreads();  // figures of the last round are there
        if (thread < half) {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                moments[i] =
                    joined(moments[i], {counts[thread + half], means[i][thread + half], spreads[i][thread + half]});
                means[i][thread] = moments[i].mean;
                spreads[i][thread] = moments[i].spread;
            }
            counts[thread] = moments[0].count;
        }
    }
    __syncthreads();  // thread 0's figures are the slice's
    Floats<N> scale, shift;
#pragma unroll
    for (int i = 0; i < N; ++i) {
        const float mean = means[i][0], var = spreads[i][0] / static_cast<float>(rows);
        const float inverse = 1.0f / sqrtf(var + eps);
        scale[i] = gamma[channel + i] * inverse;
        shift[i] = fmaf(-mean, scale[i], beta[channel + i]);
        if (thread == 0) {
            saved.mean[channel + i] = mean;
            saved.var[channel + i] = var;
            saved.scale[channel + i] = scale[i];
            saved.shift[channel + i] = shift[i];
            saved.inv_std[channel + i] = inverse;
        }
    }
    const Clamp clamp = clamp_of(act);
#pragma unroll kUnroll
    for (int row = thread; row < rows; row += kThreads) {
        const std::int64_t offset = static_cast<std::int64_t>(row) * c + channel;
        Floats<N> values = load<N>(slice + row * N);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            values[i] = clamped(fmaf(scale[i], values[i], shift[i]), clamp);
        }
        if (residual != nullptr) {
            const Floats<N> added = load<N>(residual + offset);
#pragma unroll
            for (int i = 0; i < N; ++i) {
                values[i] += added[i];
            }
        }
        store<N>(z + offset, values);
    }
}

}  // namespace

template <class T>
void batchnorm_statistics(float* mean, float* var, const T* y, std::int64_t rows, int c, Stream stream) {
    check_batchnorm(rows, c, 1);
    with_width<T>(c, [&]<int N>() {
        const RowTiling t = row_tiling(rows, c, N);
        const Scratch<float> partials(std::int64_t{t.parts} * 2 * c, stream);
        launch<statistics_kernel<T, N>>(shape_of(t), stream, partials.data(), y, rows, c, t);
        finish_statistics(mean, var, partials.data(), t.parts, {t.part_rows, rows}, c, stream);
    });
}

void batchnorm_fold(float* scale, float* shift, float* inv_std, const float* gamma, const float* beta,
                    const float* mean, const float* var, float eps, int c, Stream stream) {
    launch<fold_kernel>({.grid = blocks_for(c, kThreads), .block = kThreads}, stream, scale, shift, inv_std, gamma,
                        beta, mean, var, eps, c);
}

void batchnorm_complete(const BatchnormSaved& saved, const float* gamma, const float* beta, float eps, int c,
                        Stream stream) {
    launch<complete_kernel>({.grid = blocks_for(c, kThreads), .block = kThreads}, stream, saved, gamma, beta, eps, c);
}

void batchnorm_update_running(float* running_mean, float* running_var, const float* mean, const float* var,
                              std::int64_t rows, float momentum, int c, Stream stream) {
    const float unbias =
        rows > 1 ? static_cast<float>(static_cast<double>(rows) / static_cast<double>(rows - 1)) : 1.0f;
    launch<update_running_kernel>({.grid = blocks_for(c, kThreads), .block = kThreads}, stream, running_mean,
                                  running_var, mean, var, unbias, momentum, c);
}

template <class T>
void batchnorm_normalize(T* z, const T* y, const Normalize& normalize, const std::type_identity_t<T>* residual,
                         std::int64_t rows, int c, Stream stream) {
    check_batchnorm(rows, c, 0);
    with_width<T>(c, [&]<int N>() {
        const RowTiling t = row_tiling(rows, c, N);
        launch<normalize_kernel<T, N>>(shape_of(t), stream, z, y, normalize, residual, rows, c, t);
    });
}

template <class T>
void batchnorm_reduce(std::type_identity_t<T>* g, const NormalizeBackward& out, const T* dz, const T* y,
                      const Normalize& normalize, std::int64_t rows, int c, Stream stream) {
    check_batchnorm(rows, c, 1);
    with_width<T>(c, [&]<int N>() {
        const RowTiling t = row_tiling(rows, c, N);
        const Scratch<float> partials(std::int64_t{t.parts} * 2 * c, stream);
        launch<reduce_kernel<T, N>>(shape_of(t), stream, g, partials.data(), out.mean, dz, y, normalize, rows, c, t);
        finish_sums(out.dbeta, out.dgamma, out.inv_std, partials.data(), t.parts, c, stream);
    });
}

void batchnorm_gradient_coefficients(float* a, float* b, float* d, const float* gamma, const float* mean,
                                     const float* inv_std, const float* dgamma, const float* dbeta, std::int64_t rows,
                                     int c, Stream stream) {
    launch<coefficients_kernel>({.grid = blocks_for(c, kThreads), .block = kThreads}, stream, a, b, d, gamma, mean,
                                inv_std, dgamma, dbeta, 1.0f / static_cast<float>(rows), c);
}

template <class T>
void batchnorm_apply_gradient(T* dy, const T* dz, const GradientOnLoadT<T>& on_load, const Normalize* normalize,
                              std::int64_t rows, int c, Stream stream) {
    check_batchnorm(rows, c, 0);
    with_width<T>(c, [&]<int N>() {
        const RowTiling t = row_tiling(rows, c, N);
        const Normalize mask = normalize != nullptr ? *normalize : Normalize{nullptr, nullptr, Activation::identity};
        launch<apply_gradient_kernel<T, N>>(shape_of(t), stream, dy, dz, on_load, mask, rows, c, t);
    });
}

template <class T>
bool batchnorm_forward_fits(std::int64_t rows, int c) {
    return rows >= 1 && rows <= (c % kVector<T> == 0 ? fitting_rows<T, kVector<T>>() : fitting_rows<T, 1>());
}

template <class T>
void batchnorm_forward(T* z, const BatchnormSaved& saved, const T* y, const float* gamma, const float* beta, float eps,
                       Activation act, const std::type_identity_t<T>* residual, std::int64_t rows, int c,
                       Stream stream) {
    check_batchnorm(rows, c, 1);
    check_batchnorm_fits(batchnorm_forward_fits<T>(rows, c), rows);
    with_width<T>(c, [&]<int N>() {
        launch<single_read_kernel<T, N>>({.grid = static_cast<unsigned>(c / N),
                                          .block = kThreads,
                                          .shared_bytes = static_cast<std::size_t>(rows) * N * sizeof(T)},
                                         stream, z, saved, y, gamma, beta, eps, act, residual, rows, c);
    });
}

namespace {

// `tensors` arrays of rows x c, and `figures` per channel that every thread with rows reads.
template <class T>
Traffic pass_traffic(int tensors, int figures, const RowTiling& t, std::int64_t rows, int c) {
    return Traffic::once(tensors * std::int64_t{sizeof(T)} * rows * c) +
           Traffic::times(rows > 0 ? std::int64_t{t.parts} * t.lanes : 0, 4 * std::int64_t{figures} * c);
}

template <class T>
RowTiling tiling_of(std::int64_t rows, int c) {
    return row_tiling(rows, c, c % kVector<T> == 0 ? kVector<T> : 1);
}

}  // namespace

template <class T>
Traffic batchnorm_statistics_traffic(std::int64_t rows, int c) {
    const RowTiling t = tiling_of<T>(rows, c);
    return pass_traffic<T>(1, 0, t, rows, c) + Traffic::once(8 * std::int64_t{t.parts} * c) +
           finish_statistics_traffic(t.parts, false, c);
}

Traffic batchnorm_fold_traffic(int c) {
    return Traffic::once(7 * 4 * std::int64_t{c});
}

Traffic batchnorm_complete_traffic(int c) {
    return Traffic::once(7 * 4 * std::int64_t{c});
}

Traffic batchnorm_update_running_traffic(int c) {
    return Traffic::once(6 * 4 * std::int64_t{c});
}

template <class T>
Traffic batchnorm_normalize_traffic(bool residual, std::int64_t rows, int c) {
    return pass_traffic<T>(residual ? 3 : 2, 2, tiling_of<T>(rows, c), rows, c);
}

template <class T>
Traffic batchnorm_reduce_traffic(bool g, std::int64_t rows, int c) {
    const RowTiling t = tiling_of<T>(rows, c);
    return pass_traffic<T>(g ? 3 : 2, 3, t, rows, c) + Traffic::once(8 * std::int64_t{t.parts} * c) +
           finish_sums_traffic(t.parts, c);
}

Traffic batchnorm_gradient_coefficients_traffic(int c) {
    return Traffic::once(8 * 4 * std::int64_t{c});
}

template <class T>
Traffic batchnorm_apply_gradient_traffic(bool normalize, std::int64_t rows, int c) {
    return pass_traffic<T>(3, normalize ? 5 : 3, tiling_of<T>(rows, c), rows, c);
}

template <class T>
Traffic batchnorm_forward_traffic(bool residual, std::int64_t rows, int c) {
    return Traffic::once((residual ? 3 : 2) * std::int64_t{sizeof(T)} * rows * c) +
           Traffic::times(kThreads, 8 * std::int64_t{c}) + Traffic::once(20 * std::int64_t{c});
}

#define CUTIS_INSTANTIATE(T)                                                                                        \
    template void batchnorm_statistics(float*, float*, const T*, std::int64_t, int, Stream);                        \
    template void batchnorm_normalize(T*, const T*, const Normalize&, const std::type_identity_t<T>*, std::int64_t, \
                                      int, Stream);                                                                 \
    template void batchnorm_reduce(std::type_identity_t<T>*, const NormalizeBackward&, const T*, const T*,          \
                                   const Normalize&, std::int64_t, int, Stream);                                    \
    template void batchnorm_apply_gradient(T*, const T*, const GradientOnLoadT<T>&, const Normalize*, std::int64_t, \
                                           int, Stream);                                                            \
    template Traffic batchnorm_statistics_traffic<T>(std::int64_t, int);                                            \
    template Traffic batchnorm_normalize_traffic<T>(bool, std::int64_t, int);                                       \
    template Traffic batchnorm_reduce_traffic<T>(bool, std::int64_t, int);                                          \
    template Traffic batchnorm_apply_gradient_traffic<T>(bool, std::int64_t, int);                                  \
    template Traffic batchnorm_forward_traffic<T>(bool, std::int64_t, int);                                         \
    template bool batchnorm_forward_fits<T>(std::int64_t, int);                                                     \
    template void batchnorm_forward(T*, const BatchnormSaved&, const T*, const float*, const float*, float,         \
                                    Activation, const std::type_identity_t<T>*, std::int64_t, int, Stream)
CUTIS_INSTANTIATE(float);
CUTIS_INSTANTIATE(BFloat16);
#undef CUTIS_INSTANTIATE

}  // namespace cutis::cuda
