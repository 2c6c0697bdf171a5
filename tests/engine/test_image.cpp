#include "engine/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "engine/image_layout.h"
#include "kernels/error.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

using Bytes = std::vector<std::byte>;

const std::filesystem::path kFixtures = std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/images";

Bytes read_fixture(const std::string& name) {
    std::ifstream file(kFixtures / name, std::ios::binary);
    const std::vector<char> chars{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    EXPECT_FALSE(chars.empty()) << name;
    Bytes bytes(chars.size());
    std::transform(chars.begin(), chars.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
    return bytes;
}

Image fixture(const std::string& name) {
    return load_image(kFixtures / name);
}

// The message of the Error that decoding throws; "" when it does not throw.
std::string refusal(const Bytes& bytes) {
    try {
        decode_image(bytes, "some/file.jpg");
        return "";
    } catch (const Error& error) {
        return error.what();
    }
}

void expect_refusal(const Bytes& bytes, const std::string& part) {
    const std::string message = refusal(bytes);
    EXPECT_EQ(message.find("some/file.jpg: "), 0u) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_NE(message.find(';'), std::string::npos) << "no remedy: " << message;
}

std::array<int, 3> pixel(const Image& image, int x, int y) {
    const std::size_t at =
        (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) + static_cast<std::size_t>(x)) * 3;
    return {image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]};
}

// `pattern` of make_images.py.
int pattern_value(int x, int y, int c, int maximum) {
    return (19 * x + 27 * y + 53 * c + x * y) * (maximum == 65535 ? 251 : 1) % (maximum + 1);
}

template <class Expected>
void expect_pixels(const std::string& name, int width, int height, Expected expected) {
    const Image image = fixture(name);
    ASSERT_EQ(image.width, width) << name;
    ASSERT_EQ(image.height, height) << name;
    ASSERT_EQ(image.rgb.size(), static_cast<std::size_t>(width * height * 3)) << name;
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            for (int c = 0; c < 3; ++c) {
                ASSERT_EQ(pixel(image, x, y)[static_cast<std::size_t>(c)], expected(x, y, c))
                    << name << " " << x << " " << y;
            }
        }
    }
}

int rounded(double v) {
    return static_cast<int>(v + 0.5);
}

TEST(ImagePng, GreyOfEveryDepthIsSpreadOverTheFullRange) {
    for (const int depth : {1, 2, 4, 8, 16}) {
        const int maximum = (1 << depth) - 1;
        expect_pixels("grey" + std::to_string(depth) + ".png", 13, 9,
                      [&](int x, int y, int) { return rounded(pattern_value(x, y, 0, maximum) * 255.0 / maximum); });
    }
}

TEST(ImagePng, AlphaIsDropped) {
    expect_pixels("grey_alpha8.png", 13, 9, [](int x, int y, int) { return pattern_value(x, y, 0, 255); });
    expect_pixels("grey_alpha16.png", 13, 9,
                  [](int x, int y, int) { return rounded(pattern_value(x, y, 0, 65535) / 257.0); });
    const auto value = [](int x, int y, int c) { return pattern_value(x, y, c, 255); };
    expect_pixels("rgba8.png", 13, 9, value);
    expect_pixels("rgb8_transparent_colour.png", 13, 9, value);
}

TEST(ImagePng, ColourAndInterlacing) {
    const auto value = [](int x, int y, int c) { return pattern_value(x, y, c, 255); };
    expect_pixels("rgb8.png", 13, 9, value);
    expect_pixels("rgb8_interlaced.png", 13, 9, value);
    expect_pixels("grey8_interlaced.png", 13, 9, [](int x, int y, int) { return pattern_value(x, y, 0, 255); });
    expect_pixels("grey1_interlaced.png", 13, 9, [](int x, int y, int) { return 255 * pattern_value(x, y, 0, 1); });
}

TEST(ImagePng, SixteenBitsAreRoundedNotCut) {
    const auto value = [](int x, int y, int c) { return rounded(pattern_value(x, y, c, 65535) / 257.0); };
    expect_pixels("rgb16.png", 13, 9, value);
    expect_pixels("rgba16.png", 13, 9, value);
}

TEST(ImagePng, PaletteOfEveryDepth) {
    for (const std::string& name :
         std::vector<std::string>{"palette1.png", "palette2.png", "palette4.png", "palette8.png"}) {
        const int maximum = (1 << (name[7] - '0')) - 1;
        expect_pixels(name, 13, 9,
                      [&](int x, int y, int c) { return (pattern_value(x, y, 0, maximum) * 37 + c * 91 + 5) % 256; });
    }
    expect_pixels("palette8_transparent.png", 13, 9,
                  [](int x, int y, int c) { return (pattern_value(x, y, 0, 255) * 37 + c * 91 + 5) % 256; });
}

// `QUADRANTS` of make_images.py.
constexpr std::array<std::array<int, 3>, 4> kQuadrants = {
    {{200, 30, 40}, {30, 180, 60}, {40, 60, 220}, {230, 220, 90}}};

// `order`: which quadrant of the stored image is seen left to right, top to bottom.
void expect_quadrants(const std::string& name, std::array<std::size_t, 4> order = {0, 1, 2, 3}) {
    const Image image = fixture(name);
    ASSERT_EQ(image.width, 32) << name;
    ASSERT_EQ(image.height, 32) << name;
    for (std::size_t q = 0; q < 4; ++q) {
        const std::array<int, 3> seen =
            pixel(image, 8 + 16 * static_cast<int>(q % 2), 8 + 16 * static_cast<int>(q / 2));
        for (std::size_t c = 0; c < 3; ++c) {
            EXPECT_NEAR(seen[c], kQuadrants[order[q]][c], 4) << name << " quadrant " << q << " channel " << c;
        }
    }
}

TEST(ImageJpeg, BaselineProgressiveRestartAndRgb) {
    for (const char* name : {"quadrants.jpg", "quadrants_444.jpg", "quadrants_progressive.jpg", "quadrants_restart.jpg",
                             "quadrants_rgb.jpg"}) {
        expect_quadrants(name);
    }
}

TEST(ImageJpeg, GreyFillsThreeChannels) {
    const Image image = fixture("quadrants_grey.jpg");
    for (std::size_t q = 0; q < 4; ++q) {
        const auto& colour = kQuadrants[q];
        const int grey = rounded(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]);
        const std::array<int, 3> seen =
            pixel(image, 8 + 16 * static_cast<int>(q % 2), 8 + 16 * static_cast<int>(q / 2));
        EXPECT_NEAR(seen[0], grey, 2);
        EXPECT_EQ(seen[0], seen[1]);
        EXPECT_EQ(seen[0], seen[2]);
    }
}

TEST(ImageJpeg, FourComponents) {
    expect_quadrants("quadrants_cmyk.jpg");
    expect_quadrants("quadrants_cmyk_no_adobe.jpg");
    expect_quadrants("quadrants_ycck.jpg");
    expect_quadrants("quadrants_ycck_transform1.jpg");
}

TEST(ImageJpeg, AgreesWithLibjpegWithinRounding) {
    for (const std::string& name : std::vector<std::string>{"photo", "photo_progressive"}) {
        const Image ours = fixture(name + ".jpg"), theirs = fixture(name + "_decoded.png");
        ASSERT_EQ(ours.rgb.size(), theirs.rgb.size());
        int largest = 0;
        double sum = 0;
        for (std::size_t i = 0; i < ours.rgb.size(); ++i) {
            const int difference = std::abs(ours.rgb[i] - theirs.rgb[i]);
            largest = std::max(largest, difference);
            sum += difference;
        }
        EXPECT_LE(largest, 5) << name;
        EXPECT_LE(sum / static_cast<double>(ours.rgb.size()), 0.7) << name;
    }
}

TEST(ImageOrientation, JpegInBothByteOrdersAndWithAThumbnail) {
    expect_quadrants("exif_little_endian6.jpg", {2, 0, 3, 1});
    expect_quadrants("exif_big_endian3.jpg", {3, 2, 1, 0});
    expect_quadrants("exif_thumbnail8.jpg", {1, 3, 0, 2});
}

TEST(ImageOrientation, PngInAllEight) {
    for (int orientation = 1; orientation <= 8; ++orientation) {
        const std::string name = "orientation" + std::to_string(orientation);
        const Image image = fixture(name + ".png"), upright = fixture(name + "_upright.png");
        EXPECT_EQ(image.width, orientation < 5 ? 4 : 3);
        EXPECT_EQ(image.width, upright.width) << orientation;
        EXPECT_EQ(image.rgb, upright.rgb) << orientation;
    }
}

std::vector<std::string> all_fixtures() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(kFixtures)) {
        names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
}

TEST(ImageDamage, EveryPrefixOfEveryFileIsRefused) {
    ASSERT_GE(all_fixtures().size(), 50u);
    for (const std::string& name : all_fixtures()) {
        const Bytes whole = read_fixture(name);
        ASSERT_EQ(refusal(whole), "") << name;
        for (std::size_t size = 0; size < whole.size(); ++size) {
            const Bytes prefix(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
            ASSERT_NE(refusal(prefix), "") << name << " cut to " << size << " of " << whole.size() << " bytes";
        }
    }
}

TEST(ImageDamage, MessagesNameTheFaultAndTheRemedy) {
    expect_refusal({}, "empty file");
    Bytes jpeg = read_fixture("exif_thumbnail8.jpg");
    jpeg.resize(jpeg.size() - 2);
    expect_refusal(jpeg, "truncated JPEG");
    Bytes png = read_fixture("rgb8.png");
    png.resize(png.size() - 1);
    expect_refusal(png, "truncated PNG");
}

TEST(ImageDamage, BytesAfterTheEndAreIgnored) {
    for (const std::string& name : std::vector<std::string>{"quadrants.jpg", "quadrants_progressive.jpg", "rgb8.png"}) {
        Bytes bytes = read_fixture(name);
        const Image clean = decode_image(bytes, name);
        bytes.insert(bytes.end(), 4096, std::byte{0});
        EXPECT_EQ(decode_image(bytes, name).rgb, clean.rgb) << name;
        bytes.insert(bytes.end(), 77, std::byte{0xFF});
        EXPECT_EQ(decode_image(bytes, name).rgb, clean.rgb) << name;
    }
}

TEST(ImageDamage, EveryFlippedByteOfAPngIsNoticed) {
    const Bytes whole = read_fixture("palette4.png");
    for (std::size_t at = 0; at < whole.size(); ++at) {
        Bytes bytes = whole;
        bytes[at] ^= std::byte{0x21};
        EXPECT_NE(refusal(bytes), "") << at;
    }
}

TEST(ImageDamage, FlippedBytesOfAJpegAreErrorsOrOtherPixelsButNothingWorse) {
    for (const std::string& name :
         std::vector<std::string>{"exif_thumbnail8.jpg", "quadrants_progressive.jpg", "quadrants_ycck.jpg"}) {
        const Bytes whole = read_fixture(name);
        std::size_t refused = 0;
        for (std::size_t at = 0; at < whole.size(); ++at) {
            for (const unsigned flip : {0x01u, 0x80u, 0xFFu}) {
                Bytes bytes = whole;
                bytes[at] ^= static_cast<std::byte>(flip);
                refused += refusal(bytes).empty() ? 0 : 1;
            }
        }
        EXPECT_GT(refused, whole.size() / 4) << name;
    }
}

TEST(ImageDamage, OtherKindsOfFileAreNamed) {
    const auto bytes_of = [](std::string text) {
        text.resize(200);
        Bytes bytes(text.size());
        std::transform(text.begin(), text.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
        return bytes;
    };
    expect_refusal(bytes_of("GIF89a"), "neither a JPEG nor a PNG but a GIF");
    expect_refusal(bytes_of("RIFF....WEBPVP8 "), "WebP");
    expect_refusal(bytes_of(std::string("II*\0", 4)), "TIFF");
    expect_refusal(bytes_of("<!DOCTYPE html>"), "HTML");
    expect_refusal(bytes_of(std::string(128, '\0') + "DICM"), "DICOM");
    expect_refusal(bytes_of("hello"), "unknown kind");
    expect_refusal({std::byte{0xFF}}, "neither");
    expect_refusal({std::byte{0xFF}, std::byte{0xD8}, std::byte{0xFF}}, "truncated JPEG");
}

std::size_t find(const Bytes& bytes, std::initializer_list<int> values) {
    const auto found = std::search(bytes.begin(), bytes.end(), values.begin(), values.end(),
                                   [](std::byte b, int v) { return std::to_integer<int>(b) == v; });
    EXPECT_NE(found, bytes.end());
    return static_cast<std::size_t>(found - bytes.begin());
}

void put16(Bytes& bytes, std::size_t at, int value) {
    bytes[at] = static_cast<std::byte>(value >> 8);
    bytes[at + 1] = static_cast<std::byte>(value & 255);
}

TEST(ImageDamage, ForgedJpegHeaders) {
    const Bytes whole = read_fixture("quadrants_444.jpg");
    const std::size_t frame = find(whole, {0xFF, 0xC0});
    const auto with_size = [&](int width, int height) {
        Bytes bytes = whole;
        put16(bytes, frame + 5, height);
        put16(bytes, frame + 7, width);
        return bytes;
    };
    expect_refusal(with_size(0, 32), "0x32 pixels");
    expect_refusal(with_size(32, 0), "32x0 pixels");
    expect_refusal(with_size(65500, 8), "a side may have 32768");
    expect_refusal(with_size(20000, 20000), "an image 100000000 in all");
    expect_refusal(with_size(5000, 5000), "bytes cannot hold");

    Bytes bytes = whole;
    bytes[frame + 1] = std::byte{0xC3};
    expect_refusal(bytes, "unsupported kind");
    bytes = whole;
    bytes[frame + 4] = std::byte{12};
    expect_refusal(bytes, "12 bits per channel");
    bytes = whole;
    bytes[frame + 13] = bytes[frame + 10];
    expect_refusal(bytes, "declared twice");
    bytes = whole;
    bytes[frame + 9] = std::byte{2};
    expect_refusal(bytes, "2 colour components");

    // A Huffman table of more symbols than its segment, or than stb_image's buffer, holds.
    const std::size_t huffman = find(whole, {0xFF, 0xC4});
    bytes = whole;
    bytes[huffman + 5 + 15] = std::byte{255};
    expect_refusal(bytes, "Huffman table of");
    Bytes table(2 + 2 + 17 + 300, std::byte{0});
    table[0] = std::byte{0xFF};
    table[1] = std::byte{0xC4};
    put16(table, 2, 2 + 17 + 300);
    table[4 + 15] = std::byte{45};
    table[4 + 16] = std::byte{255};
    bytes = whole;
    bytes.insert(bytes.begin() + 2, table.begin(), table.end());
    expect_refusal(bytes, "Huffman table of 300 symbols");

    // Without its tables a scan would be decoded with whatever is in memory.
    bytes = whole;
    bytes[huffman + 1] = std::byte{0xFE};  // a comment now
    expect_refusal(bytes, "table is missing");
}

TEST(ImageDamage, JpegWithoutAllItsScansIsRefused) {
    Bytes bytes = read_fixture("quadrants_444.jpg");
    const std::size_t scan = find(bytes, {0xFF, 0xDA});
    Bytes no_scan(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(scan));
    no_scan.insert(no_scan.end(), {std::byte{0xFF}, std::byte{0xD9}});
    expect_refusal(no_scan, "no data of colour component");
    Bytes only_ends(bytes.begin(), bytes.begin() + 2);
    only_ends.insert(only_ends.end(), {std::byte{0xFF}, std::byte{0xD9}});
    expect_refusal(only_ends, "no image data");

    // One scan over and over would cost a second per kilobyte on a large image.
    Bytes many(bytes.begin(), bytes.end() - 2);
    for (int i = 0; i < 100; ++i) {
        many.insert(many.end(), bytes.begin() + static_cast<std::ptrdiff_t>(scan), bytes.end() - 2);
    }
    many.insert(many.end(), bytes.end() - 2, bytes.end());
    expect_refusal(many, "more than 100 scans");
}

std::uint32_t crc32_by_bit(const std::byte* data, std::size_t size) {
    std::uint32_t crc = ~0u;
    for (std::size_t i = 0; i < size; ++i) {
        crc ^= std::to_integer<std::uint32_t>(data[i]);
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
        }
    }
    return ~crc;
}

void put32(Bytes& bytes, std::size_t at, std::uint32_t value) {
    put16(bytes, at, static_cast<int>(value >> 16));
    put16(bytes, at + 2, static_cast<int>(value & 0xFFFF));
}

// A fixture with some bytes of its IHDR replaced and the checksum made right.
Bytes with_header(const std::string& name, std::size_t at, std::initializer_list<int> values) {
    Bytes bytes = read_fixture(name);
    std::transform(values.begin(), values.end(), bytes.begin() + 16 + static_cast<std::ptrdiff_t>(at),
                   [](int v) { return static_cast<std::byte>(v); });
    put32(bytes, 29, crc32_by_bit(&bytes[12], 17));
    return bytes;
}

TEST(ImageDamage, ForgedPngHeaders) {
    expect_refusal(with_header("rgb8.png", 0, {0, 0, 0, 0}), "0x9 pixels");
    expect_refusal(with_header("rgb8.png", 4, {0, 0, 0, 0}), "13x0 pixels");
    expect_refusal(with_header("rgb8.png", 0, {0xFF, 0xFF, 0xFF, 0xFF}), "a side may have 32768");
    expect_refusal(with_header("rgb8.png", 0, {0, 0, 0x40, 0, 0, 0, 0x40, 0}), "an image 100000000 in all");
    expect_refusal(with_header("rgb8.png", 0, {0, 0, 0x10, 0, 0, 0, 0x10, 0}), "compressed bytes cannot hold");
    expect_refusal(with_header("rgb8.png", 8, {4}), "colour type 2 with 4 bits");
    expect_refusal(with_header("rgb8.png", 9, {5}), "colour type 5");
    expect_refusal(with_header("rgb8.png", 10, {1}), "unknown compression");
    expect_refusal(with_header("rgb8.png", 12, {2}), "unknown compression, filter or interlacing");
    // A taller image than there is data for: stb_image's own reason comes through.
    expect_refusal(with_header("rgb8.png", 4, {0, 0, 0, 11}), "not enough pixels");
}

TEST(ImageDamage, PngChunksOutOfPlace) {
    Bytes bytes = read_fixture("rgb8.png");
    const Bytes header(bytes.begin() + 8, bytes.begin() + 33);
    bytes.insert(bytes.begin() + 33, header.begin(), header.end());
    expect_refusal(bytes, "IHDR out of place");
    bytes = read_fixture("rgb8.png");
    bytes.erase(bytes.begin() + 8, bytes.begin() + 33);
    expect_refusal(bytes, "IDAT out of place");
    bytes = read_fixture("rgb8.png");
    const std::size_t data = find(bytes, {'I', 'D', 'A', 'T'});
    bytes[data] = std::byte{'X'};
    const std::size_t length = std::to_integer<std::size_t>(bytes[data - 1]);
    put32(bytes, data + 4 + length, crc32_by_bit(&bytes[data], length + 4));
    expect_refusal(bytes, "unknown chunk XDAT");
}

// A deflate bomb: the header says 13x9, the data holds megabytes. stb_image must not be given the memory.
TEST(ImageDamage, DeflateBombEndsInAnError) {
    Bytes stream = {std::byte{0x78}, std::byte{0x01}};
    constexpr int kBlocks = 200, kBlock = 65535;
    for (int i = 0; i < kBlocks; ++i) {  // stored blocks
        stream.insert(stream.end(),
                      {std::byte(i == kBlocks - 1), std::byte{0xFF}, std::byte{0xFF}, std::byte{0}, std::byte{0}});
        stream.insert(stream.end(), kBlock, std::byte{0});
    }
    // The stream is larger than what 13x9 pixels need, but within twice the file: allowed, and the rest ignored.
    const auto png_of = [](const Bytes& data) {
        Bytes bytes = read_fixture("rgb8.png");
        bytes.resize(33);
        const auto add_chunk = [&](const char* type, const Bytes& body) {
            const std::size_t at = bytes.size();
            bytes.resize(at + 8);
            put32(bytes, at, static_cast<std::uint32_t>(body.size()));
            std::transform(type, type + 4, bytes.begin() + static_cast<std::ptrdiff_t>(at) + 4,
                           [](char c) { return static_cast<std::byte>(c); });
            bytes.insert(bytes.end(), body.begin(), body.end());
            bytes.resize(bytes.size() + 4);
            put32(bytes, bytes.size() - 4, crc32_by_bit(&bytes[at + 4], body.size() + 4));
        };
        add_chunk("IDAT", data);
        add_chunk("IEND", {});
        return bytes;
    };
    EXPECT_EQ(refusal(png_of(stream)), "");

    // One literal zero, then matches of length 258 at distance 1, with fixed codes: 1 + 258 * n zeros in 13 bits each.
    Bytes bomb = {std::byte{0x78}, std::byte{0x01}};
    std::uint32_t buffer = 0;
    int filled = 0;
    const auto put_bits = [&](std::uint32_t bits, int count, bool most_significant_first) {
        for (int i = 0; i < count; ++i) {
            const std::uint32_t bit = bits >> (most_significant_first ? count - 1 - i : i) & 1;
            buffer |= bit << filled;
            if (++filled == 8) {
                bomb.push_back(static_cast<std::byte>(buffer));
                buffer = 0;
                filled = 0;
            }
        }
    };
    put_bits(1, 1, false);  // last block
    put_bits(1, 2, false);  // fixed codes
    put_bits(0x30, 8, true);
    for (int i = 0; i < 100'000; ++i) {
        put_bits(0xC5, 8, true);  // length 258
        put_bits(0, 5, true);     // distance 1
    }
    put_bits(0, 7, true);
    put_bits(0, 7, false);
    ASSERT_LT(bomb.size(), 200'000u);
    expect_refusal(png_of(bomb), "more memory than its header allows");
}

TEST(ImageFiles, PathsAndExtensions) {
    EXPECT_TRUE(is_image_path("a/b.jpg"));
    EXPECT_TRUE(is_image_path("b.JPEG"));
    EXPECT_TRUE(is_image_path("b.c.Png"));
    EXPECT_FALSE(is_image_path("b.gif"));
    EXPECT_FALSE(is_image_path("jpg"));
    EXPECT_FALSE(is_image_path("b.jpg/"));

    const testing::TempDir folder;
    const std::filesystem::path path = folder / std::filesystem::path(u8"läsion-皮膚.png");
    std::filesystem::copy_file(kFixtures / "rgb8.png", path);
    EXPECT_EQ(load_image(path).rgb, fixture("rgb8.png").rgb);
    EXPECT_THROW(load_image(folder / "absent.png"), Error);
    EXPECT_THROW(load_image(folder.path()), Error);
    std::ofstream(folder / "empty.png").close();
    try {
        load_image(folder / "empty.png");
        FAIL();
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("empty.png: empty file"), std::string::npos) << error.what();
    }
}

TEST(ImageFiles, DecodingFromManyThreadsGivesTheSame) {
    const std::vector<std::string> names = all_fixtures();
    std::vector<Image> expected;
    for (const std::string& name : names) {
        expected.push_back(fixture(name));
    }
    const Bytes broken = with_header("rgb8.png", 4, {0, 0, 0, 11});
    std::vector<std::thread> threads;
    std::array<int, 4> differences{};
    for (int& wrong : differences) {
        threads.emplace_back([&] {
            for (std::size_t i = 0; i < names.size(); ++i) {
                wrong += fixture(names[i]).rgb == expected[i].rgb ? 0 : 1;
                wrong += refusal(broken).find("not enough pixels") != std::string::npos ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(differences, (std::array<int, 4>{}));
}

// All of HAM10000 where it is at hand.
TEST(ImageFiles, RealImagesDecode) {
    const char* folder = std::getenv("HAM10000");
    if (folder == nullptr) {
        GTEST_SKIP() << "set HAM10000 to a folder with images/ to decode real ones";
    }
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(folder) / "images")) {
        if (is_image_path(entry.path()) && ++count <= 200) {
            EXPECT_GE(load_image(entry.path()).width, 200) << entry.path();
        }
    }
    EXPECT_GT(count, 0);
}

}  // namespace
}  // namespace cutis
