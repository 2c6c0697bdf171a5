#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/simt/runtime.h"

// Device memory, pinned memory, its pool, copies between them.

namespace simt::detail {

cudaError_t free_device(void* pointer) {
    State& s = state();
    const auto found = s.device_memory.find(pointer);
    if (found == s.device_memory.end()) {
        return failed(cudaErrorInvalidValue, "free of what is not device memory");
    }
    s.used -= found->second;
    s.device_memory.erase(found);
    std::free(pointer);
    return cudaSuccess;
}

void for_device_memory(const std::function<void(const void* data, std::size_t bytes)>& visit) {
    const Lock lock(state().mutex);
    for (const auto& [data, bytes] : state().device_memory) {
        visit(data, bytes);
    }
}

}  // namespace simt::detail

using namespace simt::detail;

namespace {

// Nothing may be copied from nowhere, which memcpy does not allow.
void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) {
        std::memcpy(to, from, bytes);
    }
}

void* allocate(std::size_t bytes) {
    void* data = nullptr;
    if (posix_memalign(&data, 256, std::max<std::size_t>(bytes, 1)) != 0) {
        return nullptr;
    }
    std::memset(data, 0xFF, bytes);
    return data;
}

void add_memory(void* data, std::size_t bytes) {
    State& s = state();
    s.device_memory[data] = bytes;
    s.used += bytes;
    s.used_high = std::max(s.used_high, s.used);
}

bool inside(const std::map<const void*, std::size_t>& blocks, const void* data, std::size_t bytes) {
    auto block = blocks.upper_bound(data);
    if (block == blocks.begin()) {
        return false;
    }
    --block;
    const auto* const begin = static_cast<const char*>(block->first);
    const auto* const at = static_cast<const char*>(data);
    return at >= begin && at + bytes <= begin + block->second;
}

// Whether `data` may be this side of a copy. A graph's own memory counts as device memory.
cudaError_t check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) {
        return cudaSuccess;
    }
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    const auto& device = state().device_memory;
    if (kind != cudaMemcpyDefault &&
        (inside(device, to, bytes) != to_device || inside(device, from, bytes) != from_device)) {
        return failed(cudaErrorInvalidValue, "a copy's addresses are not where its kind says, or it leaves its array");
    }
    return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    const Lock lock(state().mutex);
    *total = std::size_t{16} << 30;
    *free = *total - std::min(*total, state().used);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
    const Lock lock(state().mutex);
    *pointer = nullptr;
    if (const cudaError_t error = refuse_in_capture("cudaMalloc"); error != cudaSuccess) {
        return error;
    }
    *pointer = allocate(bytes);
    if (*pointer == nullptr) {
        return failed(cudaErrorMemoryAllocation, "out of memory");
    }
    add_memory(*pointer, bytes);
    return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
    const Lock lock(state().mutex);
    if (pointer == nullptr) {
        return cudaSuccess;
    }
    drain_all();
    return free_device(pointer);
}
cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
    const Lock lock(state().mutex);
    *pointer = allocate(bytes);
    if (*pointer == nullptr) {
        return failed(cudaErrorMemoryAllocation, "out of memory");
    }
    void* const data = *pointer;
    add_memory(data, bytes);
    if (const auto& graph = resolve(stream)->capturing) {
        graph->owned[data] = bytes;
        Graph* const owner = graph.get();
        graph->actions.push_back([data, bytes, owner] {
            std::memset(data, 0xFF, bytes);
            owner->live[data] = true;
            return cudaSuccess;
        });
    }
    return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
    const Lock lock(state().mutex);
    if (pointer == nullptr) {
        return cudaSuccess;
    }
    if (const auto& graph = resolve(stream)->capturing) {
        if (graph->owned.count(pointer) == 0) {
            graph->invalid = true;
            return failed(cudaErrorInvalidValue, "memory from before the capture is freed inside it");
        }
        Graph* const owner = graph.get();
        graph->actions.push_back([pointer, owner] {
            std::memset(pointer, 0xFF, owner->owned[pointer]);
            owner->live[pointer] = false;
            return cudaSuccess;
        });
        return cudaSuccess;
    }
    if (state().device_memory.count(pointer) == 0) {
        return failed(cudaErrorInvalidValue, "free of what is not device memory");
    }
    return submit(stream, [pointer] {
        const Lock inner(state().mutex);
        return free_device(pointer);
    });
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
    const Lock lock(state().mutex);
    *pointer = nullptr;
    if (const cudaError_t error = refuse_in_capture("cudaHostAlloc"); error != cudaSuccess) {
        return error;
    }
    *pointer = allocate(bytes);
    if (*pointer == nullptr) {
        return failed(cudaErrorMemoryAllocation, "out of memory");
    }
    state().pinned_memory[*pointer] = bytes;
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) {
    const Lock lock(state().mutex);
    drain_all();
    state().pinned_memory.erase(pointer);
    std::free(pointer);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    const Lock lock(state().mutex);
    if (const cudaError_t error = check_copy(to, from, bytes, kind); error != cudaSuccess) {
        return error;
    }
    const bool pageable = (kind == cudaMemcpyHostToDevice && !inside(state().pinned_memory, from, bytes)) ||
                          (kind == cudaMemcpyDeviceToHost && !inside(state().pinned_memory, to, bytes));
    if (pageable && !resolve(stream)->capturing) {
        drain(resolve(stream), SIZE_MAX);  // CUDA stages pageable memory before it returns
        copy(to, from, bytes);
        return cudaSuccess;
    }
    return submit(stream, [to, from, bytes] {
        copy(to, from, bytes);
        return cudaSuccess;
    });
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    const Lock lock(state().mutex);
    if (const cudaError_t error = refuse_in_capture("cudaMemcpy"); error != cudaSuccess) {
        return error;
    }
    if (const cudaError_t error = check_copy(to, from, bytes, kind); error != cudaSuccess) {
        return error;
    }
    const cudaError_t error = drain_all();
    copy(to, from, bytes);
    return error;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
    {
        const Lock lock(state().mutex);
        if (bytes > 0 && !inside(state().device_memory, to, bytes)) {
            return failed(cudaErrorInvalidValue, "memset of what is not device memory");
        }
    }
    return submit(stream, [to, value, bytes] {
        if (bytes > 0) {
            std::memset(to, value, bytes);
        }
        return cudaSuccess;
    });
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
    return cudaMemsetAsync(to, value, bytes, nullptr);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
    *pool = &state().pool;
    return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void*) {
    const Lock lock(state().mutex);
    if (attribute == cudaMemPoolAttrUsedMemHigh) {
        state().used_high = state().used;
    }
    return cudaSuccess;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void* value) {
    const Lock lock(state().mutex);
    *static_cast<std::uint64_t*>(value) = attribute == cudaMemPoolAttrUsedMemHigh ? state().used_high : state().used;
    return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) {
    return cudaSuccess;
}

}  // extern "C"
