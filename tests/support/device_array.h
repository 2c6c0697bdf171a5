#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/half.h"
#include "kernels/bfloat16.h"
#include "kernels/launch.h"

namespace cutis::testing {

/// Device memory between guards, filled from and read back as fp32: a kernel that writes beside its array is noticed,
/// and one that reads beside it takes NaN into its result. Under simt, sanitizers see the array's own bounds too.
template <class T>
class DeviceArray {
  public:
    /// `n` values that start as NaN (all bits set).
    explicit DeviceArray(std::int64_t n) : size_(static_cast<std::size_t>(n)) {
        cuda::check(cudaMalloc(reinterpret_cast<void**>(&base_), bytes()), "test memory");
        cuda::check(cudaMemset(base_, 0xFF, bytes()), "test memory");
    }
    explicit DeviceArray(std::span<const float> values) : DeviceArray(static_cast<std::int64_t>(values.size())) {
        std::vector<T> narrow(values.size());
        std::transform(values.begin(), values.end(), narrow.begin(), narrowed);
        if (!values.empty()) {
            cuda::check(cudaMemcpy(data(), narrow.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), "test memory");
        }
    }
    explicit DeviceArray(const std::vector<float>& values) : DeviceArray(std::span<const float>(values)) {}
    DeviceArray(DeviceArray&& other) noexcept : base_(std::exchange(other.base_, nullptr)), size_(other.size_) {}
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;
    ~DeviceArray() { cudaFree(base_); }

    T* data() const { return base_ + kGuard; }
    std::size_t size() const { return size_; }

    /// Waits for the device and copies the values back.
    std::vector<float> values() const {
        const std::vector<T> all = copied();
        std::vector<float> wide(size_);
        std::transform(all.begin() + kGuard, all.begin() + kGuard + static_cast<std::ptrdiff_t>(size_), wide.begin(),
                       widened);
        return wide;
    }
    /// Whether everything around the values is as it was.
    bool intact() const {
        const std::vector<T> all = copied();
        const auto* bytes = reinterpret_cast<const unsigned char*>(all.data());
        const auto untouched = [](unsigned char byte) { return byte == 0xFF; };
        return std::all_of(bytes, bytes + kGuard * sizeof(T), untouched) &&
               std::all_of(bytes + (kGuard + size_) * sizeof(T), bytes + all.size() * sizeof(T), untouched);
    }

  private:
    static constexpr std::size_t kGuard = 64;  // values; keeps 256-byte alignment for fp32 and 128 for bf16
    static T narrowed(float value) {
        if constexpr (sizeof(T) == 2) {
            return BFloat16{f32_to_bf16(value)};
        } else {
            return std::bit_cast<T>(value);
        }
    }
    static float widened(T value) {
        if constexpr (sizeof(T) == 2) {
            return bf16_to_f32(value.bits);
        } else {
            return std::bit_cast<float>(value);
        }
    }
    std::size_t bytes() const { return (size_ + 2 * kGuard) * sizeof(T); }
    std::vector<T> copied() const {
        std::vector<T> all(size_ + 2 * kGuard);
        cuda::check(cudaDeviceSynchronize(), "kernels");
        cuda::check(cudaMemcpy(all.data(), base_, bytes(), cudaMemcpyDeviceToHost), "test memory");
        return all;
    }

    T* base_ = nullptr;
    std::size_t size_;
};

}  // namespace cutis::testing
