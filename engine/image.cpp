#include "engine/image.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <string>

#include "engine/exif.h"
#include "engine/files.h"
#include "engine/image_layout.h"
#include "engine/stb_decode.h"
#include "kernels/error.h"

namespace cutis {
namespace {

// What a file that is no JPEG or PNG most likely is, for the message.
std::string_view guess_kind(std::span<const std::byte> bytes) {
    struct Kind {
        std::size_t offset;
        std::string_view magic, kind;
    };
    using namespace std::string_view_literals;
    constexpr std::array kKinds = {
        Kind{0, "GIF8"sv, "a GIF"},
        Kind{0, "BM"sv, "a BMP"},
        Kind{0, "II*\0"sv, "a TIFF"},
        Kind{0, "MM\0*"sv, "a TIFF"},
        Kind{8, "WEBP"sv, "a WebP"},
        Kind{4, "ftyp"sv, "a HEIC, AVIF or video"},
        Kind{128, "DICM"sv, "a DICOM"},
        Kind{0, "%PDF"sv, "a PDF"},
        Kind{0, "<"sv, "an HTML or XML"},
        Kind{0, "PK\x03\x04"sv, "a ZIP"},
        Kind{0, "\xFF\x4F\xFF"sv, "a JPEG 2000"},
    };
    for (const Kind& k : kKinds) {
        if (bytes.size() >= k.offset + k.magic.size() &&
            std::memcmp(bytes.data() + k.offset, k.magic.data(), k.magic.size()) == 0) {
            return k.kind;
        }
    }
    return "an unknown kind of";
}

}  // namespace

void check_image_size(std::int64_t width, std::int64_t height, std::string_view name) {
    require(width > 0 && height > 0, "{}: {}x{} pixels; an image has at least one", name, width, height);
    require(width <= kMaxImageSide && height <= kMaxImageSide && width * height <= kMaxImagePixels,
            "{}: {}x{} pixels; a side may have {} and an image {} in all; save it smaller", name, width, height,
            kMaxImageSide, kMaxImagePixels);
}

Image decode_image(std::span<const std::byte> bytes, std::string_view name) {
    require(!bytes.empty(), "{}: empty file (0 bytes); copy or download it again", name);
    const bool jpeg = is_jpeg(bytes);
    if (!jpeg && !is_png(bytes)) {
        fail("{}: neither a JPEG nor a PNG but {} file; convert it to one of the two", name, guess_kind(bytes));
    }
    try {
        const ImageLayout layout = jpeg ? inspect_jpeg(bytes, name) : inspect_png(bytes, name);
        return apply_orientation(decode_with_stb(bytes, layout, name), layout.orientation);
    } catch (const std::bad_alloc&) {
        fail("{}: not enough memory to decode it; save it smaller or free memory", name);
    }
}

Image load_image(const std::filesystem::path& path) {
    const MappedFile file(path);
    return decode_image(file.bytes(), path.string());
}

bool is_image_path(const std::filesystem::path& path) {
    std::string extension = path.extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

}  // namespace cutis
