#include "kernels/augment.h"

#include "kernels/error.h"

namespace cutis {

void check_augment(int n, int size) {
    require(n >= 0 && size >= 1 && size <= 16384, "augment: {} images of side {}; sides of 1 to 16384 are possible", n,
            size);
    require(std::int64_t{n} * size * size < std::int64_t{1} << 40,
            "augment: {} images of side {} are too many for one launch", n, size);
}

}  // namespace cutis
