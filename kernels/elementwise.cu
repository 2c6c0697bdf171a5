#include "kernels/elementwise.h"

#include "kernels/activation.h"
#include "kernels/launch.h"
#include "kernels/vector.cuh"

// One value of each array at a time: nothing is reused, so a kernel takes as long as its bytes take. A thread owns N
// neighbouring values of every array, 16 bytes of the narrowest one, and a warp 32 such pieces side by side:
//
//   thread     0       1       2              31      0 ..   (next warp)
//   in    |N values|N values|N values| .. |N values|N values| ..     one or two 16-byte loads
//   out   |N values|N values|N values| .. |N values|N values| ..     one or two 16-byte stores
//
// The last thread takes what is left value by value. Outputs may be inputs: a thread stores only what it alone has
// read.
//
//   Bytes: sizeof(T) n for each array that is read or written: fill 1, scale 2, activation 2, add 3, axpy 3,
//   activation_backward 3; cast 6 n (fp32 and bf16). FLOPs: at most 2 n, far below what a GPU computes meanwhile.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;

struct Constant {
    float value;
    __device__ __forceinline__ float operator()() const { return value; }
};
struct Same {
    __device__ __forceinline__ float operator()(float x) const { return x; }
};
struct Sum {
    __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};
struct Multiple {
    float factor;
    __device__ __forceinline__ float operator()(float x) const { return factor * x; }
};
struct SumWithMultiple {
    float factor;
    __device__ __forceinline__ float operator()(float y, float x) const { return y + factor * x; }
};
struct Clamped {
    Clamp clamp;
    __device__ __forceinline__ float operator()(float x) const {
        const float raised = x < clamp.lo ? clamp.lo : x;  // in this order NaN passes
        return raised > clamp.hi ? clamp.hi : raised;
    }
};
struct PassedInside {
    Clamp clamp;
    __device__ __forceinline__ float operator()(float dy, float x) const {
        return x > clamp.lo && x < clamp.hi ? dy : 0.0f;
    }
};

template <int N, class Op, class... Vectors>
__device__ __forceinline__ Floats<N> each(const Op& op, const Vectors&... vectors) {
    Floats<N> result;
#pragma unroll
    for (int k = 0; k < N; ++k) {
        result[k] = op(vectors[k]...);
    }
    return result;
}

constexpr int larger(int a, int b) {
    return a > b ? a : b;
}
template <class First, class... Others>
constexpr int values_of_a_thread() {
    int values = kVector<First>;
    ((values = larger(values, kVector<Others>)), ...);
    return values;
}

template <class Op, class Out, class... In>
__global__ void __launch_bounds__(kThreads) map_kernel(Op op, std::int64_t n, Out* out, const In*... in) {
    constexpr int N = values_of_a_thread<Out, In...>();
    const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
    if (first + N <= n) {
        store<N>(out + first, each<N>(op, load<N>(in + first)...));
    } else {
        for (std::int64_t i = first; i < n; ++i) {
            out[i] = from_float<Out>(op(to_float(in[i])...));
        }
    }
}

template <class Op, class Out, class... In>
void map(Op op, std::int64_t n, Stream stream, Out* out, const In*... in) {
    constexpr int N = values_of_a_thread<Out, In...>();
    launch<map_kernel<Op, Out, In...>>({.grid = blocks_for(n, kThreads * N), .block = kThreads}, stream, op, n, out,
                                       in...);
}

}  // namespace

template <class T>
void fill(T* x, float value, std::int64_t n, Stream stream) {
    map(Constant{value}, n, stream, x);
}

template <class T>
void add(T* z, const T* a, const T* b, std::int64_t n, Stream stream) {
    map(Sum{}, n, stream, z, a, b);
}

template <class T>
void scale(T* y, const T* x, float factor, std::int64_t n, Stream stream) {
    map(Multiple{factor}, n, stream, y, x);
}

template <class T>
void axpy(T* y, float factor, const T* x, std::int64_t n, Stream stream) {
    map(SumWithMultiple{factor}, n, stream, y, static_cast<const T*>(y), x);
}

template <class T>
void activation_forward(T* y, const T* x, Activation act, std::int64_t n, Stream stream) {
    map(Clamped{clamp_of(act)}, n, stream, y, x);
}

template <class T>
void activation_backward(T* dx, const T* dy, const T* x, Activation act, std::int64_t n, Stream stream) {
    map(PassedInside{clamp_of(act)}, n, stream, dx, dy, x);
}

template <class To, class From>
void cast(To* y, const From* x, std::int64_t n, Stream stream) {
    map(Same{}, n, stream, y, x);
}

template void fill(float*, float, std::int64_t, Stream);
template void fill(BFloat16*, float, std::int64_t, Stream);
template void add(float*, const float*, const float*, std::int64_t, Stream);
template void add(BFloat16*, const BFloat16*, const BFloat16*, std::int64_t, Stream);
template void scale(float*, const float*, float, std::int64_t, Stream);
template void scale(BFloat16*, const BFloat16*, float, std::int64_t, Stream);
template void axpy(float*, float, const float*, std::int64_t, Stream);
template void axpy(BFloat16*, float, const BFloat16*, std::int64_t, Stream);
template void activation_forward(float*, const float*, Activation, std::int64_t, Stream);
template void activation_forward(BFloat16*, const BFloat16*, Activation, std::int64_t, Stream);
template void activation_backward(float*, const float*, const float*, Activation, std::int64_t, Stream);
template void activation_backward(BFloat16*, const BFloat16*, const BFloat16*, Activation, std::int64_t, Stream);
template void cast(float*, const float*, std::int64_t, Stream);
template void cast(BFloat16*, const BFloat16*, std::int64_t, Stream);
template void cast(BFloat16*, const float*, std::int64_t, Stream);
template void cast(float*, const BFloat16*, std::int64_t, Stream);

}  // namespace cutis::cuda
