#define CUTIS_ROW_KERNELS row_kernels_avx2
#include "kernels/simd/rows.inl"
