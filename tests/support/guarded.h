#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cutis::testing {

/// Where Guarded values start: on a cache line, as the engine's tensors do, or one value behind it, where no vector
/// instruction finds its alignment.
enum class Placement { aligned, skewed };

/// `n` values of four bytes between guards: a kernel that writes beside them is noticed, and one that reads beside them
/// takes NaN into its result. The values start as the guards' pattern, so that what a kernel forgets to write is
/// noticed too.
template <class T>
class Guarded {
    static_assert(sizeof(T) == 4);

  public:
    explicit Guarded(std::size_t n, Placement placement = Placement::skewed)
        : storage_(n + 2 * kGuard + kLine, std::bit_cast<T>(kPattern)), size_(n) {
        const std::size_t address = reinterpret_cast<std::uintptr_t>(storage_.data()) / sizeof(T);
        first_ = kGuard + (kLine - (address + kGuard) % kLine) % kLine + (placement == Placement::skewed ? 1 : 0);
    }
    explicit Guarded(std::span<const T> values, Placement placement = Placement::skewed)
        : Guarded(values.size(), placement) {
        std::copy(values.begin(), values.end(), data());
    }
    Guarded(Guarded&&) noexcept = default;  // the storage stays where it is
    Guarded& operator=(Guarded&&) noexcept = default;

    T* data() { return storage_.data() + first_; }
    const T* data() const { return storage_.data() + first_; }
    std::size_t size() const { return size_; }
    std::vector<T> values() const { return {data(), data() + size_}; }

    /// Whether everything around the values is as it was.
    bool intact() const {
        const auto is_pattern = [](T value) { return std::bit_cast<std::uint32_t>(value) == kPattern; };
        return std::all_of(storage_.data(), data(), is_pattern) &&
               std::all_of(data() + size_, storage_.data() + storage_.size(), is_pattern);
    }

  private:
    static constexpr std::size_t kLine = 16;               // values of a cache line
    static constexpr std::size_t kGuard = 64;              // at least so many on each side
    static constexpr std::uint32_t kPattern = 0x7fc0beef;  // a NaN
    std::vector<T> storage_;
    std::size_t size_, first_ = 0;
};

}  // namespace cutis::testing
