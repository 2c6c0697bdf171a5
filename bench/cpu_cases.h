#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/workload.h"
#include "engine/tensor.h"

/// Operations of the CPU by our kernels and by oneDNN's, on the same arrays.

namespace cutis::bench {

/// One operation with arrays of its own.
struct CpuPair {
    double bytes = 0;  ///< that memory must move at least: each array once each way
    double flops = 0;
    std::function<void()> ours;
    std::function<void()> vendor;  ///< empty in builds without oneDNN

    /// An array that the functions know by its address alone.
    void keep(std::shared_ptr<const void> array) { kept.push_back(std::move(array)); }
    std::vector<std::shared_ptr<const void>> kept = {};
};

struct CpuCase {
    std::string op;     ///< "depthwise_forward"; "chain_..": several that ours joins, and the vendor runs one by one
    std::string shape;  ///< "112x112x96s2"
    std::function<CpuPair()> make;
};

/// MobileNetV2's and AlexNet's convolutions, forward and both gradients, alone and in chains with batchnorm and ReLU6.
std::vector<CpuCase> convolution_cases(const Workload& workload);
/// Batchnorm, activation, pooling, sum, concatenation, local response norm, linear layers, softmax.
std::vector<CpuCase> other_cases(const Workload& workload);
/// One layer of hidden sizes 64 to 1024 over the 49 pixels of MobileNetV2's last map, and its gradients.
std::vector<CpuCase> lstm_cases(const Workload& workload);

/// Values in memory as the engine allocates it, which lie on 64 bytes; kept as long as the case.
using Array = std::shared_ptr<Tensor>;
Array noise(std::int64_t n);  ///< in [-1, 1)
Array ones(std::int64_t n);

}  // namespace cutis::bench
