#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/activation.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Batch normalisation (Ioffe and Szegedy 2015) with its activation, in the parts that a fused schedule puts elsewhere:
///
///   statistics   mean, var of y per channel            (a producer's epilogue can give them)
///   fold         gamma, beta, mean, var -> scale, shift, so that z = act(scale * y + shift)
///   normalize    z from y                              (a consumer can do it while it loads y)
///   reduce       dgamma, dbeta from dz and y            (the epilogue of the input gradient behind it)
///   coefficients a, b, d, so that dy = a * g + b * y + d, where g is dz behind the activation
///   apply        dy from g and y                        (the gradient's consumer can do it while it loads g)
///
/// Every array `y`, `z`, `g` is rows x c, channels last (rows = n * h * w); per-channel arrays have length c and are
/// fp32.

namespace cutis {

/// z = act(scale * y + shift), applied by a consumer when it loads y. All of length c.
struct Normalize {
    const float* scale;
    const float* shift;
    Activation act;
};

/// Where a producer puts the batch statistics of what it wrote: mean and biased variance, length c.
struct BatchStatistics {
    float* mean;
    float* var;
};

/// The batchnorm that stands before a consumer, for the consumer's backward pass: it masks its input gradient by this
/// batchnorm's activation and reduces it to dgamma and dbeta in its epilogue. inv_std = 1 / sqrt(var + eps).
struct NormalizeBackward {
    const float* mean;
    const float* inv_std;
    float* dgamma;
    float* dbeta;
};

/// dy = a * g + b * y + d, batchnorm's input gradient from the masked gradient g, applied when g is loaded. T is the
/// type that activations are stored in.
template <class T>
struct GradientOnLoadT {
    const T* y;
    const float* a;
    const float* b;
    const float* d;
};
using GradientOnLoad = GradientOnLoadT<float>;

/// What a training step's forward pass keeps of one batchnorm; all of length c, all written.
struct BatchnormSaved {
    float *mean, *var;
    float *scale, *shift, *inv_std;
};
/// What of it a vendor's backward pass reads.
struct BatchnormBatch {
    const float *mean, *var, *inv_std;
    float eps;
};

namespace cpu {

/// mean[c], var[c] (biased) of y over its rows; one pass, squares taken around a value of the channel itself and summed
/// in fp64 above blocks of a few hundred rows (E[y^2] - E[y]^2 in fp32 is not good enough). rows >= 1.
void batchnorm_statistics(float* mean, float* var, const float* y, std::int64_t rows, int c, Stream stream = {});

/// scale = gamma / sqrt(var + eps), shift = beta - mean * scale, inv_std = 1 / sqrt(var + eps).
void batchnorm_fold(float* scale, float* shift, float* inv_std, const float* gamma, const float* beta,
                    const float* mean, const float* var, float eps, int c, Stream stream = {});

/// running += momentum * (batch - running), with the unbiased variance var * rows / (rows - 1) (biased at rows == 1).
void batchnorm_update_running(float* running_mean, float* running_var, const float* mean, const float* var,
                              std::int64_t rows, float momentum, int c, Stream stream = {});

/// z = act(scale * y + shift) + residual; residual may be null, z may be y.
void batchnorm_normalize(float* z, const float* y, const Normalize& normalize, const float* residual, std::int64_t rows,
                         int c, Stream stream = {});

/// dbeta = sum of g, dgamma = sum of g * (y - mean) * inv_std, with g = dz where the activation passes. g is stored to
/// `g` unless that is null (it may be dz).
void batchnorm_reduce(float* g, const NormalizeBackward& out, const float* dz, const float* y,
                      const Normalize& normalize, std::int64_t rows, int c, Stream stream = {});

/// a = gamma * inv_std, b = -a * inv_std * dgamma / rows, d = -a * dbeta / rows - b * mean (training mode).
void batchnorm_gradient_coefficients(float* a, float* b, float* d, const float* gamma, const float* mean,
                                     const float* inv_std, const float* dgamma, const float* dbeta, std::int64_t rows,
                                     int c, Stream stream = {});

/// dy = a * g + b * y + d with g = dz masked by `normalize`'s activation (null: dz is masked already). dy may be dz.
void batchnorm_apply_gradient(float* dy, const float* dz, const GradientOnLoad& on_load, const Normalize* normalize,
                              std::int64_t rows, int c, Stream stream = {});

}  // namespace cpu

/// The same on a GPU; T, the type of y, z, g and their gradients, is fp32 or bf16. Statistics and sums are fp32, joined
/// from parts in an order that depends on rows and c alone. Arrays start on 16 bytes.
namespace cuda {

template <class T>
void batchnorm_statistics(float* mean, float* var, const T* y, std::int64_t rows, int c, Stream stream);

void batchnorm_fold(float* scale, float* shift, float* inv_std, const float* gamma, const float* beta,
                    const float* mean, const float* var, float eps, int c, Stream stream);

/// var, scale and shift from the mean and inv_std that a vendor's library leaves: var = 1 / inv_std^2 - eps, which is
/// as exact as inv_std where var is not much smaller than eps.
void batchnorm_complete(const BatchnormSaved& saved, const float* gamma, const float* beta, float eps, int c,
                        Stream stream);

void batchnorm_update_running(float* running_mean, float* running_var, const float* mean, const float* var,
                              std::int64_t rows, float momentum, int c, Stream stream);

template <class T>
void batchnorm_normalize(T* z, const T* y, const Normalize& normalize, const std::type_identity_t<T>* residual,
                         std::int64_t rows, int c, Stream stream);

template <class T>
void batchnorm_reduce(std::type_identity_t<T>* g, const NormalizeBackward& out, const T* dz, const T* y,
                      const Normalize& normalize, std::int64_t rows, int c, Stream stream);

void batchnorm_gradient_coefficients(float* a, float* b, float* d, const float* gamma, const float* mean,
                                     const float* inv_std, const float* dgamma, const float* dbeta, std::int64_t rows,
                                     int c, Stream stream);

template <class T>
void batchnorm_apply_gradient(T* dy, const T* dz, const GradientOnLoadT<T>& on_load, const Normalize* normalize,
                              std::int64_t rows, int c, Stream stream);

/// Whether batchnorm_forward takes these sizes: all rows of a slice of channels stay in a block's shared memory (the
/// last stages of a network; 96 KiB, two blocks to a multiprocessor).
template <class T>
bool batchnorm_forward_fits(std::int64_t rows, int c);

/// statistics, fold and normalize in one kernel that reads y once: 2 accesses per value where the parts take 3.
/// z = act(scale * y + shift) + residual; residual may be null, z may be y.
template <class T>
void batchnorm_forward(T* z, const BatchnormSaved& saved, const T* y, const float* gamma, const float* beta, float eps,
                       Activation act, const std::type_identity_t<T>* residual, std::int64_t rows, int c,
                       Stream stream);

// Bytes: each value of each tensor once, the figures per channel by each of the threads that have the channel, and the
// parts' partials, written and read.

template <class T>
Traffic batchnorm_statistics_traffic(std::int64_t rows, int c);
Traffic batchnorm_fold_traffic(int c);
Traffic batchnorm_complete_traffic(int c);
Traffic batchnorm_update_running_traffic(int c);
template <class T>
Traffic batchnorm_normalize_traffic(bool residual, std::int64_t rows, int c);
template <class T>
Traffic batchnorm_reduce_traffic(bool g, std::int64_t rows, int c);
Traffic batchnorm_gradient_coefficients_traffic(int c);
template <class T>
Traffic batchnorm_apply_gradient_traffic(bool normalize, std::int64_t rows, int c);
template <class T>
Traffic batchnorm_forward_traffic(bool residual, std::int64_t rows, int c);

}  // namespace cuda
}  // namespace cutis
