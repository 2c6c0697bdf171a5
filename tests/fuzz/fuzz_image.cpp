// The image decoder: any bytes give an image of consistent size or cutis::Error, nothing else.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "engine/image.h"
#include "kernels/error.h"

namespace {

void decode(std::span<const std::byte> bytes) {
    try {
        const cutis::Image image = cutis::decode_image(bytes, "fuzz");
        const auto size = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3;
        if (image.width < 1 || image.height < 1 || image.rgb.size() != size) {
            std::abort();
        }
    } catch (const cutis::Error&) {
    }
}

std::uint32_t crc32(std::span<const std::byte> bytes) {
    std::uint32_t crc = ~0u;
    for (const std::byte b : bytes) {
        crc ^= std::to_integer<std::uint32_t>(b);
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
        }
    }
    return ~crc;
}

// The bytes with the checksum of every whole PNG chunk made right: without it no mutation gets past them to the
// decoder.
std::vector<std::byte> with_right_checksums(std::span<const std::byte> bytes) {
    std::vector<std::byte> copy(bytes.begin(), bytes.end());
    for (std::size_t at = 8; copy.size() >= at + 12;) {
        std::size_t length = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            length = length << 8 | std::to_integer<std::size_t>(copy[at + i]);
        }
        if (length > copy.size() - at - 12) {
            break;
        }
        const std::uint32_t crc = crc32(std::span(copy).subspan(at + 4, length + 4));
        for (std::size_t i = 0; i < 4; ++i) {
            copy[at + 8 + length + i] = static_cast<std::byte>(crc >> (24 - 8 * i));
        }
        at += 12 + length;
    }
    return copy;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
    decode(bytes);
    if (size > 1 && data[1] == 'P') {
        decode(with_right_checksums(bytes));
    }
    return 0;
}
