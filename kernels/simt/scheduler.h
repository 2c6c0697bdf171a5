#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

/// Runs a grid of CUDA threads on the CPU: each CUDA thread is a fiber, an OS thread runs whole blocks (or clusters of
/// blocks), and a fiber runs until it waits at a barrier or a warp operation. Kernel files see this through
/// device_cpu.h; docs/simt.md tells the story.

#if defined(SIMT_CUDA_HEADERS)
#include <cuda_runtime.h>  // compiled by a plain host compiler: types and prototypes; the functions are ours: runtime.h
#undef __shared__
#undef __launch_bounds__
#undef __noinline__
#else
#include "kernels/simt/cuda_types.h"
#endif

namespace simt {

/// A place in a kernel's source; `here()` as a default argument is the caller's.
struct Site {
    const char* file;
    int line;
    static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return {file, line};
    }
};

/// The order in which a block's ready threads run, and the grid's blocks. A race that one order hides, another shows.
enum class Order {
    forward,
    reverse,
    random,
    warps  ///< one warp, chosen by the seed, runs as far ahead as it can
};

/// How kernels run; set between launches. Environment variables of these names give the defaults.
struct Options {
    Order order = Order::forward;  ///< SIMT_ORDER=forward|reverse|random|warps
    unsigned seed = 1;             ///< SIMT_SEED: of the orders random and warps
    int os_threads = 0;            ///< SIMT_THREADS: 0 for all cores
    bool abort = false;            ///< SIMT_ABORT=1: abort() at a broken rule, in place, for a debugger or a core file
    bool trace = false;            ///< SIMT_TRACE=1: one line per launch on stderr, with the places where it waited
    /// SIMT_STREAMS=lazy: a stream's work runs when something waits for it, as late as a GPU might; a missing
    /// synchronisation shows. Otherwise it runs at once, inside the call, which is easier to step through.
    bool lazy_streams = false;
    /// SIMT_LEAVE_OUT=kernels/sum.cu:41 does without the barrier, wait or commit of that line, as if somebody had
    /// forgotten it. kernels/sum.cu:41+1 weakens it: a cp_async_wait leaves one group more under way, a cluster_sync
    /// waits for its own block only. Line 0: nothing.
    struct LeaveOut {
        std::string file;  ///< as the compiler was given it, or the end of that path
        int line = 0;
        bool weaken = false;
    };
    LeaveOut leave_out{};
};
Options& options();

namespace detail {

/// What a CUDA thread sees of itself.
struct ThreadView {
    uint3 thread, block;
    dim3 block_dim, grid_dim;
    unsigned linear;        ///< in its block, x fastest
    unsigned cluster_rank;  ///< of its block
    unsigned cluster_size;
};
extern constinit thread_local ThreadView* current;  // constinit: an access needs no wrapper call

struct Grid {
    const char* kernel;
    dim3 grid, block;
    std::size_t shared_bytes;
    unsigned cluster;
};

/// Runs the grid's blocks, or records them where `stream` is capturing.
cudaError_t submit_grid(const Grid& grid, cudaStream_t stream, std::function<void()> thread_body);
/// Runs the grid's blocks now.
cudaError_t run_grid(const Grid& grid, const std::function<void()>& thread_body);
/// Calls `visit` with every block of device memory.
void for_device_memory(const std::function<void(const void* data, std::size_t bytes)>& visit);

/// Called around each grid that runs; null: nothing.
struct LaunchObserver {
    void (*begin)() = nullptr;
    void (*end)(const char* kernel) = nullptr;
};
void set_launch_observer(LaunchObserver observer);

/// Stores an error for cudaGetLastError and its message for cudaGetErrorString.
cudaError_t set_error(cudaError_t error, const char* message);

enum class WarpOp { sync, shuffle, ballot, reduce_add, ldmatrix, ldmatrix_transposed, mma_bf16, mma_tf32 };

void block_barrier(Site site);
void cluster_barrier(Site site);
/// The calling lane's share of an operation of the lanes in `mask`: `in` words go in, `out` words come back when all
/// lanes of the mask have arrived.
void warp_operation(WarpOp op, unsigned mask, const std::uint32_t* in, int in_words, std::uint32_t* out, int out_words,
                    Site site);

/// The block's array of `key` in shared memory; the first caller places it.
void* shared_array(const void* key, std::size_t bytes, std::size_t alignment);
void* shared_dynamic();
/// The address in block `rank`'s shared memory that `pointer` is in this block's.
void* shared_of_rank(void* pointer, unsigned rank, Site site);

/// cp.async: `copy` runs when the copy lands, which is at the wait or, in random order, any time before.
using CopyFunction = void (*)(void* to, const void* from, bool wanted);
void queue_copy(CopyFunction copy, void* to, const void* from, bool wanted);
void commit_copies(Site site);
void wait_copies(int pending, Site site);

/// A broken rule: ends the launch with cudaErrorLaunchFailure and this message.
[[noreturn]] void broken_rule(Site site, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace detail
}  // namespace simt
