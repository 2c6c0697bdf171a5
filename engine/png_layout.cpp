#include <array>
#include <cstring>

#include "engine/exif.h"
#include "engine/image_layout.h"
#include "kernels/error.h"

namespace cutis {
namespace {

constexpr std::size_t kSignature = 8;
constexpr std::size_t kChunkFrame = 12;  // length, type, checksum

std::uint32_t u32(std::span<const std::byte> bytes, std::size_t at) {
    return std::to_integer<std::uint32_t>(bytes[at]) << 24 | std::to_integer<std::uint32_t>(bytes[at + 1]) << 16 |
           std::to_integer<std::uint32_t>(bytes[at + 2]) << 8 | std::to_integer<std::uint32_t>(bytes[at + 3]);
}

// Tables for eight bytes a step ("slicing-by-8"; Kounavis and Berry, "Novel table lookup-based algorithms for
// high-performance CRC generation", 2008): one byte a step would cost a quarter of the whole decoding.
constexpr auto kCrcTables = [] {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t crc = i;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 1) != 0 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
        }
        tables[0][i] = crc;
    }
    for (std::size_t t = 1; t < tables.size(); ++t) {
        for (std::size_t i = 0; i < 256; ++i) {
            tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 0xFF];
        }
    }
    return tables;
}();

// CRC-32 of ISO 3309, as PNG (annex D) and zlib use it.
std::uint32_t crc32(std::span<const std::byte> bytes) {
    const auto& t = kCrcTables;
    std::uint32_t crc = 0xFFFFFFFFu;
    std::size_t at = 0;
    const auto byte = [&](std::size_t i) { return std::to_integer<std::uint32_t>(bytes[i]); };
    for (; at + 8 <= bytes.size(); at += 8) {
        crc ^= byte(at) | byte(at + 1) << 8 | byte(at + 2) << 16 | byte(at + 3) << 24;
        crc = t[7][crc & 0xFF] ^ t[6][crc >> 8 & 0xFF] ^ t[5][crc >> 16 & 0xFF] ^ t[4][crc >> 24] ^ t[3][byte(at + 4)] ^
              t[2][byte(at + 5)] ^ t[1][byte(at + 6)] ^ t[0][byte(at + 7)];
    }
    for (; at < bytes.size(); ++at) {
        crc = crc >> 8 ^ t[0][(crc ^ byte(at)) & 0xFF];
    }
    return ~crc;
}

// Channels before a palette is looked up, for PNG's colour types; 0 for a type that does not exist.
int channels_of(int colour_type) {
    constexpr std::array<int, 7> kChannels = {1, 0, 3, 1, 2, 0, 4};
    return colour_type < 7 ? kChannels[static_cast<std::size_t>(colour_type)] : 0;
}

bool is_legal_depth(int colour_type, int depth) {
    const bool whole_bytes = depth == 8 || depth == 16;
    const bool bits = depth == 1 || depth == 2 || depth == 4;
    return colour_type == 0 ? whole_bytes || bits : colour_type == 3 ? depth == 8 || bits : whole_bytes;
}

class PngWalk {
  public:
    PngWalk(std::span<const std::byte> bytes, std::string_view name) : bytes_(bytes), name_(name) {}

    ImageLayout run() {
        for (at_ = kSignature;;) {
            if (bytes_.size() - at_ < kChunkFrame) {
                truncated();
            }
            const std::size_t length = u32(bytes_, at_);
            const std::string_view type(reinterpret_cast<const char*>(&bytes_[at_ + 4]), 4);
            for (const char c : type) {
                check((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), "a chunk whose type is not four letters");
            }
            if (length > bytes_.size() - at_ - kChunkFrame) {
                truncated();
            }
            const std::span<const std::byte> body = bytes_.subspan(at_ + 8, length);
            check(crc32(bytes_.subspan(at_ + 4, length + 4)) == u32(bytes_, at_ + 8 + length),
                  fmt::format("checksum of chunk {} does not match", type));
            check((layout_.width == 0) == (type == "IHDR"), fmt::format("chunk {} out of place", type));
            if (type == "IHDR") {
                header(body);
            } else if (type == "IDAT") {
                compressed_ += length;
            } else if (type == "eXIf") {
                layout_.orientation = exif_orientation(body);
            } else if (type == "IEND") {
                check_complete();
                return layout_;
            } else {
                // A lower-case first letter marks a chunk that a decoder may skip.
                check(type == "PLTE" || type[0] >= 'a', fmt::format("unknown chunk {}", type));
            }
            at_ += kChunkFrame + length;
        }
    }

  private:
    [[noreturn]] void truncated() const {
        fail("{}: truncated PNG: {} bytes without a whole IEND chunk; copy or download it again", name_, bytes_.size());
    }
    void check(bool rule, std::string_view what) const {
        require(rule, "{}: damaged PNG: {} at byte {}; copy or export it again", name_, what, at_);
    }

    void header(std::span<const std::byte> body) {
        check(body.size() == 13, "IHDR of the wrong length");
        check_image_size(u32(body, 0), u32(body, 4), name_);
        layout_.width = static_cast<int>(u32(body, 0));
        layout_.height = static_cast<int>(u32(body, 4));
        const int depth = std::to_integer<int>(body[8]), colour_type = std::to_integer<int>(body[9]);
        const int interlace = std::to_integer<int>(body[12]);
        check(channels_of(colour_type) != 0 && is_legal_depth(colour_type, depth),
              fmt::format("colour type {} with {} bits", colour_type, depth));
        check(body[10] == std::byte{0} && body[11] == std::byte{0} && interlace < 2,
              "an unknown compression, filter or interlacing");
        layout_.components = channels_of(colour_type);
        layout_.bit_depth = depth;
    }

    void check_complete() const {
        check(compressed_ > 0, "no image data");
        const std::int64_t raw =
            (std::int64_t{layout_.width} * layout_.components * layout_.bit_depth + 7) / 8 * layout_.height;
        // Deflate stores at most 258 bytes in 2 bits.
        require(raw / 1032 <= static_cast<std::int64_t>(compressed_),
                "{}: PNG header claims {}x{} pixels, which {} compressed bytes cannot hold; copy or export it again",
                name_, layout_.width, layout_.height, compressed_);
    }

    std::span<const std::byte> bytes_;
    std::string_view name_;
    std::size_t at_ = 0;
    std::size_t compressed_ = 0;
    ImageLayout layout_;
};

}  // namespace

bool is_png(std::span<const std::byte> bytes) {
    return bytes.size() >= kSignature && std::memcmp(bytes.data(), "\x89PNG\r\n\x1A\n", kSignature) == 0;
}

ImageLayout inspect_png(std::span<const std::byte> bytes, std::string_view name) {
    return PngWalk(bytes, name).run();
}

}  // namespace cutis
