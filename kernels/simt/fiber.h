#pragma once

#include <cstddef>
#include <memory>
#include <vector>

/// Fibers: stacks that one OS thread switches between, without the system. A switch costs some ten nanoseconds with the
/// x86-64 code in fiber.cpp, some two hundred through ucontext elsewhere. The address and thread sanitizers are told of
/// each switch.

namespace simt::detail {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(SIMT_ASAN)
#define SIMT_ASAN 1
#endif
#ifndef SIMT_ASAN
#define SIMT_ASAN 0
#endif
#ifndef SIMT_TSAN  // the build defines it: the scheduler itself is compiled without the thread sanitizer
#define SIMT_TSAN 0
#endif

constexpr std::size_t kStackBytes = (SIMT_ASAN || SIMT_TSAN ? 256 : 64) * 1024;

/// One stack and what is suspended on it. A default-constructed one stands for the OS thread's own stack.
struct Fiber {
    char* stack = nullptr;  ///< lowest address, above a guard page
    void* stack_pointer = nullptr;
    void* context = nullptr;  ///< ucontext_t where that is used
    std::size_t colour = 0;   ///< how far below the end of the stack it starts
    void* asan_fake_stack = nullptr;
    void* tsan_fiber = nullptr;
};

/// The fibers of one OS thread.
class FiberPool {
  public:
    /// `entry` runs at a fiber's first switch, and must never return.
    using Entry = void (*)();
    explicit FiberPool(Entry entry) : entry_(entry) {}
    ~FiberPool();
    FiberPool(const FiberPool&) = delete;
    FiberPool& operator=(const FiberPool&) = delete;

    /// A fiber that stands at its entry or, given back from there, inside it: the last one given back, whose stack is
    /// in the cache. For the thread sanitizer a fiber is a thread, and two CUDA threads on one fiber never race: there
    /// it is the one given back first.
    Fiber* take();
    void give_back(Fiber* fiber) { free_.push_back(fiber); }
    /// Makes at least `count` fibers ready to take, so that `take` allocates nothing.
    void reserve(std::size_t count);
    /// Abandons whatever is suspended and sets every fiber to its entry.
    void reset();

    /// Suspends the running fiber and resumes `to`. Whoever resumes this one comes back from the call.
    void switch_to(Fiber* to);
    Fiber* running() const { return running_; }
    Fiber* host() { return &host_; }
    /// First thing that a fiber's entry calls.
    void entered();

  private:
    void prepare(Fiber* fiber);

    Entry entry_;
    std::vector<std::unique_ptr<Fiber>> all_;
    std::vector<Fiber*> free_;
    std::size_t first_free_ = 0;  ///< in free_; those before it have been taken
    Fiber host_;
    Fiber* running_ = &host_;
    [[maybe_unused]] const void* host_stack_ = nullptr;  // for the address sanitizer
    [[maybe_unused]] std::size_t host_stack_bytes_ = 0;
};

// The thread sanitizer's view: what a CUDA thread did before a release is seen by whoever acquires the same token.
void acquire(void* token);
void release(void* token);
// The address sanitizer's view: bytes that may not, or may, be touched.
void poison(const void* data, std::size_t bytes);
void unpoison(const void* data, std::size_t bytes);

}  // namespace simt::detail
