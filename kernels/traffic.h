#pragma once

#include <cstdint>

namespace cutis::cuda {

/// Bytes of global memory that a call's kernels move, predicted from its shape.
struct Traffic {
    std::int64_t issued;    ///< every load and store of every thread: what is read again (halos, partials) counts again
    std::int64_t distinct;  ///< of different addresses, scratch included: what memory must move at least
};

}  // namespace cutis::cuda
