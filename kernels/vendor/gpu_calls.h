#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/stream.h"

/// What cuDNN's callers want of CUDA's runtime, without its types: they see NVIDIA's headers, the rest of a simt build
/// our own (kernels/vendor/cudnn_library.h).

namespace cutis::cudnn {

/// The current device's number.
int current_device();

/// Whether the stream is being recorded as a graph.
bool is_capturing(Stream stream);

/// Bytes from the stream's pool, given back on the same stream (cuda::Scratch).
class ScratchBytes {
  public:
    ScratchBytes(std::size_t bytes, Stream stream);
    ~ScratchBytes();
    ScratchBytes(ScratchBytes&&) noexcept;
    ScratchBytes& operator=(ScratchBytes&&) noexcept;
    void* data() const;

  private:
    struct Memory;
    std::unique_ptr<Memory> memory_;
};

/// Runs `work`, which may allocate although one of the thread's streams is being captured: the library does so when it
/// starts and when it first loads a kernel.
void allowing_allocations(const std::function<void()>& work);

/// Milliseconds of the stream's time that `work` takes: the median of `runs`. Waits for the stream.
float milliseconds_of(const std::function<void()>& work, int runs, Stream stream);

/// sum[c] = the sum of g over its rows (cuda::sum_columns). g is rows x c.
template <class T>
void column_sums(float* sum, const T* g, std::int64_t rows, int c, Stream stream);

/// Copies between device addresses, and sets device memory to zero.
void copy_on_device(void* to, const void* from, std::size_t bytes, Stream stream);
void zero_on_device(void* to, std::size_t bytes, Stream stream);

}  // namespace cutis::cudnn
