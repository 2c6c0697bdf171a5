#include "kernels/simt/traffic.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/simt/scheduler.h"

// The functions that -fsanitize=thread makes the compiler call, here used to count instead of to find races. An access
// counts when it falls into device memory; shared memory, stacks and kernel arguments are elsewhere.

namespace simt {
namespace {

struct Array {
    std::uintptr_t begin = 0, end = 0;
    std::vector<bool> read, written;  // bytes of this launch
};

struct Counter {
    bool on = false;
    std::map<std::string, Traffic> kernels;
    Traffic launch;
    std::vector<Array> arrays;
    Array* last = nullptr;
};
Counter g_counter;

Array* array_of(std::uintptr_t address) {
    Counter& counter = g_counter;
    if (counter.last != nullptr && address >= counter.last->begin && address < counter.last->end) {
        return counter.last;
    }
    for (Array& array : counter.arrays) {
        if (address >= array.begin && address < array.end) {
            return counter.last = &array;
        }
    }
    return nullptr;
}

void mark(std::vector<bool>& bytes, std::size_t size, std::uintptr_t first, std::size_t count,
          std::uint64_t& distinct) {
    if (bytes.empty()) {
        bytes.resize(size);
    }
    for (std::size_t i = 0; i < count && first + i < size; ++i) {
        if (!bytes[first + i]) {
            bytes[first + i] = true;
            ++distinct;
        }
    }
}

void access(const void* pointer, std::size_t bytes, bool reads, bool writes) {
    if (!g_counter.on || detail::current == nullptr) {
        return;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    Array* const array = array_of(address);
    if (array == nullptr) {
        return;
    }
    Traffic& traffic = g_counter.launch;
    if (reads) {
        traffic.issued_read += bytes;
        mark(array->read, array->end - array->begin, address - array->begin, bytes, traffic.distinct_read);
    }
    if (writes) {
        traffic.issued_written += bytes;
        mark(array->written, array->end - array->begin, address - array->begin, bytes, traffic.distinct_written);
    }
}

// "cutis::cuda::depthwise_kernel<float, 1>" is counted as "depthwise_kernel<float, 1>".
std::string short_name(const std::string& name) {
    const std::size_t arguments = std::min(name.find('<'), name.size());
    const std::size_t colon = name.rfind("::", arguments);
    return colon == std::string::npos ? name : name.substr(colon + 2);
}

void begin_launch() {
    g_counter.arrays.clear();
    g_counter.last = nullptr;
    g_counter.launch = {};
    detail::for_device_memory([](const void* data, std::size_t bytes) {
        const auto begin = reinterpret_cast<std::uintptr_t>(data);
        g_counter.arrays.push_back({begin, begin + bytes, {}, {}});
    });
}

void end_launch(const char* kernel) {
    Traffic& sum = g_counter.kernels[short_name(kernel)];
    const Traffic& launch = g_counter.launch;
    ++sum.launches;
    sum.issued_read += launch.issued_read;
    sum.issued_written += launch.issued_written;
    sum.distinct_read += launch.distinct_read;
    sum.distinct_written += launch.distinct_written;
}

}  // namespace

TrafficCount::TrafficCount() : os_threads_before_(options().os_threads) {
    options().os_threads = 1;
    g_counter = {};
    g_counter.on = true;
    detail::set_launch_observer({&begin_launch, &end_launch});
}

TrafficCount::~TrafficCount() {
    stop();
}

std::map<std::string, Traffic> TrafficCount::stop() {
    if (g_counter.on) {
        g_counter.on = false;
        detail::set_launch_observer({});
        options().os_threads = os_threads_before_;
    }
    return g_counter.kernels;
}

}  // namespace simt

// ---- what the compiler calls

#define SIMT_READ(bytes)                            \
    void __tsan_read##bytes(void* p) {              \
        simt::access(p, bytes, true, false);        \
    }                                               \
    void __tsan_write##bytes(void* p) {             \
        simt::access(p, bytes, false, true);        \
    }                                               \
    void __tsan_unaligned_read##bytes(void* p) {    \
        simt::access(p, bytes, true, false);        \
    }                                               \
    void __tsan_unaligned_write##bytes(void* p) {   \
        simt::access(p, bytes, false, true);        \
    }                                               \
    void __tsan_volatile_read##bytes(void* p) {     \
        simt::access(p, bytes, true, false);        \
    }                                               \
    void __tsan_volatile_write##bytes(void* p) {    \
        simt::access(p, bytes, false, true);        \
    }                                               \
    void __tsan_read##bytes##_pc(void* p, void*) {  \
        simt::access(p, bytes, true, false);        \
    }                                               \
    void __tsan_write##bytes##_pc(void* p, void*) { \
        simt::access(p, bytes, false, true);        \
    }

#define SIMT_ATOMIC(bits, type)                                                                        \
    type __tsan_atomic##bits##_load(const volatile type* p, int order) {                               \
        simt::access(const_cast<const type*>(p), bits / 8, true, false);                               \
        return __atomic_load_n(p, order);                                                              \
    }                                                                                                  \
    void __tsan_atomic##bits##_store(volatile type* p, type v, int order) {                            \
        simt::access(const_cast<const type*>(p), bits / 8, false, true);                               \
        __atomic_store_n(p, v, order);                                                                 \
    }                                                                                                  \
    type __tsan_atomic##bits##_fetch_add(volatile type* p, type v, int order) {                        \
        simt::access(const_cast<const type*>(p), bits / 8, true, true);                                \
        return __atomic_fetch_add(p, v, order);                                                        \
    }                                                                                                  \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type* p, type* c, type v, int, int) {   \
        simt::access(const_cast<const type*>(p), bits / 8, true, true);                                \
        return __atomic_compare_exchange_n(p, c, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
    }                                                                                                  \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type* p, type* c, type v, int a, int b) { \
        return __tsan_atomic##bits##_compare_exchange_strong(p, c, v, a, b);                           \
    }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_atomic_thread_fence(int) {}
void __tsan_read_range(void* p, unsigned long bytes) {
    simt::access(p, bytes, true, false);
}
void __tsan_write_range(void* p, unsigned long bytes) {
    simt::access(p, bytes, false, true);
}
void* __tsan_memcpy(void* to, const void* from, unsigned long bytes) {
    simt::access(from, bytes, true, false);
    simt::access(to, bytes, false, true);
    return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, unsigned long bytes) {
    simt::access(from, bytes, true, false);
    simt::access(to, bytes, false, true);
    return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, unsigned long bytes) {
    simt::access(to, bytes, false, true);
    return std::memset(to, value, bytes);
}
SIMT_READ(1)
SIMT_READ(2)
SIMT_READ(4)
SIMT_READ(8)
SIMT_READ(16)
SIMT_ATOMIC(8, unsigned char)
SIMT_ATOMIC(32, unsigned)
SIMT_ATOMIC(64, unsigned long)
}
