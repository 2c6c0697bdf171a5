#include "engine/shape.h"

#include "kernels/error.h"

namespace cutis {

Shape::Shape(std::span<const std::int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
    require(sizes.size() <= kMaxRank, "shape: {} dimensions; at most {} are supported", sizes.size(), kMaxRank);
    constexpr std::int64_t kMost = std::int64_t{1} << 62;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        require(sizes[i] >= 0, "shape: dimension {} is {}; sizes are not negative", i, sizes[i]);
        require(sizes[i] == 0 || elements_ <= kMost / sizes[i], "shape: more than 2^62 elements");
        sizes_[i] = sizes[i];
        elements_ *= sizes[i];
    }
}

std::int64_t Shape::operator[](int i) const {
    const int at = i < 0 ? i + rank_ : i;
    require(at >= 0 && at < rank_, "shape {}: there is no dimension {}", to_string(*this), i);
    return sizes_[static_cast<std::size_t>(at)];
}

std::string to_string(const Shape& shape) {
    std::string text;
    for (const std::int64_t size : shape.sizes()) {
        text += (text.empty() ? "" : " x ") + std::to_string(size);
    }
    return text.empty() ? "scalar" : text;
}

}  // namespace cutis
