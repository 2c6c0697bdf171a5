#include "kernels/softmax_cross_entropy.h"

#include "kernels/launch.h"
#include "kernels/vector.cuh"

// A row of logits belongs to one warp, or to the eight warps of a block where it has more than kWarpRow classes. Lane l
// takes classes l, l + 32, ..:
//
//   logits of row i   z0 z1 z2 .. z31 | z32 z33 .. z63 | ..
//   lane               0  1  2 ..  31 |   0   1 ..  31 | ..
//
//   1. each lane keeps the largest z it has seen and the sum of exp(z - largest), one exp a value;
//   2. the lanes join these two numbers in five exchanges (more warps: through shared memory), so that all know
//      log(sum of exp) and with it every log p = (z - largest) - log sum;
//   3. the row, now in the first-level cache, is read again for the probabilities and the smoothed cost.
//
// Then one block adds the rows' costs and weights in fp64, always in the same order.
//
//   Bytes: forward 2 sizeof(T) n c logits (the second time from the cache), 4 n c probabilities, 4 n labels, 16 n for
//   the sum (written, then read); backward 4 n c, then sizeof(T) n c gradients, and to each thread of a row 12 for
//   label and totals. FLOPs: about 20 a value forward, 4 backward. A batch's logits are kilobytes: what counts is the
//   launches' latency, not these.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kWarpRow = 1024;  // classes up to which a row is one warp's
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

__device__ __forceinline__ float negative_infinity() {
    return __uint_as_float(0xFF800000u);
}
__device__ __forceinline__ float not_a_number() {
    return __uint_as_float(0x7FC00000u);
}

// The sum of exp(z - largest) over some z. Where all of them are -inf it counts them: no exp(-inf - -inf) is formed.
struct ExpSum {
    float largest, sum;
};
__device__ __forceinline__ ExpSum with_value(const ExpSum& seen, float z) {
    const float ratio = z == seen.largest ? 1.0f : expf(-fabsf(z - seen.largest));
    return z > seen.largest ? ExpSum{z, seen.sum * ratio + 1.0f} : ExpSum{seen.largest, seen.sum + ratio};
}
__device__ __forceinline__ ExpSum join(const ExpSum& a, const ExpSum& b) {
    const float largest = a.largest < b.largest ? b.largest : a.largest;
    const auto part = [&](const ExpSum& s) { return s.largest == largest ? s.sum : s.sum * expf(s.largest - largest); };
    return {largest, part(a) + part(b)};
}

// Joins the lanes' values, then those of the row's warps, by `op(a, b)`; every thread of the row gets the result. The
// order is fixed.
template <int RowWarps, class Value, class Shuffle, class Op>
__device__ __forceinline__ Value join_row(Value value, Value (&warps)[kWarps], Shuffle shuffle, Op op) {
#pragma unroll
    for (int bit = 16; bit > 0; bit /= 2) {
        const Value other = shuffle(value, bit);
        value = (threadIdx.x & bit) == 0 ? op(value, other) : op(other, value);  // both lanes add in one order
    }
    if constexpr (RowWarps > 1) {
        if (threadIdx.x % 32 == 0) {
            warps[threadIdx.x / 32] = value;
        }
        __syncthreads();  // the warps' values are complete
        value = warps[0];
#pragma unroll
        for (int warp = 1; warp < RowWarps; ++warp) {
            value = op(value, warps[warp]);
        }
    }
    return value;
}

__device__ __forceinline__ float weight_of(const float* weights, int label) {
    return weights != nullptr ? weights[label] : 1.0f;
}

// What a batch's loss is added up from.
struct Cost {
    float cost, weight;
};

struct ForwardArguments {
    float* losses;
    float* probabilities;
    Cost* costs;  // null: only probabilities are wanted
    const std::int32_t* labels;
    const float* weights;
    float smoothing, gamma;
    int n, c;
};

template <class T, int RowWarps>
__global__ void __launch_bounds__(kThreads) forward_kernel(const T* logits, ForwardArguments arg) {
    SIMT_SHARED(ExpSum, warp_sums, [kWarps]);
    SIMT_SHARED(float, warp_costs, [kWarps]);
    constexpr int kRowThreads = RowWarps * 32;
    const int row = static_cast<int>(blockIdx.x) * (kWarps / RowWarps) + static_cast<int>(threadIdx.x) / kRowThreads;
    const int lane = static_cast<int>(threadIdx.x) % kRowThreads;
    if (row >= arg.n) {
        return;  // a whole warp, never a part of a block that waits for it
    }
    const std::int64_t begin = static_cast<std::int64_t>(row) * arg.c;
    const T* const z = logits + begin;

    ExpSum mine{negative_infinity(), 0.0f};
    for (int j = lane; j < arg.c; j += kRowThreads) {
        mine = with_value(mine, to_float(z[j]));
    }
    const ExpSum whole = join_row<RowWarps>(
        mine, warp_sums,
        [](const ExpSum& value, int bit) {
            return ExpSum{__shfl_xor_sync(kAllLanes, value.largest, bit), __shfl_xor_sync(kAllLanes, value.sum, bit)};
        },
        [](const ExpSum& a, const ExpSum& b) { return join(a, b); });
    const float largest = whole.largest;
    const float log_sum = logf(whole.sum) + (largest - largest);  // of an infinity NaN, as the whole row is then

    float everywhere = 0.0f;  // -sum of w[j] log p[j]
    for (int j = lane; j < arg.c; j += kRowThreads) {
        const float log_p = (to_float(z[j]) - largest) - log_sum;
        if (arg.probabilities != nullptr) {
            arg.probabilities[begin + j] = expf(log_p);
        }
        if (arg.smoothing > 0.0f) {
            everywhere -= weight_of(arg.weights, j) * log_p;
        }
    }
    if (arg.costs == nullptr) {
        return;
    }
    if (arg.smoothing > 0.0f) {
        everywhere = join_row<RowWarps>(
            everywhere, warp_costs, [](float value, int bit) { return __shfl_xor_sync(kAllLanes, value, bit); },
            [](float a, float b) { return a + b; });
    }
    if (lane != 0) {
        return;
    }
    const int label = arg.labels[row];
    Cost cost{not_a_number(), not_a_number()};
    if (label >= 0 && label < arg.c) {
        const float log_p = (to_float(z[label]) - largest) - log_sum;
        cost.weight = weight_of(arg.weights, label);
        cost.cost = -cost.weight * log_p;
        if (arg.gamma > 0.0f) {
            cost.cost *= powf(-expm1f(log_p), arg.gamma);
        } else if (arg.smoothing > 0.0f) {
            cost.cost = (1.0f - arg.smoothing) * cost.cost + arg.smoothing / static_cast<float>(arg.c) * everywhere;
        }
    }
    arg.costs[row] = cost;
    if (arg.losses != nullptr) {
        arg.losses[row] = cost.cost;
    }
}

struct Sums {
    double first, second;
};

// The block's sums of first(i) and second(i) for i in 0..n-1, for every thread.
template <class First, class Second>
__device__ __forceinline__ Sums block_sums(int n, First first, Second second, Sums (&warps)[kWarps]) {
    Sums mine{0.0, 0.0};
    for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
        mine.first += first(i);
        mine.second += second(i);
    }
    return join_row<kWarps>(
        mine, warps,
        [](const Sums& value, int bit) {
            return Sums{__shfl_xor_sync(kAllLanes, value.first, bit), __shfl_xor_sync(kAllLanes, value.second, bit)};
        },
        [](const Sums& a, const Sums& b) {
            return Sums{a.first + b.first, a.second + b.second};
        });
}

__global__ void __launch_bounds__(kThreads) mean_kernel(float* loss, const Cost* costs, int n) {
    SIMT_SHARED(Sums, warps, [kWarps]);
    const Sums sums = block_sums(
        n, [=](int i) { return static_cast<double>(costs[i].cost); },
        [=](int i) { return static_cast<double>(costs[i].weight); }, warps);
    if (threadIdx.x == 0) {
        *loss = sums.second > 0.0 ? static_cast<float>(sums.first / sums.second) : not_a_number();
    }
}

// What all rows' gradients need: 1 / the sum of the labels' weights, and the sum of all classes' weights.
struct Totals {
    float inverse_labels, classes;
};

__global__ void __launch_bounds__(kThreads)
    totals_kernel(Totals* totals, const std::int32_t* labels, const float* weights, int n, int c) {
    SIMT_SHARED(Sums, warps, [kWarps]);
    const Sums sums = block_sums(
        n > c ? n : c,
        [=](int i) {
            if (i >= n) {
                return 0.0;
            }
            const int label = labels[i];
            return static_cast<double>(label >= 0 && label < c ? weight_of(weights, label) : not_a_number());
        },
        [=](int i) { return i < c ? static_cast<double>(weight_of(weights, i)) : 0.0; }, warps);
    if (threadIdx.x == 0) {
        totals->inverse_labels = sums.first > 0.0 ? static_cast<float>(1.0 / sums.first) : not_a_number();
        totals->classes = static_cast<float>(sums.second);
    }
}

struct BackwardArguments {
    const float* probabilities;
    const std::int32_t* labels;
    const float* weights;
    const Totals* totals;
    const float* scale;  // null: 1
    float factor, smoothing, gamma;
    int n, c;
};

template <class T, int RowWarps>
__global__ void __launch_bounds__(kThreads) backward_kernel(T* dlogits, BackwardArguments arg) {
    constexpr int kRowThreads = RowWarps * 32;
    const int row = static_cast<int>(blockIdx.x) * (kWarps / RowWarps) + static_cast<int>(threadIdx.x) / kRowThreads;
    const int lane = static_cast<int>(threadIdx.x) % kRowThreads;
    if (row >= arg.n) {
        return;
    }
    const float* const probabilities = arg.probabilities + static_cast<std::int64_t>(row) * arg.c;
    T* const out = dlogits + static_cast<std::int64_t>(row) * arg.c;
    const int label = arg.labels[row];
    const bool known = label >= 0 && label < arg.c;  // else the totals are NaN already

    // The loss is -(target . log p) with this weight on the label, and `spread` times its weight on every class.
    float on_label = known ? (1.0f - arg.smoothing) * weight_of(arg.weights, label) : 0.0f;
    const float spread = arg.smoothing / static_cast<float>(arg.c);
    if (arg.gamma > 0.0f) {
        // d/dlog p of (1 - p)^gamma log p. Its second term goes to 0 at both ends, where its factors are not finite.
        const float p = known ? probabilities[label] : 0.0f, rest = 1.0f - p;
        const float slope = p > 0.0f && rest > 0.0f ? arg.gamma * powf(rest, arg.gamma - 1.0f) * p * logf(p) : 0.0f;
        on_label *= powf(rest, arg.gamma) - slope;
        // dlogits may be the probabilities: everyone has read the label's before anyone stores.
        if constexpr (RowWarps == 1) {
            __syncwarp();  // the row's lanes have read it
        } else {
            __syncthreads();  // the row's threads have read it
        }
    }
    const float total = on_label + spread * arg.totals->classes;
    const float factor = arg.factor * (arg.scale != nullptr ? *arg.scale : 1.0f) * arg.totals->inverse_labels;
    for (int j = lane; j < arg.c; j += kRowThreads) {
        const float target = (j == label ? on_label : 0.0f) + spread * weight_of(arg.weights, j);
        out[j] = from_float<T>(factor * (probabilities[j] * total - target));
    }
}

template <class T>
void rows_forward(const T* logits, const ForwardArguments& arguments, Stream stream) {
    if (arguments.c <= kWarpRow) {
        launch<forward_kernel<T, 1>>({.grid = blocks_for(arguments.n, kWarps), .block = kThreads}, stream, logits,
                                     arguments);
    } else {
        launch<forward_kernel<T, kWarps>>({.grid = blocks_for(arguments.n, 1), .block = kThreads}, stream, logits,
                                          arguments);
    }
}

template <class T>
void backward(T* dlogits, float factor, const float* scale, const float* probabilities, const std::int32_t* labels,
              const CrossEntropyOptions& options, int n, int c, Stream stream) {
    check_cross_entropy(options, n, c);
    const Scratch<Totals> totals(1, stream);
    launch<totals_kernel>({.grid = 1, .block = kThreads}, stream, totals.data(), labels, options.class_weights, n, c);
    const BackwardArguments arguments{probabilities,
                                      labels,
                                      options.class_weights,
                                      totals.data(),
                                      scale,
                                      factor,
                                      options.label_smoothing,
                                      options.focal_gamma,
                                      n,
                                      c};
    if (c <= kWarpRow) {
        launch<backward_kernel<T, 1>>({.grid = blocks_for(n, kWarps), .block = kThreads}, stream, dlogits, arguments);
    } else {
        launch<backward_kernel<T, kWarps>>({.grid = blocks_for(n, 1), .block = kThreads}, stream, dlogits, arguments);
    }
}

}  // namespace

template <class T>
void softmax(float* probabilities, const T* logits, int n, int c, Stream stream) {
    rows_forward(logits, {nullptr, probabilities, nullptr, nullptr, nullptr, 0.0f, 0.0f, n, c}, stream);
}

template <class T>
void softmax_cross_entropy_forward(float* loss, float* losses, float* probabilities, const T* logits,
                                   const std::int32_t* labels, const CrossEntropyOptions& options, int n, int c,
                                   Stream stream) {
    check_cross_entropy(options, n, c);
    const Scratch<Cost> costs(n, stream);
    rows_forward(logits,
                 {losses, probabilities, costs.data(), labels, options.class_weights, options.label_smoothing,
                  options.focal_gamma, n, c},
                 stream);
    launch<mean_kernel>({.grid = 1, .block = kThreads}, stream, loss, static_cast<const Cost*>(costs.data()), n);
}

template <class T>
void softmax_cross_entropy_backward(T* dlogits, float scale, const float* probabilities, const std::int32_t* labels,
                                    const CrossEntropyOptions& options, int n, int c, Stream stream) {
    backward(dlogits, scale, nullptr, probabilities, labels, options, n, c, stream);
}

template <class T>
void softmax_cross_entropy_backward(T* dlogits, const float* scale, const float* probabilities,
                                    const std::int32_t* labels, const CrossEntropyOptions& options, int n, int c,
                                    Stream stream) {
    backward(dlogits, 1.0f, scale, probabilities, labels, options, n, c, stream);
}

template <class T>
Traffic softmax_traffic(int n, int c) {
    const std::int64_t values = std::int64_t{n} * c;
    return Traffic::times(2, std::int64_t{sizeof(T)} * values) + Traffic::once(4 * values);
}

template <class T>
Traffic softmax_cross_entropy_forward_traffic(const CrossEntropyForm& form, int n, int c) {
    const std::int64_t rows = n, values = rows * c, classes = n < c ? n : c;
    Traffic traffic = Traffic::times(2, std::int64_t{sizeof(T)} * values) +
                      Traffic{rows * std::int64_t{sizeof(T)}, 0} +  // the label's logit once more
                      Traffic::once((form.probabilities ? 4 : 0) * values) +
                      Traffic::once((4 + 8 + 8 + (form.losses ? 4 : 0)) * rows + 4);  // labels, costs both ways
    if (form.class_weights) {
        traffic += Traffic{4 * rows, form.label_smoothing ? 0 : 4 * classes};
        traffic += Traffic::times(form.label_smoothing ? rows : 0, 4 * std::int64_t{c});
    }
    return traffic;
}

template <class T>
Traffic softmax_cross_entropy_backward_traffic(const CrossEntropyForm& form, int n, int c) {
    const std::int64_t rows = n, values = rows * c;
    const std::int64_t threads = c <= kWarpRow ? 32 : kThreads;  // of a row
    Traffic traffic = Traffic::once(4 * rows + sizeof(Totals));  // totals
    traffic += Traffic::once((4 + std::int64_t{sizeof(T)}) * values);
    traffic += Traffic::times(threads, 4 * rows) + Traffic::times(threads * rows, sizeof(Totals));
    traffic += Traffic::times(form.scale_on_device ? threads * rows : 0, 4);
    traffic += Traffic{form.focal_gamma ? threads * 4 * rows : 0, 0};
    if (form.class_weights) {
        traffic += Traffic{4 * rows + 4 * std::int64_t{c}, 4 * std::int64_t{c}};  // totals
        traffic += Traffic{4 * (threads * rows + values), 4 * std::int64_t{c}};
    }
    return traffic;
}

#define CUTIS_INSTANTIATE(T)                                                                           \
    template void softmax(float*, const T*, int, int, Stream);                                         \
    template void softmax_cross_entropy_forward(float*, float*, float*, const T*, const std::int32_t*, \
                                                const CrossEntropyOptions&, int, int, Stream);         \
    template void softmax_cross_entropy_backward(T*, float, const float*, const std::int32_t*,         \
                                                 const CrossEntropyOptions&, int, int, Stream);        \
    template void softmax_cross_entropy_backward(T*, const float*, const float*, const std::int32_t*,  \
                                                 const CrossEntropyOptions&, int, int, Stream);        \
    template Traffic softmax_traffic<T>(int, int);                                                     \
    template Traffic softmax_cross_entropy_forward_traffic<T>(const CrossEntropyForm&, int, int);      \
    template Traffic softmax_cross_entropy_backward_traffic<T>(const CrossEntropyForm&, int, int);
CUTIS_INSTANTIATE(float)
CUTIS_INSTANTIATE(BFloat16)
#undef CUTIS_INSTANTIATE

}  // namespace cutis::cuda
