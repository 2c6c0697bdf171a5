#include "engine/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/image_layout.h"
#include "kernels/error.h"

namespace cutis {
namespace {

// 8 bits of value, 22 of weight, and a sign fit into 32: the sum of a row of weights is 1 up to rounding.
constexpr int kWeightBits = 22;
constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);

std::uint8_t to_byte(std::int32_t sum) {
    return static_cast<std::uint8_t>(std::min(sum >> kWeightBits, std::int32_t{255}));
}

// Which source samples make up a destination sample, and with what weights.
struct Taps {
    int first = 0, count = 0;
    const std::int32_t* weights = nullptr;
};

// The taps of destination samples begin .. begin + count - 1 when `from` samples become `to`.
class TriangleFilter {
  public:
    TriangleFilter(int from, int to, int begin, int count) {
        const double scale = static_cast<double>(from) / to;
        const double radius = std::max(scale, 1.0), inverse_radius = 1.0 / radius;
        const int stride = static_cast<int>(std::ceil(radius)) * 2 + 1;
        weights_.resize(static_cast<std::size_t>(stride) * static_cast<std::size_t>(count));
        taps_.resize(static_cast<std::size_t>(count));
        std::vector<double> exact(static_cast<std::size_t>(stride));
        for (int i = 0; i < count; ++i) {
            const double center = (begin + i + 0.5) * scale;
            // Half-up rounding of the two ends of the support keeps source samples whose centre lies within.
            const int first = std::max(0, static_cast<int>(center - radius + 0.5));
            const int last = std::min(from, static_cast<int>(center + radius + 0.5));
            double total = 0;
            for (int j = first; j < last; ++j) {
                const double distance = std::abs((j - center + 0.5) * inverse_radius);
                exact[static_cast<std::size_t>(j - first)] = std::max(0.0, 1.0 - distance);
                total += exact[static_cast<std::size_t>(j - first)];
            }
            const double inverse_total = 1.0 / total;
            std::int32_t* weights = weights_.data() + static_cast<std::size_t>(i) * static_cast<std::size_t>(stride);
            for (int j = 0; j < last - first; ++j) {
                weights[j] = static_cast<std::int32_t>(0.5 + exact[static_cast<std::size_t>(j)] * inverse_total *
                                                                 (1 << kWeightBits));
            }
            taps_[static_cast<std::size_t>(i)] = {.first = first, .count = last - first, .weights = weights};
        }
    }

    const Taps& operator[](int i) const { return taps_[static_cast<std::size_t>(i)]; }
    int first_source() const { return taps_.front().first; }
    int end_source() const { return taps_.back().first + taps_.back().count; }

  private:
    std::vector<std::int32_t> weights_;
    std::vector<Taps> taps_;
};

void filter_columns(const std::uint8_t* row, const TriangleFilter& filter, int width, std::uint8_t* to) {
    for (int x = 0; x < width; ++x, to += 3) {
        const Taps& taps = filter[x];
        const std::uint8_t* from = row + 3 * static_cast<std::ptrdiff_t>(taps.first);
        std::int32_t r = kHalf, g = kHalf, b = kHalf;
        for (int k = 0; k < taps.count; ++k, from += 3) {
            r += from[0] * taps.weights[k];
            g += from[1] * taps.weights[k];
            b += from[2] * taps.weights[k];
        }
        to[0] = to_byte(r);
        to[1] = to_byte(g);
        to[2] = to_byte(b);
    }
}

// One destination row from taps.count source rows of `bytes` bytes; `sums` is scratch of that length.
void filter_rows(const std::uint8_t* rows, std::size_t bytes, const Taps& taps, std::int32_t* sums, std::uint8_t* to) {
    std::fill(sums, sums + bytes, kHalf);
    for (int k = 0; k < taps.count; ++k, rows += bytes) {
        const std::int32_t weight = taps.weights[k];
        for (std::size_t i = 0; i < bytes; ++i) {
            sums[i] += rows[i] * weight;
        }
    }
    std::transform(sums, sums + bytes, to, to_byte);
}

void check_image(const Image& image, const char* operation) {
    require(image.width > 0 && image.height > 0 &&
                image.rgb.size() == static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3,
            "{}: image of {}x{} pixels with {} bytes; it needs width * height * 3", operation, image.width,
            image.height, image.rgb.size());
}

}  // namespace

Image resize_window(const std::uint8_t* rgb, int rows, int columns, int width, int height, int left, int top,
                    int window_width, int window_height) {
    check_image_size(columns, rows, "resize: source");
    check_image_size(window_width, window_height, "resize: destination");
    require(left >= 0 && top >= 0 && window_width <= width - left && window_height <= height - top,
            "resize: window of {}x{} at ({}, {}) leaves the {}x{} image", window_width, window_height, left, top, width,
            height);
    const std::size_t source_bytes = static_cast<std::size_t>(columns) * 3;
    const std::size_t row_bytes = static_cast<std::size_t>(window_width) * 3;
    const TriangleFilter vertical(rows, height, top, window_height);
    const int first_row = height == rows ? top : vertical.first_source();
    const int end_row = height == rows ? top + window_height : vertical.end_source();

    // An axis that keeps its length is copied, so that nothing is rounded twice.
    std::vector<std::uint8_t> narrowed(static_cast<std::size_t>(end_row - first_row) * row_bytes);
    const TriangleFilter horizontal(columns, width, left, window_width);
    for (int y = first_row; y < end_row; ++y) {
        const std::uint8_t* from = rgb + static_cast<std::size_t>(y) * source_bytes;
        std::uint8_t* to = narrowed.data() + static_cast<std::size_t>(y - first_row) * row_bytes;
        if (width == columns) {
            std::memcpy(to, from + 3 * static_cast<std::size_t>(left), row_bytes);
        } else {
            filter_columns(from, horizontal, window_width, to);
        }
    }
    Image result{.width = window_width, .height = window_height, .rgb = {}};
    if (height == rows) {
        result.rgb = std::move(narrowed);
        return result;
    }
    result.rgb.resize(static_cast<std::size_t>(window_height) * row_bytes);
    std::vector<std::int32_t> sums(row_bytes);
    for (int y = 0; y < window_height; ++y) {
        const Taps& taps = vertical[y];
        filter_rows(narrowed.data() + static_cast<std::size_t>(taps.first - first_row) * row_bytes, row_bytes, taps,
                    sums.data(), result.rgb.data() + static_cast<std::size_t>(y) * row_bytes);
    }
    return result;
}

Image resize(const Image& image, int width, int height) {
    check_image(image, "resize");
    return resize_window(image.rgb.data(), image.height, image.width, width, height, 0, 0, width, height);
}

void write_resized(const std::uint8_t* rgb, int side, int new_side, std::uint8_t* to) {
    if (new_side == side) {
        std::copy_n(rgb, std::size_t{3} * static_cast<std::size_t>(side) * static_cast<std::size_t>(side), to);
        return;
    }
    const Image resized = resize_window(rgb, side, side, new_side, new_side, 0, 0, new_side, new_side);
    std::copy(resized.rgb.begin(), resized.rgb.end(), to);
}

Image center_crop(const Image& image, int width, int height) {
    check_image(image, "center_crop");
    require(width > 0 && height > 0 && width <= image.width && height <= image.height,
            "center_crop: {}x{} does not fit into the {}x{} image; resize it first or crop less", width, height,
            image.width, image.height);
    return resize_window(image.rgb.data(), image.height, image.width, image.width, image.height,
                         (image.width - width) / 2, (image.height - height) / 2, width, height);
}

Image fit_square(const Image& image, int size, bool keep_aspect) {
    check_image(image, "fit_square");
    check_image_size(size, size, "fit_square: destination");
    const std::int64_t shorter = std::min(image.width, image.height), longer = std::max(image.width, image.height);
    const bool wide = image.width > image.height;
    if (!keep_aspect) {
        const int length = static_cast<int>(size * longer / shorter);
        const int width = wide ? length : size, height = wide ? size : length;
        return resize_window(image.rgb.data(), image.height, image.width, width, height, (width - size) / 2,
                             (height - size) / 2, size, size);
    }
    const int length = std::max(1, static_cast<int>((size * shorter + longer / 2) / longer));
    const int width = wide ? size : length, height = wide ? length : size;
    const Image inner = resize(image, width, height);
    if (width == size && height == size) {
        return inner;
    }
    const std::size_t bytes = static_cast<std::size_t>(size) * 3, inner_bytes = static_cast<std::size_t>(width) * 3;
    Image result{
        .width = size, .height = size, .rgb = std::vector<std::uint8_t>(bytes * static_cast<std::size_t>(size))};
    const int left = (size - width) / 2, top = (size - height) / 2;
    for (int y = 0; y < height; ++y) {
        std::memcpy(result.rgb.data() + static_cast<std::size_t>(top + y) * bytes + static_cast<std::size_t>(left) * 3,
                    inner.rgb.data() + static_cast<std::size_t>(y) * inner_bytes, inner_bytes);
    }
    return result;
}

}  // namespace cutis
