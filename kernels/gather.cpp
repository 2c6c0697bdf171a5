#include "kernels/gather.h"

#include <algorithm>

#include "kernels/parallel.h"

// Copies of whole rows. Bytes: 8 a value, 4 a row.

namespace cutis::cpu {

void gather_rows(float* y, const float* x, const std::int32_t* index, std::int64_t rows, int c, Stream) {
    parallel_for(rows, std::max<std::int64_t>(1, 16384 / std::max(c, 1)),
                 [&](std::int64_t begin, std::int64_t end, int) {
                     for (std::int64_t row = begin; row < end; ++row) {
                         if (index[row] >= 0) {
                             std::copy_n(x + std::int64_t{index[row]} * c, c, y + row * c);
                         } else {
                             std::fill_n(y + row * c, c, 0.0f);
                         }
                     }
                 });
}

}  // namespace cutis::cpu
