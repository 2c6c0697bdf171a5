#include "engine/jpeg_encode.h"

#include <cstddef>

#include "engine/image_layout.h"
#include "kernels/error.h"

#define STBI_WRITE_NO_STDIO
// Static: a program that links cutis may bring its own stb_image_write.
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace cutis {

std::vector<std::uint8_t> encode_jpeg(std::span<const std::uint8_t> rgb, int width, int height, int quality) {
    check_image_size(width, height, "encode_jpeg");
    require(rgb.size() == static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3,
            "encode_jpeg: {} bytes do not make {} x {} pixels of RGB", rgb.size(), width, height);
    require(quality >= 1 && quality <= 100, "encode_jpeg: quality {}; 1 to 100 are possible", quality);
    std::vector<std::uint8_t> file;
    const auto append = [](void* context, void* data, int size) {
        const auto* bytes = static_cast<const std::uint8_t*>(data);
        auto& out = *static_cast<std::vector<std::uint8_t>*>(context);
        out.insert(out.end(), bytes, bytes + size);
    };
    const bool done = stbi_write_jpg_to_func(append, &file, width, height, 3, rgb.data(), quality) != 0;
    require(done, "encode_jpeg: stb_image_write refuses {} x {} pixels at quality {}", width, height, quality);
    return file;
}

}  // namespace cutis
