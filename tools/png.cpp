#include "tools/png.h"

#include <zlib.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "kernels/error.h"

namespace cutis {
namespace {

constexpr std::size_t kPixelBytes = 3;
constexpr int kFilters = 5;  // none, sub, up, average, Paeth: the numbers that stand before each row

void append_big_endian(std::vector<std::uint8_t>& out, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        out.push_back(static_cast<std::uint8_t>(value >> shift));
    }
}

/// Length, type, data, and the CRC-32 of type and data.
void append_chunk(std::vector<std::uint8_t>& png, std::string_view type, std::span<const std::uint8_t> data) {
    append_big_endian(png, static_cast<std::uint32_t>(data.size()));
    const std::size_t start = png.size();
    png.insert(png.end(), type.begin(), type.end());
    png.insert(png.end(), data.begin(), data.end());
    append_big_endian(png,
                      static_cast<std::uint32_t>(crc32(0, png.data() + start, static_cast<uInt>(png.size() - start))));
}

/// Of left, up and upper left the one nearest to left + up - upper left.
int paeth(int left, int up, int corner) {
    const int estimate = left + up - corner;
    const int to_left = std::abs(estimate - left), to_up = std::abs(estimate - up),
              to_corner = std::abs(estimate - corner);
    if (to_left <= to_up && to_left <= to_corner) {
        return left;
    }
    return to_up <= to_corner ? up : corner;
}

int prediction(int filter, int left, int up, int corner) {
    switch (filter) {
        case 1:
            return left;
        case 2:
            return up;
        case 3:
            return (left + up) / 2;
        case 4:
            return paeth(left, up, corner);
        default:
            return 0;
    }
}

void append_filtered_row(std::vector<std::uint8_t>& out, std::span<const std::uint8_t> row,
                         std::span<const std::uint8_t> above) {
    std::array<std::vector<std::uint8_t>, kFilters> candidates;
    int best = 0;
    long best_cost = -1;
    for (int filter = 0; filter < kFilters; ++filter) {
        std::vector<std::uint8_t>& candidate = candidates[static_cast<std::size_t>(filter)];
        candidate.reserve(row.size());
        long cost = 0;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const int left = i >= kPixelBytes ? row[i - kPixelBytes] : 0;
            const int up = above.empty() ? 0 : above[i];
            const int corner = i >= kPixelBytes && !above.empty() ? above[i - kPixelBytes] : 0;
            candidate.push_back(static_cast<std::uint8_t>(row[i] - prediction(filter, left, up, corner)));
            cost += std::abs(static_cast<std::int8_t>(candidate.back()));
        }
        if (best_cost < 0 || cost < best_cost) {
            best = filter;
            best_cost = cost;
        }
    }
    out.push_back(static_cast<std::uint8_t>(best));
    const std::vector<std::uint8_t>& chosen = candidates[static_cast<std::size_t>(best)];
    out.insert(out.end(), chosen.begin(), chosen.end());
}

}  // namespace

std::vector<std::uint8_t> encode_png(std::span<const std::uint8_t> rgb, int width, int height) {
    require(width >= 1 && height >= 1 && width <= 65535 && height <= 65535,
            "encode_png: {} x {} pixels, each side must be 1 to 65535", width, height);
    const auto stride = static_cast<std::size_t>(width) * kPixelBytes;
    require(rgb.size() == stride * static_cast<std::size_t>(height), "encode_png: {} bytes for {} x {} RGB pixels",
            rgb.size(), width, height);

    std::vector<std::uint8_t> filtered;
    filtered.reserve(rgb.size() + static_cast<std::size_t>(height));
    for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
        append_filtered_row(filtered, rgb.subspan(y * stride, stride),
                            y == 0 ? std::span<const std::uint8_t>{} : rgb.subspan((y - 1) * stride, stride));
    }
    uLongf packed_size = compressBound(static_cast<uLong>(filtered.size()));
    std::vector<std::uint8_t> packed(packed_size);
    const int status = compress2(packed.data(), &packed_size, filtered.data(), static_cast<uLong>(filtered.size()),
                                 Z_BEST_COMPRESSION);
    require(status == Z_OK, "encode_png: zlib could not pack {} bytes (code {})", filtered.size(), status);
    require(packed_size < (uLongf{1} << 31), "encode_png: {} packed bytes, a PNG chunk holds less than 2 GiB",
            packed_size);
    packed.resize(packed_size);

    std::vector<std::uint8_t> png = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    std::vector<std::uint8_t> header;
    append_big_endian(header, static_cast<std::uint32_t>(width));
    append_big_endian(header, static_cast<std::uint32_t>(height));
    // 8 bits a sample, RGB, and the only compression, filter and (no) interlace methods.
    header.insert(header.end(), {8, 2, 0, 0, 0});
    append_chunk(png, "IHDR", header);
    append_chunk(png, "IDAT", packed);
    append_chunk(png, "IEND", {});
    return png;
}

}  // namespace cutis
