#include "kernels/activation.h"
#include "kernels/elementwise.h"
#include "kernels/launch.h"
#include "kernels/vector.cuh"

// z = a + b and its kin: one 16-byte access per array and thread, nothing reused, so the floor is the memory's.
//   add   bytes: 3 sizeof(T) n    FLOPs: n

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) add_kernel(T* z, const T* a, const T* b, std::int64_t n) {
    constexpr int N = kVector<T>;
    const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
    if (i + N <= n) {
        const Floats<N> left = load<N>(a + i), right = load<N>(b + i);
        Floats<N> sum;
#pragma unroll
        for (int k = 0; k < N; ++k) {
            sum[k] = left[k] + right[k];
        }
        store<N>(z + i, sum);
    } else {
        for (std::int64_t k = i; k < n; ++k) {
            z[k] = from_float<T>(to_float(a[k]) + to_float(b[k]));
        }
    }
}

}  // namespace

template <class T>
void add(T* z, const T* a, const T* b, std::int64_t n, Stream stream) {
    launch<add_kernel<T>>({.grid = blocks_for(n, kThreads * kVector<T>), .block = kThreads}, stream, z, a, b, n);
}
template void add(float*, const float*, const float*, std::int64_t, Stream);
template void add(BFloat16*, const BFloat16*, const BFloat16*, std::int64_t, Stream);

}  // namespace cutis::cuda
