#include "engine/exif.h"

#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/error.h"

namespace cutis {
namespace {

// Reads integers of a TIFF block in its byte order; callers check the bounds.
struct TiffReader {
    std::span<const std::byte> bytes;
    bool big_endian;

    std::uint32_t byte(std::size_t at) const { return std::to_integer<std::uint32_t>(bytes[at]); }
    std::uint32_t u16(std::size_t at) const {
        return big_endian ? byte(at) << 8 | byte(at + 1) : byte(at + 1) << 8 | byte(at);
    }
    std::uint32_t u32(std::size_t at) const {
        return big_endian ? u16(at) << 16 | u16(at + 2) : u16(at + 2) << 16 | u16(at);
    }
};

}  // namespace

int exif_orientation(std::span<const std::byte> block) {
    if (block.size() >= 6 && std::memcmp(block.data(), "Exif\0\0", 6) == 0) {
        block = block.subspan(6);
    }
    constexpr std::size_t kHeader = 8;
    if (block.size() < kHeader) {
        return 1;
    }
    const bool big_endian = std::memcmp(block.data(), "MM\0*", 4) == 0;
    if (!big_endian && std::memcmp(block.data(), "II*\0", 4) != 0) {
        return 1;
    }
    const TiffReader read{block, big_endian};
    const std::size_t directory = read.u32(4);
    if (directory < kHeader || directory > block.size() - 2) {
        return 1;
    }
    constexpr std::size_t kEntry = 12;
    const std::size_t entries = read.u16(directory);
    for (std::size_t i = 0; i < entries; ++i) {
        const std::size_t at = directory + 2 + i * kEntry;
        if (at + kEntry > block.size()) {
            return 1;
        }
        constexpr std::uint32_t kOrientation = 0x0112, kShort = 3, kLong = 4;
        if (read.u16(at) == kOrientation) {
            const std::uint32_t type = read.u16(at + 2);
            if ((type != kShort && type != kLong) || read.u32(at + 4) != 1) {
                return 1;
            }
            const std::uint32_t value = type == kShort ? read.u16(at + 8) : read.u32(at + 8);
            return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
        }
    }
    return 1;
}

Image apply_orientation(Image image, int orientation) {
    require(orientation >= 1 && orientation <= 8, "apply_orientation: orientation {} is not within 1 to 8",
            orientation);
    if (orientation == 1) {
        return image;
    }
    // Every orientation is an exchange of the axes or none, then a mirror of the stored columns, rows, both or none.
    const bool exchange = orientation >= 5;
    const bool mirror_columns = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool mirror_rows = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    Image result{.width = exchange ? image.height : image.width,
                 .height = exchange ? image.width : image.height,
                 .rgb = std::vector<std::uint8_t>(image.rgb.size())};
    std::uint8_t* to = result.rgb.data();
    for (int y = 0; y < result.height; ++y) {
        for (int x = 0; x < result.width; ++x, to += 3) {
            int column = exchange ? y : x;
            int row = exchange ? x : y;
            column = mirror_columns ? image.width - 1 - column : column;
            row = mirror_rows ? image.height - 1 - row : row;
            std::memcpy(to, &image.rgb[(static_cast<std::size_t>(row) * image.width + column) * 3], 3);
        }
    }
    return result;
}

}  // namespace cutis
