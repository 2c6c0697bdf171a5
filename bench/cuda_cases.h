#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/workload.h"
#include "engine/tensor.h"
#include "kernels/batchnorm.h"
#include "kernels/precision.h"

/// The calls of CUDA kernels that training steps are made of, on MobileNetV2's own shapes, for timing.

namespace cutis::bench {

/// One call with arrays of its own.
struct PreparedCall {
    double bytes;  ///< that memory must move at least: each array once each way
    double flops;
    std::function<void()> run;              ///< launches on the GPU's stream; may be recorded in a graph
    std::function<void()> run_vendor = {};  ///< the same by the vendor's library, where it has the call
};

struct CudaCase {
    std::string op;    ///< the kernel and, behind a point, its form: "depthwise_forward.fused"
    std::string type;  ///< fp32, tf32 or bf16
    std::string shape;
    std::function<PreparedCall()> make;
};

Device gpu();

/// Arrays in device memory for one call. Counts the bytes of each, once for each way it goes.
class Arrays {
  public:
    /// n random values in [-1, 1).
    template <class T = float>
    Tensor input(std::int64_t n) {
        return noise(n, dtype_of<T>(), 1);
    }
    /// n values that the call overwrites.
    template <class T = float>
    Tensor output(std::int64_t n) {
        return empty(n, dtype_of<T>());
    }
    /// n random values that the call reads and overwrites.
    template <class T = float>
    Tensor updated(std::int64_t n) {
        return noise(n, dtype_of<T>(), 2);
    }
    double bytes() const { return bytes_; }

  private:
    Tensor noise(std::int64_t n, DType type, int ways);
    Tensor empty(std::int64_t n, DType type);
    double bytes_ = 0.0;
};

/// The per-channel arrays around a batchnorm; c values each, and not counted: they are small beside activations.
struct NormArrays {
    explicit NormArrays(int c);
    Normalize normalize() const { return {scale.data(), shift.data(), Activation::relu6}; }
    NormalizeBackward backward() { return {mean.data(), inv_std.data(), dgamma.data(), dbeta.data()}; }
    BatchStatistics statistics() { return {batch_mean.data(), batch_var.data()}; }
    template <class T>
    GradientOnLoadT<T> on_load(const Tensor& y) const {
        return {y.data<T>(), a.data(), b.data(), d.data()};
    }
    Tensor mean, inv_std, scale, shift, a, b, d, dgamma, dbeta, batch_mean, batch_var;
};

std::vector<CudaCase> depthwise_cases(const Workload& workload);
std::vector<CudaCase> matrix_cases(const Workload& workload);  ///< convolutions but depthwise ones, linear layers
std::vector<CudaCase> batchnorm_cases(const Workload& workload);
std::vector<CudaCase> lstm_cases(const Workload& workload);
std::vector<CudaCase> other_cases(const Workload& workload);  ///< pooling, loss, dropout, element-wise, optimisers

template <class T>
constexpr const char* type_name() {
    return sizeof(T) == 2 ? "bf16" : "fp32";
}

}  // namespace cutis::bench
