#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kernels/simt/host_work.h"
#include "kernels/simt/scheduler.h"

// The part of CUDA's runtime API that cutis uses, on the CPU. Device memory is host memory filled with NaN patterns, so
// that reads of what nobody wrote show. Streams run at once or lazily (Options). A graph is the list of what a
// capturing stream was given, run again at each launch.

namespace {

using Action = std::function<cudaError_t()>;

struct Graph {
    std::vector<Action> actions;
    // Memory that the graph allocates: the same address at each launch, as with CUDA's memory nodes.
    std::map<void*, std::size_t> owned;
    std::map<void*, bool> live;
    bool invalid = false;
    ~Graph();
};

}  // namespace

struct CUstream_st {
    std::deque<Action> queue;
    std::shared_ptr<Graph> capturing;
};
struct CUevent_st {
    CUstream_st* stream = nullptr;
    std::size_t pending = 0;  // actions of the stream's queue that stand before the event
    bool recorded = false;
    std::chrono::steady_clock::time_point time;
};
struct CUgraph_st {
    std::shared_ptr<Graph> graph;
};
struct CUgraphExec_st {
    std::shared_ptr<Graph> graph;
};
struct CUmemPoolHandle_st {};

namespace {

// Nothing may be copied from nowhere, which memcpy does not allow.
void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) {
        std::memcpy(to, from, bytes);
    }
}

// Everything is guarded by one lock. Kernels run on the thread that holds it, or on the scheduler's, which never take
// it.
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
State& state() {
    static State* const instance = new State;  // never destroyed: memory may be freed after it would be
    return *instance;
}
using Lock = std::lock_guard<std::recursive_mutex>;

CUstream_st* resolve(cudaStream_t stream) {
    return stream != nullptr ? stream : &state().default_stream;
}

cudaError_t failed(cudaError_t error, std::string message) {
    return simt::detail::set_error(error, message.c_str());
}

// Runs the first `count` actions of a stream's queue.
cudaError_t drain(CUstream_st* stream, std::size_t count) {
    cudaError_t first = cudaSuccess;
    for (; count > 0 && !stream->queue.empty(); --count) {
        const Action action = std::move(stream->queue.front());
        stream->queue.pop_front();
        for (CUevent_st* event : state().events) {
            if (event->stream == stream && event->pending > 0 && --event->pending == 0) {
                event->time = std::chrono::steady_clock::now();
            }
        }
        if (const cudaError_t error = action(); first == cudaSuccess) {
            first = error;
        }
    }
    return first;
}

cudaError_t drain_all() {
    cudaError_t first = drain(&state().default_stream, SIZE_MAX);
    for (CUstream_st* stream : state().streams) {
        if (const cudaError_t error = drain(stream, SIZE_MAX); first == cudaSuccess) {
            first = error;
        }
    }
    return first;
}

// Gives an action to a stream: recorded while it captures, queued or run otherwise. The null stream is CUDA's legacy
// one: it waits for all other streams, and must not be used while one of them captures.
cudaError_t submit(cudaStream_t handle, Action action) {
    CUstream_st* const stream = resolve(handle);
    {
        const Lock lock(state().mutex);
        if (stream->capturing) {
            stream->capturing->actions.push_back(std::move(action));
            return cudaSuccess;
        }
        if (handle == nullptr && state().captures > 0) {
            return failed(cudaErrorStreamCaptureUnsupported, "the null stream was used while another stream captures");
        }
        if (simt::options().lazy_streams) {
            if (handle == nullptr) {
                drain_all();
            }
            stream->queue.push_back(std::move(action));
            return cudaSuccess;
        }
    }
    return action();
}

// Refuses what CUDA refuses while a stream captures, and spoils the captures under way.
cudaError_t refuse_in_capture(const char* what) {
    State& s = state();
    if (s.captures == 0) {
        return cudaSuccess;
    }
    for (CUstream_st* stream : s.streams) {
        if (stream->capturing) {
            stream->capturing->invalid = true;
        }
    }
    return failed(cudaErrorStreamCaptureUnsupported, std::string(what) + " is not allowed while a stream captures");
}

void* allocate(std::size_t bytes) {
    void* data = nullptr;
    if (posix_memalign(&data, 256, std::max<std::size_t>(bytes, 1)) != 0) {
        return nullptr;
    }
    std::memset(data, 0xFF, bytes);
    return data;
}

void add_memory(void* data, std::size_t bytes) {
    State& s = state();
    s.device_memory[data] = bytes;
    s.used += bytes;
    s.used_high = std::max(s.used_high, s.used);
}

bool inside(const std::map<const void*, std::size_t>& blocks, const void* data, std::size_t bytes) {
    auto block = blocks.upper_bound(data);
    if (block == blocks.begin()) {
        return false;
    }
    --block;
    const auto* const begin = static_cast<const char*>(block->first);
    const auto* const at = static_cast<const char*>(data);
    return at >= begin && at + bytes <= begin + block->second;
}

// Whether `data` may be this side of a copy. A graph's own memory counts as device memory.
cudaError_t check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) {
        return cudaSuccess;
    }
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    const auto& device = state().device_memory;
    if (kind != cudaMemcpyDefault &&
        (inside(device, to, bytes) != to_device || inside(device, from, bytes) != from_device)) {
        return failed(cudaErrorInvalidValue, "a copy's addresses are not where its kind says, or it leaves its array");
    }
    return cudaSuccess;
}

cudaError_t free_device(void* pointer) {
    State& s = state();
    const auto found = s.device_memory.find(pointer);
    if (found == s.device_memory.end()) {
        return failed(cudaErrorInvalidValue, "free of what is not device memory");
    }
    s.used -= found->second;
    s.device_memory.erase(found);
    std::free(pointer);
    return cudaSuccess;
}

Graph::~Graph() {
    const Lock lock(state().mutex);
    for (const auto& [data, bytes] : owned) {
        free_device(data);
    }
}

// The compute capability that the device states, ten times the major number and the minor one.
int capability() {
    const char* const stated = std::getenv("SIMT_CAPABILITY");  // read again each time: a test may change it
    return stated != nullptr ? std::atoi(stated) : 90;
}

}  // namespace

namespace simt::detail {

cudaError_t set_error(cudaError_t error, const char* message) {
    const Lock lock(state().mutex);
    state().last_error = error;
    state().messages[error] = message;
    return error;
}

void for_device_memory(const std::function<void(const void* data, std::size_t bytes)>& visit) {
    const Lock lock(state().mutex);
    for (const auto& [data, bytes] : state().device_memory) {
        visit(data, bytes);
    }
}

cudaError_t submit_grid(const Grid& grid, cudaStream_t stream, std::function<void()> thread_body) {
    return submit(stream, [grid, body = std::move(thread_body)] { return run_grid(grid, body); });
}

}  // namespace simt::detail

bool simt::run_on_stream(void* stream, std::function<void()> work) {
    return submit(static_cast<cudaStream_t>(stream), [work = std::move(work)] {
               work();
               return cudaSuccess;
           }) == cudaSuccess;
}

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    return device == 0 ? cudaSuccess : failed(cudaErrorInvalidDevice, "simt has one device, number 0");
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount:
            *value = 4;  // few, so that grids sized by it stay small
            return cudaSuccess;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
            *value = 227 * 1024;
            return cudaSuccess;
        case cudaDevAttrComputeCapabilityMajor:
            *value = capability() / 10;
            return cudaSuccess;
        case cudaDevAttrComputeCapabilityMinor:
            *value = capability() % 10;
            return cudaSuccess;
        default:
            return failed(cudaErrorInvalidValue, "simt does not know this attribute");
    }
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    const Lock lock(state().mutex);
    *total = std::size_t{16} << 30;
    *free = *total - std::min(*total, state().used);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
    const Lock lock(state().mutex);
    *pointer = nullptr;
    if (const cudaError_t error = refuse_in_capture("cudaMalloc"); error != cudaSuccess) {
        return error;
    }
    *pointer = allocate(bytes);
    if (*pointer == nullptr) {
        return failed(cudaErrorMemoryAllocation, "out of memory");
    }
    add_memory(*pointer, bytes);
    return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
    const Lock lock(state().mutex);
    if (pointer == nullptr) {
        return cudaSuccess;
    }
    drain_all();
    return free_device(pointer);
}
cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
    const Lock lock(state().mutex);
    *pointer = allocate(bytes);
    if (*pointer == nullptr) {
        return failed(cudaErrorMemoryAllocation, "out of memory");
    }
    void* const data = *pointer;
    add_memory(data, bytes);
    if (const auto& graph = resolve(stream)->capturing) {
        graph->owned[data] = bytes;
        Graph* const owner = graph.get();
        graph->actions.push_back([data, bytes, owner] {
            std::memset(data, 0xFF, bytes);
            owner->live[data] = true;
            return cudaSuccess;
        });
    }
    return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
    const Lock lock(state().mutex);
    if (pointer == nullptr) {
        return cudaSuccess;
    }
    if (const auto& graph = resolve(stream)->capturing) {
        if (graph->owned.count(pointer) == 0) {
            graph->invalid = true;
            return failed(cudaErrorInvalidValue, "memory from before the capture is freed inside it");
        }
        Graph* const owner = graph.get();
        graph->actions.push_back([pointer, owner] {
            std::memset(pointer, 0xFF, owner->owned[pointer]);
            owner->live[pointer] = false;
            return cudaSuccess;
        });
        return cudaSuccess;
    }
    if (state().device_memory.count(pointer) == 0) {
        return failed(cudaErrorInvalidValue, "free of what is not device memory");
    }
    return submit(stream, [pointer] {
        const Lock inner(state().mutex);
        return free_device(pointer);
    });
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
    const Lock lock(state().mutex);
    *pointer = nullptr;
    if (const cudaError_t error = refuse_in_capture("cudaHostAlloc"); error != cudaSuccess) {
        return error;
    }
    *pointer = allocate(bytes);
    if (*pointer == nullptr) {
        return failed(cudaErrorMemoryAllocation, "out of memory");
    }
    state().pinned_memory[*pointer] = bytes;
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) {
    const Lock lock(state().mutex);
    drain_all();
    state().pinned_memory.erase(pointer);
    std::free(pointer);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    const Lock lock(state().mutex);
    if (const cudaError_t error = check_copy(to, from, bytes, kind); error != cudaSuccess) {
        return error;
    }
    const bool pageable = (kind == cudaMemcpyHostToDevice && !inside(state().pinned_memory, from, bytes)) ||
                          (kind == cudaMemcpyDeviceToHost && !inside(state().pinned_memory, to, bytes));
    if (pageable && !resolve(stream)->capturing) {
        drain(resolve(stream), SIZE_MAX);  // CUDA stages pageable memory before it returns
        copy(to, from, bytes);
        return cudaSuccess;
    }
    return submit(stream, [to, from, bytes] {
        copy(to, from, bytes);
        return cudaSuccess;
    });
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    const Lock lock(state().mutex);
    if (const cudaError_t error = refuse_in_capture("cudaMemcpy"); error != cudaSuccess) {
        return error;
    }
    if (const cudaError_t error = check_copy(to, from, bytes, kind); error != cudaSuccess) {
        return error;
    }
    const cudaError_t error = drain_all();
    copy(to, from, bytes);
    return error;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
    {
        const Lock lock(state().mutex);
        if (bytes > 0 && !inside(state().device_memory, to, bytes)) {
            return failed(cudaErrorInvalidValue, "memset of what is not device memory");
        }
    }
    return submit(stream, [to, value, bytes] {
        if (bytes > 0) {
            std::memset(to, value, bytes);
        }
        return cudaSuccess;
    });
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
    return cudaMemsetAsync(to, value, bytes, nullptr);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
    *pool = &state().pool;
    return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void*) {
    const Lock lock(state().mutex);
    if (attribute == cudaMemPoolAttrUsedMemHigh) {
        state().used_high = state().used;
    }
    return cudaSuccess;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void* value) {
    const Lock lock(state().mutex);
    *static_cast<std::uint64_t*>(value) = attribute == cudaMemPoolAttrUsedMemHigh ? state().used_high : state().used;
    return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) {
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    const Lock lock(state().mutex);
    *stream = new CUstream_st;
    state().streams.push_back(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    const Lock lock(state().mutex);
    const cudaError_t error = drain(stream, SIZE_MAX);
    std::erase(state().streams, stream);
    delete stream;
    return error;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const Lock lock(state().mutex);
    if (resolve(stream)->capturing) {
        return refuse_in_capture("cudaStreamSynchronize");
    }
    return stream == nullptr ? drain_all() : drain(stream, SIZE_MAX);
}
cudaError_t cudaDeviceSynchronize() {
    const Lock lock(state().mutex);
    if (const cudaError_t error = refuse_in_capture("cudaDeviceSynchronize"); error != cudaSuccess) {
        return error;
    }
    return drain_all();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    const Lock lock(state().mutex);
    if (resolve(stream)->capturing) {
        return failed(cudaErrorStreamCaptureUnsupported, "simt captures one stream at a time, without events");
    }
    if (!event->recorded || event->pending == 0) {
        return cudaSuccess;
    }
    return submit(stream, [event] {
        const Lock inner(state().mutex);
        return drain(event->stream, event->pending);
    });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    const Lock lock(state().mutex);
    if (stream == nullptr || stream->capturing) {
        return failed(cudaErrorIllegalState, "the null stream cannot capture, and a stream captures once at a time");
    }
    stream->capturing = std::make_shared<Graph>();
    ++state().captures;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    const Lock lock(state().mutex);
    *graph = nullptr;
    if (!stream->capturing) {
        return failed(cudaErrorIllegalState, "the stream does not capture");
    }
    auto captured = std::exchange(stream->capturing, nullptr);
    --state().captures;
    if (captured->invalid) {
        return failed(cudaErrorStreamCaptureInvalidated, "the capture was spoilt by a call that is not allowed in it");
    }
    *graph = new CUgraph_st{std::move(captured)};
    return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
    thread_local cudaStreamCaptureMode current = cudaStreamCaptureModeGlobal;
    std::swap(current, *mode);  // kept for the caller; what a capture refuses does not depend on it here
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    const Lock lock(state().mutex);
    const auto& graph = resolve(stream)->capturing;
    *status = !graph           ? cudaStreamCaptureStatusNone
              : graph->invalid ? cudaStreamCaptureStatusInvalidated
                               : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    *executable = new CUgraphExec_st{graph->graph};
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    return submit(stream, [graph = executable->graph] {
        for (const auto& [data, live] : graph->live) {
            if (live) {
                return failed(cudaErrorInvalidValue,
                              "a graph is launched again before the memory it allocated was freed");
            }
        }
        for (const Action& action : graph->actions) {
            if (const cudaError_t error = action(); error != cudaSuccess) {
                return error;
            }
        }
        return cudaSuccess;
    });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    const Lock lock(state().mutex);
    drain_all();
    delete executable;
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    const Lock lock(state().mutex);
    *event = new CUevent_st;
    state().events.push_back(*event);
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    const Lock lock(state().mutex);
    drain_all();
    std::erase(state().events, event);
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const Lock lock(state().mutex);
    if (resolve(stream)->capturing) {
        return failed(cudaErrorStreamCaptureUnsupported, "simt captures one stream at a time, without events");
    }
    event->recorded = true;
    event->stream = resolve(stream);
    event->pending = event->stream->queue.size();
    event->time = std::chrono::steady_clock::now();
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    const Lock lock(state().mutex);
    return event->pending > 0 ? drain(event->stream, event->pending) : cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    const Lock lock(state().mutex);
    if (begin->pending > 0 || end->pending > 0) {
        return failed(cudaErrorNotReady, "an event has not been reached yet");
    }
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
    return cudaSuccess;
}

cudaError_t cudaGetLastError() {
    const Lock lock(state().mutex);
    return std::exchange(state().last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
    const Lock lock(state().mutex);
    return state().last_error;
}
const char* cudaGetErrorString(cudaError_t error) {
    const Lock lock(state().mutex);
    const auto found = state().messages.find(error);
    return error == cudaSuccess              ? "no error"
           : found != state().messages.end() ? found->second.c_str()
                                             : "unknown error";
}
const char* cudaGetErrorName(cudaError_t error) {
    return error == cudaSuccess ? "cudaSuccess" : "cudaError";
}

}  // extern "C"
