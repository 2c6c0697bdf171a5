#include "kernels/simt/worker.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace simt::detail {

constinit thread_local ThreadView* current = nullptr;
constinit thread_local Worker* running_worker = nullptr;

namespace {

constexpr std::size_t kGapBytes = 128;  // between two arrays: poisoned, or looked at when the block ends
constexpr unsigned char kFill = 0xFF;   // a float of these bytes is NaN

bool same(Site a, Site b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
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

}  // namespace

Worker& worker() {
    thread_local Worker instance;
    return instance;
}

void fiber_entry() {
    running_worker->enter_fiber();
    std::abort();  // never comes back
}

void throw_rule(const std::string& message) {
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

// Where the cluster's threads are: "threads 0-31 wait at __syncthreads a.cu:12; threads 32-63 have exited".
std::string Worker::describe() const {
    struct Group {
        ThreadState state;
        Site site;
        unsigned rank;
        std::vector<unsigned> threads;
    };
    std::vector<Group> groups;
    for (unsigned i = 0; i < count(); ++i) {
        const CudaThread& thread = threads_[i];
        const bool placeless = thread.state == ThreadState::done || thread.state == ThreadState::fresh;
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
            case ThreadState::fresh:
                text += " have not started";
                break;
            case ThreadState::done:
                text += " have exited";
                break;
            case ThreadState::at_block_barrier:
                text += " wait at __syncthreads";
                break;
            case ThreadState::at_cluster_barrier:
                text += " wait at cluster_sync";
                break;
            case ThreadState::in_warp_operation:
                text += " wait in a warp operation";
                break;
            case ThreadState::running:
            case ThreadState::ready:
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
        thread.state = ThreadState::running;
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
    thread.state = ThreadState::running;
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
    thread.state = ThreadState::done;
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
            thread.state = ThreadState::fresh;
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

void Worker::barrier(Barrier& barrier, ThreadState waiting, Site site) {
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
        const bool of_cluster = waiting == ThreadState::at_cluster_barrier;
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
        thread.state = ThreadState::in_warp_operation;
        throw_rule(block_name(thread.block) + ": lanes of a warp came to different warp operations, mask at " +
                   place(site) + ": " + describe());
    }
    const bool complete = (warp.group[index].arrived |= 1u << lane) == mask;
    void* const token = &warp.token[warp.generation & 1u];
    if (op == WarpOp::sync) {
        release(token);  // the other operations order no memory accesses
    }
    thread.state = ThreadState::in_warp_operation;
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
            thread.state = ThreadState::running;
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

}  // namespace simt::detail
