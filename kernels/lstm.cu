#include <type_traits>

#include "kernels/column_sums.cuh"
#include "kernels/cublaslt.h"
#include "kernels/gemm.h"
#include "kernels/launch.h"
#include "kernels/lstm.h"
#include "kernels/lstm_resident.cuh"
#include "kernels/matrix_checks.h"

// The LSTM on a GPU: products over all steps, and between them either the resident kernels (lstm_resident.cu) or, step
// by step, a product and a cell kernel.
//
//   forward    gates = x w_ih^T                                  one product, n t x 4h
//              per step:  recurrent = h' w_hh^T  ->  cell        n x 4h in fp32
//   backward   per step:  cell  ->  dh = dgates w_hh             n x h in fp32
//              dx = dgates w_ih, dw_ih = dgates^T x, dw_hh = dgates^T (y one step later), db = column sums of dgates
//
// A cell kernel's thread has 16 bytes of each gate of one sample: 8 units in bf16, 4 in fp32, one where h is not a
// multiple of that. Nothing is reused, so the floor is the memory's:
//   cell forward    bytes: h n (4 sizeof(T) + 16 + 4 in, 5 sizeof(T) + 4 out), FLOPs: 30 h n
//   cell backward   bytes: h n (5 sizeof(T) + 16 in, 4 sizeof(T) + 4 out), FLOPs: 25 h n
//   hidden_before   bytes: 2 sizeof(T) h n t
// At n = 64, h = 256 and bf16 that is 0.7 MB a step, a fifth of a microsecond of 3.35 TB/s: a launch takes longer.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 128;

/// N units of one sample at one step.
template <int N>
struct CellPlace {
    int sample, unit;
    std::int64_t row;  ///< sample and step: of y, gates and cells
    bool inside;

    __device__ __forceinline__ CellPlace(const LstmShape& s, int step) {
        const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
        const int per_sample = s.h / N;
        sample = static_cast<int>(index / per_sample);
        unit = static_cast<int>(index % per_sample) * N;
        row = static_cast<std::int64_t>(sample) * s.t + step;
        inside = sample < s.n;
    }
};

template <int N>
__device__ __forceinline__ Floats<N> cell_before(const float* cells, const float* c0, const CellPlace<N>& place, int h,
                                                 int step) {
    if (step > 0) {
        return load<N>(cells + (place.row - 1) * h + place.unit);
    }
    return c0 != nullptr ? load<N>(c0 + static_cast<std::int64_t>(place.sample) * h + place.unit) : splat<N>(0.0f);
}

template <int N>
__device__ __forceinline__ void add_to(Floats<N>& sum, const Floats<N>& values) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
        sum[j] += values[j];
    }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    lstm_cell_forward_kernel(T* y, T* gates, float* cells, const float* recurrent, const float* b_ih, const float* b_hh,
                             const float* c0, const LstmShape s, int step) {
    const CellPlace<N> place(s, step);
    if (!place.inside) {
        return;
    }
    T* const at = gates + place.row * 4 * s.h + place.unit;
    Gates<N> gate;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const int column = k * s.h + place.unit;
        gate[k] = load<N>(at + std::int64_t{k} * s.h);
        if (recurrent != nullptr) {
            add_to(gate[k], load<N>(recurrent + static_cast<std::int64_t>(place.sample) * 4 * s.h + column));
        }
        if (b_ih != nullptr) {
            add_to(gate[k], load<N>(b_ih + column));
        }
        if (b_hh != nullptr) {
            add_to(gate[k], load<N>(b_hh + column));
        }
    }
    Floats<N> c = cell_before(cells, c0, place, s.h, step);
    const Floats<N> h = cell_forward<T>(gate, c);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        store<N>(at + std::int64_t{k} * s.h, gate[k]);
    }
    store<N>(cells + place.row * s.h + place.unit, c);
    store<N>(y + place.row * s.h + place.unit, h);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    lstm_cell_backward_kernel(T* dgates, float* dc, const T* dy, const float* recurrent, const T* gates,
                              const float* cells, const float* c0, const LstmShape s, int step) {
    const CellPlace<N> place(s, step);
    if (!place.inside) {
        return;
    }
    const std::int64_t state = static_cast<std::int64_t>(place.sample) * s.h + place.unit;
    const std::int64_t first_gate = place.row * 4 * s.h + place.unit;
    Floats<N> dh = load<N>(dy + place.row * s.h + place.unit), dcell = load<N>(dc + state);
    if (recurrent != nullptr) {
        add_to(dh, load<N>(recurrent + state));
    }
    Gates<N> gate;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        gate[k] = load<N>(gates + first_gate + std::int64_t{k} * s.h);
    }
    const Floats<N> c = load<N>(cells + place.row * s.h + place.unit);
    cell_backward<T>(gate, dcell, dh, c, cell_before(cells, c0, place, s.h, step));
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        store<N>(dgates + first_gate + std::int64_t{k} * s.h, gate[k]);
    }
    store<N>(dc + state, dcell);
}

/// The hidden state that each step starts from: y one step later, behind h0.
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    hidden_before_kernel(T* before, const T* y, const T* h0, const LstmShape s, std::int64_t count) {
    const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (index >= count) {
        return;
    }
    const int per_row = s.h / N, unit = static_cast<int>(index % per_row) * N;
    const std::int64_t row = index / per_row, sample = row / s.t;
    const bool first = row == sample * s.t;
    store<N>(before + row * s.h + unit, !first          ? load<N>(y + (row - 1) * s.h + unit)
                                        : h0 != nullptr ? load<N>(h0 + sample * s.h + unit)
                                                        : splat<N>(0.0f));
}

/// Calls `call` with how many values of rows of `size` a thread takes at once.
template <class T, class Call>
void with_vector(std::int64_t size, Call&& call) {
    if (size % kVector<T> == 0) {
        call(std::integral_constant<int, kVector<T>>{});
    } else {
        call(std::integral_constant<int, 1>{});
    }
}

void check_shape(const LstmShape& s) {
    check_rule(s.n >= 1 && s.t >= 1 && s.c >= 1 && s.h >= 1, "lstm: n, t, c and h must be at least 1");
}

template <class T>
bool is_resident(const LstmShape& s, const LstmOptions& options) {
    const bool possible = options.form != LstmForm::steps && lstm_can_be_resident<T>(s.h);
    check_rule(possible || options.form != LstmForm::resident,
               "lstm: recurrent weights of this hidden size do not fit on chip; ask for LstmForm::automatic");
    return possible;
}

}  // namespace

template <class T>
void lstm_cell_forward(T* y, const LstmSavedT<T>& saved, const float* recurrent, const float* b_ih, const float* b_hh,
                       const float* c0, const LstmShape& s, int step, Stream stream) {
    with_vector<T>(s.h, [&]<int N>(std::integral_constant<int, N>) {
        launch<lstm_cell_forward_kernel<T, N>>(
            {.grid = blocks_for(std::int64_t{s.n} * (s.h / N), kThreads), .block = kThreads}, stream, y, saved.gates,
            saved.cells, recurrent, b_ih, b_hh, c0, s, step);
    });
}
template void lstm_cell_forward(float*, const LstmSaved&, const float*, const float*, const float*, const float*,
                                const LstmShape&, int, Stream);
template void lstm_cell_forward(BFloat16*, const LstmSavedT<BFloat16>&, const float*, const float*, const float*,
                                const float*, const LstmShape&, int, Stream);

template <class T>
void lstm_cell_backward(T* dgates, float* dc, const T* dy, const float* recurrent, const LstmSavedT<T>& saved,
                        const float* c0, const LstmShape& s, int step, Stream stream) {
    with_vector<T>(s.h, [&]<int N>(std::integral_constant<int, N>) {
        launch<lstm_cell_backward_kernel<T, N>>(
            {.grid = blocks_for(std::int64_t{s.n} * (s.h / N), kThreads), .block = kThreads}, stream, dgates, dc, dy,
            recurrent, saved.gates, saved.cells, c0, s, step);
    });
}
template void lstm_cell_backward(float*, float*, const float*, const float*, const LstmSaved&, const float*,
                                 const LstmShape&, int, Stream);
template void lstm_cell_backward(BFloat16*, float*, const BFloat16*, const float*, const LstmSavedT<BFloat16>&,
                                 const float*, const LstmShape&, int, Stream);

template <class T>
void lstm_forward(T* y, const LstmSavedT<T>& saved, const T* x, const LstmWeightsT<T>& weights,
                  const LstmStateT<T>& start, const LstmShape& s, const LstmOptions& options, Stream stream) {
    check_shape(s);
    const std::int64_t h = s.h, gate_values = 4 * h;
    plain_product(Transpose::no, Transpose::yes, std::int64_t{s.n} * s.t, gate_values, s.c, x, s.c, weights.w_ih, s.c,
                  false, saved.gates, gate_values, options.precision, stream);
    if (is_resident<T>(s, options)) {
        lstm_resident_forward(y, saved, weights, start, s, stream);
        return;
    }
    const Scratch<float> recurrent(s.n * gate_values, stream);
    for (int step = 0; step < s.t; ++step) {
        const T* const before = step > 0 ? y + (step - 1) * h : start.h0;
        if (before != nullptr) {
            gemm(Transpose::no, Transpose::yes, s.n, gate_values, h, before, step > 0 ? s.t * h : h, weights.w_hh, h,
                 false, recurrent.data(), gate_values, options.precision, stream);
        }
        lstm_cell_forward(y, saved, before != nullptr ? recurrent.data() : nullptr, weights.b_ih, weights.b_hh,
                          start.c0, s, step, stream);
    }
}
template void lstm_forward(float*, const LstmSaved&, const float*, const LstmWeights&, const LstmState&,
                           const LstmShape&, const LstmOptions&, Stream);
template void lstm_forward(BFloat16*, const LstmSavedT<BFloat16>&, const BFloat16*, const LstmWeightsT<BFloat16>&,
                           const LstmStateT<BFloat16>&, const LstmShape&, const LstmOptions&, Stream);

template <class T>
void lstm_backward(const LstmGradientsT<T>& gradients, const T* dy, const float* dc_n, const T* x, const T* y,
                   const LstmSavedT<T>& saved, const LstmWeightsT<T>& weights, const LstmStateT<T>& start,
                   const LstmShape& s, const LstmOptions& options, Stream stream) {
    check_shape(s);
    const std::int64_t h = s.h, rows = std::int64_t{s.n} * s.t, gate_values = 4 * h, states = s.n * h;
    const Scratch<T> dgates(rows * gate_values, stream);
    if (is_resident<T>(s, options)) {
        lstm_resident_backward(dgates.data(), gradients.dh0, gradients.dc0, dy, dc_n, saved, weights.w_hh, start.c0, s,
                               stream);
    } else {
        const Scratch<float> recurrent(states, stream), own_dc(gradients.dc0 != nullptr ? 0 : states, stream);
        float* const dc = gradients.dc0 != nullptr ? gradients.dc0 : own_dc.data();
        const std::size_t bytes = static_cast<std::size_t>(states) * sizeof(float);
        check(dc_n != nullptr ? cudaMemcpyAsync(dc, dc_n, bytes, cudaMemcpyDeviceToDevice, handle(stream))
                              : cudaMemsetAsync(dc, 0, bytes, handle(stream)),
              "lstm_backward");
        // The gradient of the hidden state before `step`.
        const auto through_gates = [&](auto* result, int step) {
            gemm(Transpose::no, Transpose::no, s.n, h, gate_values,
                 static_cast<const T*>(dgates.data()) + step * gate_values, s.t * gate_values, weights.w_hh, h, false,
                 result, h, options.precision, stream);
        };
        for (int step = s.t - 1; step >= 0; --step) {
            const bool last = step == s.t - 1;
            if (!last) {
                through_gates(recurrent.data(), step + 1);
            }
            lstm_cell_backward(dgates.data(), dc, dy, last ? nullptr : recurrent.data(), saved, start.c0, s, step,
                               stream);
        }
        if (gradients.dh0 != nullptr) {
            through_gates(gradients.dh0, 0);
        }
    }
    const T* const made = dgates.data();
    if (gradients.dx != nullptr) {
        plain_product(Transpose::no, Transpose::no, rows, s.c, gate_values, made, gate_values, weights.w_ih, s.c, false,
                      gradients.dx, s.c, options.precision, stream);
    }
    if (gradients.dw_ih != nullptr) {
        plain_product(Transpose::yes, Transpose::no, gate_values, s.c, rows, made, gate_values, x, s.c, false,
                      gradients.dw_ih, s.c, options.precision, stream);
    }
    if (gradients.dw_hh != nullptr) {
        const Scratch<T> before(rows * h, stream);
        with_vector<T>(h, [&]<int N>(std::integral_constant<int, N>) {
            const std::int64_t count = rows * (h / N);
            launch<hidden_before_kernel<T, N>>({.grid = blocks_for(count, kThreads), .block = kThreads}, stream,
                                               before.data(), y, start.h0, s, count);
        });
        plain_product(Transpose::yes, Transpose::no, gate_values, h, rows, made, gate_values,
                      static_cast<const T*>(before.data()), h, false, gradients.dw_hh, h, options.precision, stream);
    }
    if (gradients.db != nullptr) {
        sum_columns<T>(gradients.db, made, nullptr, rows, static_cast<int>(gate_values), stream);
    }
}
template void lstm_backward(const LstmGradients&, const float*, const float*, const float*, const float*,
                            const LstmSaved&, const LstmWeights&, const LstmState&, const LstmShape&,
                            const LstmOptions&, Stream);
template void lstm_backward(const LstmGradientsT<BFloat16>&, const BFloat16*, const float*, const BFloat16*,
                            const BFloat16*, const LstmSavedT<BFloat16>&, const LstmWeightsT<BFloat16>&,
                            const LstmStateT<BFloat16>&, const LstmShape&, const LstmOptions&, Stream);

template <class T>
Traffic lstm_cell_forward_traffic(bool recurrent, bool bias, bool before, const LstmShape& s) {
    const std::int64_t states = std::int64_t{s.n} * s.h, kSize = sizeof(T);
    return Traffic::once(states * (2 * 4 * kSize + kSize + 4 + (recurrent ? 16 : 0) + (before ? 4 : 0))) +
           Traffic::times(bias ? s.n : 0, 32 * std::int64_t{s.h});
}

template <class T>
Traffic lstm_cell_backward_traffic(bool recurrent, bool before, const LstmShape& s) {
    const std::int64_t states = std::int64_t{s.n} * s.h, kSize = sizeof(T);
    return Traffic::once(states * (2 * 4 * kSize + kSize + 2 * 4 + 4 + (recurrent ? 4 : 0) + (before ? 4 : 0)));
}

template <class T>
Traffic lstm_forward_traffic(const LstmForwardForm& form, const LstmShape& s, const LstmOptions& options) {
    const std::int64_t h = s.h;
    Traffic traffic = gemm_traffic<T, T>(std::int64_t{s.n} * s.t, 4 * h, s.c, false, options.precision);
    if (is_resident<T>(s, options)) {
        return traffic + lstm_resident_forward_traffic<T>(form, s);
    }
    for (int step = 0; step < s.t; ++step) {
        const bool recurrent = step > 0 || form.h0;
        traffic += recurrent ? gemm_traffic<T, float>(s.n, 4 * h, h, false, options.precision) : Traffic{};
        traffic += lstm_cell_forward_traffic<T>(recurrent, form.bias, step > 0 || form.c0, s);
    }
    return traffic;
}

template <class T>
Traffic lstm_backward_traffic(const LstmBackwardForm& form, const LstmShape& s, const LstmOptions& options) {
    const std::int64_t h = s.h, rows = std::int64_t{s.n} * s.t;
    Traffic traffic;
    if (is_resident<T>(s, options)) {
        traffic = lstm_resident_backward_traffic<T>(form, s);
    } else {
        for (int step = 0; step < s.t; ++step) {
            const bool last = step == s.t - 1;
            traffic += last ? Traffic{} : gemm_traffic<T, float>(s.n, h, 4 * h, false, options.precision);
            traffic += lstm_cell_backward_traffic<T>(!last, step > 0 || form.c0, s);
        }
        traffic += form.dh0 ? gemm_traffic<T, T>(s.n, h, 4 * h, false, options.precision) : Traffic{};
    }
    if (form.dx) {
        traffic += gemm_traffic<T, T>(rows, s.c, 4 * h, false, options.precision);
    }
    if (form.dw_ih) {
        traffic += gemm_traffic<T, float>(4 * h, s.c, rows, false, options.precision);
    }
    if (form.dw_hh) {
        const std::int64_t read = form.h0 ? rows : rows - s.n;  // the hidden state before each step
        traffic += Traffic::once(std::int64_t{sizeof(T)} * h * (rows + read)) +
                   gemm_traffic<T, float>(4 * h, h, rows, false, options.precision);
    }
    return traffic + (form.db ? sum_columns_traffic<T>(false, rows, static_cast<int>(4 * h)) : Traffic{});
}

#define CUTIS_INSTANTIATE(T)                                                                                  \
    template Traffic lstm_forward_traffic<T>(const LstmForwardForm&, const LstmShape&, const LstmOptions&);   \
    template Traffic lstm_backward_traffic<T>(const LstmBackwardForm&, const LstmShape&, const LstmOptions&); \
    template Traffic lstm_cell_forward_traffic<T>(bool, bool, bool, const LstmShape&);                        \
    template Traffic lstm_cell_backward_traffic<T>(bool, bool, const LstmShape&);
CUTIS_INSTANTIATE(float)
CUTIS_INSTANTIATE(BFloat16)
#undef CUTIS_INSTANTIATE

}  // namespace cutis::cuda
