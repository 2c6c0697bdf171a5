#include "kernels/simt/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

#if SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if SIMT_TSAN
extern "C" {
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void* __tsan_get_current_fiber();
void __tsan_destroy_fiber(void* fiber);
void __tsan_acquire(void* token);
void __tsan_release(void* token);
}
#endif
#if !defined(__x86_64__)
#define SIMT_UCONTEXT
#include <ucontext.h>
#endif

namespace simt::detail {
namespace {

constexpr std::size_t kGuardBytes = 4096;

}  // namespace

#if !defined(SIMT_UCONTEXT)
// Stores the registers that a function must keep on the running stack, that stack's pointer at *save, and does the
// reverse with `to`. Everything else is saved by the caller, as around any call.
extern "C" void simt_switch_stack(void** save, void* to);
asm(R"(.pushsection .text
.globl simt_switch_stack
.type simt_switch_stack,@function
simt_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simt_switch_stack, .-simt_switch_stack
.popsection
)");
#endif

FiberPool::~FiberPool() {
    for (const auto& fiber : all_) {
#if SIMT_TSAN
        __tsan_destroy_fiber(fiber->tsan_fiber);
#endif
        munmap(fiber->stack - kGuardBytes, kStackBytes + kGuardBytes);
#if defined(SIMT_UCONTEXT)
        delete static_cast<ucontext_t*>(fiber->context);
#endif
    }
#if defined(SIMT_UCONTEXT)
    delete static_cast<ucontext_t*>(host_.context);
#endif
}

void FiberPool::prepare(Fiber* fiber) {
    unpoison(fiber->stack, kStackBytes);
    fiber->asan_fake_stack = nullptr;
#if defined(SIMT_UCONTEXT)
    auto* context = static_cast<ucontext_t*>(fiber->context);
    getcontext(context);
    context->uc_stack.ss_sp = fiber->stack;
    context->uc_stack.ss_size = kStackBytes;
    context->uc_link = nullptr;
    makecontext(context, entry_, 0);
#else
    // What the switch pops: six registers, then the entry's address; above it a return address of 0 ends backtraces.
    void** top = reinterpret_cast<void**>(fiber->stack + kStackBytes - fiber->colour) - 2;
    top[1] = nullptr;
    top[0] = reinterpret_cast<void*>(entry_);
    top -= 6;
    std::memset(top, 0, 6 * sizeof(void*));
    fiber->stack_pointer = top;
#endif
}

void FiberPool::reserve(std::size_t count) {
    free_.erase(free_.begin(), free_.begin() + static_cast<std::ptrdiff_t>(first_free_));
    first_free_ = 0;
    while (free_.size() < count) {
        auto fiber = std::make_unique<Fiber>();
        char* const memory = static_cast<char*>(mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (memory == MAP_FAILED) {
            throw std::bad_alloc();
        }
        mprotect(memory, kGuardBytes, PROT_NONE);
        fiber->stack = memory + kGuardBytes;
        fiber->colour = all_.size() % 61 * 64;  // else all stacks fall on the same cache sets
#if defined(SIMT_UCONTEXT)
        fiber->context = new ucontext_t;
#endif
        prepare(fiber.get());
#if SIMT_TSAN
        fiber->tsan_fiber = __tsan_create_fiber(0);
#endif
        free_.push_back(fiber.get());
        all_.push_back(std::move(fiber));
    }
    free_.reserve(2 * all_.size() + 1);
}

Fiber* FiberPool::take() {
    if (first_free_ == free_.size()) {
        reserve(1);
    }
    if (SIMT_TSAN) {
        return free_[first_free_++];  // the one that has rested longest
    }
    Fiber* const fiber = free_.back();
    free_.pop_back();
    return fiber;
}

void FiberPool::reset() {
    free_.clear();
    first_free_ = 0;
#if SIMT_TSAN
    // The sanitizer is told that the host has seen everything the abandoned fibers did.
    char token = 0;
    void* const host = __tsan_get_current_fiber();
    for (const auto& fiber : all_) {
        __tsan_switch_to_fiber(fiber->tsan_fiber, 1);
        __tsan_release(&token);
        __tsan_switch_to_fiber(host, 1);
    }
    __tsan_acquire(&token);
#endif
    for (const auto& fiber : all_) {
#if SIMT_TSAN
        __tsan_destroy_fiber(fiber->tsan_fiber);  // with its record of calls that will never return
        fiber->tsan_fiber = __tsan_create_fiber(0);
#endif
        prepare(fiber.get());
        free_.push_back(fiber.get());
    }
}

// Not inlined: its caller must not keep addresses of thread-local variables across it.
__attribute__((noinline)) void FiberPool::switch_to(Fiber* to) {
    Fiber* const from = running_;
    running_ = to;
#if SIMT_ASAN
    const bool to_host = to == &host_;
    __sanitizer_start_switch_fiber(&from->asan_fake_stack, to_host ? host_stack_ : to->stack,
                                   to_host ? host_stack_bytes_ : kStackBytes);
#endif
#if SIMT_TSAN
    if (from == &host_) {
        host_.tsan_fiber = __tsan_get_current_fiber();
    }
    __tsan_switch_to_fiber(to->tsan_fiber, 1);  // 1: the switch itself orders nothing
#endif
#if defined(SIMT_UCONTEXT)
    if (from == &host_ && host_.context == nullptr) {
        host_.context = new ucontext_t;
    }
    swapcontext(static_cast<ucontext_t*>(from->context), static_cast<ucontext_t*>(to->context));
#else
    simt_switch_stack(&from->stack_pointer, to->stack_pointer);
#endif
#if SIMT_ASAN
    __sanitizer_finish_switch_fiber(from->asan_fake_stack, nullptr, nullptr);
#endif
}

void FiberPool::entered() {
#if SIMT_ASAN
    // A fiber's first run may come from the host or from another fiber; only the host's stack is not known yet.
    const void* stack = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(nullptr, &stack, &bytes);
    if (host_stack_bytes_ == 0) {
        host_stack_ = stack;
        host_stack_bytes_ = bytes;
    }
#endif
}

void acquire([[maybe_unused]] void* token) {
#if SIMT_TSAN
    __tsan_acquire(token);
#endif
}
void release([[maybe_unused]] void* token) {
#if SIMT_TSAN
    __tsan_release(token);
#endif
}
void poison([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t bytes) {
#if SIMT_ASAN
    __asan_poison_memory_region(data, bytes);
#endif
}
void unpoison([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t bytes) {
#if SIMT_ASAN
    __asan_unpoison_memory_region(data, bytes);
#endif
}

}  // namespace simt::detail
