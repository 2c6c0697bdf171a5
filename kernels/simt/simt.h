#pragma once

/// The one header that a file with CUDA kernels includes. The same source is compiled
///
///   by nvcc         for a GPU, and
///   by g++ or clang for the CPU, where each CUDA thread is a fiber (docs/simt.md): every kernel can be run, checked by
///                   sanitizers and stepped through in a debugger on a machine without a GPU.
///
/// What a kernel file writes differently from plain CUDA:
///
///   SIMT_SHARED(float, tile, [8][33]);             __shared__ float tile[8][33];
///   float* s = simt::dynamic_shared<float>();      extern __shared__ float s[];
///   simt::launch<kernel<T>>(shape, stream, args..) kernel<T><<<grid, block, bytes, stream>>>(args..)
///   simt::cluster_sync(), cluster_rank(), map_shared(p, rank)    cooperative_groups::this_cluster()
///   ptx.h                                          inline assembly (mma, ldmatrix, cp.async)
///
/// Everything else is CUDA's own: threadIdx, __syncthreads, __shfl_xor_sync, atomicAdd, float4, fmaf, __expf.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#if defined(__CUDACC__) || (defined(CUTIS_WITH_CUDA) && !defined(CUTIS_WITH_SIMT))  // nvcc, or host code beside it
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#else
#include "kernels/simt/device_cpu.h"
#endif

namespace simt {

/// A launch's shape. Dynamic shared memory in bytes; `cluster` blocks along x form a thread-block cluster (sm_90 or
/// newer; 1: none), and grid.x is then a multiple of it.
struct LaunchShape {
    dim3 grid;
    dim3 block;
    std::size_t shared_bytes = 0;
    unsigned cluster = 1;
};

/// The name of a kernel as the compiler writes it, with its template arguments: "cutis::add_kernel<float>".
template <auto Kernel>
std::string kernel_name() {
    std::string name = __PRETTY_FUNCTION__;
    const std::size_t begin = name.find("Kernel = ") + 9;
    const std::size_t end = name.find_first_of(";]", begin);
    name = name.substr(begin, end - begin);
    if (!name.empty() && name.front() == '&') {
        name.erase(0, 1);
    }
    if (name.rfind("_GLOBAL__N__", 0) == 0) {  // nvcc's name for an unnamed namespace
        name.erase(0, name.find("::") + 2);
    }
    for (const std::string_view unnamed : {"{anonymous}::", "(anonymous namespace)::"}) {
        for (std::size_t at = name.find(unnamed); at != std::string::npos; at = name.find(unnamed)) {
            name.erase(at, unnamed.size());
        }
    }
    return name;
}

#if defined(__CUDACC__) || (defined(CUTIS_WITH_CUDA) && !defined(CUTIS_WITH_SIMT))

#define SIMT_SHARED(T, name, ...) __shared__ __align__(16) T name __VA_ARGS__  // for accesses of 16 bytes

/// The launch's dynamic shared memory, aligned to 1024 bytes.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
    extern __shared__ __align__(1024) unsigned char simt_dynamic_shared_bytes[];  // one name and type for all kernels
    return reinterpret_cast<T*>(simt_dynamic_shared_bytes);
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define SIMT_HAS_CLUSTERS 1
#endif

/// Waits for every thread of the cluster; what they wrote to shared memory before is then seen by all.
__device__ __forceinline__ void cluster_sync() {
#ifdef SIMT_HAS_CLUSTERS
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" ::: "memory");
#elif defined(__CUDACC__)
    __trap();  // no clusters before sm_90
#endif
}
/// The same where the compiler knows the cluster's number of blocks; one block needs no more than its own barrier.
template <unsigned Blocks>
__device__ __forceinline__ void cluster_sync() {
#if defined(__CUDACC__)  // a host compiler sees the declaration alone
    if constexpr (Blocks > 1) {
        cluster_sync();
    } else {
        __syncthreads();
    }
#endif
}

/// This block's number in its cluster, and how many blocks that has.
__device__ __forceinline__ unsigned cluster_rank() {
    unsigned rank = 0;
#ifdef SIMT_HAS_CLUSTERS
    asm volatile("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(rank));
#endif
    return rank;
}
__device__ __forceinline__ unsigned cluster_size() {
    unsigned size = 1;
#ifdef SIMT_HAS_CLUSTERS
    asm volatile("mov.u32 %0, %%cluster_nctarank;\n" : "=r"(size));
#endif
    return size;
}

/// The same place in the shared memory of block `rank` of the cluster (a generic address).
template <class T>
__device__ __forceinline__ T* map_shared(T* pointer, unsigned rank) {
#ifdef SIMT_HAS_CLUSTERS
    std::uint64_t mapped;
    asm volatile("mapa.u64 %0, %1, %2;\n" : "=l"(mapped) : "l"(reinterpret_cast<std::uint64_t>(pointer)), "r"(rank));
    return reinterpret_cast<T*>(mapped);
#else
    return rank == 0 ? pointer : nullptr;
#endif
}

namespace detail {
/// Lets `Kernel` have `bytes` of dynamic shared memory on the current device. A block gets 48 KiB without being asked,
/// and a kernel's static arrays count: only its driver knows how large they are, so that every size is asked for, but
/// once. The largest size so far stays allowed; host threads that launch the same kernel must not take it from each
/// other.
template <auto Kernel>
cudaError_t allow_shared(std::size_t bytes) {
    constexpr std::size_t kDevices = 64;
    static std::mutex mutex;
    static std::atomic<std::size_t> allowed[kDevices];
    int device = 0;
    if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) {
        return error;
    }
    std::atomic<std::size_t>& known = allowed[static_cast<std::size_t>(device) % kDevices];
    if (static_cast<std::size_t>(device) < kDevices && bytes <= known.load(std::memory_order_acquire)) {
        return cudaSuccess;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    const std::size_t wanted = std::max(bytes, known.load(std::memory_order_relaxed));
    const cudaError_t error =
        cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(wanted));
    if (error == cudaSuccess) {
        known.store(wanted, std::memory_order_release);
    }
    return error;
}

template <auto Kernel, class... P>
cudaError_t launch(void (*kernel)(P...), const LaunchShape& shape, cudaStream_t stream,
                   std::type_identity_t<P>... args) {
    if (shape.shared_bytes > 0) {
        const cudaError_t error = allow_shared<Kernel>(shape.shared_bytes);
        if (error != cudaSuccess) {
            return error;
        }
    }
    cudaLaunchConfig_t config{};
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = stream;
    cudaLaunchAttribute attribute{};
    if (shape.cluster > 1) {
        attribute.id = cudaLaunchAttributeClusterDimension;
        attribute.val.clusterDim.x = shape.cluster;
        attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
        config.attrs = &attribute;
        config.numAttrs = 1;
    }
    return cudaLaunchKernelEx(&config, kernel, args...);
}
}  // namespace detail

/// Launches `Kernel` and returns the launch's error; a kernel's own faults show at a later synchronisation.
template <auto Kernel, class... Args>
cudaError_t launch(const LaunchShape& shape, cudaStream_t stream, Args... args) {
    return detail::launch<Kernel>(Kernel, shape, stream, args...);
}

#else

namespace detail {
template <auto Kernel, class... P>
cudaError_t launch(void (*)(P...), const LaunchShape& shape, cudaStream_t stream, std::type_identity_t<P>... args) {
    static const std::string name = kernel_name<Kernel>();
    return submit_grid({name.c_str(), shape.grid, shape.block, shape.shared_bytes, shape.cluster}, stream,
                       std::function<void()>([args...] { Kernel(args...); }));
}
}  // namespace detail

/// Runs `Kernel`'s grid on the CPU and returns when it has finished: cudaErrorInvalidConfiguration for a shape that no
/// GPU takes, cudaErrorLaunchFailure where the kernel broke a rule; cudaGetErrorString then names kernel, file, line,
/// block and threads. On a capturing stream it is recorded only.
template <auto Kernel, class... Args>
cudaError_t launch(const LaunchShape& shape, cudaStream_t stream, Args... args) {
    return detail::launch<Kernel>(Kernel, shape, stream, args...);
}

#endif

}  // namespace simt
