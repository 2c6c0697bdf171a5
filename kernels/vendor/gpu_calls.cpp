#include "kernels/vendor/gpu_calls.h"

#include <algorithm>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/column_sums.cuh"
#include "kernels/launch.h"

namespace cutis::cudnn {

using cuda::check;
using cuda::handle;

int current_device() {
    int device = 0;
    check(cudaGetDevice(&device), "device");
    return device;
}

bool is_capturing(Stream stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(handle(stream), &status), "stream");
    return status != cudaStreamCaptureStatusNone;
}

struct ScratchBytes::Memory {
    cuda::Scratch<unsigned char> bytes;
};
ScratchBytes::ScratchBytes(std::size_t bytes, Stream stream)
    : memory_(new Memory{{static_cast<std::int64_t>(bytes), stream}}) {}
ScratchBytes::~ScratchBytes() = default;
ScratchBytes::ScratchBytes(ScratchBytes&&) noexcept = default;
ScratchBytes& ScratchBytes::operator=(ScratchBytes&&) noexcept = default;
void* ScratchBytes::data() const {
    return memory_->bytes.data();
}

void allowing_allocations(const std::function<void()>& work) {
    const cuda::AllocationsWhileCapturing allowed;
    work();
}

namespace {

class Event {
  public:
    Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDefault), "event"); }
    ~Event() { cudaEventDestroy(event_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    cudaEvent_t get() const { return event_; }

  private:
    cudaEvent_t event_ = nullptr;
};

}  // namespace

float milliseconds_of(const std::function<void()>& work, int runs, Stream stream) {
    const Event begin, end;
    std::vector<float> times;
    for (int run = 0; run < runs; ++run) {
        check(cudaEventRecord(begin.get(), handle(stream)), "event");
        work();
        check(cudaEventRecord(end.get(), handle(stream)), "event");
        check(cudaEventSynchronize(end.get()), "event");
        check(cudaEventElapsedTime(&times.emplace_back(), begin.get(), end.get()), "event");
    }
    std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
    return times[static_cast<std::size_t>(runs / 2)];
}

template <class T>
void column_sums(float* sum, const T* g, std::int64_t rows, int c, Stream stream) {
    cuda::sum_columns<T>(sum, g, nullptr, rows, c, stream);
}
template void column_sums(float*, const float*, std::int64_t, int, Stream);
template void column_sums(float*, const BFloat16*, std::int64_t, int, Stream);

void copy_on_device(void* to, const void* from, std::size_t bytes, Stream stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, handle(stream)), "copy");
}

void zero_on_device(void* to, std::size_t bytes, Stream stream) {
    check(cudaMemsetAsync(to, 0, bytes, handle(stream)), "memory");
}

}  // namespace cutis::cudnn
