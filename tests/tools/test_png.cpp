#include "tools/png.h"

#include <gtest/gtest.h>

#include "engine/image.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace cutis {
namespace {

void expect_round_trip(const std::vector<std::uint8_t>& rgb, int width, int height) {
    const std::vector<std::uint8_t> png = encode_png(rgb, width, height);
    const Image image = decode_image(std::as_bytes(std::span(png)), "encoded");
    EXPECT_EQ(image.width, width);
    EXPECT_EQ(image.height, height);
    EXPECT_EQ(image.rgb, rgb);
}

TEST(Png, NoiseOfAnySizeComesBack) {
    PhiloxStream random(1, RandomPurpose::test);
    for (const auto& [width, height] : {std::pair{1, 1}, {1, 7}, {5, 1}, {3, 4}, {33, 17}, {300, 225}}) {
        std::vector<std::uint8_t> rgb;
        for (int i = 0; i < width * height * 3; ++i) {
            rgb.push_back(static_cast<std::uint8_t>(random.next()));
        }
        expect_round_trip(rgb, width, height);
    }
}

TEST(Png, SmoothImagesComeBackAndBecomeSmall) {
    constexpr int kSide = 128;
    // Each direction of change has a filter that predicts it.
    for (const auto& [dx, dy] : {std::pair{0, 0}, {1, 0}, {0, 1}, {1, 1}, {2, -3}}) {
        std::vector<std::uint8_t> rgb;
        for (int y = 0; y < kSide; ++y) {
            for (int x = 0; x < kSide; ++x) {
                for (const int offset : {10, 90, 200}) {
                    rgb.push_back(static_cast<std::uint8_t>(offset + dx * x + dy * y));
                }
            }
        }
        expect_round_trip(rgb, kSide, kSide);
        EXPECT_LT(encode_png(rgb, kSide, kSide).size(), rgb.size() / 20);
    }
}

TEST(Png, FiltersLeaveTheNoiseOfAPhotographOnly) {
    constexpr int kSide = 128;
    PhiloxStream random(2, RandomPurpose::test);
    std::vector<std::uint8_t> rgb;
    for (int y = 0; y < kSide; ++y) {
        for (int x = 0; x < kSide; ++x) {
            for (const int offset : {10, 30, 50}) {
                rgb.push_back(static_cast<std::uint8_t>(offset + x / 2 + y + static_cast<int>(random.below(3))));
            }
        }
    }
    // Three equally likely values hold 1.6 bits; a prediction from noisy neighbours about doubles that.
    EXPECT_LT(encode_png(rgb, kSide, kSide).size(), rgb.size() * 2 / 5);
}

TEST(Png, RefusesPixelsThatDoNotFit) {
    const std::vector<std::uint8_t> rgb(12);
    EXPECT_THROW(encode_png(rgb, 2, 3), Error);
    EXPECT_THROW(encode_png(rgb, 0, 4), Error);
    EXPECT_THROW(encode_png(rgb, -2, -2), Error);
    EXPECT_THROW(encode_png({}, 70000, 0), Error);
    EXPECT_THROW(encode_png(rgb, 65536, 1), Error);
}

}  // namespace
}  // namespace cutis
