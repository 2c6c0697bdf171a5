#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/batchnorm.h"
#include "kernels/bfloat16.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/pool.h"
#include "tests/support/reference.h"

/// The table of operations: each case is one kernel on one shape, with its definition in fp64 beside it. test_ops.cpp
/// runs every case in every mode; another device or a bench reads the same table.

namespace cutis::testing {

using reference::Values;
using Arrays = std::vector<Values>;

/// One array of a case.
struct Operand {
    std::string name;
    std::int64_t size;
    /// Inputs: what random values are drawn from; small integers from the same range, its ends included.
    float low = -2.0f, high = 2.0f;
    /// Inputs: whether `backward` gives a gradient for it.
    bool differentiable = false;
    /// How many products a value (outputs) or its gradient (inputs) is summed from: rounding errors grow with its
    /// square root.
    std::int64_t terms = 1;
    /// Outputs: whether integer inputs make the kernel exact.
    bool exact = true;
    /// Whether it is an activation (or a weight that a GEMM takes as one), which a GPU stores as bf16 in mixed
    /// precision.
    bool activation = false;
    /// Inputs: whether it is a parameter, whose gradient is fp32 in any case.
    bool parameter = false;
};

using Inputs = std::vector<const float*>;
using Outputs = std::vector<float*>;

/// Arrays in device memory, one per operand: fp32, or bf16 where the operand is an activation and the call is for bf16.
struct DeviceArrays {
    std::vector<void*> pointers;
    template <class T = float>
    T* get(std::size_t i) const {
        return static_cast<T*>(pointers[i]);
    }
};

/// A kernel of a GPU for one type of activations; the launches go to the default stream.
using CudaForward = std::function<void(bool bf16, const DeviceArrays& in, const DeviceArrays& out)>;
using CudaBackward =
    std::function<void(bool bf16, const DeviceArrays& in, const void* dy, const DeviceArrays& gradients)>;

/// Both from a lambda `[]<class T>(in, out)` or `[]<class T>(in, const T* dy, gradients)`; empty in a build without
/// CUDA.
template <class Call>
CudaForward cuda_forward([[maybe_unused]] Call call) {
#ifdef CUTIS_WITH_CUDA
    return [call](bool bf16, const DeviceArrays& in, const DeviceArrays& out) {
        bf16 ? call.template operator()<BFloat16>(in, out) : call.template operator()<float>(in, out);
    };
#else
    return {};
#endif
}
template <class Call>
CudaBackward cuda_backward([[maybe_unused]] Call call) {
#ifdef CUTIS_WITH_CUDA
    return [call](bool bf16, const DeviceArrays& in, const void* dy, const DeviceArrays& gradients) {
        bf16 ? call.template operator()<BFloat16>(in, static_cast<const BFloat16*>(dy), gradients)
             : call.template operator()<float>(in, static_cast<const float*>(dy), gradients);
    };
#else
    return {};
#endif
}

struct OpCase {
    std::string op, shape;  ///< letters, digits and underscores
    std::vector<Operand> inputs, outputs;
    /// The kernel.
    std::function<void(const Inputs&, const Outputs&)> run;
    /// The definition: every output from all inputs.
    std::function<Arrays(const Arrays&)> define;
    /// The gradients of the differentiable inputs, in their order, from the gradient of the first output. Empty where
    /// there is no gradient.
    std::function<void(const Inputs&, const float* dy, const Outputs&)> backward = {};
    /// The same two on a GPU, where there is a kernel for it; gradients are those of the differentiable inputs, and of
    /// the type of their input except that parameters' are fp32.
    CudaForward run_cuda = {};
    CudaBackward backward_cuda = {};
    /// Outputs are chosen among the inputs: kernels agree however near to each other these are.
    bool chooses = false;
    /// The first output is linear in each differentiable input, and integers make the gradients exact.
    bool linear = false;
    /// Floating point operations and bytes that must be moved at least.
    double flops = 0.0, bytes = 0.0;
    /// The size of intermediate values, where they are larger than inputs and outputs.
    double magnitude = 1.0;
};

/// Terms of a batch statistic over `rows` rows: beyond about a thousand the kernels add in fp64. Sixteen times that
/// many, since a kernel may take squares around a value some standard deviations from the mean.
inline std::int64_t statistics_terms(std::int64_t rows) {
    return 16 * std::min<std::int64_t>(rows, 1024);
}

// The parts of the table.
std::vector<OpCase> convolution_cases();    ///< dense, pointwise, depthwise, linear
std::vector<OpCase> normalisation_cases();  ///< batchnorm, activations, elementwise
std::vector<OpCase> pooling_cases();
std::vector<OpCase> channel_cases();    ///< concatenation, local response normalisation
std::vector<OpCase> training_cases();   ///< dropout, cross entropy, optimisers
std::vector<OpCase> recurrent_cases();  ///< LSTM

/// Fused convolutions whose wide tensor has more than 4 M values, for few tests: their definitions take long.
std::vector<OpCase> large_cases();

/// All of them but the large ones.
const std::vector<OpCase>& op_cases();

}  // namespace cutis::testing
