#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/simt/scheduler.h"

/// What the parts of CUDA's runtime API on the CPU share: runtime.cpp (device and errors), device_memory.cpp,
/// streams.cpp. It is the part that cutis uses. Device memory is host memory filled with NaN patterns, so that reads of
/// what nobody wrote show. Streams run at once or lazily (Options). A graph is the list of what a capturing stream was
/// given, run again at each launch.

namespace simt::detail {

using Action = std::function<cudaError_t()>;

struct Graph {
    std::vector<Action> actions;
    // Memory that the graph allocates: the same address at each launch, as with CUDA's memory nodes.
    std::map<void*, std::size_t> owned;
    std::map<void*, bool> live;
    bool invalid = false;
    ~Graph();
};

}  // namespace simt::detail

struct CUstream_st {
    std::deque<simt::detail::Action> queue;
    std::shared_ptr<simt::detail::Graph> capturing;
};
struct CUevent_st {
    CUstream_st* stream = nullptr;
    std::size_t pending = 0;  // actions of the stream's queue that stand before the event
    bool recorded = false;
    std::chrono::steady_clock::time_point time;
};
struct CUgraph_st {
    std::shared_ptr<simt::detail::Graph> graph;
};
struct CUgraphExec_st {
    std::shared_ptr<simt::detail::Graph> graph;
};
struct CUmemPoolHandle_st {};

namespace simt::detail {

/// Everything is guarded by one lock. Kernels run on the thread that holds it, or on the scheduler's, which never take
/// it.
struct State {
    std::recursive_mutex mutex;
    cudaError_t last_error = cudaSuccess;
    std::map<cudaError_t, std::string> messages;
    std::map<const void*, std::size_t> device_memory, pinned_memory;
    std::size_t used = 0, used_high = 0;
    int captures = 0;
    CUstream_st default_stream;
    std::vector<CUstream_st*> streams;
    std::vector<CUevent_st*> events;
    CUmemPoolHandle_st pool;
};
State& state();
using Lock = std::lock_guard<std::recursive_mutex>;

/// Remembers the error for cudaGetLastError and returns it.
cudaError_t failed(cudaError_t error, const std::string& message);

/// The stream of a handle; null stands for the default one.
CUstream_st* resolve(cudaStream_t stream);
/// Runs the first `count` actions of a stream's queue.
cudaError_t drain(CUstream_st* stream, std::size_t count);
cudaError_t drain_all();
/// Gives an action to a stream: recorded while it captures, queued or run otherwise. The null stream is CUDA's legacy
/// one: it waits for all other streams, and must not be used while one of them captures.
cudaError_t submit(cudaStream_t handle, Action action);
/// Refuses what CUDA refuses while a stream captures, and spoils the captures under way.
cudaError_t refuse_in_capture(const char* what);

/// Under the lock.
cudaError_t free_device(void* pointer);

}  // namespace simt::detail
