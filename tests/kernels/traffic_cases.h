#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/launch.h"
#include "kernels/traffic.h"

/// Calls of the CUDA launchers of kernels/*.h with the bytes that their headers predict for them; test_traffic.cpp
/// counts what they move.

namespace cutis::testing {

/// Arrays of device memory that live as long as this.
class DeviceMemory {
  public:
    DeviceMemory() = default;
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;
    ~DeviceMemory() {
        for (void* const array : arrays_) {
            cudaFree(array);
        }
    }

    /// `n` zeros.
    template <class T>
    T* zeros(std::int64_t n) {
        void* array = nullptr;
        const auto bytes = static_cast<std::size_t>(n > 0 ? n : 1) * sizeof(T);
        cuda::check(cudaMalloc(&array, bytes), "test memory");
        arrays_.push_back(array);
        cuda::check(cudaMemset(array, 0, bytes), "test memory");
        return static_cast<T*>(array);
    }
    template <class T>
    T* copy(const std::vector<T>& values) {
        T* const array = zeros<T>(static_cast<std::int64_t>(values.size()));
        cuda::check(cudaMemcpy(array, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "test memory");
        return array;
    }

  private:
    std::vector<void*> arrays_;
};

struct TrafficCase {
    std::string launcher, call;  ///< the function's name; type, shape and form
    cuda::Traffic claimed;
    std::function<void(DeviceMemory&)> run;
};

/// Calls body.operator()<T>(name) for the types of activations.
template <class Body>
void for_types(Body&& body) {
    body.template operator()<float>("fp32");
    body.template operator()<BFloat16>("bf16");
}

// The parts of the table.
std::vector<TrafficCase>
elementwise_traffic();  ///< maps, dropout, augmentation, concatenation, response normalisation, pooling
std::vector<TrafficCase> channel_traffic();   ///< depthwise convolution, batchnorm
std::vector<TrafficCase> matrix_traffic();    ///< products, convolution, LSTM
std::vector<TrafficCase> training_traffic();  ///< cross entropy, optimisers

std::vector<TrafficCase> traffic_cases();

}  // namespace cutis::testing
