#include "engine/cuda_device.h"

#include <cstring>

#include "kernels/error.h"
#ifdef CUTIS_WITH_CUDA
#include "kernels/launch.h"
#ifndef CUTIS_WITH_SIMT
#define CUTIS_WITH_NVTX
#include <nvtx3/nvToolsExt.h>
#endif
#endif

namespace cutis {
namespace {

thread_local int t_nvtx_depth = 0;

}  // namespace

bool nvtx_attached() {
#ifdef CUTIS_WITH_NVTX
    // Without a tool a range is refused. The first call loads the tool that the environment names.
    static const bool attached = [] {
        const bool taken = nvtxRangePushA("cutis") != NVTX_NO_PUSH_POP_TRACKING;
        if (taken) {
            nvtxRangePop();
        }
        return taken;
    }();
    return attached;
#else
    return false;
#endif
}

void nvtx_push([[maybe_unused]] const char* name) {
    ++t_nvtx_depth;
#ifdef CUTIS_WITH_NVTX
    nvtxRangePushA(name);
#endif
}

void nvtx_pop() {
    --t_nvtx_depth;
#ifdef CUTIS_WITH_NVTX
    nvtxRangePop();
#endif
}

int nvtx_depth() {
    return t_nvtx_depth;
}

#ifdef CUTIS_WITH_CUDA

using cuda::check;

const char* cuda_mode() {
#ifdef CUTIS_WITH_SIMT
    return "simt";
#else
    return "nvcc";
#endif
}

int cuda_device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError();  // no driver, or none of its devices: an answer, not a failure
        return 0;
    }
    return count;
}

CudaDeviceInfo cuda_device_info(int index) {
    const auto attribute = [&](cudaDeviceAttr which) {
        int value = 0;
        check(cudaDeviceGetAttribute(&value, which, index), "device");
        return value;
    };
    CudaDeviceInfo info;
    info.major = attribute(cudaDevAttrComputeCapabilityMajor);
    info.minor = attribute(cudaDevAttrComputeCapabilityMinor);
    info.multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
    info.name = cuda::device_name(index);
    check(cudaMemGetInfo(&info.free_memory, &info.memory), "device");
    return info;
}

namespace {

// One stream computes: a training step is a chain of kernels, and memory that is freed in its order may be used again
// at once. The pool keeps what it has: giving memory back to the system between steps costs more than the step's
// kernels.
cudaStream_t compute_stream() {
    static const cudaStream_t stream = [] {
        require(cuda_device_count() > 0, "cuda: no GPU was found; use --device cpu");
        cudaStream_t created = nullptr;
        check(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking), "stream");
        cudaMemPool_t pool = nullptr;
        check(cudaDeviceGetDefaultMemPool(&pool, 0), "memory pool");
        std::uint64_t keep = ~std::uint64_t{0};
        check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "memory pool");
        return created;
    }();
    return stream;
}

}  // namespace

Stream stream_of(Device device) {
    if (device.kind == DeviceKind::cpu) {
        return {};
    }
    require(device.index == 0, "{}: one GPU is supported; use cuda:0", to_string(device));
    return {compute_stream()};
}

void synchronize(Device device) {
    if (device.kind == DeviceKind::cuda) {
        check(cudaStreamSynchronize(cuda::handle(stream_of(device))), "the GPU's work");
    }
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes) {
    if (bytes == 0) {
        return;
    }
    const bool to_gpu = to_device.kind == DeviceKind::cuda, from_gpu = from_device.kind == DeviceKind::cuda;
    if (!to_gpu && !from_gpu) {
        std::memmove(to, from, bytes);
        return;
    }
    const cudaMemcpyKind kind = to_gpu && from_gpu ? cudaMemcpyDeviceToDevice
                                : to_gpu           ? cudaMemcpyHostToDevice
                                                   : cudaMemcpyDeviceToHost;
    const cudaStream_t stream = cuda::handle(stream_of(to_gpu ? to_device : from_device));
    check(cudaMemcpyAsync(to, from, bytes, kind, stream), "copy");
    if (!to_gpu) {
        check(cudaStreamSynchronize(stream), "the GPU's work");
    }
}

bool is_recording(Device device) {
    if (device.kind == DeviceKind::cpu) {
        return false;
    }
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(cuda::handle(stream_of(device)), &status), "stream");
    return status != cudaStreamCaptureStatusNone;
}

void set_bytes(void* data, Device device, int value, std::size_t bytes) {
    if (device.kind == DeviceKind::cpu) {
        std::memset(data, value, bytes);
    } else if (bytes > 0) {
        check(cudaMemsetAsync(data, value, bytes, cuda::handle(stream_of(device))), "memory");
    }
}

CudaMemoryUse cuda_memory_use() {
    cudaMemPool_t pool = nullptr;
    check(cudaDeviceGetDefaultMemPool(&pool, 0), "memory pool");
    std::uint64_t now = 0, most = 0;
    check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &now), "memory pool");
    check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &most), "memory pool");
    return {static_cast<std::size_t>(now), static_cast<std::size_t>(most)};
}

void* detail::cuda_allocate(std::size_t bytes, Device device) {
    void* data = nullptr;
    const cudaError_t error = cudaMallocAsync(&data, bytes > 0 ? bytes : 1, cuda::handle(stream_of(device)));
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return nullptr;
    }
    check(error, "memory");
    return data;
}

void detail::cuda_free(void* data, Device device) {
    cudaFreeAsync(data, cuda::handle(stream_of(device)));  // in a destructor: an error shows at the next launch
}

PinnedMemory::PinnedMemory(std::size_t bytes) : bytes_(bytes) {
    check(cudaHostAlloc(&data_, bytes > 0 ? bytes : 1, cudaHostAllocDefault), "pinned memory");
}
PinnedMemory::~PinnedMemory() {
    cudaFreeHost(data_);
}

struct CudaGraph::State {
    cudaStream_t stream = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
};

CudaGraph::CudaGraph(Device device, const std::function<void()>& work) : state_(std::make_unique<State>()) {
    state_->stream = cuda::handle(stream_of(device));
    check(cudaStreamBeginCapture(state_->stream, cudaStreamCaptureModeThreadLocal), "graph");
    try {
        work();
    } catch (...) {
        cudaGraph_t broken = nullptr;
        cudaStreamEndCapture(state_->stream, &broken);
        if (broken != nullptr) {
            cudaGraphDestroy(broken);
        }
        cudaGetLastError();
        throw;
    }
    check(cudaStreamEndCapture(state_->stream, &state_->graph), "graph");
    check(cudaGraphInstantiate(&state_->executable, state_->graph, 0), "graph");
}

CudaGraph::~CudaGraph() {
    if (state_->executable != nullptr) {
        cudaStreamSynchronize(state_->stream);
        cudaGraphExecDestroy(state_->executable);
    }
    if (state_->graph != nullptr) {
        cudaGraphDestroy(state_->graph);
    }
}

void CudaGraph::launch() {
    check(cudaGraphLaunch(state_->executable, state_->stream), "graph");
}

CudaEvent::CudaEvent() {
    cudaEvent_t created = nullptr;
    check(cudaEventCreateWithFlags(&created, cudaEventDefault), "event");
    event_ = created;
}
CudaEvent::~CudaEvent() {
    cudaEventDestroy(static_cast<cudaEvent_t>(event_));
}
void CudaEvent::record(Device device) {
    check(cudaEventRecord(static_cast<cudaEvent_t>(event_), cuda::handle(stream_of(device))), "event");
}
void CudaEvent::wait() const {
    check(cudaEventSynchronize(static_cast<cudaEvent_t>(event_)), "the GPU's work");
}
float CudaEvent::elapsed(const CudaEvent& begin, const CudaEvent& end) {
    float milliseconds = 0.0f;
    check(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(begin.event_),
                               static_cast<cudaEvent_t>(end.event_)),
          "event");
    return milliseconds;
}

#else

namespace {
[[noreturn]] void no_cuda() {
    fail(
        "cuda: this build has no CUDA kernels; use --device cpu, or build with -DCUTIS_CUDA=nvcc (a GPU) or simt "
        "(tests)");
}
}  // namespace

const char* cuda_mode() {
    return "off";
}
int cuda_device_count() {
    return 0;
}
CudaDeviceInfo cuda_device_info(int) {
    no_cuda();
}
Stream stream_of(Device device) {
    if (device.kind == DeviceKind::cuda) {
        no_cuda();
    }
    return {};
}
void synchronize(Device device) {
    stream_of(device);
}
void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes) {
    stream_of(to_device);
    stream_of(from_device);
    if (bytes > 0) {
        std::memmove(to, from, bytes);
    }
}
bool is_recording(Device) {
    return false;
}
void set_bytes(void* data, Device device, int value, std::size_t bytes) {
    stream_of(device);
    std::memset(data, value, bytes);
}
CudaMemoryUse cuda_memory_use() {
    return {};
}
void* detail::cuda_allocate(std::size_t, Device) {
    no_cuda();
}
void detail::cuda_free(void*, Device) {}
PinnedMemory::PinnedMemory(std::size_t) {
    no_cuda();
}
PinnedMemory::~PinnedMemory() = default;
struct CudaGraph::State {};
CudaGraph::CudaGraph(Device, const std::function<void()>&) {
    no_cuda();
}
CudaGraph::~CudaGraph() = default;
void CudaGraph::launch() {}
CudaEvent::CudaEvent() {
    no_cuda();
}
CudaEvent::~CudaEvent() = default;
void CudaEvent::record(Device) {}
void CudaEvent::wait() const {}
float CudaEvent::elapsed(const CudaEvent&, const CudaEvent&) {
    return 0.0f;
}

#endif

}  // namespace cutis
