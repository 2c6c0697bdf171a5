#pragma once

#include <cstdint>
#include <vector>

#include "kernels/activation.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/lrn.h"
#include "kernels/lstm.h"
#include "kernels/optimizer.h"
#include "kernels/pool.h"
#include "kernels/softmax_cross_entropy.h"

/// Every operation once more in fp64, written as its definition reads: what the kernels are judged by. Slow,
/// single-threaded, whole tensors by value, layouts as in kernels/.

namespace cutis::reference {

using Values = std::vector<double>;

/// How near any operation since the last reset came to a point where it has no derivative: the distance of a value to
/// the ends of a clamp, or of the two largest values of a pooling window.
double nearest_kink();
void reset_kinks();

// Convolutions. A pointwise convolution or a linear layer of `rows` rows is one over `rows` images of one pixel.
ConvShape linear_shape(std::int64_t rows, int c, int k);
/// bias may be empty.
Values conv(const Values& x, const Values& w, const Values& bias, const ConvShape& shape);
Values conv_input_gradient(const Values& dy, const Values& w, const ConvShape& shape);
Values conv_weight_gradient(const Values& dy, const Values& x, const ConvShape& shape);

Values depthwise(const Values& x, const Values& w, const DepthwiseShape& shape);
Values depthwise_input_gradient(const Values& dy, const Values& w, const DepthwiseShape& shape);
Values depthwise_weight_gradient(const Values& dy, const Values& x, const DepthwiseShape& shape);

// Over rows of channels; the number of channels is that of the per-channel arrays.
Values column_sum(const Values& x, int c);
struct Moments {
    Values mean, var;  ///< var is biased
};
Moments moments(const Values& x, int c);
/// act(scale * y + shift)
Values normalize(const Values& y, const Values& scale, const Values& shift, Activation act);
/// g where act passes scale * y + shift, else 0
Values masked(const Values& g, const Values& y, const Values& scale, const Values& shift, Activation act);
/// a * g + b * y + d
Values gradient_on_load(const Values& g, const Values& y, const Values& a, const Values& b, const Values& d);
/// sum of g * (y - mean) * inv_std
Values gamma_gradient(const Values& g, const Values& y, const Values& mean, const Values& inv_std);
/// act(gamma * (y - mean) / sqrt(var + eps) + beta) with y's own moments
Values batchnorm(const Values& y, const Values& gamma, const Values& beta, double eps, Activation act);

// Value by value.
Values add(const Values& a, const Values& b);
Values activation(const Values& x, Activation act);
Values activation_gradient(const Values& dy, const Values& x, Activation act);
/// x / (1 - probability) where kept
Values dropout(const Values& x, const std::vector<bool>& kept, double probability);

Values max_pool(const Values& x, const PoolShape& shape);
Values average_pool(const Values& x, const PoolShape& shape);
Values adaptive_average_pool(const Values& x, const AdaptivePoolShape& shape);
/// x: n x hw x c -> n x c
Values global_average_pool(const Values& x, int n, int hw, int c);

/// Rows of c channels.
Values local_response_norm(const Values& x, const LocalResponseNorm& norm, int c);

/// Rows of c logits.
Values softmax(const Values& logits, int c);
struct CrossEntropy {
    double loss;
    Values losses;
};
CrossEntropy cross_entropy(const Values& logits, const std::vector<std::int32_t>& labels,
                           const CrossEntropyOptions& options, int c);

/// Layouts and gate order as in kernels/lstm.h; b is b_ih + b_hh.
struct Lstm {
    Values y, gates, cells;
};
Lstm lstm(const Values& x, const Values& w_ih, const Values& w_hh, const Values& b, const Values& h0, const Values& c0,
          const LstmShape& shape);

// One step of an optimiser, in place. `first` is m (SGD, AdamW, RMSprop's momentum), `second` is v.
void sgd_step(Values& w, Values& first, const Values& g, const SgdOptions& options);
void rmsprop_step(Values& w, Values& second, Values& first, const Values& g, const RmspropOptions& options);
void adamw_step(Values& w, Values& first, Values& second, const Values& g, const AdamwOptions& options, int step);

}  // namespace cutis::reference
