#include <cstdio>
#include <vector>

#include "kernels/simt/simt.h"

namespace {

constexpr int kBlock = 64;

// Each block turns its own values round, through shared memory.
template <class T>
__global__ void reverse_blocks(T* out, const T* in) {
    SIMT_SHARED(T, tile, [kBlock]);
    const unsigned i = blockIdx.x * kBlock + threadIdx.x;
    tile[threadIdx.x] = in[i];
    __syncthreads();  // the tile is full
    out[i] = tile[kBlock - 1 - threadIdx.x];
}

bool succeeded(cudaError_t error, const char* what) {
    if (error != cudaSuccess) {
        std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
    }
    return error == cudaSuccess;
}

}  // namespace

/// Leaves with 0 when every value is where it belongs.
int main() {
    constexpr int kBlocks = 5, kCount = kBlocks * kBlock;
    std::vector<float> values(kCount), reversed(kCount);
    for (int i = 0; i < kCount; ++i) {
        values[i] = static_cast<float>(i);
    }
    float *in = nullptr, *out = nullptr;
    const std::size_t bytes = kCount * sizeof(float);
    if (!succeeded(cudaMalloc(reinterpret_cast<void**>(&in), bytes), "cudaMalloc") ||
        !succeeded(cudaMalloc(reinterpret_cast<void**>(&out), bytes), "cudaMalloc") ||
        !succeeded(cudaMemcpy(in, values.data(), bytes, cudaMemcpyHostToDevice), "copy in") ||
        !succeeded(simt::launch<reverse_blocks<float>>({.grid = kBlocks, .block = kBlock}, nullptr, out, in),
                   "launch") ||
        !succeeded(cudaMemcpy(reversed.data(), out, bytes, cudaMemcpyDeviceToHost), "copy out")) {
        return 1;
    }
    cudaFree(in);
    cudaFree(out);
    int wrong = 0;
    for (int i = 0; i < kCount; ++i) {
        const int source = i / kBlock * kBlock + kBlock - 1 - i % kBlock;
        wrong += reversed[i] == values[source] ? 0 : 1;
    }
    std::printf("%d values reversed, %d wrong\n", kCount, wrong);
    return wrong == 0 ? 0 : 1;
}
