#include "kernels/backend.h"

#include <atomic>

namespace cutis {
namespace {
std::atomic<Backend> g_backend{Backend::native};
}

Backend backend() {
    return g_backend.load(std::memory_order_relaxed);
}
void set_backend(Backend backend) {
    g_backend.store(backend, std::memory_order_relaxed);
}

}  // namespace cutis
