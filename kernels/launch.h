#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/simt/simt.h"
#include "kernels/stream.h"

/// How host code starts CUDA kernels: the only place that reads a launch's error. For .cu files and for the engine's
/// CUDA host code.

namespace cutis::cuda {

inline cudaStream_t handle(Stream stream) {
    return static_cast<cudaStream_t>(stream.handle);
}

/// Throws Error("<what>: <CUDA's message>") unless `error` is cudaSuccess.
void check(cudaError_t error, const char* what);

namespace detail {
[[noreturn]] void launch_failed(const std::string& kernel, const simt::LaunchShape& shape, cudaError_t error);
}

/// Launches `Kernel` on `stream`. Throws Error naming the kernel, its template arguments and the launch's shape. An
/// empty grid (a tensor without elements) is no launch.
///
///     launch<add_kernel<T>>({.grid = blocks, .block = 256}, stream, z, a, b, n);
template <auto Kernel, class... Args>
void launch(const simt::LaunchShape& shape, Stream stream, Args... args) {
    if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) {
        return;
    }
    const cudaError_t error = simt::launch<Kernel>(shape, handle(stream), args...);
    if (error != cudaSuccess) {
        detail::launch_failed(simt::kernel_name<Kernel>(), shape, error);
    }
}

/// `count` values of device memory from the stream-ordered pool, uninitialised, for one call's partial results: given
/// back on the same stream, so that kernels launched before still find it. May be used while a graph is captured.
template <class T>
class Scratch {
  public:
    Scratch(std::int64_t count, Stream stream) : stream_(stream) {
        check(cudaMallocAsync(&data_, static_cast<std::size_t>(count > 0 ? count : 1) * sizeof(T), handle(stream)),
              "scratch memory");
    }
    ~Scratch() { cudaFreeAsync(data_, handle(stream_)); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    T* data() const { return data_; }

  private:
    T* data_ = nullptr;
    Stream stream_;
};

/// While it lives, this thread may allocate although one of its streams is being captured: NVIDIA's libraries do when
/// they start and when they first load a kernel, on streams of their own.
class AllocationsWhileCapturing {
  public:
    AllocationsWhileCapturing() { check(cudaThreadExchangeStreamCaptureMode(&mode_), "capture mode"); }
    ~AllocationsWhileCapturing() { cudaThreadExchangeStreamCaptureMode(&mode_); }
    AllocationsWhileCapturing(const AllocationsWhileCapturing&) = delete;
    AllocationsWhileCapturing& operator=(const AllocationsWhileCapturing&) = delete;

  private:
    cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

/// The GPU's name as its driver gives it.
std::string device_name(int index);

/// How many blocks of `size` cover n.
constexpr unsigned blocks_for(std::int64_t n, std::int64_t size) {
    return static_cast<unsigned>((n + size - 1) / size);
}

}  // namespace cutis::cuda
