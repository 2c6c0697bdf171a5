#include "engine/storage.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "engine/cuda_device.h"
#include "kernels/error.h"

namespace cutis {
namespace {

constexpr std::size_t kSmallAlign = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kAddressSpace = std::size_t{1}
                                      << 47;  // no request beyond it is passed on: rounding it up may overflow

// Freed blocks by size. A request takes the smallest block that fits and is not more than a quarter larger: the tensors
// of a step come back to the blocks of the step before, and the shorter last batch of an epoch borrows them.
class BlockCache {
  public:
    void* allocate(std::size_t bytes, std::size_t* block_bytes) {
        if (bytes > kAddressSpace) {
            return nullptr;
        }
        const std::size_t align = bytes >= kHugePage ? kHugePage : kSmallAlign;
        const std::size_t wanted = std::max(align, (bytes + align - 1) / align * align);
        const std::lock_guard lock(mutex_);
        const auto found = free_.lower_bound(wanted);
        void* data = nullptr;
        if (found != free_.end() && found->first <= wanted + wanted / 4) {
            data = found->second;
            *block_bytes = found->first;
            use_.cached -= found->first;
            free_.erase(found);
        } else {
            data = std::aligned_alloc(align, wanted);
            if (data == nullptr) {
                release();
                data = std::aligned_alloc(align, wanted);
            }
            if (data == nullptr) {
                return nullptr;
            }
            if (align == kHugePage) {
                madvise(data, wanted, MADV_HUGEPAGE);  // best effort: a third of a step can go into page faults
            }
            *block_bytes = wanted;
        }
        use_.in_use += *block_bytes;
        use_.peak_in_use = std::max(use_.peak_in_use, use_.in_use);
        return data;
    }

    void free(void* data, std::size_t block_bytes) {
        const std::lock_guard lock(mutex_);
        use_.in_use -= block_bytes;
        use_.cached += block_bytes;
        free_.emplace(block_bytes, data);
    }

    MemoryUse use() {
        const std::lock_guard lock(mutex_);
        return use_;
    }

    void release_locked() {
        const std::lock_guard lock(mutex_);
        release();
    }

  private:
    void release() {
        for (const auto& [bytes, data] : free_) {
            std::free(data);
        }
        free_.clear();
        use_.cached = 0;
    }

    std::mutex mutex_;
    std::multimap<std::size_t, void*> free_;
    MemoryUse use_{0, 0, 0};
};

// Never destroyed: tensors in static storage may be freed after it would be.
BlockCache& cache() {
    static BlockCache* const instance = new BlockCache;
    return *instance;
}

}  // namespace

Storage::Storage(std::size_t bytes, Device device) {
    allocate(bytes, device);
}

Storage::~Storage() {
    release();
}

void Storage::allocate(std::size_t bytes, Device device) {
    device_ = device;
    const bool on_cpu = device.kind == DeviceKind::cpu;
    bytes_ = bytes;
    data_ = on_cpu ? cache().allocate(bytes, &bytes_) : detail::cuda_allocate(bytes, device);
    if (data_ == nullptr) {
        const std::size_t in_use = on_cpu ? cache().use().in_use : cuda_memory_use().in_use;
        fail(
            "out of memory on {}: {:.1f} MiB more than the {:.1f} MiB in use could not be had; lower --batch-size or "
            "--size",
            to_string(device), static_cast<double>(bytes) / 1048576.0, static_cast<double>(in_use) / 1048576.0);
    }
}

void Storage::release() {
    if (device_.kind == DeviceKind::cpu) {
        cache().free(data_, bytes_);
    } else {
        detail::cuda_free(data_, device_);
    }
}

void Storage::move_to(Device device) {
    if (device == device_) {
        return;
    }
    Storage other(bytes_, device);
    copy_bytes(other.data_, device, data_, device_, bytes_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(device_, other.device_);
    mark_changed();
}

MemoryUse cpu_memory_use() {
    return cache().use();
}

void release_cached_memory() {
    cache().release_locked();
}

}  // namespace cutis
