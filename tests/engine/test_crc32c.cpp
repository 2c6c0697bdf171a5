#include "engine/crc32c.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string_view>
#include <vector>

namespace cutis {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

TEST(Crc32c, KnownAnswers) {
    // RFC 3720, appendix B.4, and the check value of the "CRC-32C" entry of the CRC catalogues.
    for (const auto& crc : {crc32c, crc32c_by_table}) {
        EXPECT_EQ(crc({}, 0), 0u);
        EXPECT_EQ(crc(bytes_of("123456789"), 0), 0xE3069283u);
        EXPECT_EQ(crc(std::vector<std::byte>(32, std::byte{0x00}), 0), 0x8A9136AAu);
        EXPECT_EQ(crc(std::vector<std::byte>(32, std::byte{0xFF}), 0), 0x62A8AB43u);
        std::vector<std::byte> ascending;
        for (int i = 0; i < 32; ++i) {
            ascending.push_back(static_cast<std::byte>(i));
        }
        EXPECT_EQ(crc(ascending, 0), 0x46DD794Eu);
    }
}

TEST(Crc32c, InstructionAndTablesAgreeOnEverySizeAndOffset) {
    std::vector<std::byte> bytes(300);
    std::uint32_t state = 1;
    for (std::byte& byte : bytes) {
        state = state * 1664525u + 1013904223u;
        byte = static_cast<std::byte>(state >> 24);
    }
    for (std::size_t offset = 0; offset < 9; ++offset) {
        for (std::size_t size = 0; offset + size <= bytes.size(); ++size) {
            const std::span<const std::byte> piece(bytes.data() + offset, size);
            ASSERT_EQ(crc32c(piece, 77u), crc32c_by_table(piece, 77u)) << offset << " " << size;
        }
    }
}

TEST(Crc32c, ContinuesFromAnEarlierPiece) {
    const std::string_view text = "a checksum of pieces is the checksum of the whole";
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        const std::uint32_t first = crc32c(bytes_of(text.substr(0, cut)));
        EXPECT_EQ(crc32c(bytes_of(text.substr(cut)), first), crc32c(bytes_of(text)));
        EXPECT_EQ(crc32c_by_table(bytes_of(text.substr(cut)), first), crc32c(bytes_of(text)));
    }
}

}  // namespace
}  // namespace cutis
