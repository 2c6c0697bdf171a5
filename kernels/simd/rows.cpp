#include "kernels/simd/rows.h"

#include "kernels/isa.h"

namespace cutis::simd {

extern const RowKernels row_kernels_baseline;
#if defined(__x86_64__)
extern const RowKernels row_kernels_avx2;
extern const RowKernels row_kernels_avx512;
#endif

const RowKernels& row_kernels() {
#if defined(__x86_64__)
    switch (active_isa()) {
        case Isa::avx512:
            return row_kernels_avx512;
        case Isa::avx2:
            return row_kernels_avx2;
        case Isa::baseline:
            break;
    }
#endif
    return row_kernels_baseline;
}

}  // namespace cutis::simd
