#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "engine/image.h"
#include "engine/image_layout.h"

namespace cutis {

/// Pixels of a JPEG or PNG by stb_image, as stored (no EXIF orientation). The bytes must have passed inspect_jpeg or
/// inspect_png, whose result `layout` is. Safe to call from any number of threads.
/// @throws Error naming `name` and stb_image's reason when the compressed data is damaged
Image decode_with_stb(std::span<const std::byte> bytes, const ImageLayout& layout, std::string_view name);

}  // namespace cutis
