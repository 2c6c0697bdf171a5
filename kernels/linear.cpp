#include "kernels/linear.h"

#include <algorithm>

#include "kernels/gemm.h"
#include "kernels/reduction.h"

namespace cutis::cpu {

void linear_forward(float* y, const float* x, const float* w, const float* bias, std::int64_t rows, int c, int k,
                    Stream stream) {
    for (std::int64_t row = 0; bias != nullptr && row < rows; ++row) {
        std::copy_n(bias, k, y + row * k);
    }
    gemm(Transpose::no, Transpose::yes, rows, k, c, x, c, w, c, bias != nullptr, y, k, stream);
}

void linear_backward(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w,
                     std::int64_t rows, int c, int k, Stream stream) {
    if (dx != nullptr) {
        gemm(Transpose::no, Transpose::no, rows, c, k, dy, k, w, c, false, dx, c, stream);
    }
    if (dw != nullptr) {
        gemm(Transpose::yes, Transpose::no, k, c, rows, dy, k, x, c, false, dw, c, stream);
    }
    if (db != nullptr) {
        sum_rows(db, dy, rows, k);
    }
}

}  // namespace cutis::cpu
