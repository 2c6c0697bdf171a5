#include "kernels/simt/scheduler.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/simt/fiber.h"
#include "kernels/simt/sites.h"
#include "kernels/simt/warp.h"

// One OS thread runs a cluster of blocks (nearly always one block) to its end: every CUDA thread is a fiber that runs
// until it waits. A CUDA thread that never waits leaves its fiber to the next one, so that kernels without barriers
// hardly switch. Fibers never change their OS thread: compilers keep addresses of thread-local variables across a
// switch.

namespace simt::detail {

constinit thread_local ThreadView* current = nullptr;

namespace {

constexpr std::size_t kArenaBytes = 256 * 1024;   // shared memory of one block, with the gaps
constexpr std::size_t kGapBytes = 128;            // between two arrays: poisoned, or looked at when the block ends
constexpr std::size_t kSharedLimit = 227 * 1024;  // of a block on sm_90
constexpr unsigned kClusterLimit = 8;
constexpr unsigned char kFill = 0xFF;  // a float of these bytes is NaN

// std::mt19937 in all but the name. Of that one the linker may take the copy that some other file has compiled with the
// thread sanitizer, and CUDA threads would race for it.
using Random = std::mersenne_twister_engine<std::uint32_t, 32, 624, 397, 31, 0x9908b0dfu, 11, 0xffffffffu, 7,
                                            0x9d2c5680u, 15, 0xefc60000u, 18, 1812433253u>;

struct BrokenRule : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class State : std::uint8_t {
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
    State state;
    Site site;
    int copy_group;
    CopyQueue copies;
};

bool same(Site a, Site b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

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

void fiber_entry();

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
    void barrier(Barrier& barrier, State waiting, Site site);
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
        thread.state = State::ready;
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

Worker& worker() {
    thread_local Worker instance;
    return instance;
}
constinit thread_local Worker* running_worker = nullptr;

void fiber_entry() {
    running_worker->enter_fiber();
    std::abort();  // never comes back
}

[[noreturn]] void throw_rule(const std::string& message) {
    if (options().abort) {
        std::fprintf(stderr, "simt: %s\n", message.c_str());
        std::abort();
    }
    throw BrokenRule(message);
}

std::string place(Site site) {
    return std::string(site.file) + ":" + std::to_string(site.line);
}

std::string block_name(const uint3& block) {
    return "block (" + std::to_string(block.x) + ", " + std::to_string(block.y) + ", " + std::to_string(block.z) + ")";
}

// "0-31,64": ascending numbers, at most a dozen runs.
std::string runs(const std::vector<unsigned>& numbers) {
    std::string text;
    int count = 0;
    for (std::size_t i = 0; i < numbers.size();) {
        if (++count > 12) {
            return text + ",..";
        }
        std::size_t end = i;
        while (end + 1 < numbers.size() && numbers[end + 1] == numbers[end] + 1) {
            ++end;
        }
        text += (i > 0 ? "," : "") + std::to_string(numbers[i]) + (end > i ? "-" + std::to_string(numbers[end]) : "");
        i = end + 1;
    }
    return text;
}

// Where the cluster's threads are: "threads 0-31 wait at __syncthreads a.cu:12; threads 32-63 have exited".
std::string Worker::describe() const {
    struct Group {
        State state;
        Site site;
        unsigned rank;
        std::vector<unsigned> threads;
    };
    std::vector<Group> groups;
    for (unsigned i = 0; i < count(); ++i) {
        const CudaThread& thread = threads_[i];
        const bool placeless = thread.state == State::done || thread.state == State::fresh;
        const Site site = placeless ? Site{"", 0} : thread.site;
        const auto found = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
            return group.state == thread.state && group.rank == thread.cluster_rank && same(group.site, site);
        });
        if (found != groups.end()) {
            found->threads.push_back(thread.linear);
        } else {
            groups.push_back({thread.state, site, thread.cluster_rank, {thread.linear}});
        }
    }
    std::string text;
    for (const Group& group : groups) {
        text += (text.empty() ? "threads " : "; threads ") + runs(group.threads);
        if (launch_->cluster > 1) {
            text += " of cluster block " + std::to_string(group.rank);
        }
        switch (group.state) {
            case State::fresh:
                text += " have not started";
                break;
            case State::done:
                text += " have exited";
                break;
            case State::at_block_barrier:
                text += " wait at __syncthreads";
                break;
            case State::at_cluster_barrier:
                text += " wait at cluster_sync";
                break;
            case State::in_warp_operation:
                text += " wait in a warp operation";
                break;
            case State::running:
            case State::ready:
                text += " can run, last seen";
                break;
        }
        if (group.site.line != 0) {
            text += " at " + place(group.site);
        }
    }
    return text;
}

// ---- choosing who runs

unsigned Worker::take_ready() {
    const std::size_t begin = ready_head_;
    std::size_t chosen = begin;
    if (options().order == Order::random) {
        chosen = begin + random_() % (ready_.size() - begin);
    } else if (options().order == Order::warps) {
        for (std::size_t i = begin; i < ready_.size(); ++i) {
            if (priority_[ready_[i] / 32] < priority_[ready_[chosen] / 32]) {
                chosen = i;
            }
        }
    }
    std::swap(ready_[begin], ready_[chosen]);
    const unsigned thread = ready_[ready_head_++];
    if (ready_head_ == ready_.size()) {
        ready_.clear();
        ready_head_ = 0;
    }
    return thread;
}

// The fiber that runs when the present one cannot go on; null when no CUDA thread can.
Fiber* Worker::next_fiber() {
    bool start_another = started_ < count();
    if (start_another && has_ready() && options().order == Order::random && (random_() & 1u) != 0) {
        start_another = false;
    }
    if (start_another) {
        return fibers_.take();
    }
    if (has_ready()) {
        CudaThread& thread = threads_[take_ready()];
        thread.state = State::running;
        return thread.fiber;
    }
    return nullptr;
}

// The calling CUDA thread waits; comes back when somebody has made it ready and its turn has come.
void Worker::wait() {
    CudaThread& thread = self();
    Fiber* const next = next_fiber();
    if (next == nullptr) {
        throw_rule(block_name(thread.block) + ": deadlock, no thread can run: " + describe());
    }
    if (next != fibers_.running()) {
        fibers_.switch_to(next);
    }
    current = &thread;
}

__attribute__((noinline)) void Worker::run_one(Fiber* fiber) {
    CudaThread& thread = threads_[start_[started_++]];
    thread.fiber = fiber;
    thread.state = State::running;
    current = &thread;
    acquire(&launch_->token);
    try {
        launch_->body();
        land_copies(0);
    } catch (...) {
        if (!error_) {
            error_ = std::current_exception();
        }
    }
    release(&end_token_);
    thread.state = State::done;
    ++done_;
    thread.block_state->warps[thread.linear / 32].exited |= 1u << (thread.linear % 32);
}

// What a fiber does for ever: run CUDA threads from their start; leave when others must run, come back for the next.
void Worker::enter_fiber() {
    fibers_.entered();
    Fiber* const self_fiber = fibers_.running();
    for (;;) {
        run_one(self_fiber);
        // The next threads on the same fiber, without a switch. The thread sanitizer wants a fiber for each of them.
        while (!SIMT_TSAN && !error_ && started_ < count() && (options().order != Order::random || !has_ready())) {
            run_one(self_fiber);
        }
        Fiber* to = fibers_.host();
        if (!error_ && done_ < count()) {
            to = next_fiber();
            if (to == nullptr) {
                try {
                    throw_rule(block_name(threads_[0].block) + ": deadlock, no thread can run: " + describe());
                } catch (...) {
                    error_ = std::current_exception();
                }
                to = fibers_.host();
            }
        }
        fibers_.give_back(self_fiber);
        fibers_.switch_to(to);
    }
}

// ---- blocks

void Worker::set_up(unsigned cluster) {
    const Grid& grid = launch_->grid;
    const unsigned n = launch_->block_threads;
    started_ = done_ = 0;
    ready_.clear();
    ready_head_ = 0;
    error_ = nullptr;
    if (threads_.size() < count()) {
        threads_.resize(count());
    }
    while (blocks_.size() < launch_->cluster) {
        blocks_.emplace_back();
    }
    start_.resize(count());
    cluster_barrier = {};
    cluster_barrier.members = count();
    for (unsigned rank = 0; rank < launch_->cluster; ++rank) {
        const std::size_t number = std::size_t{cluster} * launch_->cluster + rank;
        const uint3 index = {static_cast<unsigned>(number % grid.grid.x),
                             static_cast<unsigned>(number / grid.grid.x % grid.grid.y),
                             static_cast<unsigned>(number / grid.grid.x / grid.grid.y)};
        Block& block = blocks_[rank];
        block.first_thread = rank * n;
        block.barrier = {};
        block.barrier.members = n;
        block.warps.assign((n + 31) / 32, Warp{});
        block.arrays.clear();
        if (SIMT_TSAN) {
            release_arena(block);  // fresh memory: one block's accesses are no races with another's
        }
        if (block.arena == nullptr) {
            block.arena = static_cast<char*>(
                mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
            if (block.arena == MAP_FAILED) {
                block.arena = nullptr;
                throw std::bad_alloc();
            }
            block.used = kArenaBytes;
        }
        unpoison(block.arena, kArenaBytes);
        std::memset(block.arena, kFill, std::min(block.used + kGapBytes, kArenaBytes));
        poison(block.arena, kArenaBytes);
        block.used = 0;
        if (grid.shared_bytes > 0) {
            constexpr std::size_t kAlignment = 1024;
            char* const data = block.arena + kAlignment;
            unpoison(data, grid.shared_bytes);
            block.used = kAlignment + grid.shared_bytes + kGapBytes;
            block.arrays.push_back({nullptr, data, grid.shared_bytes});
        }
        for (unsigned i = 0; i < n; ++i) {
            CudaThread& thread = threads_[rank * n + i];
            const dim3& size = grid.block;
            static_cast<ThreadView&>(thread) = {{i % size.x, i / size.x % size.y, i / size.x / size.y},
                                                index,
                                                size,
                                                grid.grid,
                                                i,
                                                rank,
                                                launch_->cluster};
            thread.block_state = &block;
            thread.state = State::fresh;
            thread.site = {"", 0};
            thread.copy_group = 0;
            thread.copies.clear();
        }
    }
    for (unsigned i = 0; i < count(); ++i) {
        start_[i] = options().order == Order::reverse ? count() - 1 - i : i;
    }
    if (options().order == Order::random) {
        std::shuffle(start_.begin(), start_.end(), random_);
    }
    if (options().order == Order::warps) {
        priority_.resize((count() + 31) / 32);
        std::generate(priority_.begin(), priority_.end(), std::ref(random_));
    }
    if (SIMT_TSAN) {
        // Nothing may be allocated inside a fiber: the sanitizer would take it for the CUDA thread's own doing.
        // One more than threads, so that a thread and the same one of the next block are different fibers.
        fibers_.reserve(count() + 1);
        ready_.reserve(64 * 1024);
        for (unsigned i = 0; i < count(); ++i) {
            threads_[i].copies.reserve(256);
        }
        for (Block& block : blocks_) {
            block.arrays.reserve(64);
        }
    }
}

void Worker::check_gaps() const {
    for (unsigned rank = 0; rank < launch_->cluster; ++rank) {
        const Block& block = blocks_[rank];
        unpoison(block.arena, kArenaBytes);
        for (const SharedArray& array : block.arrays) {
            for (std::size_t i = 0; i < kGapBytes / 2; ++i) {
                if (static_cast<unsigned char>(array.data[array.bytes + i]) != kFill) {
                    throw_rule(block_name(threads_[block.first_thread].block) + ": byte " + std::to_string(i) +
                               " behind a shared array of " + std::to_string(array.bytes) + " bytes was written");
                }
            }
        }
    }
}

void Worker::run_clusters(Launch& launch) {
    launch_ = &launch;
    Worker* const outer = running_worker;
    running_worker = this;
    while (!launch.failed) {
        const std::size_t k = launch.next++;
        if (k >= launch.clusters) {
            break;
        }
        const unsigned cluster = launch.order.empty() ? static_cast<unsigned>(k) : launch.order[k];
        random_.seed(options().seed * 7919u + cluster);
        try {
            set_up(cluster);
            release(&launch.token);
            fibers_.switch_to(fibers_.take());
            current = nullptr;
            if (error_) {
                fibers_.reset();
                std::rethrow_exception(std::exchange(error_, nullptr));
            }
            check_gaps();
        } catch (const std::exception& error) {
            const std::lock_guard lock(launch.mutex);
            if (!launch.failed.exchange(true)) {
                launch.message = error.what();
            }
        }
    }
    acquire(&end_token_);  // not block by block: what one block does is in no order with another's
    running_worker = outer;
}

// ---- waiting

void Worker::barrier(Barrier& barrier, State waiting, Site site) {
    CudaThread& thread = self();
    thread.site = site;
    if (barrier.arrived == 0) {
        barrier.site = site;
    } else if (!same(barrier.site, site)) {
        thread.state = waiting;
        throw_rule(block_name(thread.block) + ": the threads of a block came to different barriers: " + describe());
    }
    void* const token = &barrier.token[barrier.generation & 1u];
    release(token);
    if (++barrier.arrived < barrier.members) {
        thread.state = waiting;
        wait();
    } else {
        barrier.arrived = 0;
        ++barrier.generation;
        const bool of_cluster = waiting == State::at_cluster_barrier;
        const unsigned first = of_cluster ? 0 : thread.block_state->first_thread;
        const bool keep_running = options().order == Order::forward;
        for (unsigned i = 0; i < barrier.members; ++i) {
            CudaThread& other = threads_[first + (options().order == Order::reverse ? barrier.members - 1 - i : i)];
            if (&other != &thread) {
                make_ready(other);
            }
        }
        if (!keep_running) {
            make_ready(thread);
            wait();
        }
    }
    acquire(token);
}

void Worker::warp_operation(WarpOp op, unsigned mask, const std::uint32_t* in, int in_words, std::uint32_t* out,
                            int out_words, Site site) {
    CudaThread& thread = self();
    const unsigned lane = thread.linear % 32, first = thread.linear - lane;
    const unsigned lanes = std::min(32u, launch_->block_threads - first);
    const unsigned present = lanes == 32 ? 0xFFFFFFFFu : (1u << lanes) - 1;
    CudaThread* const warp_threads = &thread - lane;
    thread.site = site;
    for (int i = 0; i < in_words; ++i) {
        thread.lane.in[i] = in[i];
    }
    Warp& warp = thread.block_state->warps[thread.linear / 32];
    if ((mask >> lane & 1u) == 0) {
        broken_rule(site, "lane %u calls a warp operation with mask %08x, which it is not in", lane, mask);
    }
    if ((mask & ~present) != 0) {
        broken_rule(site, "mask %08x of a warp operation names lanes that the block does not have", mask);
    }
    if ((mask & warp.exited) != 0) {
        broken_rule(site, "warp operation with mask %08x, but lanes %08x have exited", mask, mask & warp.exited);
    }
    int index = 0;
    while (index < warp.groups && (warp.group[index].mask & mask) == 0) {
        ++index;
    }
    if (index == warp.groups) {
        if (index == static_cast<int>(std::size(warp.group))) {
            broken_rule(site, "more than 8 groups of lanes in warp operations");
        }
        warp.group[warp.groups++] = {mask, 0, op, site};
    } else if (const WarpGroup& group = warp.group[index];
               group.mask != mask || group.op != op || !same(group.site, site)) {
        thread.state = State::in_warp_operation;
        throw_rule(block_name(thread.block) + ": lanes of a warp came to different warp operations, mask at " +
                   place(site) + ": " + describe());
    }
    const bool complete = (warp.group[index].arrived |= 1u << lane) == mask;
    void* const token = &warp.token[warp.generation & 1u];
    if (op == WarpOp::sync) {
        release(token);  // the other operations order no memory accesses
    }
    thread.state = State::in_warp_operation;
    if (!complete) {
        wait();
    } else {
        warp.group[index] = warp.group[--warp.groups];
        if (op == WarpOp::sync) {
            ++warp.generation;
        }
        Lane* warp_lanes[32];
        for (unsigned i = 0; i < lanes; ++i) {
            warp_lanes[i] = &warp_threads[i].lane;
        }
        if (const char* const wrong = combine(op, mask, warp_lanes)) {
            broken_rule(site, "%s (mask %08x)", wrong, mask);
        }
        const bool keep_running = options().order == Order::forward;
        for (unsigned i = 0; i < 32; ++i) {
            const unsigned other = options().order == Order::reverse ? 31 - i : i;
            if ((mask >> other & 1u) != 0 && (other != lane || !keep_running)) {
                make_ready(warp_threads[other]);
            }
        }
        if (keep_running) {
            thread.state = State::running;
        } else {
            wait();
        }
    }
    if (op == WarpOp::sync) {
        acquire(token);
    }
    for (int i = 0; i < out_words; ++i) {
        out[i] = thread.lane.out[i];
    }
}

// The calling thread's copies land, but those of the last `pending` groups.
void Worker::land_copies(int pending) {
    CudaThread& thread = self();
    for (CopyQueue& copies = thread.copies; !copies.empty() && copies.front().group < thread.copy_group - pending;
         copies.pop()) {
        const PendingCopy& next = copies.front();
        next.copy(next.to, next.from, next.wanted);
    }
}

void* Worker::shared_array(const void* key, std::size_t bytes) {
    Block& own = block();
    for (const SharedArray& array : own.arrays) {
        if (array.key == key) {
            return array.data;
        }
    }
    const std::size_t offset = (own.used + 127) / 128 * 128 + kGapBytes;
    if (offset + bytes + kGapBytes > kArenaBytes) {
        throw_rule(block_name(self().block) + ": more shared memory than a block can have");
    }
    char* const data = own.arena + offset;
    unpoison(data, bytes);
    own.used = offset + bytes + kGapBytes;
    own.arrays.push_back({key, data, bytes});
    return data;
}

// ---- OS threads: a pool that waits for grids. Started at the first grid of more than one cluster.

class Pool {
  public:
    explicit Pool(int threads) {
        for (int i = 0; i < threads; ++i) {
            threads_.emplace_back([this] { serve(); });
        }
    }
    ~Pool() {
        {
            const std::lock_guard lock(mutex_);
            leaving_ = true;
        }
        wake_.notify_all();
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }
    void run(Launch& launch) {
        {
            const std::lock_guard lock(mutex_);
            launch_ = &launch;
            busy_ = static_cast<int>(threads_.size());
            ++generation_;
        }
        wake_.notify_all();
        worker().run_clusters(launch);
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [this] { return busy_ == 0; });
    }

  private:
    void serve() {
        unsigned seen = 0;
        for (;;) {
            Launch* launch = nullptr;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [&] { return leaving_ || generation_ != seen; });
                if (leaving_) {
                    return;
                }
                seen = generation_;
                launch = launch_;
            }
            worker().run_clusters(*launch);
            const std::lock_guard lock(mutex_);
            if (--busy_ == 0) {
                idle_.notify_one();
            }
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, idle_;
    std::vector<std::thread> threads_;
    Launch* launch_ = nullptr;
    int busy_ = 0;
    unsigned generation_ = 0;
    bool leaving_ = false;
};

int os_threads() {
    if (SIMT_TSAN) {
        return 1;  // the sanitizer tells CUDA threads apart, not OS threads
    }
    const int wanted = options().os_threads;
    return wanted > 0 ? wanted : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

void run_all(Launch& launch) {
    const int threads = os_threads();
    static std::mutex mutex;  // one grid at a time on the pool; a grid launched meanwhile runs on its caller's thread
    std::unique_lock lock(mutex, std::try_to_lock);
    if (threads == 1 || launch.clusters == 1 || !lock.owns_lock()) {
        worker().run_clusters(launch);
        return;
    }
    static std::unique_ptr<Pool> pool;
    static int pool_threads = 0;
    if (pool_threads != threads) {
        pool = std::make_unique<Pool>(threads - 1);
        pool_threads = threads;
    }
    pool->run(launch);
}

LaunchObserver g_observer;

const char* invalid_shape(const Grid& grid) {
    const std::size_t threads = std::size_t{grid.block.x} * grid.block.y * grid.block.z;
    if (threads == 0 || threads > 1024 || grid.block.z > 64) {
        return "a block has 1 to 1024 threads, 64 along z";
    }
    if (grid.grid.x == 0 || grid.grid.y == 0 || grid.grid.z == 0 || grid.grid.x > 0x7FFFFFFFu || grid.grid.y > 65535 ||
        grid.grid.z > 65535) {
        return "a grid has 1 to 2^31 - 1 blocks along x and 1 to 65535 along y and z";
    }
    if (grid.shared_bytes > kSharedLimit) {
        return "more than 227 KiB of dynamic shared memory";
    }
    if (grid.cluster == 0 || grid.cluster > kClusterLimit || grid.grid.x % grid.cluster != 0) {
        return "a cluster has 1 to 8 blocks and divides grid.x";
    }
    int major = 0;
    if (grid.cluster > 1 && cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess &&
        major < 9) {
        return "clusters of blocks need compute capability 9.0";
    }
    return nullptr;
}

}  // namespace

cudaError_t run_grid(const Grid& grid, const std::function<void()>& body) {
    if (const char* const wrong = invalid_shape(grid)) {
        return set_error(cudaErrorInvalidConfiguration, wrong);
    }
    const auto begin = std::chrono::steady_clock::now();
    Launch launch{grid,
                  body,
                  grid.block.x * grid.block.y * grid.block.z,
                  grid.cluster,
                  std::size_t{grid.grid.x} * grid.grid.y * grid.grid.z / grid.cluster,
                  {}};
    if (options().order != Order::forward) {
        launch.order.resize(launch.clusters);
        for (std::size_t i = 0; i < launch.clusters; ++i) {
            launch.order[i] = static_cast<unsigned>(options().order == Order::reverse ? launch.clusters - 1 - i : i);
        }
        if (options().order == Order::random) {
            std::shuffle(launch.order.begin(), launch.order.end(), Random(options().seed));
        }
    }
    if (g_observer.begin != nullptr) {
        g_observer.begin();
    }
    run_all(launch);
    if (g_observer.end != nullptr) {
        g_observer.end(grid.kernel);
    }
    if (options().trace) {
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
        const std::string clusters = grid.cluster > 1 ? " in clusters of " + std::to_string(grid.cluster) : "";
        std::fprintf(stderr, "simt: %s <<<(%u, %u, %u)%s, (%u, %u, %u), %zu>>> %.3f ms%s\n", grid.kernel, grid.grid.x,
                     grid.grid.y, grid.grid.z, clusters.c_str(), grid.block.x, grid.block.y, grid.block.z,
                     grid.shared_bytes, took.count(), take_places().c_str());
    }
    if (launch.failed) {
        return set_error(cudaErrorLaunchFailure,
                         (std::string("kernel ") + grid.kernel + ", " + launch.message).c_str());
    }
    return cudaSuccess;
}

void set_launch_observer(LaunchObserver observer) {
    g_observer = observer;
}

void block_barrier(Site site) {
    if (left_out(site)) {
        return;
    }
    running_worker->barrier(running_worker->block().barrier, State::at_block_barrier, site);
}

void cluster_barrier(Site site) {
    if (left_out(site)) {
        return;
    }
    if (weakened(site)) {
        running_worker->barrier(running_worker->block().barrier, State::at_block_barrier, site);
        return;
    }
    running_worker->barrier(running_worker->cluster_barrier, State::at_cluster_barrier, site);
}

void warp_operation(WarpOp op, unsigned mask, const std::uint32_t* in, int in_words, std::uint32_t* out, int out_words,
                    Site site) {
    if (op == WarpOp::sync && left_out(site)) {
        return;
    }
    running_worker->warp_operation(op, mask, in, in_words, out, out_words, site);
}

void* shared_array(const void* key, std::size_t bytes, std::size_t) {
    return running_worker->shared_array(key, bytes);
}

void* shared_dynamic() {
    const Block& block = running_worker->block();
    if (block.arrays.empty() || block.arrays.front().key != nullptr) {
        throw_rule("dynamic_shared() in a launch with 0 bytes of dynamic shared memory");
    }
    return block.arrays.front().data;
}

void* shared_of_rank(void* pointer, unsigned rank, Site site) {
    CudaThread& thread = running_worker->self();
    if (rank >= thread.cluster_size) {
        broken_rule(site, "map_shared: block %u of a cluster of %u", rank, thread.cluster_size);
    }
    if (rank != thread.cluster_rank && running_worker->cluster_barrier.generation == 0) {
        // Nothing else says that it has: here blocks begin together, on a GPU one may come late.
        broken_rule(site, "map_shared: block %u may not have begun yet; cluster_sync first", rank);
    }
    // The blocks' arrays lie in arenas of one layout only if they were placed in one order: look the array up by its
    // key.
    const auto* const bytes = static_cast<const char*>(pointer);
    const Block* const other = thread.block_state - thread.cluster_rank + rank;
    for (const SharedArray& array : thread.block_state->arrays) {
        if (bytes >= array.data && bytes < array.data + array.bytes) {
            for (const SharedArray& twin : other->arrays) {
                if (twin.key == array.key) {
                    return twin.data + (bytes - array.data);
                }
            }
            broken_rule(site, "map_shared: block %u has not reached the array yet; cluster_sync first", rank);
        }
    }
    broken_rule(site, "map_shared: %p is not in this block's shared memory", pointer);
}

void queue_copy(CopyFunction copy, void* to, const void* from, bool wanted) {
    CudaThread& thread = running_worker->self();
    if (running_worker->lands_early()) {
        copy(to, from, wanted);
    } else {
        thread.copies.push({copy, to, from, wanted, thread.copy_group});
    }
}

void commit_copies(Site site) {
    if (!left_out(site)) {
        ++running_worker->self().copy_group;
    }
}

void wait_copies(int pending, Site site) {
    if (!left_out(site)) {
        running_worker->land_copies(weakened(site) ? pending + 1 : pending);
    }
}

void broken_rule(Site site, const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const CudaThread& thread = running_worker->self();
    throw_rule(place(site) + ": " + block_name(thread.block) + ", thread " + std::to_string(thread.linear) + ": " +
               text);
}

}  // namespace simt::detail

namespace simt {

Options& options() {
    static Options instance = [] {
        Options defaults;
        const auto variable = [](const char* name) {
            const char* const value = std::getenv(name);
            return std::string(value != nullptr ? value : "");
        };
        const std::string order = variable("SIMT_ORDER");
        defaults.order = order == "reverse"  ? Order::reverse
                         : order == "random" ? Order::random
                         : order == "warps"  ? Order::warps
                                             : Order::forward;
        if (defaults.order == Order::forward && !order.empty() && order != "forward") {
            std::fprintf(stderr, "simt: SIMT_ORDER=%s is unknown; forward, reverse, random and warps are\n",
                         order.c_str());
            std::exit(2);
        }
        if (const std::string seed = variable("SIMT_SEED"); !seed.empty()) {
            defaults.seed = static_cast<unsigned>(std::strtoul(seed.c_str(), nullptr, 10));
        }
        defaults.os_threads = std::atoi(variable("SIMT_THREADS").c_str());
        defaults.abort = variable("SIMT_ABORT") == "1";
        defaults.trace = variable("SIMT_TRACE") == "1";
        defaults.lazy_streams = variable("SIMT_STREAMS") == "lazy";
        if (const std::string place = variable("SIMT_LEAVE_OUT"); !place.empty()) {
            defaults.leave_out = detail::parse_leave_out(place);
        }
        return defaults;
    }();
    return instance;
}

}  // namespace simt
