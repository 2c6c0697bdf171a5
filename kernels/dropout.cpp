#include "kernels/dropout.h"

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"

// Some 15 integer operations a value for the mask, against 8 bytes: about even with memory, and what it saves is the
// mask itself. Threads start at words of their own, so that the split changes nothing.

namespace cutis {

void check_dropout(float probability) {
    require(probability >= 0.0f && probability < 1.0f, "dropout: probability {} is not in [0, 1)", probability);
}

namespace cpu {
namespace {

void apply(float* out, const float* in, float probability, std::uint64_t seed, std::uint64_t step_offset,
           std::int64_t n) {
    check_dropout(probability);
    const float factor = 1.0f / (1.0f - probability);
    parallel_for(n, 8192, [&](std::int64_t begin, std::int64_t end, int) {
        PhiloxStream words(seed, RandomPurpose::dropout, 0, step_offset);
        words.seek(static_cast<std::uint64_t>(begin));
        for (std::int64_t i = begin; i < end; ++i) {
            out[i] = words.uniform() < probability ? 0.0f : in[i] * factor;
        }
    });
}

}  // namespace

void dropout_forward(float* y, const float* x, float probability, std::uint64_t seed, std::uint64_t step_offset,
                     std::int64_t n, Stream) {
    apply(y, x, probability, seed, step_offset, n);
}

void dropout_backward(float* dx, const float* dy, float probability, std::uint64_t seed, std::uint64_t step_offset,
                      std::int64_t n, Stream) {
    apply(dx, dy, probability, seed, step_offset, n);
}

}  // namespace cpu
}  // namespace cutis
