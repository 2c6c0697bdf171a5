#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cutis {

/// Encodes 8-bit RGB pixels (height x width x 3, row-major) as a PNG file (PNG specification, third edition, W3C 2025),
/// each row with the filter that leaves the smallest sum of absolute differences. Throws Error unless the pixels fit
/// the size and both sides are 1 to 65535.
std::vector<std::uint8_t> encode_png(std::span<const std::uint8_t> rgb, int width, int height);

}  // namespace cutis
