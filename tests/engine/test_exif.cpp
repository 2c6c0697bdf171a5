#include "engine/exif.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/error.h"

namespace cutis {
namespace {

using Bytes = std::vector<std::byte>;

class Block {
  public:
    explicit Block(bool big_endian) : big_endian_(big_endian) { text(big_endian ? "MM" : "II").u16(42); }

    Block& text(const char* s) {
        for (; *s != 0; ++s) {
            bytes_.push_back(static_cast<std::byte>(*s));
        }
        return *this;
    }
    Block& u16(std::uint32_t v) { return big_endian_ ? raw(v >> 8).raw(v) : raw(v).raw(v >> 8); }
    Block& u32(std::uint32_t v) { return big_endian_ ? u16(v >> 16).u16(v & 0xFFFF) : u16(v & 0xFFFF).u16(v >> 16); }
    // A directory entry whose value is a SHORT, left-aligned in its four bytes.
    Block& entry(std::uint32_t tag, std::uint32_t type, std::uint32_t count, std::uint32_t value) {
        u16(tag).u16(type).u32(count);
        return type == 4 ? u32(value) : u16(value).u16(0);
    }
    const Bytes& bytes() const { return bytes_; }

  private:
    Block& raw(std::uint32_t v) {
        bytes_.push_back(static_cast<std::byte>(v & 255));
        return *this;
    }
    bool big_endian_;
    Bytes bytes_;
};

TEST(Exif, BothByteOrdersShortAndLong) {
    for (const bool big_endian : {false, true}) {
        for (std::uint32_t orientation = 1; orientation <= 8; ++orientation) {
            for (const std::uint32_t type : {3u, 4u}) {
                const Block block =
                    Block(big_endian).u32(8).u16(2).entry(0x010F, 2, 4, 7).entry(0x0112, type, 1, orientation).u32(0);
                EXPECT_EQ(exif_orientation(block.bytes()), static_cast<int>(orientation)) << big_endian << type;
            }
        }
    }
}

TEST(Exif, LeadingTagIsSkipped) {
    Bytes bytes;
    for (const char c : {'E', 'x', 'i', 'f', '\0', '\0'}) {
        bytes.push_back(static_cast<std::byte>(c));
    }
    const Block block = Block(true).u32(8).u16(1).entry(0x0112, 3, 1, 6).u32(0);
    bytes.insert(bytes.end(), block.bytes().begin(), block.bytes().end());
    EXPECT_EQ(exif_orientation(bytes), 6);
}

TEST(Exif, DamagedBlocksMeanAsStored) {
    EXPECT_EQ(exif_orientation({}), 1);
    EXPECT_EQ(exif_orientation(Block(false).u32(8).u16(0).u32(0).bytes()), 1);                            // no entries
    EXPECT_EQ(exif_orientation(Block(false).u32(8).u16(1).entry(0x0112, 3, 1, 0).bytes()), 1);            // value 0
    EXPECT_EQ(exif_orientation(Block(false).u32(8).u16(1).entry(0x0112, 3, 1, 9).bytes()), 1);            // value 9
    EXPECT_EQ(exif_orientation(Block(false).u32(8).u16(1).entry(0x0112, 4, 1, 0x80000001u).bytes()), 1);  // huge
    EXPECT_EQ(exif_orientation(Block(false).u32(8).u16(1).entry(0x0112, 3, 2, 6).bytes()), 1);            // two values
    EXPECT_EQ(exif_orientation(Block(false).u32(8).u16(1).entry(0x0112, 2, 1, 6).bytes()), 1);            // text
    EXPECT_EQ(exif_orientation(Block(false).u32(0xFFFFFFFFu).u16(1).entry(0x0112, 3, 1, 6).bytes()), 1);  // far away
    EXPECT_EQ(exif_orientation(Block(false).u32(0).u16(1).entry(0x0112, 3, 1, 6).bytes()), 1);       // in the header
    EXPECT_EQ(exif_orientation(Block(false).u32(8).u16(0xFFFF).entry(0x010F, 3, 1, 6).bytes()), 1);  // lying count
    Bytes other_magic = Block(false).u32(8).u16(1).entry(0x0112, 3, 1, 6).bytes();
    other_magic[2] = std::byte{43};
    EXPECT_EQ(exif_orientation(other_magic), 1);
}

TEST(Exif, EveryPrefixIsSafe) {
    // Each prefix in a block of its own, so that the address sanitizer sees a read behind it.
    const Bytes whole = Block(true).u32(8).u16(2).entry(0x010F, 2, 4, 7).entry(0x0112, 3, 1, 5).bytes();
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const Bytes prefix(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        EXPECT_EQ(exif_orientation(prefix), 1) << size;
    }
    EXPECT_EQ(exif_orientation(whole), 5);
}

// 3 x 2 pixels, each of one value: 1 2 3 / 4 5 6.
std::vector<int> oriented(int orientation, int& width) {
    Image image{.width = 3, .height = 2, .rgb = std::vector<std::uint8_t>(18)};
    for (std::size_t i = 0; i < 18; ++i) {
        image.rgb[i] = static_cast<std::uint8_t>(1 + i / 3 + 10 * (i % 3));
    }
    const Image result = apply_orientation(image, orientation);
    width = result.width;
    EXPECT_EQ(result.width * result.height, 6);
    std::vector<int> values;
    for (std::size_t i = 0; i < result.rgb.size(); i += 3) {
        EXPECT_EQ(result.rgb[i + 1], result.rgb[i] + 10);
        EXPECT_EQ(result.rgb[i + 2], result.rgb[i] + 20);
        values.push_back(result.rgb[i]);
    }
    return values;
}

TEST(Exif, OrientationsByHand) {
    const std::vector<std::vector<int>> expected = {{1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1},
                                                    {4, 5, 6, 1, 2, 3}, {1, 4, 2, 5, 3, 6}, {4, 1, 5, 2, 6, 3},
                                                    {6, 3, 5, 2, 4, 1}, {3, 6, 2, 5, 1, 4}};
    for (int orientation = 1; orientation <= 8; ++orientation) {
        int width = 0;
        EXPECT_EQ(oriented(orientation, width), expected[static_cast<std::size_t>(orientation - 1)]) << orientation;
        EXPECT_EQ(width, orientation <= 4 ? 3 : 2) << orientation;
    }
    EXPECT_THROW(apply_orientation(Image{}, 0), Error);
    EXPECT_THROW(apply_orientation(Image{}, 9), Error);
}

}  // namespace
}  // namespace cutis
