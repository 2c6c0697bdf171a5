#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

namespace cutis {

/// Threads that the CPU kernels run on; all cores that the process may use unless set.
int thread_count();

/// Sets the number of kernel threads, >= 1; call it from the thread that runs the kernels, between kernels.
void set_thread_count(int threads);

namespace detail {
using RegionBody = void (*)(void* context, int thread, int threads);
void run_region(RegionBody body, void* context);
}  // namespace detail

/// Runs body(thread, threads) once on each kernel thread and waits for all. Inside a region it runs body(0, 1) in
/// place, so kernels may nest. An exception of any thread is thrown again here. The threads are OpenMP's (shared with
/// oneDNN) or, in builds without OpenMP, our own.
template <class Body>
void parallel_region(Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    detail::run_region([](void* context, int thread, int threads) { (*static_cast<Plain*>(context))(thread, threads); },
                       const_cast<void*>(static_cast<const void*>(&body)));
}

/// The part [begin, end) of n items that belongs to `thread`: contiguous, sizes differing by one at most, and a
/// function of its arguments alone, so that sums over threads repeat bit for bit.
struct Range {
    std::int64_t begin, end;
};
constexpr Range static_part(std::int64_t n, int thread, int threads) {
    return {n * thread / threads, n * (thread + 1) / threads};
}

/// body(begin, end, thread) on each thread's part of [0, n). Less than `grain` items a thread are not worth a wake-up:
/// then fewer parts are made.
template <class Body>
void parallel_for(std::int64_t n, std::int64_t grain, Body&& body) {
    if (n <= grain || thread_count() == 1) {
        if (n > 0) {
            body(std::int64_t{0}, n, 0);
        }
        return;
    }
    parallel_region([&](int thread, int threads) {
        const Range part = static_part(n, thread, threads);
        if (part.begin < part.end) {
            body(part.begin, part.end, thread);
        }
    });
}

/// Scratch memory of the calling thread: at least `count` floats, 64-byte aligned, contents undefined, valid until the
/// same thread asks for the same `slot` again. Grows and stays, so that steps allocate nothing after the first.
float* thread_scratch(int slot, std::int64_t count);

/// Slots 0..kScratchSlots-1 may be used by one kernel; a kernel that calls another leaves it different slots.
constexpr int kScratchSlots = 12;

}  // namespace cutis
