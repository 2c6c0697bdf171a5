#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/activation.h"
#include "kernels/batchnorm.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/lstm.h"
#include "kernels/precision.h"
#include "kernels/stream.h"

/// A GPU's operations by NVIDIA's cuDNN 9: the vendor's side of every comparison on a GPU. Matrix products without a
/// convolution's shape go to cuBLASLt (by_cublaslt in kernels/cublaslt.h); what is not listed here, pooling and what is
/// done value by value among it, runs natively: bytes are its floor, whoever moves them.
///
/// Each function means what its namesake in cutis::cuda means, T fp32 or bf16; where that can join a batchnorm on, or
/// add to a gradient, the pointers for it must be null (Error), for the library has no such joint operation.
/// Activations stay NHWC. Sums are fp32; fp32 products are rounded to tf32 only with MatrixPrecision::tf32. With bf16
/// the library has no gradient of weights in fp32: it is rounded to bf16 on its way.
///
/// An operation's first call with a shape tries every engine that the library proposes and keeps the fastest
/// (kernels/vendor/cudnn_graph.h), so run a step once before it is recorded as a graph. Error where the library is not
/// found or has no engine, with operation, shape and the library's reason.

namespace cutis::cudnn {

template <class T>
void conv_forward(T* y, const T* x, const T* w, const float* bias, const ConvShape& shape,
                  const BatchStatistics* statistics, MatrixPrecision precision, Stream stream);
template <class T>
void conv_backward(T* dx, float* dw, float* db, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                   const T* w, const ConvShape& shape, MatrixPrecision precision, Stream stream);

template <class T>
void pointwise_forward(T* y, const T* x, const T* w, const Normalize* on_load, const BatchStatistics* statistics,
                       std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream);
template <class T>
void pointwise_backward(T* dx, float* dw, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                        const Normalize* on_load, const NormalizeBackward* before, const T* dx_add, const T* w,
                        std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream);

/// The taps, 9 x c, are put into the order that the library documents, c x 9, on every call (kernels/filter_order.h).
template <class T>
void depthwise_forward(T* y, const T* x, const float* w, const Normalize* on_load, const BatchStatistics* statistics,
                       const DepthwiseShape& shape, Stream stream);
template <class T>
void depthwise_backward(T* dx, float* dw, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* w,
                        const DepthwiseShape& shape, Stream stream);

/// Training's batchnorm: z = act(batchnorm(y)) + residual, and what the backward pass needs of the batch, act in the
/// same kernel. residual may be null; with an activation it must be. The library takes channels in fours (bf16:
/// eights); others run natively.
template <class T>
void batchnorm_forward(T* z, const BatchnormSaved& saved, const T* y, const float* gamma, const float* beta, float eps,
                       Activation act, const std::type_identity_t<T>* residual, std::int64_t rows, int c,
                       Stream stream);
/// Its gradients, each overwritten; dy may be null.
/// @param z  the forward pass's output, which says where the activation passes; read only where there is one
template <class T>
void batchnorm_backward(std::type_identity_t<T>* dy, float* dgamma, float* dbeta, const T* dz, const T* y,
                        const std::type_identity_t<T>* z, const BatchnormBatch& batch, const float* gamma,
                        Activation act, std::int64_t rows, int c, Stream stream);

/// The LSTM's forward pass leaves the library's weights and reserve space: lstm_workspace_bytes() of them. The cell
/// state is T inside the library: c0 is rounded to it, c_n comes from it.
template <class T>
std::int64_t lstm_workspace_bytes(const LstmShape& shape, MatrixPrecision precision);
/// @param c_n  n x h, the cell state after the last step
template <class T>
void vendor_lstm_forward(T* y, float* c_n, void* workspace, const T* x, const LstmWeightsT<T>& weights,
                         const LstmStateT<T>& start, const LstmShape& shape, MatrixPrecision precision, Stream stream);
/// @param workspace  of the forward pass; may be read once
template <class T>
void vendor_lstm_backward(const LstmGradientsT<T>& gradients, const T* dy, const float* dc_n, const T* x, const T* y,
                          const float* c_n, const void* workspace, const LstmWeightsT<T>& weights,
                          const LstmStateT<T>& start, const LstmShape& shape, MatrixPrecision precision, Stream stream);

}  // namespace cutis::cudnn
