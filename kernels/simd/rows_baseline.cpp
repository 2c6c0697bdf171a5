#define CUTIS_ROW_KERNELS row_kernels_baseline
#include "kernels/simd/rows.inl"
