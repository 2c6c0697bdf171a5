#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/simt/fiber.h"
#include "kernels/simt/scheduler.h"
#include "kernels/simt/warp.h"

/// One OS thread's scheduler. It runs a cluster of blocks (nearly always one block) to its end: every CUDA thread is a
/// fiber that runs until it waits. A CUDA thread that never waits leaves its fiber to the next one, so that kernels
/// without barriers hardly switch. Fibers never change their OS thread: compilers keep addresses of thread-local
/// variables across a switch.

namespace simt::detail {

constexpr std::size_t kArenaBytes = 256 * 1024;  // shared memory of one block, with the gaps

// std::mt19937 in all but the name. Of that one the linker may take the copy that some other file has compiled with the
// thread sanitizer, and CUDA threads would race for it.
using Random = std::mersenne_twister_engine<std::uint32_t, 32, 624, 397, 31, 0x9908b0dfu, 11, 0xffffffffu, 7,
                                            0x9d2c5680u, 15, 0xefc60000u, 18, 1812433253u>;

struct BrokenRule : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class ThreadState : std::uint8_t {
    fresh,
    running,
    ready,
    at_block_barrier,
    at_cluster_barrier,
    in_warp_operation,
    done
};

struct PendingCopy {
    CopyFunction copy;
    void* to;
    const void* from;
    bool wanted;
    int group;
};

// A thread's copies under way, oldest first. A ring, because a vector moves what is left with memmove, which the thread
// sanitizer takes for the CUDA thread's own doing, and for a race with the same thread of another block.
class CopyQueue {
  public:
    void reserve(std::size_t copies) {
        if (ring_.size() < copies) {
            std::vector<PendingCopy> larger(copies);
            for (std::size_t i = 0; i < count_; ++i) {
                larger[i] = ring_[(first_ + i) % ring_.size()];
            }
            ring_.swap(larger);
            first_ = 0;
        }
    }
    void clear() { first_ = count_ = 0; }
    bool empty() const { return count_ == 0; }
    const PendingCopy& front() const { return ring_[first_]; }
    void pop() {
        first_ = first_ + 1 == ring_.size() ? 0 : first_ + 1;
        --count_;
    }
    void push(const PendingCopy& copy) {
        if (count_ == ring_.size()) {
            reserve(std::max<std::size_t>(16, 2 * count_));
        }
        const std::size_t end = first_ + count_++;
        ring_[end < ring_.size() ? end : end - ring_.size()] = copy;
    }

  private:
    std::vector<PendingCopy> ring_;
    std::size_t first_ = 0, count_ = 0;
};

struct Block;

struct CudaThread : ThreadView {
    Lane lane;
    Block* block_state;
    Fiber* fiber;
    ThreadState state;
    Site site;
    int copy_group;
    CopyQueue copies;
};

// Lanes that have begun a warp operation and wait for the rest of their mask.
struct WarpGroup {
    unsigned mask, arrived;
    WarpOp op;
    Site site;
};
struct Warp {
    unsigned exited = 0;
    int groups = 0;
    unsigned generation = 0;
    char token[2];
    WarpGroup group[8];
};

// A barrier of `members` threads. Two tokens in turn: one who wakes late must not acquire from the next barrier.
struct Barrier {
    unsigned members = 0, arrived = 0, generation = 0;
    Site site{};
    char token[2];
};

struct SharedArray {
    const void* key;  // null: the dynamic array
    char* data;
    std::size_t bytes;
};

struct Block {
    unsigned first_thread = 0;  // index into Worker::threads
    Barrier barrier;
    std::vector<Warp> warps;
    char* arena = nullptr;
    std::size_t used = 0;
    std::vector<SharedArray> arrays;
};

// What a grid's workers share.
struct Launch {
    const Grid& grid;
    const std::function<void()>& body;
    unsigned block_threads, cluster;
    std::size_t clusters;
    std::vector<unsigned> order;  // of clusters; empty: as they are numbered
    char token = 0;               // released by the host, acquired by every CUDA thread
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex mutex{};
    std::string message{};
};

void fiber_entry();  // what each fiber runs

// One OS thread's scheduler.
class Worker {
  public:
    Worker() : fibers_(&fiber_entry) {}
    ~Worker() {
        for (Block& block : blocks_) {
            release_arena(block);
        }
    }

    void run_clusters(Launch& launch);

    // Called by CUDA threads.
    CudaThread& self() { return *static_cast<CudaThread*>(current); }
    Block& block() { return *self().block_state; }
    void barrier(Barrier& barrier, ThreadState waiting, Site site);
    void warp_operation(WarpOp op, unsigned mask, const std::uint32_t* in, int in_words, std::uint32_t* out,
                        int out_words, Site site);
    void* shared_array(const void* key, std::size_t bytes);
    void land_copies(int pending);
    bool lands_early() { return options().order == Order::random && (random_() & 1u) != 0; }
    std::string describe() const;
    void enter_fiber();

    Barrier cluster_barrier;

  private:
    void set_up(unsigned cluster);
    void check_gaps() const;
    void release_arena(Block& block) {
        if (block.arena != nullptr) {
            munmap(block.arena, kArenaBytes);
            block.arena = nullptr;
        }
    }
    void run_one(Fiber* fiber);
    void wait();
    Fiber* next_fiber();
    unsigned take_ready();
    bool has_ready() const { return ready_head_ < ready_.size(); }
    void make_ready(CudaThread& thread) {
        thread.state = ThreadState::ready;
        ready_.push_back(static_cast<unsigned>(&thread - threads_.data()));
    }
    unsigned count() const { return launch_->block_threads * launch_->cluster; }

    Launch* launch_ = nullptr;
    FiberPool fibers_;
    std::vector<CudaThread> threads_;
    std::vector<Block> blocks_;
    std::vector<unsigned> start_, ready_, priority_;
    std::size_t ready_head_ = 0;
    unsigned started_ = 0, done_ = 0;
    std::exception_ptr error_;
    Random random_;
    char end_token_;
};

/// The calling OS thread's.
Worker& worker();
/// The one whose fibers run on this OS thread; null outside of a grid.
extern constinit thread_local Worker* running_worker;

/// Ends the launch with this message.
[[noreturn]] void throw_rule(const std::string& message);
/// "block (1, 0, 0)"
std::string block_name(const uint3& block);
/// "kernels/sum.cu:41"
std::string place(Site site);

}  // namespace simt::detail
