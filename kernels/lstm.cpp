#include "kernels/lstm.h"

#include <algorithm>
#include <cstdint>

#include "kernels/gemm.h"
#include "kernels/parallel.h"
#include "kernels/reduction.h"
#include "kernels/simd/rows.h"

// Per step one small matrix product, which adds to the input projection where that lies, and one sweep over the gates.

namespace cutis::cpu {
namespace {

// Slots of thread_scratch.
constexpr int kDgates = 0, kHiddenBefore = 1, kDhidden = 2, kDcell = 3, kTurnedWeights = 4;

constexpr std::int64_t kGrainValues = 4096;  // fewer values of h are not worth waking a thread

const float* shifted(const float* pointer, std::int64_t values) {
    return pointer != nullptr ? pointer + values : nullptr;
}

// The cell state that a step of sample n starts from, or null for zeros.
const float* cell_before(const float* cells, const float* c0, const LstmShape& s, std::int64_t n, int step) {
    return step > 0 ? cells + (n * s.t + step - 1) * s.h : shifted(c0, n * s.h);
}

constexpr int kManySteps = 8, kMostTurned = 2048;

// The transpose of w, rows x columns, in scratch memory.
const float* turned(const float* w, std::int64_t rows, std::int64_t columns) {
    float* const result = thread_scratch(kTurnedWeights, rows * columns);
    constexpr std::int64_t kTile = 16;
    for (std::int64_t first = 0; first < rows; first += kTile) {
        const std::int64_t end = std::min(first + kTile, rows);
        for (std::int64_t j = 0; j < columns; ++j) {
            for (std::int64_t i = first; i < end; ++i) {
                result[j * rows + i] = w[i * columns + j];
            }
        }
    }
    return result;
}

std::int64_t rows_per_thread(const LstmShape& s) {
    return std::max<std::int64_t>(1, kGrainValues / s.h);
}

}  // namespace

void lstm_cell_forward(float* y, const LstmSaved& saved, const float* recurrent, const float* b_ih, const float* b_hh,
                       const float* c0, const LstmShape& s, int step, Stream) {
    const auto& kernels = simd::row_kernels();
    const int h = s.h;
    parallel_for(s.n, rows_per_thread(s), [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t n = begin; n < end; ++n) {
            const std::int64_t row = n * s.t + step;
            kernels.lstm_cell(y + row * h, saved.gates + row * 4 * h, saved.cells + row * h,
                              shifted(recurrent, n * 4 * h), b_ih, b_hh, cell_before(saved.cells, c0, s, n, step), h);
        }
    });
}

void lstm_cell_backward(float* dgates, float* dc, const float* dy, const float* recurrent, const LstmSaved& saved,
                        const float* c0, const LstmShape& s, int step, Stream) {
    const auto& kernels = simd::row_kernels();
    const int h = s.h;
    parallel_for(s.n, rows_per_thread(s), [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t n = begin; n < end; ++n) {
            const std::int64_t row = n * s.t + step;
            kernels.lstm_cell_gradient(dgates + row * 4 * h, dc + n * h, dy + row * h, shifted(recurrent, n * h),
                                       saved.gates + row * 4 * h, saved.cells + row * h,
                                       cell_before(saved.cells, c0, s, n, step), h);
        }
    });
}

void lstm_forward(float* y, const LstmSaved& saved, const float* x, const LstmWeights& weights, const LstmState& start,
                  const LstmShape& s, Stream stream) {
    const std::int64_t rows = std::int64_t{s.n} * s.t, gate_values = 4 * std::int64_t{s.h};
    gemm(Transpose::no, Transpose::yes, rows, gate_values, s.c, x, s.c, weights.w_ih, s.c, false, saved.gates,
         gate_values);
    // Few rows times w_hh^T is a product that libraries do slowly; over many steps turning w_hh once pays.
    const bool turns = s.t >= kManySteps && s.h <= kMostTurned;
    const float* const w_hh = turns ? turned(weights.w_hh, gate_values, s.h) : weights.w_hh;
    for (int step = 0; step < s.t; ++step) {
        const float* const before = step > 0 ? y + (step - 1) * std::int64_t{s.h} : start.h0;
        if (before != nullptr) {
            gemm(Transpose::no, turns ? Transpose::no : Transpose::yes, s.n, gate_values, s.h, before,
                 step > 0 ? std::int64_t{s.t} * s.h : s.h, w_hh, turns ? gate_values : s.h, true,
                 saved.gates + step * gate_values, s.t * gate_values);
        }
        lstm_cell_forward(y, saved, nullptr, weights.b_ih, weights.b_hh, start.c0, s, step, stream);
    }
}

void lstm_backward(const LstmGradients& gradients, const float* dy, const float* dc_n, const float* x, const float* y,
                   const LstmSaved& saved, const LstmWeights& weights, const LstmState& start, const LstmShape& s,
                   Stream stream) {
    const std::int64_t h = s.h, rows = std::int64_t{s.n} * s.t, gate_values = 4 * h, states = s.n * h;
    float* const dgates = thread_scratch(kDgates, rows * gate_values);
    float* const dhidden = thread_scratch(kDhidden, states);
    float* const dc = gradients.dc0 != nullptr ? gradients.dc0 : thread_scratch(kDcell, states);
    if (dc_n != nullptr) {
        std::copy_n(dc_n, states, dc);
    } else {
        std::fill_n(dc, states, 0.0f);
    }
    // The gradient of the hidden state before `step`.
    const auto through_gates = [&](float* result, int step) {
        gemm(Transpose::no, Transpose::no, s.n, h, gate_values, dgates + step * gate_values, s.t * gate_values,
             weights.w_hh, h, false, result, h);
    };
    for (int step = s.t - 1; step >= 0; --step) {
        const bool last = step == s.t - 1;
        if (!last) {
            through_gates(dhidden, step + 1);
        }
        lstm_cell_backward(dgates, dc, dy, last ? nullptr : dhidden, saved, start.c0, s, step, stream);
    }
    if (gradients.dh0 != nullptr) {
        through_gates(gradients.dh0, 0);
    }
    if (gradients.dx != nullptr) {
        gemm(Transpose::no, Transpose::no, rows, s.c, gate_values, dgates, gate_values, weights.w_ih, s.c, false,
             gradients.dx, s.c);
    }
    if (gradients.dw_ih != nullptr) {
        gemm(Transpose::yes, Transpose::no, gate_values, s.c, rows, dgates, gate_values, x, s.c, false, gradients.dw_ih,
             s.c);
    }
    if (gradients.dw_hh != nullptr) {
        float* const before = thread_scratch(kHiddenBefore, rows * h);  // y one step later
        for (std::int64_t n = 0; n < s.n; ++n) {
            float* const sample = before + n * s.t * h;
            if (start.h0 != nullptr) {
                std::copy_n(start.h0 + n * h, h, sample);
            } else {
                std::fill_n(sample, h, 0.0f);
            }
            std::copy_n(y + n * s.t * h, (s.t - 1) * h, sample + h);
        }
        gemm(Transpose::yes, Transpose::no, gate_values, h, rows, dgates, gate_values, before, h, false,
             gradients.dw_hh, h);
    }
    if (gradients.db != nullptr) {
        sum_rows(gradients.db, dgates, rows, static_cast<int>(gate_values));
    }
}

}  // namespace cutis::cpu
