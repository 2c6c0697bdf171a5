#include "engine/on_device.h"

#include <atomic>

namespace cutis {
namespace {
std::atomic<MatrixPrecision> g_precision{MatrixPrecision::fp32};
}

MatrixPrecision matrix_precision() {
    return g_precision.load(std::memory_order_relaxed);
}
void set_matrix_precision(MatrixPrecision precision) {
    g_precision.store(precision, std::memory_order_relaxed);
}

}  // namespace cutis
