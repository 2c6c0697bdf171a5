#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/device.h"
#include "kernels/stream.h"

/// What the engine needs of a GPU beside kernels: its stream, its memory, copies, graphs. In a build without CUDA every
/// call but the questions throws Error; in a simt build the "GPU" is the CPU (kernels/simt).

namespace cutis {

/// "nvcc", "simt" or "off": how this build's CUDA kernels were compiled.
const char* cuda_mode();

/// Devices that `Device{DeviceKind::cuda, i}` may name; 0 where there is no GPU or the build has no CUDA.
int cuda_device_count();

struct CudaDeviceInfo {
    std::string name;
    int major = 0, minor = 0, multiprocessors = 0;
    std::size_t memory = 0, free_memory = 0;  ///< bytes
};
CudaDeviceInfo cuda_device_info(int index);

/// Where `device`'s kernels run: nothing on the CPU, else the one stream on which the engine computes.
Stream stream_of(Device device);

/// Waits for all work on the device; throws Error with the kernel's message when some of it failed.
void synchronize(Device device);

/// Bytes between any two devices, ordered after all work on the stream of the GPU among them. A copy to the CPU has
/// finished on return, and so has one from memory of the CPU that is not pinned.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes);

/// Whether the device's stream is being recorded as a graph.
bool is_recording(Device device);

/// Sets bytes on a device, in its stream's order.
void set_bytes(void* data, Device device, int value, std::size_t bytes);

/// What the GPU's memory pool holds, in bytes.
struct CudaMemoryUse {
    std::size_t in_use = 0, peak_in_use = 0;
};
CudaMemoryUse cuda_memory_use();

namespace detail {
void* cuda_allocate(std::size_t bytes, Device device);
void cuda_free(void* data, Device device);
}  // namespace detail

/// Page-locked memory of the CPU, from which copies to the GPU run beside computation.
class PinnedMemory {
  public:
    explicit PinnedMemory(std::size_t bytes);
    ~PinnedMemory();
    PinnedMemory(const PinnedMemory&) = delete;
    PinnedMemory& operator=(const PinnedMemory&) = delete;
    void* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }

  private:
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// Work on the device's stream, recorded once and launched as one (CUDA graph). What it reads and writes beyond its own
/// temporary memory keeps its addresses from launch to launch; what changes between launches is read from device
/// memory.
class CudaGraph {
  public:
    /// Records what `work` submits; nothing runs. `work` must not wait for the device nor read device memory on the
    /// CPU, and must free what it allocates on the device. Throws what `work` throws, and Error where CUDA refuses.
    CudaGraph(Device device, const std::function<void()>& work);
    ~CudaGraph();
    CudaGraph(const CudaGraph&) = delete;
    CudaGraph& operator=(const CudaGraph&) = delete;

    void launch();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Whether a tool collects this process's NVTX ranges (Nsight Systems, say), as far as it had come when this was asked
/// first. False in builds without nvcc.
bool nvtx_attached();
/// Opens and closes a named NVTX range on the calling thread; ranges nest. Builds without nvcc only count them.
void nvtx_push(const char* name);
void nvtx_pop();
/// How many ranges are open on the calling thread.
int nvtx_depth();

/// A mark on the device's stream, to wait for or to measure from.
class CudaEvent {
  public:
    CudaEvent();
    ~CudaEvent();
    CudaEvent(const CudaEvent&) = delete;
    CudaEvent& operator=(const CudaEvent&) = delete;

    void record(Device device);
    void wait() const;
    /// Milliseconds between two marks that have been reached.
    static float elapsed(const CudaEvent& begin, const CudaEvent& end);

  private:
    void* event_ = nullptr;
};

}  // namespace cutis
