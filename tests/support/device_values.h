#pragma once

#include <type_traits>
#include <vector>

#include "kernels/launch.h"

namespace cutis::testing {

/// Plain structs or integers in device memory.
template <class T>
class DeviceValues {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    explicit DeviceValues(const std::vector<T>& values) : size_(values.size()) {
        cuda::check(cudaMalloc(reinterpret_cast<void**>(&data_), (size_ > 0 ? size_ : 1) * sizeof(T)), "test memory");
        set(values);
    }
    explicit DeviceValues(const T& value) : DeviceValues(std::vector<T>{value}) {}
    DeviceValues(const DeviceValues&) = delete;
    DeviceValues& operator=(const DeviceValues&) = delete;
    ~DeviceValues() { cudaFree(data_); }

    T* data() const { return data_; }
    /// Other values, as many as there are.
    void set(const std::vector<T>& values) {
        cuda::check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), "test memory");
    }
    /// Waits for the device and copies the values back.
    std::vector<T> values() const {
        std::vector<T> copy(size_);
        cuda::check(cudaDeviceSynchronize(), "kernels");
        cuda::check(cudaMemcpy(copy.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), "test memory");
        return copy;
    }

  private:
    T* data_ = nullptr;
    std::size_t size_;
};

}  // namespace cutis::testing
