#pragma once

namespace cutis {

/// How a GPU multiplies fp32 matrices: on its CUDA cores in fp32, or on its tensor cores with both factors rounded to
/// tf32 (10 bits of fraction). Sums are fp32 either way. Matrices of bf16 values always go to the tensor cores.
enum class MatrixPrecision { fp32, tf32 };

}  // namespace cutis
