#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cutis {

/// What the container of an image says of itself, read without decoding a pixel.
struct ImageLayout {
    int width = 0, height = 0;
    int components = 0;   // JPEG: 1 grey, 3 colour, 4 CMYK or YCCK; PNG: channels before a palette is looked up
    int bit_depth = 8;    // per channel
    int orientation = 1;  // EXIF, 1 to 8
    /// Where the colour transform of a JPEG's Adobe segment (APP14) stands, from the start of the file; 0 without one.
    std::size_t adobe_transform_offset = 0;
};

bool is_jpeg(std::span<const std::byte> bytes);
bool is_png(std::span<const std::byte> bytes);

/// Walk all segments of a JPEG up to its end marker, or all chunks of a PNG up to IEND, and check everything that can
/// be checked without decoding: that nothing is cut short, lengths, checksums (PNG), tables present (JPEG), sizes
/// within the limits of image.h and plausible for the number of bytes. Two reasons: stb_image fills up what is missing
/// in a truncated JPEG with grey and never looks at a PNG's checksums; and releases of it before 2.28 (Debian 12 has
/// one) write past a buffer on a forged Huffman table. Bytes after the end marker are ignored.
/// @throws Error naming `name`, the fault with its byte offset, and a remedy
ImageLayout inspect_jpeg(std::span<const std::byte> bytes, std::string_view name);
ImageLayout inspect_png(std::span<const std::byte> bytes, std::string_view name);

/// Throws Error when width or height is zero or beyond the limits of image.h.
void check_image_size(std::int64_t width, std::int64_t height, std::string_view name);

}  // namespace cutis
