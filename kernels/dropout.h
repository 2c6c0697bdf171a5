#pragma once

#include <cstdint>

#include "kernels/step_state.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Dropout (Srivastava et al. 2014), inverted: what is kept grows by 1 / (1 - probability). The mask is stored nowhere:
/// value i is dropped where word i of PhiloxStream(seed, RandomPurpose::dropout, 0, step_offset), as a uniform number,
/// is below `probability`; the backward pass draws it again, and every device draws the same.

namespace cutis {

/// Throws Error unless 0 <= probability < 1.
void check_dropout(float probability);

namespace cpu {

/// y = x / (1 - probability) where kept, else 0. y may be x. 0 <= probability < 1, else Error.
/// @param step_offset  tells the masks of one seed apart: a number that no other step and layer of the run uses
void dropout_forward(float* y, const float* x, float probability, std::uint64_t seed, std::uint64_t step_offset,
                     std::int64_t n, Stream stream = {});

/// dx = dy / (1 - probability) where kept, else 0: the same map. dx may be dy.
void dropout_backward(float* dx, const float* dy, float probability, std::uint64_t seed, std::uint64_t step_offset,
                      std::int64_t n, Stream stream = {});

}  // namespace cpu

namespace cuda {

/// A mask's step_offset, formed on the device: base + stride * state->step, or base where state is null. With the same
/// `step`, a network with one dropout gets the CPU's masks from {state} (its step_offset is the step); one with k of
/// them gives number i {state, i, k}.
struct StepOffset {
    const StepState* state = nullptr;  ///< in device memory
    std::uint64_t base = 0, stride = 1;
};

/// The same masks as the CPU's, on a GPU; T fp32 or bf16. Arrays start on 16 bytes.
template <class T>
void dropout_forward(T* y, const T* x, float probability, std::uint64_t seed, const StepOffset& step_offset,
                     std::int64_t n, Stream stream);

template <class T>
void dropout_backward(T* dx, const T* dy, float probability, std::uint64_t seed, const StepOffset& step_offset,
                      std::int64_t n, Stream stream);

/// Bytes: every value in and out, and the step by each thread of 16 bytes of values where there is a state.
template <class T>
constexpr Traffic dropout_forward_traffic(bool state, std::int64_t n) {
    constexpr std::int64_t kSize = sizeof(T);
    return Traffic::once(2 * kSize * n) + Traffic::times(state ? (kSize * n + 15) / 16 : 0, sizeof(StepState::step));
}
template <class T>
constexpr Traffic dropout_backward_traffic(bool state, std::int64_t n) {
    return dropout_forward_traffic<T>(state, n);
}

}  // namespace cuda
}  // namespace cutis
