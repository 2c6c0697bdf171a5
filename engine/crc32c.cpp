#include "engine/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace cutis {
namespace {

static_assert(std::endian::native == std::endian::little, "eight bytes at a time are read as one little-endian word");

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

/// tables[0] advances the checksum by one byte; tables[k] by that byte followed by k zero bytes ("slicing by eight":
/// Kounavis and Berry, "A systematic approach to building high performance, software-based, CRC generators", ISCC
/// 2005).
constexpr Tables make_tables() {
    constexpr std::uint32_t kReflectedPolynomial = 0x82F63B78u;
    Tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ ((crc & 1u) != 0 ? kReflectedPolynomial : 0u);
        }
        tables[0][byte] = crc;
    }
    for (std::size_t k = 1; k < 8; ++k) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t before = tables[k - 1][byte];
            tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFFu];
        }
    }
    return tables;
}

constexpr Tables kTables = make_tables();

std::uint64_t load_word(const std::byte* from) {
    std::uint64_t word = 0;
    std::memcpy(&word, from, sizeof word);
    return word;
}

#if defined(__x86_64__)
[[gnu::target("sse4.2")]] std::uint32_t crc32c_by_instruction(std::span<const std::byte> bytes, std::uint32_t crc) {
    std::uint64_t state = ~crc;
    std::size_t i = 0;
    for (; i + 8 <= bytes.size(); i += 8) {
        state = _mm_crc32_u64(state, load_word(bytes.data() + i));
    }
    auto tail = static_cast<std::uint32_t>(state);
    for (; i < bytes.size(); ++i) {
        tail = _mm_crc32_u8(tail, static_cast<unsigned char>(bytes[i]));
    }
    return ~tail;
}
#endif

}  // namespace

std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t crc) {
    std::uint32_t state = ~crc;
    std::size_t i = 0;
    for (; i + 8 <= bytes.size(); i += 8) {
        const std::uint64_t word = load_word(bytes.data() + i) ^ state;
        state = 0;
        for (std::size_t k = 0; k < 8; ++k) {
            state ^= kTables[7 - k][(word >> (8 * k)) & 0xFFu];
        }
    }
    for (; i < bytes.size(); ++i) {
        state = (state >> 8) ^ kTables[0][(state ^ static_cast<std::uint32_t>(bytes[i])) & 0xFFu];
    }
    return ~state;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc) {
#if defined(__x86_64__)
    static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
    if (has_instruction) {
        return crc32c_by_instruction(bytes, crc);
    }
#endif
    return crc32c_by_table(bytes, crc);
}

}  // namespace cutis
