#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace cutis {

/// Sizes of a tensor, outermost first, at most five of them. Rank 0 is a scalar with one element.
class Shape {
  public:
    static constexpr int kMaxRank = 5;

    Shape() = default;
    Shape(std::initializer_list<std::int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
    /// Throws Error on a negative size, a rank above kMaxRank, or a count of elements beyond 2^62.
    explicit Shape(std::span<const std::int64_t> sizes);

    int rank() const { return rank_; }
    /// Size of dimension `i`; negative counts from the end. Throws Error when out of range.
    std::int64_t operator[](int i) const;
    std::int64_t elements() const { return elements_; }
    std::span<const std::int64_t> sizes() const { return {sizes_.data(), static_cast<std::size_t>(rank_)}; }
    friend bool operator==(const Shape& a, const Shape& b) { return a.rank_ == b.rank_ && a.sizes_ == b.sizes_; }

  private:
    std::array<std::int64_t, kMaxRank> sizes_{};
    int rank_ = 0;
    std::int64_t elements_ = 1;
};

/// "2 x 3 x 4", "scalar" for rank 0.
std::string to_string(const Shape& shape);

}  // namespace cutis
