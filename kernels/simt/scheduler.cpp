#include "kernels/simt/scheduler.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernels/simt/sites.h"
#include "kernels/simt/worker.h"

// Grids: from a launch to workers on OS threads, and what kernels call while they run.

namespace simt::detail {
namespace {

constexpr std::size_t kSharedLimit = 227 * 1024;  // of a block on sm_90
constexpr unsigned kClusterLimit = 8;

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
    running_worker->barrier(running_worker->block().barrier, ThreadState::at_block_barrier, site);
}

void cluster_barrier(Site site) {
    if (left_out(site)) {
        return;
    }
    if (weakened(site)) {
        running_worker->barrier(running_worker->block().barrier, ThreadState::at_block_barrier, site);
        return;
    }
    running_worker->barrier(running_worker->cluster_barrier, ThreadState::at_cluster_barrier, site);
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
