#include "kernels/simt/traffic.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "kernels/simt/scheduler.h"

// The functions that -fsanitize=thread makes the compiler call, here used to count instead of to find races. An access
// counts when it falls into device memory; shared memory, stacks and kernel arguments are elsewhere.
//
// What they call must not be instrumented itself, and of an inline function of the library the linker keeps one copy,
// perhaps a kernel file's: so an access is counted with pointers and words alone.

namespace simt {
namespace {

// One bit per byte.
struct Bytes {
    std::vector<std::uint64_t> memory;
    std::uint64_t* words = nullptr;

    void resize(std::size_t count) {
        memory.assign(count / 64 + 2, 0);
        words = memory.data();
    }
    // Marks `count` bytes; how many of them were not yet.
    std::uint64_t mark(std::size_t first, std::size_t count) const {
        std::uint64_t fresh = 0;
        while (count > 0) {
            const std::size_t bit = first % 64, here = count < 64 - bit ? count : 64 - bit;
            const std::uint64_t mask = (here == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << here) - 1) << bit;
            std::uint64_t& word = words[first / 64];
            fresh += static_cast<std::uint64_t>(__builtin_popcountll(mask & ~word));
            word |= mask;
            first += here;
            count -= here;
        }
        return fresh;
    }
};

struct Array {
    std::uintptr_t begin = 0, end = 0;
    Bytes read, written;  // of this launch
};

struct Counter {
    std::map<std::string, Traffic> kernels;
    Traffic launch;
    std::vector<Array> arrays;  // by address
};
Counter g_counter;

// What an access looks at, apart from the containers that own it.
struct View {
    bool on = false;
    const Array* arrays = nullptr;
    std::size_t count = 0;
    const Array* last = nullptr;
    std::uintptr_t gap_begin = 1,
                   gap_end = 0;  // where the last access without an array was: between these there is none
};
View g_view;

// The array that holds the address, or null.
const Array* array_of(std::uintptr_t address) {
    View& view = g_view;
    if (address >= view.gap_begin && address < view.gap_end) {
        return nullptr;
    }
    if (view.last != nullptr && address >= view.last->begin && address < view.last->end) {
        return view.last;
    }
    std::size_t low = 0, high = view.count;  // arrays before `low` end at or before the address
    while (low < high) {
        const std::size_t middle = (low + high) / 2;
        if (view.arrays[middle].end <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < view.count && view.arrays[low].begin <= address) {
        return view.last = &view.arrays[low];
    }
    view.gap_begin = low > 0 ? view.arrays[low - 1].end : 0;
    view.gap_end = low < view.count ? view.arrays[low].begin : ~std::uintptr_t{0};
    return nullptr;
}

void access(const volatile void* pointer, std::size_t bytes, bool reads, bool writes) {
    if (!g_view.on || detail::current == nullptr) {
        return;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    const Array* const array = array_of(address);
    if (array == nullptr) {
        return;
    }
    Traffic& traffic = g_counter.launch;
    if (reads) {
        traffic.issued_read += bytes;
        traffic.distinct_read += array->read.mark(address - array->begin, bytes);
    }
    if (writes) {
        traffic.issued_written += bytes;
        traffic.distinct_written += array->written.mark(address - array->begin, bytes);
    }
}

// "cutis::cuda::depthwise_kernel<float, 1>" is counted as "depthwise_kernel<float, 1>".
std::string short_name(const std::string& name) {
    const std::size_t arguments = std::min(name.find('<'), name.size());
    const std::size_t colon = name.rfind("::", arguments);
    return colon == std::string::npos ? name : name.substr(colon + 2);
}

void begin_launch() {
    Counter& counter = g_counter;
    counter.launch = {};
    counter.arrays.clear();
    detail::for_device_memory([&](const void* data, std::size_t bytes) {
        Array array;
        array.begin = reinterpret_cast<std::uintptr_t>(data);
        array.end = array.begin + bytes;
        array.read.resize(bytes);
        array.written.resize(bytes);
        counter.arrays.push_back(std::move(array));
    });
    std::sort(counter.arrays.begin(), counter.arrays.end(),
              [](const Array& a, const Array& b) { return a.begin < b.begin; });
    g_view = {true, counter.arrays.data(), counter.arrays.size()};
}

void end_launch(const char* kernel) {
    g_view = {};
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
    detail::set_launch_observer({&begin_launch, &end_launch});
}

TrafficCount::~TrafficCount() {
    stop();
}

std::map<std::string, Traffic> TrafficCount::stop() {
    detail::set_launch_observer({});
    options().os_threads = os_threads_before_;
    return g_counter.kernels;
}

}  // namespace simt

// ---- what the compiler calls

using simt::access;

#define SIMT_ACCESS(bytes)                                 \
    void __tsan_read##bytes(void* p) {                     \
        access(p, bytes, true, false);                     \
    }                                                      \
    void __tsan_write##bytes(void* p) {                    \
        access(p, bytes, false, true);                     \
    }                                                      \
    void __tsan_read_write##bytes(void* p) {               \
        access(p, bytes, true, true);                      \
    }                                                      \
    void __tsan_unaligned_read##bytes(void* p) {           \
        access(p, bytes, true, false);                     \
    }                                                      \
    void __tsan_unaligned_write##bytes(void* p) {          \
        access(p, bytes, false, true);                     \
    }                                                      \
    void __tsan_unaligned_read_write##bytes(void* p) {     \
        access(p, bytes, true, true);                      \
    }                                                      \
    void __tsan_volatile_read##bytes(void* p) {            \
        access(p, bytes, true, false);                     \
    }                                                      \
    void __tsan_volatile_write##bytes(void* p) {           \
        access(p, bytes, false, true);                     \
    }                                                      \
    void __tsan_unaligned_volatile_read##bytes(void* p) {  \
        access(p, bytes, true, false);                     \
    }                                                      \
    void __tsan_unaligned_volatile_write##bytes(void* p) { \
        access(p, bytes, false, true);                     \
    }

#define SIMT_UPDATE(bits, type, name, operation)                       \
    type __tsan_atomic##bits##_##name(volatile type* p, type v, int) { \
        access(p, bits / 8, true, true);                               \
        return operation(p, v, __ATOMIC_SEQ_CST);                      \
    }

#define SIMT_ATOMIC(bits, type)                                                                      \
    type __tsan_atomic##bits##_load(const volatile type* p, int) {                                   \
        access(p, bits / 8, true, false);                                                            \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                 \
    }                                                                                                \
    void __tsan_atomic##bits##_store(volatile type* p, type v, int) {                                \
        access(p, bits / 8, false, true);                                                            \
        __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                    \
    }                                                                                                \
    SIMT_UPDATE(bits, type, exchange, __atomic_exchange_n)                                           \
    SIMT_UPDATE(bits, type, fetch_add, __atomic_fetch_add)                                           \
    SIMT_UPDATE(bits, type, fetch_sub, __atomic_fetch_sub)                                           \
    SIMT_UPDATE(bits, type, fetch_and, __atomic_fetch_and)                                           \
    SIMT_UPDATE(bits, type, fetch_or, __atomic_fetch_or)                                             \
    SIMT_UPDATE(bits, type, fetch_xor, __atomic_fetch_xor)                                           \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type* p, type* c, type v, int, int) { \
        access(p, bits / 8, true, true);                                                             \
        return __atomic_compare_exchange_n(p, c, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);      \
    }                                                                                                \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type* p, type* c, type v, int, int) {   \
        access(p, bits / 8, true, true);                                                             \
        return __atomic_compare_exchange_n(p, c, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);      \
    }                                                                                                \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type* p, type c, type v, int, int) {    \
        access(p, bits / 8, true, true);                                                             \
        __atomic_compare_exchange_n(p, &c, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);            \
        return c;                                                                                    \
    }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int) {}
void __tsan_read_range(void* p, unsigned long bytes) {
    access(p, bytes, true, false);
}
void __tsan_write_range(void* p, unsigned long bytes) {
    access(p, bytes, false, true);
}
SIMT_ACCESS(1)
SIMT_ACCESS(2)
SIMT_ACCESS(4)
SIMT_ACCESS(8)
SIMT_ACCESS(16)
SIMT_ATOMIC(8, unsigned char)
SIMT_ATOMIC(16, unsigned short)
SIMT_ATOMIC(32, unsigned)
SIMT_ATOMIC(64, unsigned long)

#if defined(__clang__)
// clang leaves copies and fills of whole structs to the library's functions. The linker turns those calls to these
// (--wrap).
void* __real_memcpy(void* to, const void* from, unsigned long bytes);
void* __real_memmove(void* to, const void* from, unsigned long bytes);
void* __real_memset(void* to, int value, unsigned long bytes);
void* __wrap_memcpy(void* to, const void* from, unsigned long bytes) {
    access(from, bytes, true, false);
    access(to, bytes, false, true);
    return __real_memcpy(to, from, bytes);
}
void* __wrap_memmove(void* to, const void* from, unsigned long bytes) {
    access(from, bytes, true, false);
    access(to, bytes, false, true);
    return __real_memmove(to, from, bytes);
}
void* __wrap_memset(void* to, int value, unsigned long bytes) {
    access(to, bytes, false, true);
    return __real_memset(to, value, bytes);
}
#endif
}
