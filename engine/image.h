#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace cutis {

/// Larger images are refused from their header, before anything is allocated: nothing dermatoscopic comes near, and a
/// forged header of a few bytes could otherwise ask for all memory.
inline constexpr std::int64_t kMaxImagePixels = 100'000'000;
inline constexpr int kMaxImageSide = 32'768;

/// An 8-bit sRGB image: `rgb` holds height x width x 3 bytes, row by row, no padding.
struct Image {
    int width = 0, height = 0;
    std::vector<std::uint8_t> rgb;
};

/// Decodes a JPEG (baseline or progressive; grey, YCbCr, RGB, CMYK, YCCK) or a PNG (1 to 16 bits; grey, RGB, palette,
/// with or without alpha, interlaced or not). The EXIF orientation is applied. Grey is repeated over the three
/// channels; alpha is dropped (as Pillow's convert("RGB") does, so transparent pixels show their stored colour); 16
/// bits are rounded to 8 as v / 257; CMYK is taken as every program writes it, inverted (Adobe's convention), and
/// multiplied out without a colour profile.
/// @param name  stands for the image in messages: the path, or "FILE, row 12"
/// @throws Error, naming the image, the fault and a remedy, when it is empty, neither JPEG nor PNG, cut short, damaged
///         (a wrong PNG checksum, a lying length), of an unsupported kind, or larger than the limits above
Image decode_image(std::span<const std::byte> bytes, std::string_view name);

/// `decode_image` of a file.
Image load_image(const std::filesystem::path& path);

/// Whether the extension is .jpg, .jpeg or .png, in any case.
bool is_image_path(const std::filesystem::path& path);

}  // namespace cutis
