#define CUTIS_ROW_KERNELS row_kernels_avx512
#include "kernels/simd/rows.inl"
