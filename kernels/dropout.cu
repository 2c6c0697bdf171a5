#include "kernels/dropout.h"

#include "kernels/launch.h"
#include "kernels/philox.h"
#include "kernels/vector.cuh"

// y = x / (1 - probability) where value i's random word lets it pass. The mask is stored nowhere: Philox turns a
// position into four words without a state, so that a thread draws the words of its own N values, in the forward pass
// and again in the backward pass.
//
//   thread           0             1        ..
//   values      0  ..  7      8  ..  15     ..     16 bytes in, 16 bytes out (bf16)
//   Philox     [0]    [1]    [2]    [3]     ..     one block of four words for four values
//
//   Bytes: 2 sizeof(T) n, and 8 for each 16 of values, always the same, where a state says the step. Operations: ten
//   rounds of two 32x32-bit products and some logic for four values, about 20 integer instructions a value: in fp32
//   hidden behind memory, in bf16 about even with it on an H100.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;

struct Drop {
    std::uint64_t seed;
    StepOffset step_offset;
    float probability, factor;
};

template <class T>
__global__ void __launch_bounds__(kThreads) dropout_kernel(T* out, const T* in, Drop drop, std::int64_t n) {
    constexpr int N = kVector<T>;
    const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
    if (first >= n) {
        return;
    }
    const StepState* const state = drop.step_offset.state;
    const std::uint64_t offset = drop.step_offset.base + (state != nullptr ? drop.step_offset.stride * state->step : 0);
    const PhiloxStream stream(drop.seed, RandomPurpose::dropout, 0, offset);
    const bool whole = first + N <= n;
    Floats<N> values = splat<N>(0.0f);
    if (whole) {
        values = load<N>(in + first);
    } else {
#pragma unroll
        for (int k = 0; k < N; ++k) {
            values[k] = first + k < n ? to_float(in[first + k]) : 0.0f;
        }
    }
#pragma unroll
    for (int k = 0; k < N; k += 4) {
        const auto words = stream.block(static_cast<std::uint32_t>((first + k) / 4));
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            values[k + j] = uniform_from_bits(words[j]) < drop.probability ? 0.0f : values[k + j] * drop.factor;
        }
    }
    if (whole) {
        store<N>(out + first, values);
    } else {
#pragma unroll
        for (int k = 0; k < N; ++k) {
            if (first + k < n) {
                out[first + k] = from_float<T>(values[k]);
            }
        }
    }
}

template <class T>
void apply(T* out, const T* in, float probability, std::uint64_t seed, const StepOffset& step_offset, std::int64_t n,
           Stream stream) {
    check_dropout(probability);
    const Drop drop{seed, step_offset, probability, 1.0f / (1.0f - probability)};
    launch<dropout_kernel<T>>({.grid = blocks_for(n, kThreads * kVector<T>), .block = kThreads}, stream, out, in, drop,
                              n);
}

}  // namespace

template <class T>
void dropout_forward(T* y, const T* x, float probability, std::uint64_t seed, const StepOffset& step_offset,
                     std::int64_t n, Stream stream) {
    apply(y, x, probability, seed, step_offset, n, stream);
}

template <class T>
void dropout_backward(T* dx, const T* dy, float probability, std::uint64_t seed, const StepOffset& step_offset,
                      std::int64_t n, Stream stream) {
    apply(dx, dy, probability, seed, step_offset, n, stream);
}

template void dropout_forward(float*, const float*, float, std::uint64_t, const StepOffset&, std::int64_t, Stream);
template void dropout_forward(BFloat16*, const BFloat16*, float, std::uint64_t, const StepOffset&, std::int64_t,
                              Stream);
template void dropout_backward(float*, const float*, float, std::uint64_t, const StepOffset&, std::int64_t, Stream);
template void dropout_backward(BFloat16*, const BFloat16*, float, std::uint64_t, const StepOffset&, std::int64_t,
                               Stream);

}  // namespace cutis::cuda
