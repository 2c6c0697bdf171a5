#include "kernels/elementwise.h"

#include "kernels/for_values.h"
#include "kernels/parallel.h"
#include "kernels/simd/rows.h"

// Bound by memory: plain loops that every compiler vectorises, at four lanes already faster than memory.

namespace cutis::cpu {

void fill(float* x, float value, std::int64_t n, Stream) {
    for_values(n, [=](std::int64_t i) { x[i] = value; });
}

void cast(BFloat16* y, const float* x, std::int64_t n, Stream) {
    for_values(n, [=](std::int64_t i) { y[i].bits = f32_to_bf16(x[i]); });
}

void cast(float* y, const BFloat16* x, std::int64_t n, Stream) {
    for_values(n, [=](std::int64_t i) { y[i] = bf16_to_f32(x[i].bits); });
}

void add(float* z, const float* a, const float* b, std::int64_t n, Stream) {
    parallel_for(n, 32768, [&](std::int64_t begin, std::int64_t end, int) {
        simd::row_kernels().add(z + begin, a + begin, b + begin, end - begin);
    });
}

void scale(float* y, const float* x, float factor, std::int64_t n, Stream) {
    for_values(n, [=](std::int64_t i) { y[i] = factor * x[i]; });
}

void axpy(float* y, float factor, const float* x, std::int64_t n, Stream) {
    for_values(n, [=](std::int64_t i) { y[i] += factor * x[i]; });
}

void activation_forward(float* y, const float* x, Activation act, std::int64_t n, Stream) {
    const auto [lo, hi] = clamp_of(act);
    parallel_for(n, 32768, [&, lo = lo, hi = hi](std::int64_t begin, std::int64_t end, int) {
        simd::row_kernels().clamp_values(y + begin, x + begin, lo, hi, end - begin);
    });
}

void activation_backward(float* dx, const float* dy, const float* x, Activation act, std::int64_t n, Stream) {
    const auto [lo, hi] = clamp_of(act);
    for_values(n, [=, lo = lo, hi = hi](std::int64_t i) {
        const float gradient = dy[i];
        const bool inside = (x[i] > lo) & (x[i] < hi);  // no branch: compilers vectorise that
        dx[i] = inside ? gradient : 0.0f;
    });
}

}  // namespace cutis::cpu
