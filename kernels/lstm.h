#pragma once

#include "kernels/bfloat16.h"
#include "kernels/precision.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// One layer of long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000) in PyTorch's
/// conventions. For each sample and step, where h' and c' are the hidden and the cell state of the step before:
///
///   i, f, g, o   the four blocks of h values of   x w_ih^T + b_ih + h' w_hh^T + b_hh
///                behind sigmoid, sigmoid, tanh, sigmoid
///   c = f c' + i g
///   h = o tanh(c)
///
/// The letter h is the hidden size in this file.
///
/// Per step and sample: FLOPs 8 h (c + h) for the products and about 30 h for the cell. Bytes: c sizeof(T) for x,
/// h (5 sizeof(T) + 4) for what is stored (gates, y, cells), and 4 h of the input projection once more each way. The
/// weights are read once per step (steps apart) or once per sequence (resident).
///
/// Floor: the steps of a sequence follow each other, so that a small batch is bound by the latency of one, not by
/// either figure. At h = 128 the recurrent product of one sample is 131 kFLOP: 46 ns of one multiprocessor's tensor
/// cores (1024 multiply-adds a clock on sm_80, 1.4 GHz: 65,536 / 1024 / 1.4e9) against two to three microseconds for
/// each kernel launch of a step made of launches. docs/kernels/lstm.md has the whole account.

namespace cutis {

/// n sequences of t steps of c values; h values come out of each step. Batch first: x is n x t x c, as the pixels of an
/// NHWC feature map lie; y is n x t x h. n, t, c and h are at least 1.
struct LstmShape {
    int n, t, c, h;
};

/// w_ih: 4h x c, w_hh: 4h x h; b_ih and b_hh: 4h each, null for none. Rows in the order i, f, g, o.
template <class T>
struct LstmWeightsT {
    const T *w_ih, *w_hh;
    const float *b_ih = nullptr, *b_hh = nullptr;
};
using LstmWeights = LstmWeightsT<float>;

/// The state before the first step: n x h each, null for zeros.
template <class T>
struct LstmStateT {
    const T* h0 = nullptr;
    const float* c0 = nullptr;
};
using LstmState = LstmStateT<float>;

/// What forward leaves for backward, beside y: the activated gates, n x t x 4h, and the cell state after each step,
/// n x t x h. The last step's rows of y and cells are the final state.
template <class T>
struct LstmSavedT {
    T* gates;
    float* cells;
};
using LstmSaved = LstmSavedT<float>;

/// The gradients, each overwritten and each null when not wanted. db is that of b_ih and of b_hh.
template <class T>
struct LstmGradientsT {
    T* dx = nullptr;
    float *dw_ih = nullptr, *dw_hh = nullptr, *db = nullptr;
    T* dh0 = nullptr;
    float* dc0 = nullptr;
};
using LstmGradients = LstmGradientsT<float>;

namespace cpu {

/// y, and what backward needs. The input projection of all steps is one matrix product.
void lstm_forward(float* y, const LstmSaved& saved, const float* x, const LstmWeights& weights, const LstmState& start,
                  const LstmShape& shape, Stream stream = {});

/// The gradients from dy (n x t x h) and dc_n (n x h, of the cell state after the last step; null for zeros). The
/// weights' gradients over all steps are one matrix product each.
void lstm_backward(const LstmGradients& gradients, const float* dy, const float* dc_n, const float* x, const float* y,
                   const LstmSaved& saved, const LstmWeights& weights, const LstmState& start, const LstmShape& shape,
                   Stream stream = {});

/// The element-wise part of step `step` (from 0) of lstm_forward: saved.gates holds x w_ih^T of that step and gets the
/// activated gates; y and saved.cells get the step's rows.
/// @param recurrent  n x 4h, h' w_hh^T; null for zeros
/// @param c0         n x h, the cell state before step 0; null for zeros
void lstm_cell_forward(float* y, const LstmSaved& saved, const float* recurrent, const float* b_ih, const float* b_hh,
                       const float* c0, const LstmShape& shape, int step, Stream stream = {});

/// Its gradient: the step's rows of dgates (n x t x 4h), the gradient of what the gates' activations take.
/// @param dc         n x h: the gradient of the step's cell state that comes from later steps; gets that of the state
///                   before
/// @param recurrent  n x h, the gradient of the step's hidden state that comes from later steps; null for zeros
void lstm_cell_backward(float* dgates, float* dc, const float* dy, const float* recurrent, const LstmSaved& saved,
                        const float* c0, const LstmShape& shape, int step, Stream stream = {});

}  // namespace cpu

namespace cuda {

/// How the steps of a sequence are run.
enum class LstmForm {
    automatic,  ///< resident where that is possible
    resident,   ///< one kernel walks through all steps and keeps the recurrent weights on chip
    steps       ///< a matrix product and a cell kernel per step
};

struct LstmOptions {
    MatrixPrecision precision = MatrixPrecision::fp32;  ///< of fp32 products; the resident form's recurrent one is fp32
    LstmForm form = LstmForm::automatic;
};

/// Whether the present device can keep the recurrent weights of hidden size h on chip. bf16: h a multiple of 8, up to
/// 128 in one block, up to 256 in a cluster of four (sm_90). fp32: h a multiple of 4, up to 64 in one block, up to 128
/// in a cluster of four.
template <class T>
bool lstm_can_be_resident(int h);

/// The same as on the CPU, T fp32 or bf16: x, y, gates, dy and weights are T, cell states, biases and weights'
/// gradients fp32, and so is every sum; the input projection and dgates are rounded to T where they are stored.
/// LstmForm::resident where it is not possible: Error.
template <class T>
void lstm_forward(T* y, const LstmSavedT<T>& saved, const T* x, const LstmWeightsT<T>& weights,
                  const LstmStateT<T>& start, const LstmShape& shape, const LstmOptions& options, Stream stream);

template <class T>
void lstm_backward(const LstmGradientsT<T>& gradients, const T* dy, const float* dc_n, const T* x, const T* y,
                   const LstmSavedT<T>& saved, const LstmWeightsT<T>& weights, const LstmStateT<T>& start,
                   const LstmShape& shape, const LstmOptions& options, Stream stream);

template <class T>
void lstm_cell_forward(T* y, const LstmSavedT<T>& saved, const float* recurrent, const float* b_ih, const float* b_hh,
                       const float* c0, const LstmShape& shape, int step, Stream stream);

template <class T>
void lstm_cell_backward(T* dgates, float* dc, const T* dy, const float* recurrent, const LstmSavedT<T>& saved,
                        const float* c0, const LstmShape& shape, int step, Stream stream);

/// Which of an LSTM's pointers are not null; `bias`: both.
struct LstmForwardForm {
    bool bias = true, h0 = false, c0 = false;
};
struct LstmBackwardForm {
    bool dx = true, dw_ih = true, dw_hh = true, db = true, dh0 = false, dc0 = false;
    bool h0 = false, c0 = false, dc_n = false;
};

// Bytes: the products' over all steps (gemm_traffic), and what the file comments of lstm.cu and lstm_resident.cu say of
// the cells; recurrent weights once per slice of the batch (resident) or step. Copies of dc_n by the runtime are not in
// it.

template <class T>
Traffic lstm_forward_traffic(const LstmForwardForm& form, const LstmShape& shape, const LstmOptions& options);
template <class T>
Traffic lstm_backward_traffic(const LstmBackwardForm& form, const LstmShape& shape, const LstmOptions& options);

/// `before`: there is a cell state before the step.
template <class T>
Traffic lstm_cell_forward_traffic(bool recurrent, bool bias, bool before, const LstmShape& shape);
template <class T>
Traffic lstm_cell_backward_traffic(bool recurrent, bool before, const LstmShape& shape);

}  // namespace cuda
}  // namespace cutis
