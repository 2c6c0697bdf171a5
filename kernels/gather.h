#pragma once

#include <cstdint>

#include "kernels/bfloat16.h"
#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Rows of a matrix in another order: how sequences are turned round, cut and put together. Where no row is taken
/// twice, the gradient is the same call with the inverse index.

namespace cutis {

namespace cpu {

/// Row i of y = row index[i] of x, or zeros where index[i] is negative. y: rows x c; y must not be x. Every index is
/// below the number of x's rows.
void gather_rows(float* y, const float* x, const std::int32_t* index, std::int64_t rows, int c, Stream stream = {});

}  // namespace cpu

/// The same on a GPU, T fp32 or bf16; the index is in device memory, too. Matrices start on 16 bytes.
namespace cuda {

template <class T>
void gather_rows(T* y, const T* x, const std::int32_t* index, std::int64_t rows, int c, Stream stream);

/// Bytes: a row's index by each of its pieces (16 bytes where rows are made of such, else a value), the rows that are
/// taken, and y.
/// @param taken  rows whose index is not negative
template <class T>
Traffic gather_rows_traffic(std::int64_t taken, std::int64_t rows, int c);

}  // namespace cuda
}  // namespace cutis
