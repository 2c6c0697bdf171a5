#include "engine/jpeg_encode.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/image.h"
#include "engine/image_layout.h"
#include "tests/support/error_of.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

/// Smooth, as photographs are, and different in each channel.
std::vector<std::uint8_t> smooth(int width, int height) {
    std::vector<std::uint8_t> rgb;
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            for (const double phase : {0.0, 1.0, 2.5}) {
                rgb.push_back(static_cast<std::uint8_t>(128 + 90 * std::sin(0.11 * x + 0.07 * y + phase)));
            }
        }
    }
    return rgb;
}

Image round_trip(std::span<const std::uint8_t> rgb, int width, int height, int quality) {
    const std::vector<std::uint8_t> file = encode_jpeg(rgb, width, height, quality);
    return decode_image(std::as_bytes(std::span(file)), "encoded");
}

double psnr(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
    double squares = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        squares += (a[i] - b[i]) * (a[i] - b[i]);
    }
    return 10 * std::log10(255.0 * 255.0 * static_cast<double>(a.size()) / squares);
}

TEST(EncodeJpeg, TheDecoderGivesNearlyTheSamePixels) {
    for (const auto& [width, height] : {std::pair{1, 1}, {5, 17}, {16, 16}, {64, 48}, {33, 70}}) {
        const std::vector<std::uint8_t> rgb = smooth(width, height);
        const Image coarse = round_trip(rgb, width, height, 75);
        ASSERT_EQ(coarse.width, width);
        ASSERT_EQ(coarse.height, height);
        EXPECT_GT(psnr(rgb, coarse.rgb), 34) << width << " x " << height;
        const Image fine = round_trip(rgb, width, height, 98);
        EXPECT_GT(psnr(rgb, fine.rgb), 46) << width << " x " << height;
    }
}

TEST(EncodeJpeg, ColourIsStoredAsFinelyAsBrightnessOnlyAbove90) {
    // Red and blue columns of one brightness: halving the colour planes mixes each pair.
    std::vector<std::uint8_t> rgb;
    for (int i = 0; i < 16 * 16; ++i) {
        const std::uint8_t red[] = {120, 40, 40}, blue[] = {40, 60, 180};
        rgb.insert(rgb.end(), i % 2 == 0 ? red : blue, (i % 2 == 0 ? red : blue) + 3);
    }
    const double halved = psnr(rgb, round_trip(rgb, 16, 16, 90).rgb);
    const double whole = psnr(rgb, round_trip(rgb, 16, 16, 91).rgb);
    EXPECT_LT(halved, 20);
    EXPECT_GT(whole, 35);
}

TEST(EncodeJpeg, ExtremePixelsSurviveTheFinestQuality) {
    // The largest coefficients there are: a board of single pixels, black and white.
    std::vector<std::uint8_t> rgb;
    for (int i = 0; i < 32 * 32; ++i) {
        rgb.insert(rgb.end(), 3, (i + i / 32) % 2 == 0 ? 0 : 255);
    }
    EXPECT_GT(psnr(rgb, round_trip(rgb, 32, 32, 100).rgb), 40);
}

TEST(EncodeJpeg, TheSamePixelsGiveTheSameFileAndLowerQualityASmallerOne) {
    const std::vector<std::uint8_t> rgb = smooth(64, 48);
    EXPECT_EQ(encode_jpeg(rgb, 64, 48, 75), encode_jpeg(rgb, 64, 48, 75));
    EXPECT_LT(encode_jpeg(rgb, 64, 48, 50).size(), encode_jpeg(rgb, 64, 48, 75).size());
    EXPECT_LT(encode_jpeg(rgb, 64, 48, 75).size(), encode_jpeg(rgb, 64, 48, 95).size());
}

TEST(EncodeJpeg, RefusesWhatIsNoImage) {
    const std::vector<std::uint8_t> rgb = smooth(4, 2);
    EXPECT_TRUE(is_line_with(error_of([&] { encode_jpeg(rgb, 4, 3, 75); }), "encode_jpeg: 24 bytes", "4 x 3 pixels"));
    EXPECT_TRUE(is_line_with(error_of([&] { encode_jpeg(rgb, 4, 2, 0); }), "quality 0; 1 to 100"));
    EXPECT_TRUE(is_line_with(error_of([&] { encode_jpeg(rgb, 4, 2, 101); }), "quality 101; 1 to 100"));
    EXPECT_TRUE(is_line_with(error_of([&] { encode_jpeg({}, 0, 0, 75); }), "encode_jpeg: 0x0 pixels"));
    EXPECT_TRUE(is_line_with(error_of([&] { encode_jpeg(rgb, kMaxImageSide + 1, 1, 75); }), "encode_jpeg: 32769x1"));
}

}  // namespace
}  // namespace cutis
