#include "engine/stb_decode.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/error.h"

namespace {

// The largest block that decoding the image at hand can honestly ask for. It stops deflate bombs: stb_image grows its
// buffer for as long as compressed data comes, whatever the header says.
thread_local std::size_t allocation_limit = 0;

// Zeroed, so that damaged data gives the same pixels each time instead of what the memory held before.
void* limited_allocate(std::size_t size) {
    return size <= allocation_limit ? std::calloc(1, size) : nullptr;
}

void* limited_reallocate(void* block, std::size_t size) {
    return size <= allocation_limit ? std::realloc(block, size) : nullptr;
}

}  // namespace

#define STBI_MALLOC(size) limited_allocate(size)
#define STBI_REALLOC(block, size) limited_reallocate(block, size)
#define STBI_FREE(block) std::free(block)
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
// An assertion on the decoded data would end the program on a hostile file in a debug build; memory stays safe without.
#define STBI_ASSERT(condition) static_cast<void>(0)
#if defined(__ARM_NEON) || defined(__aarch64__)
#define STBI_NEON  // SSE2 is on by itself where there is one
#endif
// Static: a program that links cutis may bring its own stb_image.
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace cutis {
namespace {

struct Free {
    void operator()(void* block) const { std::free(block); }
};

// stb_image's colour conversion uses SIMD only where it writes four bytes a pixel.
// The fourth is dropped here: together still faster than its scalar path for three.
void drop_fourth(const std::uint8_t* rgbx, std::size_t pixels, std::uint8_t* rgb) {
    for (std::size_t i = 0; i < pixels; ++i) {
        rgb[3 * i] = rgbx[4 * i];
        rgb[3 * i + 1] = rgbx[4 * i + 1];
        rgb[3 * i + 2] = rgbx[4 * i + 2];
    }
}

// stb_image goes by the Adobe segment's colour transform: 0 is inverted CMYK, 2 inverted YCCK, and anything else, also
// no segment at all, "YCbCr and something". Programs write CMYK without the segment too, and libjpeg takes every value
// but 0 for YCCK. So the segment is put right in a copy.
std::vector<std::byte> with_cmyk_transform(std::span<const std::byte> bytes, std::size_t transform_offset) {
    std::vector<std::byte> copy(bytes.begin(), bytes.end());
    if (transform_offset != 0) {
        copy[transform_offset] = std::byte{2};
    } else {
        constexpr std::array<std::uint8_t, 16> kSegment = {0xFF, 0xEE, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100};
        const auto* segment = reinterpret_cast<const std::byte*>(kSegment.data());
        copy.insert(copy.begin() + 2, segment, segment + kSegment.size());
    }
    return copy;
}

}  // namespace

Image decode_with_stb(std::span<const std::byte> bytes, const ImageLayout& layout, std::string_view name) {
    constexpr std::size_t kMaxFile = std::size_t{1} << 30;  // stb_image counts bytes in an int
    require(bytes.size() <= kMaxFile, "{}: {} bytes, while an image file may have {}; save it smaller", name,
            bytes.size(), kMaxFile);
    std::vector<std::byte> corrected;
    const bool jpeg = is_jpeg(bytes);
    if (jpeg && layout.components == 4) {
        const std::size_t offset = layout.adobe_transform_offset;
        const int transform = offset != 0 ? std::to_integer<int>(bytes[offset]) : -1;
        if (transform != 0 && transform != 2) {
            corrected = with_cmyk_transform(bytes, offset);
            bytes = corrected;
        }
    }
    // Planes are padded to whole blocks (at most 32 pixels) and take up to 8 bytes a pixel; buffers grow by doubling.
    const std::size_t padded =
        static_cast<std::size_t>(layout.width + 32) * static_cast<std::size_t>(layout.height + 32);
    allocation_limit = 2 * std::max(padded * 8, bytes.size()) + (std::size_t{1} << 20);
    const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
    const int size = static_cast<int>(bytes.size());
    int width = 0, height = 0, channels = 0;
    std::unique_ptr<void, Free> pixels;
    if (layout.bit_depth == 16) {
        pixels.reset(stbi_load_16_from_memory(data, size, &width, &height, &channels, 3));
    } else {
        pixels.reset(stbi_load_from_memory(data, size, &width, &height, &channels, jpeg ? 4 : 3));
    }
    if (pixels == nullptr) {
        const char* reason = stbi_failure_reason();
        reason = reason == nullptr ? "no reason given" : reason;
        // stb_image's word for both a refusal by the limit above and the system's.
        require(std::strcmp(reason, "outofmem") != 0,
                "{}: its data need more memory than its header allows or than is free; copy or export it again", name);
        fail("{}: damaged {}: {}; copy or export it again", name, jpeg ? "JPEG" : "PNG", reason);
    }
    require(width == layout.width && height == layout.height, "{}: header states {}x{} pixels, but {}x{} were decoded",
            name, layout.width, layout.height, width, height);
    const std::size_t count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    Image image{.width = width, .height = height, .rgb = std::vector<std::uint8_t>(count * 3)};
    if (layout.bit_depth == 16) {
        const auto* wide = static_cast<const std::uint16_t*>(pixels.get());
        std::transform(wide, wide + count * 3, image.rgb.begin(),
                       [](std::uint16_t v) { return static_cast<std::uint8_t>((v + 128u) / 257u); });
    } else if (jpeg) {
        drop_fourth(static_cast<const std::uint8_t*>(pixels.get()), count, image.rgb.data());
    } else {
        const auto* rgb = static_cast<const std::uint8_t*>(pixels.get());
        std::copy(rgb, rgb + count * 3, image.rgb.begin());
    }
    return image;
}

}  // namespace cutis
