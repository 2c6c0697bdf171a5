#include "engine/resize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace cutis {
namespace {

Image noise(int width, int height, std::uint32_t which = 0) {
    PhiloxStream random(1, RandomPurpose::test, which);
    Image image{.width = width, .height = height, .rgb = {}};
    image.rgb.resize(static_cast<std::size_t>(width * height * 3));
    for (std::uint8_t& v : image.rgb) {
        v = static_cast<std::uint8_t>(random.below(256));
    }
    return image;
}

int at(const Image& image, int x, int y, int c) {
    return image.rgb[static_cast<std::size_t>((y * image.width + x) * 3 + c)];
}

// The definition: each destination pixel is the mean of source pixels weighted by a triangle about its centre, whose
// half width is one source pixel or, where the image shrinks, one destination pixel.
double triangle(int source, int sources, int destination, int destinations) {
    const double scale = static_cast<double>(sources) / destinations;
    const double centre = (destination + 0.5) * scale;
    return std::max(0.0, 1.0 - std::abs(source + 0.5 - centre) / std::max(1.0, scale));
}

double definition(const Image& image, int width, int height, int x, int y, int c) {
    double sum = 0, total = 0;
    for (int j = 0; j < image.height; ++j) {
        const double down = triangle(j, image.height, y, height);
        for (int i = 0; down > 0 && i < image.width; ++i) {
            const double weight = down * triangle(i, image.width, x, width);
            sum += weight * at(image, i, j, c);
            total += weight;
        }
    }
    return sum / total;
}

TEST(Resize, AgreesWithTheDefinitionOnRaggedSizes) {
    for (const auto& [w, h, width, height] : std::vector<std::array<int, 4>>{{17, 11, 5, 7},
                                                                             {17, 11, 40, 3},
                                                                             {1, 1, 6, 4},
                                                                             {30, 1, 7, 1},
                                                                             {2, 50, 2, 9},
                                                                             {9, 9, 10, 8},
                                                                             {64, 48, 1, 1},
                                                                             {3, 3, 2, 31}}) {
        const Image image = noise(w, h);
        const Image result = resize(image, width, height);
        ASSERT_EQ(result.width, width);
        ASSERT_EQ(result.height, height);
        for (int y = 0; y < height; ++y) {
            for (int x = 0; x < width; ++x) {
                for (int c = 0; c < 3; ++c) {
                    // Rounded once after each axis.
                    ASSERT_NEAR(at(result, x, y, c), definition(image, width, height, x, y, c), 1.01) << w << "x" << h;
                }
            }
        }
    }
}

TEST(Resize, GivesPillowsPixels) {
    const std::filesystem::path folder = std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/images";
    const Image source = load_image(folder / "resize_source.png");
    for (const auto& [width, height] :
         std::vector<std::pair<int, int>>{{16, 16}, {41, 12}, {7, 29}, {60, 45}, {20, 50}, {1, 1}}) {
        const std::string name = "resize_" + std::to_string(width) + "x" + std::to_string(height) + ".png";
        EXPECT_EQ(resize(source, width, height).rgb, load_image(folder / name).rgb) << name;
    }
}

TEST(Resize, SameSizePassesBitForBit) {
    const Image image = noise(23, 14);
    EXPECT_EQ(resize(image, 23, 14).rgb, image.rgb);
}

TEST(Resize, ConstantsStayConstant) {
    for (const int value : {0, 1, 127, 254, 255}) {
        Image image{.width = 37, .height = 23, .rgb = {}};
        image.rgb.assign(37 * 23 * 3, static_cast<std::uint8_t>(value));
        for (const int size : {1, 5, 36, 38, 100}) {
            const Image result = resize(image, size, size);
            EXPECT_TRUE(std::all_of(result.rgb.begin(), result.rgb.end(), [&](int v) { return v == value; })) << value;
        }
    }
    // The longest filter: 32768 weights, each rounded, must not overflow a byte.
    Image line{.width = 32768, .height = 1, .rgb = {}};
    line.rgb.assign(32768 * 3, 255);
    EXPECT_EQ(resize(line, 1, 1).rgb, (std::vector<std::uint8_t>{255, 255, 255}));
}

TEST(Resize, WindowIsAPartOfTheWhole) {
    const Image image = noise(31, 22);
    const Image whole = resize(image, 19, 40);
    const Image window = resize_window(image.rgb.data(), 22, 31, 19, 40, 4, 11, 9, 17);
    for (int y = 0; y < 17; ++y) {
        for (int x = 0; x < 9; ++x) {
            for (int c = 0; c < 3; ++c) {
                ASSERT_EQ(at(window, x, y, c), at(whole, 4 + x, 11 + y, c));
            }
        }
    }
    EXPECT_THROW(resize_window(image.rgb.data(), 22, 31, 19, 40, 11, 0, 9, 17), Error);
    EXPECT_THROW(resize_window(image.rgb.data(), 22, 31, 19, 40, -1, 0, 9, 17), Error);
}

TEST(Resize, CenterCropTakesTheMiddle) {
    const Image image = noise(9, 6);
    const Image crop = center_crop(image, 4, 3);  // left (9 - 4) / 2 = 2, top (6 - 3) / 2 = 1
    ASSERT_EQ(crop.rgb.size(), 4u * 3 * 3);
    for (int y = 0; y < 3; ++y) {
        for (int x = 0; x < 4; ++x) {
            EXPECT_EQ(at(crop, x, y, 1), at(image, x + 2, y + 1, 1));
        }
    }
    EXPECT_EQ(center_crop(image, 9, 6).rgb, image.rgb);
    EXPECT_THROW(center_crop(image, 10, 6), Error);
    EXPECT_THROW(center_crop(image, 9, 7), Error);
    EXPECT_THROW(center_crop(image, 0, 1), Error);
}

TEST(Resize, FitSquareCropsTheMiddleOfTheResized) {
    // 33 x 20 to 13: the longer side becomes 13 * 33 / 20 = 21.45, cut to 21.
    const Image wide = noise(33, 20);
    EXPECT_EQ(fit_square(wide, 13, false).rgb, center_crop(resize(wide, 21, 13), 13, 13).rgb);
    const Image tall = noise(20, 33);
    EXPECT_EQ(fit_square(tall, 13, false).rgb, center_crop(resize(tall, 13, 21), 13, 13).rgb);
    const Image grown = fit_square(wide, 50, false);
    EXPECT_EQ(grown.rgb, center_crop(resize(wide, 82, 50), 50, 50).rgb);
    const Image square = noise(24, 24);
    EXPECT_EQ(fit_square(square, 24, false).rgb, square.rgb);
    EXPECT_EQ(fit_square(square, 24, true).rgb, square.rgb);
    EXPECT_EQ(fit_square(square, 8, false).rgb, resize(square, 8, 8).rgb);
    // So thin that the resized whole, 7 million pixels wide, would not be computed.
    const Image line = noise(32768, 1);
    EXPECT_EQ(fit_square(line, 224, false).rgb.size(), 224u * 224 * 3);
}

TEST(Resize, FitSquareKeepingTheAspectPadsWithBlack) {
    const Image wide = noise(40, 10);
    const Image fitted = fit_square(wide, 21, true);  // inside: 21 x 5 (5.25), 8 rows of black above
    const Image inner = resize(wide, 21, 5);
    for (int y = 0; y < 21; ++y) {
        for (int x = 0; x < 21; ++x) {
            EXPECT_EQ(at(fitted, x, y, 2), y >= 8 && y < 13 ? at(inner, x, y - 8, 2) : 0) << x << " " << y;
        }
    }
    const Image tall = fit_square(noise(10, 40), 21, true);
    EXPECT_EQ(at(tall, 7, 10, 0), 0);
    EXPECT_EQ(at(tall, 13, 10, 0), 0);
    const Image line = fit_square(noise(500, 1), 20, true);  // at least one row is kept
    EXPECT_EQ(line.width, 20);
    EXPECT_TRUE(std::any_of(line.rgb.begin(), line.rgb.end(), [](int v) { return v != 0; }));
}

TEST(Resize, RefusesWhatIsNoImageOrNoSize) {
    const Image image = noise(4, 4);
    EXPECT_THROW(resize(Image{}, 3, 3), Error);
    EXPECT_THROW(resize(image, 0, 3), Error);
    EXPECT_THROW(resize(image, 3, -1), Error);
    EXPECT_THROW(resize(image, 40000, 1), Error);
    EXPECT_THROW(resize(image, 30000, 30000), Error);
    EXPECT_THROW(fit_square(image, 0, false), Error);
    Image short_by_one = image;
    short_by_one.rgb.pop_back();
    EXPECT_THROW(resize(short_by_one, 2, 2), Error);
    EXPECT_THROW(center_crop(short_by_one, 2, 2), Error);
}

}  // namespace
}  // namespace cutis
