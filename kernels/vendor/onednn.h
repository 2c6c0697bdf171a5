#pragma once

#include <cstdint>
#include <span>

#include "kernels/activation.h"
#include "kernels/batchnorm.h"
#include "kernels/concat.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/lrn.h"
#include "kernels/lstm.h"
#include "kernels/pool.h"

/// The CPU's operations by oneDNN's primitives: the vendor's side of every comparison on a CPU. Each function means
/// what its namesake in cutis::cpu means; where that can join a batchnorm on, the pointers for it must be null (Error),
/// for the library has no such joint operation. Activations stay NHWC, which the library serves with kernels of its
/// own; weights are reordered into the layout that a primitive wants on every call, since they change on every step.
///
/// A primitive is compiled for one shape and number of threads and kept; it gets its scratch memory from us. Functions
/// throw Error with the library's message and the shape.

namespace cutis::onednn {

/// Native code asks for this, too: it has no faster dense convolution of its own.
void conv_forward(float* y, const float* x, const float* w, const float* bias, const ConvShape& shape,
                  const BatchStatistics* statistics);
void conv_backward(float* dx, float* dw, float* db, const float* g, const GradientOnLoad* gradient_on_load,
                   const float* x, const float* w, const ConvShape& shape);

void pointwise_forward(float* y, const float* x, const float* w, const Normalize* on_load,
                       const BatchStatistics* statistics, std::int64_t rows, int c, int k);
void pointwise_backward(float* dx, float* dw, const float* g, const GradientOnLoad* gradient_on_load, const float* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* dx_add, const float* w,
                        std::int64_t rows, int c, int k);

void depthwise_forward(float* y, const float* x, const float* w, const Normalize* on_load,
                       const BatchStatistics* statistics, const DepthwiseShape& shape);
void depthwise_backward(float* dx, float* dw, const float* g, const GradientOnLoad* gradient_on_load, const float* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* w,
                        const DepthwiseShape& shape);

void linear_forward(float* y, const float* x, const float* w, const float* bias, std::int64_t rows, int c, int k);
void linear_backward(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w,
                     std::int64_t rows, int c, int k);

/// Training's batchnorm: z = act(batchnorm(y)) + residual, and what the backward pass needs of the batch. residual may
/// be null; with an activation it must be.
void batchnorm_forward(float* z, const BatchnormSaved& saved, const float* y, const float* gamma, const float* beta,
                       float eps, Activation act, const float* residual, std::int64_t rows, int c);
/// Its gradients, each overwritten; dy may be null.
/// @param z  the forward pass's output, which says where the activation passes; read only where there is one
void batchnorm_backward(float* dy, float* dgamma, float* dbeta, const float* dz, const float* y, const float* z,
                        const BatchnormBatch& batch, const float* gamma, Activation act, std::int64_t rows, int c);

void activation_forward(float* y, const float* x, Activation act, std::int64_t n);
void activation_backward(float* dx, const float* dy, const float* x, Activation act, std::int64_t n);
void add(float* z, const float* a, const float* b, std::int64_t n);
void softmax(float* probabilities, const float* logits, int n, int c);

void global_average_pool_forward(float* y, const float* x, const Normalize* on_load, int n, int hw, int c);
void global_average_pool_backward(float* dx, const float* dy, const float* x, const Normalize* on_load,
                                  const NormalizeBackward* before, int n, int hw, int c);
/// What max pooling leaves for the backward pass has a form of the library's own, max_pool_marks() bytes.
std::int64_t max_pool_marks(const PoolShape& shape);
void max_pool_forward(float* y, std::uint8_t* marks, const float* x, const PoolShape& shape);
void max_pool_backward(float* dx, const float* dy, const std::uint8_t* marks, const PoolShape& shape);
void average_pool_forward(float* y, const float* x, const PoolShape& shape);
void average_pool_backward(float* dx, const float* dy, const PoolShape& shape);

/// Whether its window lies as ours does; else native kernels answer.
bool serves(const LocalResponseNorm& norm);
/// The forward pass may leave something for the backward pass: local_response_norm_workspace_bytes() of it.
std::int64_t local_response_norm_workspace_bytes(const LocalResponseNorm& norm, std::int64_t rows, int c);
void vendor_local_response_norm_forward(float* y, void* workspace, const float* x, const LocalResponseNorm& norm,
                                        std::int64_t rows, int c);
void vendor_local_response_norm_backward(float* dx, const float* dy, const float* x, const void* workspace,
                                         const LocalResponseNorm& norm, std::int64_t rows, int c);

void concat_channels(float* y, std::span<const ChannelPart<const float>> parts, std::int64_t rows);

/// The LSTM's forward pass leaves gates and cells in a form of the library's own: lstm_workspace_bytes() of them.
std::int64_t lstm_workspace_bytes(const LstmShape& shape);
/// @param c_n  n x h, the cell state after the last step
void vendor_lstm_forward(float* y, float* c_n, void* workspace, const float* x, const LstmWeights& weights,
                         const LstmState& start, const LstmShape& shape);
void vendor_lstm_backward(const LstmGradients& gradients, const float* dy, const float* dc_n, const float* x,
                          const float* y, const float* c_n, const void* workspace, const LstmWeights& weights,
                          const LstmState& start, const LstmShape& shape);

}  // namespace cutis::onednn
