#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cutis {

/// Encodes 8-bit RGB pixels (height x width x 3, row by row) as a baseline JPEG file by stb_image_write: the tables of
/// ITU-T T.81, annex K, scaled by `quality` (1 to 100) as libjpeg does. Up to 90 the two colour planes are halved in
/// both directions (4:2:0), above they keep every pixel. The same pixels give the same file each time. Throws Error
/// unless the pixels fit the size, the size is within the limits of image.h, so that decode_image takes the file, and
/// the quality is one of those. Safe to call from any number of threads.
std::vector<std::uint8_t> encode_jpeg(std::span<const std::uint8_t> rgb, int width, int height, int quality);

}  // namespace cutis
