#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Softmax and the cross entropy of its probabilities with labels; logits are n x c, labels 0..c-1, fp32 with fp64
/// sums.

namespace cutis {

/// Variants of the loss. Sample i with label t and probabilities p costs
///   class weights w, smoothing s:  -(1 - s) w[t] log p[t] - (s / c) sum over j of w[j] log p[j]
///   (torch.nn.CrossEntropyLoss) focal gamma:                   -w[t] (1 - p[t])^gamma log p[t] (Lin et al. 2017)
/// and the batch's loss is the sum of these over the sum of w[t]. Smoothing and focal together are an Error.
struct CrossEntropyOptions {
    const float* class_weights = nullptr;  ///< c values >= 0, or null for 1
    float label_smoothing = 0.0f;          ///< 0 <= s <= 1
    float focal_gamma = 0.0f;              ///< >= 0; 0 is plain cross entropy
};

/// Throws Error where the options or the sizes have no meaning: an empty batch, no classes, a value out of its range.
void check_cross_entropy(const CrossEntropyOptions& options, int n, int c);

namespace cpu {

/// probabilities[n x c] = softmax of each row; may be logits.
void softmax(float* probabilities, const float* logits, int n, int c, Stream stream = {});

/// @param loss           1 value, the mean
/// @param losses         n values, each sample's own cost (not divided by any weight), or null
/// @param probabilities  n x c, for the backward pass, or null
/// Error where a label is outside 0..c-1 (naming its index), the batch is empty, or the labels' weights sum to 0.
void softmax_cross_entropy_forward(float* loss, float* losses, float* probabilities, const float* logits,
                                   const std::int32_t* labels, const CrossEntropyOptions& options, int n, int c,
                                   Stream stream = {});

/// dlogits = scale * d loss / d logits, from what the forward pass stored. dlogits may be probabilities.
/// @param scale  the gradient of the loss that comes from above, 1 where the loss is the end
void softmax_cross_entropy_backward(float* dlogits, float scale, const float* probabilities, const std::int32_t* labels,
                                    const CrossEntropyOptions& options, int n, int c, Stream stream = {});

}  // namespace cpu

/// The same on a GPU, T fp32 or bf16; class weights, too, are in device memory. Exponentials and logarithms in fp32,
/// sums over the batch in fp64. Nothing can be thrown about what is in device memory: where a label is outside 0..c-1
/// or the labels' weights sum to 0, the loss and all gradients are NaN (and the losses of such samples).
namespace cuda {

template <class T>
void softmax(float* probabilities, const T* logits, int n, int c, Stream stream);

template <class T>
void softmax_cross_entropy_forward(float* loss, float* losses, float* probabilities, const T* logits,
                                   const std::int32_t* labels, const CrossEntropyOptions& options, int n, int c,
                                   Stream stream);

template <class T>
void softmax_cross_entropy_backward(T* dlogits, float scale, const float* probabilities, const std::int32_t* labels,
                                    const CrossEntropyOptions& options, int n, int c, Stream stream);

/// With the gradient from above in device memory (1 value), where the host may not read it.
template <class T>
void softmax_cross_entropy_backward(T* dlogits, const float* scale, const float* probabilities,
                                    const std::int32_t* labels, const CrossEntropyOptions& options, int n, int c,
                                    Stream stream);

/// Which of the pointers are not null, and which options not 0.
struct CrossEntropyForm {
    bool losses = true, probabilities = true;
    bool class_weights = false, label_smoothing = false, focal_gamma = false;
    bool scale_on_device = false;
};

// Bytes: forward reads each row twice; backward, the label, the totals and the scale by each of the threads that share
// a row (32, above 1024 classes 256). Where only the labels' weights are read, labels that differ are
// taken for min(n, c).

template <class T>
Traffic softmax_traffic(int n, int c);
template <class T>
Traffic softmax_cross_entropy_forward_traffic(const CrossEntropyForm& form, int n, int c);
template <class T>
Traffic softmax_cross_entropy_backward_traffic(const CrossEntropyForm& form, int n, int c);

}  // namespace cuda
}  // namespace cutis
