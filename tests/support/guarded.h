#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cutis::testing {

/// `n` values of four bytes between guards: a kernel that writes beside them is noticed, and one that reads beside them
/// takes NaN into its result. The values start where no vector instruction finds its alignment, and as the guards'
/// pattern, so that what a kernel forgets to write is noticed too.
template <class T>
class Guarded {
    static_assert(sizeof(T) == 4);

  public:
    explicit Guarded(std::size_t n) : storage_(n + 2 * kGuard, std::bit_cast<T>(kPattern)) {}
    explicit Guarded(std::span<const T> values) : Guarded(values.size()) {
        std::copy(values.begin(), values.end(), data());
    }

    T* data() { return storage_.data() + kGuard; }
    const T* data() const { return storage_.data() + kGuard; }
    std::size_t size() const { return storage_.size() - 2 * kGuard; }
    std::vector<T> values() const { return {data(), data() + size()}; }

    /// Whether both guards are as they were.
    bool intact() const {
        const auto is_pattern = [](T value) { return std::bit_cast<std::uint32_t>(value) == kPattern; };
        return std::all_of(storage_.begin(), storage_.begin() + kGuard, is_pattern) &&
               std::all_of(storage_.end() - kGuard, storage_.end(), is_pattern);
    }

  private:
    static constexpr std::ptrdiff_t kGuard = 67;
    static constexpr std::uint32_t kPattern = 0x7fc0beef;  // a NaN
    std::vector<T> storage_;
};

}  // namespace cutis::testing
