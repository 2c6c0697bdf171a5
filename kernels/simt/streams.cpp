#include <utility>

#include "kernels/simt/host_work.h"
#include "kernels/simt/runtime.h"

// Streams, the graphs that they capture, and events.

namespace simt::detail {

Graph::~Graph() {
    const Lock lock(state().mutex);
    for (const auto& [data, bytes] : owned) {
        free_device(data);
    }
}

CUstream_st* resolve(cudaStream_t stream) {
    return stream != nullptr ? stream : &state().default_stream;
}

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

cudaError_t submit_grid(const Grid& grid, cudaStream_t stream, std::function<void()> thread_body) {
    return submit(stream, [grid, body = std::move(thread_body)] { return run_grid(grid, body); });
}

}  // namespace simt::detail

bool simt::run_on_stream(void* stream, std::function<void()> work) {
    return detail::submit(static_cast<cudaStream_t>(stream), [work = std::move(work)] {
               work();
               return cudaSuccess;
           }) == cudaSuccess;
}

using namespace simt::detail;

extern "C" {

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

}  // extern "C"
