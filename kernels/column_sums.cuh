#pragma once

#include <cstdint>

#include "kernels/batchnorm.h"
#include "kernels/traffic.h"

namespace cutis::cuda {

/// sum[c] = the sum of dy over its rows, a bias's gradient, with dy = g or, where on_load is given, a * g + b * y + d.
/// g is rows x c; rows may be 0.
template <class T>
void sum_columns(float* sum, const T* g, const GradientOnLoadT<T>* on_load, std::int64_t rows, int c, Stream stream);

template <class T>
Traffic sum_columns_traffic(bool on_load, std::int64_t rows, int c);

}  // namespace cutis::cuda
