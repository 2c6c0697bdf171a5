#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "engine/device.h"

namespace cutis {

/// The one owner of a tensor's bytes. Not copyable; tensors share it. Memory on the CPU is 64-byte aligned, comes in
/// huge pages where it is large, and goes back to a cache when freed, so that a training step allocates from the system
/// only once. Memory on a GPU comes from CUDA's stream-ordered pool.
class Storage {
  public:
    /// Uninitialised bytes. Throws Error when the memory cannot be had, with the amount and what to lower.
    Storage(std::size_t bytes, Device device);
    ~Storage();
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;

    /// Carries the bytes to another device: every tensor that shares them moves along. Nothing to do where they are
    /// there.
    void move_to(Device device);

    void* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }
    Device device() const { return device_; }

    /// Counts changes made in place; a tensor saved for the backward pass is checked against it.
    std::uint64_t version() const { return version_.load(std::memory_order_relaxed); }
    void mark_changed() { version_.fetch_add(1, std::memory_order_relaxed); }

  private:
    void allocate(std::size_t bytes, Device device);
    void release();

    void* data_ = nullptr;
    std::size_t bytes_ = 0;
    Device device_;
    std::atomic<std::uint64_t> version_{0};
};

/// What the CPU's memory cache has seen, in bytes.
struct MemoryUse {
    std::size_t in_use, peak_in_use, cached;
};
MemoryUse cpu_memory_use();

/// Gives the cache's unused blocks back to the system.
void release_cached_memory();

}  // namespace cutis
