#include "kernels/lstm.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/gemm.h"
#include "kernels/parallel.h"
#include "kernels/reduction.h"

// Per step one small matrix product, which adds to the input projection where that lies, and one sweep over the gates.
// In that sweep a row's values are taken gate by gate in loops without calls or branches, so that compilers vectorise
// them.

namespace cutis::cpu {
namespace {

// Slots of thread_scratch.
constexpr int kDgates = 0, kHiddenBefore = 1, kDhidden = 2, kDcell = 3, kTurnedWeights = 4;

constexpr std::int64_t kGrainValues = 4096;  // fewer values of h are not worth waking a thread

// e^x - 1 without cancellation around 0: x = m ln 2 + r with |r| <= ln 2 / 2, e^r - 1 by its series (the first term
// left out is below 2^-25 of the sum), e^x - 1 = 2^m (e^r - 1) + (2^m - 1). Beyond +-87 it stays where it is. NaN stays
// NaN.
inline float expm1_of(float x) {
    constexpr float kLog2e = 0x1.715476p+0f, kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
    constexpr float kToInteger = 0x1.8p23f;  // adding it rounds to an integer, which then fills the lower bits
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    const float shifted = x * kLog2e + kToInteger, m = shifted - kToInteger;
    const float r = (x - m * kLn2High) - m * kLn2Low;
    float series = 1.0f / 5040.0f;
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * (r * r) + r;
    const float power = std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) << 23) + (127u << 23));
    return power * series + (power - 1.0f);
}

inline float sigmoid_of(float x) {
    return 1.0f / (2.0f + expm1_of(-x));
}

inline float tanh_of(float x) {
    const float negative = expm1_of(x < 0.0f ? 2.0f * x : -2.0f * x);  // in (-1, 0]
    const float magnitude = -negative / (negative + 2.0f);
    return x < 0.0f ? -magnitude : magnitude;
}

// body(j) for the h values of a row, vectorised: it reads and writes arrays at j alone.
template <class Body>
void for_row(int h, Body&& body) {
#if defined(__clang__)
#pragma clang loop vectorize(assume_safety)
#else
#pragma GCC ivdep
#endif
    for (int j = 0; j < h; ++j) {
        body(j);
    }
}

template <class Activate>
void activate(float* gate, const float* recurrent, const float* b_ih, const float* b_hh, int h, Activate&& function) {
    for (const float* const other : {recurrent, b_ih, b_hh}) {
        if (other != nullptr) {
            for_row(h, [=](int j) { gate[j] += other[j]; });
        }
    }
    for_row(h, [=](int j) { gate[j] = function(gate[j]); });
}

const float* shifted(const float* pointer, std::int64_t values) {
    return pointer != nullptr ? pointer + values : nullptr;
}

// The cell state that a step of sample n starts from, or null for zeros.
const float* cell_before(const float* cells, const float* c0, const LstmShape& s, std::int64_t n, int step) {
    return step > 0 ? cells + (n * s.t + step - 1) * s.h : shifted(c0, n * s.h);
}

constexpr int kManySteps = 8, kMostTurned = 512;

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
    const int h = s.h;
    parallel_for(s.n, rows_per_thread(s), [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t n = begin; n < end; ++n) {
            const std::int64_t row = n * s.t + step;
            float* const gates = saved.gates + row * 4 * h;
            for (int gate = 0; gate < 4; ++gate) {
                const std::int64_t at = std::int64_t{gate} * h;
                const float *r = shifted(recurrent, n * 4 * h + at), *b0 = shifted(b_ih, at), *b1 = shifted(b_hh, at);
                if (gate == 2) {
                    activate(gates + at, r, b0, b1, h, [](float x) { return tanh_of(x); });
                } else {
                    activate(gates + at, r, b0, b1, h, [](float x) { return sigmoid_of(x); });
                }
            }
            const float *i = gates, *f = gates + h, *g = f + h, *o = g + h;
            const float* const before = cell_before(saved.cells, c0, s, n, step);
            float *const cell = saved.cells + row * h, *const out = y + row * h;
            for_row(h, [=](int j) { cell[j] = i[j] * g[j]; });
            if (before != nullptr) {
                for_row(h, [=](int j) { cell[j] += f[j] * before[j]; });
            }
            for_row(h, [=](int j) { out[j] = o[j] * tanh_of(cell[j]); });
        }
    });
}

void lstm_cell_backward(float* dgates, float* dc, const float* dy, const float* recurrent, const LstmSaved& saved,
                        const float* c0, const LstmShape& s, int step, Stream) {
    const int h = s.h;
    parallel_for(s.n, rows_per_thread(s), [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t n = begin; n < end; ++n) {
            const std::int64_t row = n * s.t + step;
            const float *i = saved.gates + row * 4 * h, *f = i + h, *g = f + h, *o = g + h;
            const float *cell = saved.cells + row * h, *before = cell_before(saved.cells, c0, s, n, step);
            const float *above = dy + row * h, *later = shifted(recurrent, n * h);
            float *di = dgates + row * 4 * h, *df = di + h, *dg = df + h, *d_o = dg + h, *dcell = dc + n * h;
            std::copy_n(above, h, d_o);  // the gradient of the hidden state, until its turn comes
            if (later != nullptr) {
                for_row(h, [=](int j) { d_o[j] += later[j]; });
            }
            if (before != nullptr) {
                std::copy_n(before, h, df);
            } else {
                std::fill_n(df, h, 0.0f);
            }
            for_row(h, [=](int j) {
                const float dh = d_o[j], tanh_cell = tanh_of(cell[j]);
                const float d = dcell[j] + dh * o[j] * (1.0f - tanh_cell * tanh_cell);
                d_o[j] = dh * tanh_cell * o[j] * (1.0f - o[j]);
                di[j] = d * g[j] * i[j] * (1.0f - i[j]);
                df[j] = d * df[j] * f[j] * (1.0f - f[j]);
                dg[j] = d * i[j] * (1.0f - g[j] * g[j]);
                dcell[j] = d * f[j];
            });
        }
    });
}

void lstm_forward(float* y, const LstmSaved& saved, const float* x, const LstmWeights& weights, const LstmState& start,
                  const LstmShape& s, Stream stream) {
    const std::int64_t rows = std::int64_t{s.n} * s.t, gate_values = 4 * std::int64_t{s.h};
    gemm(Transpose::no, Transpose::yes, rows, gate_values, s.c, x, s.c, weights.w_ih, s.c, false, saved.gates,
         gate_values);
    // Few rows times w_hh^T is a product that libraries do slowly; over many steps turning w_hh once pays, while it
    // fits into a second-level cache.
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
