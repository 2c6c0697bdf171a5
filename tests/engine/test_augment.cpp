#include "engine/augment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "engine/resize.h"
#include "kernels/error.h"

namespace cutis {
namespace {

constexpr float kMean[3] = {0.485f, 0.456f, 0.406f}, kStd[3] = {0.229f, 0.224f, 0.225f};
constexpr float kZero[3] = {0, 0, 0}, kOne[3] = {1, 1, 1};
constexpr std::array<std::uint8_t, 3> kBlack = {0, 0, 0};

struct Picture {
    int height, width;
    std::vector<std::uint8_t> rgb;

    Picture(int h, int w, std::uint32_t seed = 0) : height(h), width(w), rgb(static_cast<std::size_t>(h * w * 3)) {
        PhiloxStream random(seed, RandomPurpose::test);
        for (std::uint8_t& v : rgb) {
            v = static_cast<std::uint8_t>(random.below(256));
        }
    }
    std::uint8_t& at(int y, int x, int c) { return rgb[static_cast<std::size_t>((y * width + x) * 3 + c)]; }
    int at(int y, int x, int c) const { return rgb[static_cast<std::size_t>((y * width + x) * 3 + c)]; }
};

AugmentChoice whole(const Picture& p) {
    return {.crop_width = p.width, .crop_height = p.height};
}

// The result in 0..255, NHWC.
std::vector<float> apply(const Picture& p, const AugmentChoice& choice, int out_size,
                         const std::array<std::uint8_t, 3>& fill = kBlack) {
    std::vector<float> out(static_cast<std::size_t>(out_size * out_size * 3), -1.0f);
    apply_augmentation(p.rgb.data(), p.height, p.width, choice, fill, kZero, kOne, out_size, out.data());
    for (float& v : out) {
        v *= 255.0f;
    }
    return out;
}

float value(const std::vector<float>& out, int size, int y, int x, int c) {
    return out[static_cast<std::size_t>((y * size + x) * 3 + c)];
}

template <class Expected>
void expect_values(const std::vector<float>& out, int size, float tolerance, Expected expected) {
    for (int y = 0; y < size; ++y) {
        for (int x = 0; x < size; ++x) {
            for (int c = 0; c < 3; ++c) {
                ASSERT_NEAR(value(out, size, y, x, c), expected(y, x, c), tolerance) << y << " " << x << " " << c;
            }
        }
    }
}

PhiloxStream stream(std::uint64_t sample, std::uint32_t epoch = 0) {
    return {7, RandomPurpose::augment, epoch, sample};
}

TEST(Augment, ToFloatIsTheFormula) {
    const Picture p(5, 7);
    std::vector<float> out(p.rgb.size());
    to_float(p.rgb.data(), 5, 7, kMean, kStd, out.data());
    for (std::size_t i = 0; i < out.size(); ++i) {
        EXPECT_EQ(out[i], (static_cast<float>(p.rgb[i]) / 255.0f - kMean[i % 3]) / kStd[i % 3]);
    }
}

TEST(Augment, NothingAskedForIsToFloatBitForBit) {
    const Picture p(21, 21);
    std::vector<float> expected(p.rgb.size()), out(p.rgb.size());
    to_float(p.rgb.data(), 21, 21, kMean, kStd, expected.data());
    for (const AugmentOptions& options : {AugmentOptions{}, augment_preset("none")}) {
        PhiloxStream random = stream(3);
        augment_to_float(p.rgb.data(), 21, 21, options, random, kMean, kStd, 21, out.data());
        EXPECT_EQ(out, expected);
    }
}

TEST(Augment, AnotherSizeIsResized) {
    const Picture p(30, 40);
    const Image small = resize(Image{.width = 40, .height = 30, .rgb = p.rgb}, 11, 11);
    std::vector<float> expected(11 * 11 * 3), out(11 * 11 * 3);
    to_float(small.rgb.data(), 11, 11, kMean, kStd, expected.data());
    PhiloxStream random = stream(3);
    augment_to_float(p.rgb.data(), 30, 40, {}, random, kMean, kStd, 11, out.data());
    EXPECT_EQ(out, expected);
}

TEST(Augment, FlipsAreExact) {
    const Picture p(13, 13);
    for (const bool across : {false, true}) {
        for (const bool down : {false, true}) {
            AugmentChoice choice = whole(p);
            choice.horizontal_flip = across;
            choice.vertical_flip = down;
            expect_values(apply(p, choice, 13), 13, 1e-4f,
                          [&](int y, int x, int c) { return p.at(down ? 12 - y : y, across ? 12 - x : x, c); });
        }
    }
}

TEST(Augment, QuarterTurnsAreCounterClockwise) {
    const Picture p(10, 10);
    AugmentChoice choice = whole(p);
    choice.rotation_degrees = 90.0f;
    expect_values(apply(p, choice, 10), 10, 0.01f, [&](int y, int x, int c) { return p.at(x, 9 - y, c); });
    choice.rotation_degrees = -90.0f;
    expect_values(apply(p, choice, 10), 10, 0.01f, [&](int y, int x, int c) { return p.at(9 - x, y, c); });
    choice.rotation_degrees = 180.0f;
    expect_values(apply(p, choice, 10), 10, 0.01f, [&](int y, int x, int c) { return p.at(9 - y, 9 - x, c); });
}

// The whole map in double precision, pixel by pixel.
double sampled(const Picture& p, const AugmentChoice& a, const std::array<std::uint8_t, 3>& fill, int size, int y,
               int x, int c) {
    double u = ((x + 0.5) / size - 0.5) * a.crop_width * (a.horizontal_flip ? -1 : 1);
    double v = ((y + 0.5) / size - 0.5) * a.crop_height * (a.vertical_flip ? -1 : 1);
    const double angle = a.rotation_degrees * std::acos(-1.0) / 180;
    const double source_x = a.crop_left + a.crop_width / 2.0 + std::cos(angle) * u - std::sin(angle) * v - 0.5;
    const double source_y = a.crop_top + a.crop_height / 2.0 + std::sin(angle) * u + std::cos(angle) * v - 0.5;
    double sum = 0;
    for (int j = -2; j <= p.height + 1; ++j) {
        for (int i = -2; i <= p.width + 1; ++i) {
            const double weight = std::max(0.0, 1 - std::abs(source_x - i)) * std::max(0.0, 1 - std::abs(source_y - j));
            const bool inside = i >= 0 && i < p.width && j >= 0 && j < p.height;
            sum += weight * (inside ? p.at(j, i, c) : fill[static_cast<std::size_t>(c)]);
        }
    }
    const bool outside = source_x <= -1 || source_x >= p.width || source_y <= -1 || source_y >= p.height;
    return outside ? fill[static_cast<std::size_t>(c)] : sum;
}

TEST(Augment, TheAffineMapAgreesWithItsDefinition) {
    const std::array<std::uint8_t, 3> fill = {10, 200, 90};
    PhiloxStream random(5, RandomPurpose::test);
    for (int trial = 0; trial < 60; ++trial) {
        const Picture p(8 + static_cast<int>(random.below(12)), 8 + static_cast<int>(random.below(12)), random.next());
        AugmentChoice a;
        a.horizontal_flip = random.below(2) == 1;
        a.vertical_flip = random.below(2) == 1;
        a.rotation_degrees = random.uniform(-180.0f, 180.0f);
        a.crop_width = 1 + static_cast<int>(random.below(static_cast<std::uint32_t>(p.width)));
        a.crop_height = 1 + static_cast<int>(random.below(static_cast<std::uint32_t>(p.height)));
        a.crop_left = static_cast<int>(random.below(static_cast<std::uint32_t>(p.width - a.crop_width + 1)));
        a.crop_top = static_cast<int>(random.below(static_cast<std::uint32_t>(p.height - a.crop_height + 1)));
        const int size = 10 + static_cast<int>(random.below(9));
        expect_values(apply(p, a, size, fill), size, 0.02f,
                      [&](int y, int x, int c) { return static_cast<float>(sampled(p, a, fill, size, y, x, c)); });
    }
}

TEST(Augment, TheLastPixelOfTheImageIsNotReadPast) {
    // In a block of exactly its size, where the address sanitizer sees one byte more.
    for (const int size : {1, 2, 3, 5}) {
        const Picture p(size, size);
        AugmentChoice choice = whole(p);
        choice.vertical_flip = true;
        expect_values(apply(p, choice, size), size, 1e-4f,
                      [&](int y, int x, int c) { return p.at(size - 1 - y, x, c); });
        choice.rotation_degrees = 0.001f;
        apply(p, choice, size);
        apply(p, choice, 40);
    }
}

TEST(Augment, OutsideIsFill) {
    Picture p(20, 20);
    std::fill(p.rgb.begin(), p.rgb.end(), std::uint8_t{100});
    AugmentChoice choice = whole(p);
    choice.rotation_degrees = 45.0f;
    const std::vector<float> out = apply(p, choice, 20, {7, 8, 9});
    for (int c = 0; c < 3; ++c) {
        EXPECT_NEAR(value(out, 20, 0, 0, c), static_cast<float>(7 + c), 1e-3f);
        EXPECT_NEAR(value(out, 20, 19, 19, c), static_cast<float>(7 + c), 1e-3f);
        EXPECT_NEAR(value(out, 20, 10, 10, c), 100.0f, 1e-3f);
    }
}

TEST(Augment, CropSeesOnlyItsBox) {
    // Outside the box everything is white; no white may come in where the box keeps its size.
    Picture p(24, 30);
    for (int y = 0; y < 24; ++y) {
        for (int x = 0; x < 30; ++x) {
            for (int c = 0; c < 3; ++c) {
                p.at(y, x, c) = static_cast<std::uint8_t>(x >= 5 && x < 17 && y >= 9 && y < 21 ? 3 * x + y + c : 255);
            }
        }
    }
    const AugmentChoice choice{.crop_left = 5, .crop_top = 9, .crop_width = 12, .crop_height = 12};
    expect_values(apply(p, choice, 12), 12, 1e-3f, [&](int y, int x, int c) { return p.at(9 + y, 5 + x, c); });
}

TEST(Augment, ReductionLooksAtEveryPixel) {
    // A checkerboard of single pixels: four samples a pixel at an eighth of the size would show the pattern.
    Picture p(64, 64);
    for (int y = 0; y < 64; ++y) {
        for (int x = 0; x < 64; ++x) {
            for (int c = 0; c < 3; ++c) {
                p.at(y, x, c) = (x / 2 + y / 2) % 2 == 0 ? 200 : 100;
            }
        }
    }
    AugmentChoice choice = whole(p);
    choice.horizontal_flip = true;
    expect_values(apply(p, choice, 8), 8, 12.0f, [](int, int, int) { return 150.0f; });
    // And a bright corner stays where it belongs.
    Picture q(64, 64);
    for (int i = 0; i < 64 * 64 * 3; ++i) {
        q.rgb[static_cast<std::size_t>(i)] = i / 3 % 64 < 16 && i / 192 < 16 ? 250 : 10;
    }
    const std::vector<float> out = apply(q, choice, 8);
    EXPECT_GT(value(out, 8, 0, 7, 0), 200.0f);
    EXPECT_LT(value(out, 8, 0, 0, 0), 30.0f);
    EXPECT_LT(value(out, 8, 7, 7, 0), 30.0f);
}

// torchvision's definitions, in 0..255 and double precision; the greys' weights sum to 1.
double grey(const Picture& p, int y, int x) {
    return 0.299 * p.at(y, x, 0) + 0.587 * p.at(y, x, 1) + 0.114 * p.at(y, x, 2);
}
float clamped(double v) {
    return static_cast<float>(std::clamp(v, 0.0, 255.0));
}

TEST(Augment, BrightnessContrastAndSaturationAsTorchvision) {
    const Picture p(9, 9);
    double mean = 0;
    for (int i = 0; i < 81; ++i) {
        mean += grey(p, i / 9, i % 9) / 81;
    }
    for (const float factor : {0.0f, 0.6f, 1.5f}) {
        AugmentChoice choice = whole(p);
        choice.brightness = factor;
        expect_values(apply(p, choice, 9), 9, 0.01f,
                      [&](int y, int x, int c) { return clamped(factor * p.at(y, x, c)); });
        choice = whole(p);
        choice.contrast = factor;
        expect_values(apply(p, choice, 9), 9, 0.01f,
                      [&](int y, int x, int c) { return clamped(factor * p.at(y, x, c) + (1 - factor) * mean); });
        choice = whole(p);
        choice.saturation = factor;
        expect_values(apply(p, choice, 9), 9, 0.01f, [&](int y, int x, int c) {
            return clamped(factor * p.at(y, x, c) + (1 - factor) * grey(p, y, x));
        });
    }
}

TEST(Augment, HueTurnsColoursAndKeepsGreys) {
    Picture p(4, 4);
    for (int i = 0; i < 16; ++i) {
        p.at(i / 4, i % 4, 0) = 140;
        p.at(i / 4, i % 4, 1) = p.at(i / 4, i % 4, 2) = 110;
    }
    AugmentChoice choice = whole(p);
    choice.hue = 1.0f / 3.0f;  // red becomes green, as in HSV
    std::vector<float> out = apply(p, choice, 4);
    EXPECT_GT(out[1], out[0] + 10);
    EXPECT_GT(out[1], out[2] + 10);
    EXPECT_NEAR(0.299 * out[0] + 0.587 * out[1] + 0.114 * out[2], 0.299 * 140 + 0.701 * 110, 0.01);
    choice.hue = -1.0f / 3.0f;  // red becomes blue
    out = apply(p, choice, 4);
    EXPECT_GT(out[2], out[0] + 10);
    EXPECT_GT(out[2], out[1] + 10);
    choice.hue = 1.0f;  // a full turn
    out = apply(p, choice, 4);
    EXPECT_NEAR(out[0], 140, 0.01);
    EXPECT_NEAR(out[1], 110, 0.01);
    std::fill(p.rgb.begin(), p.rgb.end(), std::uint8_t{77});
    choice.hue = 0.4f;
    expect_values(apply(p, choice, 4), 4, 0.01f, [](int, int, int) { return 77.0f; });
}

TEST(Augment, ColoursComposeInAnyOrder) {
    // Away from the clamp: saturation, then brightness, then contrast, one after the other by the definitions.
    Picture p(8, 8);
    for (std::uint8_t& v : p.rgb) {
        v = static_cast<std::uint8_t>(90 + v % 60);
    }
    AugmentChoice choice = whole(p);
    choice.saturation = 1.3f;
    choice.brightness = 0.9f;
    choice.contrast = 1.2f;
    double mean = 0;
    for (int i = 0; i < 64; ++i) {
        mean += 0.9 * grey(p, i / 8, i % 8) / 64;
    }
    expect_values(apply(p, choice, 8), 8, 0.01f, [&](int y, int x, int c) {
        const double saturated = 1.3 * p.at(y, x, c) - 0.3 * grey(p, y, x);
        return clamped(1.2 * 0.9 * saturated - 0.2 * mean);
    });
}

TEST(Augment, NormalisationIsLast) {
    const Picture p(6, 6);
    AugmentChoice choice = whole(p);
    choice.brightness = 1.4f;
    choice.vertical_flip = true;
    std::vector<float> out(p.rgb.size());
    apply_augmentation(p.rgb.data(), 6, 6, choice, kBlack, kMean, kStd, 6, out.data());
    for (int i = 0; i < 108; ++i) {
        const int y = i / 18, x = i / 3 % 6, c = i % 3;
        EXPECT_NEAR(out[static_cast<std::size_t>(i)], (clamped(1.4 * p.at(5 - y, x, c)) / 255 - kMean[c]) / kStd[c],
                    1e-5f);
    }
}

TEST(Augment, CutoutIsASquareOfTheMeanColour) {
    const Picture p(16, 16);
    std::vector<float> plain(p.rgb.size()), out(p.rgb.size());
    to_float(p.rgb.data(), 16, 16, kMean, kStd, plain.data());
    for (const auto& [x0, y0] : std::vector<std::pair<int, int>>{{8, 5}, {0, 0}, {15, 15}, {1, 14}}) {
        AugmentChoice choice = whole(p);
        choice.cutout = 5;
        choice.cutout_x = x0;
        choice.cutout_y = y0;
        apply_augmentation(p.rgb.data(), 16, 16, choice, kBlack, kMean, kStd, 16, out.data());
        for (int i = 0; i < 16 * 16 * 3; ++i) {
            const int y = i / 48, x = i / 3 % 16;
            const bool hole = std::abs(x - x0) <= 2 && std::abs(y - y0) <= 2;
            EXPECT_EQ(out[static_cast<std::size_t>(i)], hole ? 0.0f : plain[static_cast<std::size_t>(i)])
                << x << " " << y;
        }
    }
    AugmentChoice all = whole(p);
    all.cutout = 1'000'000'000;
    apply_augmentation(p.rgb.data(), 16, 16, all, kBlack, kMean, kStd, 16, out.data());
    EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](float v) { return v == 0.0f; }));
}

TEST(Augment, TheStreamAloneDecides) {
    const Picture p(32, 32);
    const AugmentOptions options = augment_preset("full");
    const auto run = [&](std::uint64_t sample, std::uint32_t epoch) {
        std::vector<float> out(24 * 24 * 3);
        PhiloxStream random = stream(sample, epoch);
        augment_to_float(p.rgb.data(), 32, 32, options, random, kMean, kStd, 24, out.data());
        return out;
    };
    const std::vector<float> first = run(1, 0);
    EXPECT_NE(run(2, 0), first);
    EXPECT_NE(run(1, 1), first);
    EXPECT_EQ(run(1, 0), first);
}

TEST(Augment, TheCountOfDrawsNeverChanges) {
    AugmentOptions only_cutout;
    only_cutout.cutout = 4;
    for (const AugmentOptions& options :
         {AugmentOptions{}, augment_preset("light"), augment_preset("full"), only_cutout}) {
        for (std::uint64_t sample = 0; sample < 50; ++sample) {
            PhiloxStream random = stream(sample), counted = stream(sample);
            draw_augmentation(options, 20, 33, 16, random);
            for (int i = 0; i < kAugmentDraws; ++i) {
                counted.next();
            }
            EXPECT_EQ(random.next(), counted.next());
        }
    }
}

TEST(Augment, SwitchingOneOffLeavesTheOthersAsTheyWere) {
    const AugmentOptions full = augment_preset("full");
    AugmentOptions no_rotation = full;
    no_rotation.rotation_degrees = 0;
    PhiloxStream one = stream(9), other = stream(9);
    const AugmentChoice a = draw_augmentation(full, 64, 64, 48, one),
                        b = draw_augmentation(no_rotation, 64, 64, 48, other);
    EXPECT_NE(a.rotation_degrees, 0.0f);
    EXPECT_EQ(b.rotation_degrees, 0.0f);
    EXPECT_EQ(a.crop_left, b.crop_left);
    EXPECT_EQ(a.crop_width, b.crop_width);
    EXPECT_EQ(a.hue, b.hue);
    EXPECT_EQ(a.cutout_x, b.cutout_x);
    EXPECT_EQ(a.horizontal_flip, b.horizontal_flip);
}

TEST(Augment, StatisticsOfDraws) {
    AugmentOptions options = augment_preset("full");
    options.horizontal_flip = 0.25f;
    options.crop_scale_min = 0.3f;
    options.crop_scale_max = 0.7f;
    constexpr int kCount = 20'000, kHeight = 200, kWidth = 240, kOut = 100;
    double flips = 0, rotation = 0, rotation_squared = 0, area = 0, log_aspect = 0, left_share = 0, brightness = 0,
           hue = 0, hole = 0;
    double smallest = 1, largest = 0, widest = 0;
    for (int i = 0; i < kCount; ++i) {
        PhiloxStream random = stream(static_cast<std::uint64_t>(i));
        const AugmentChoice a = draw_augmentation(options, kHeight, kWidth, kOut, random);
        flips += a.horizontal_flip;
        rotation += a.rotation_degrees;
        rotation_squared += a.rotation_degrees * a.rotation_degrees;
        const double share = static_cast<double>(a.crop_width) * a.crop_height / (kHeight * kWidth);
        area += share;
        smallest = std::min(smallest, share);
        largest = std::max(largest, share);
        const double aspect = std::log(static_cast<double>(a.crop_width) / a.crop_height);
        log_aspect += aspect;
        widest = std::max(widest, std::abs(aspect));
        left_share += a.crop_width < kWidth ? static_cast<double>(a.crop_left) / (kWidth - a.crop_width) : 0.5;
        brightness += a.brightness;
        hue += a.hue;
        hole += a.cutout_x;
        ASSERT_GE(a.crop_left, 0);
        ASSERT_GE(a.crop_top, 0);
        ASSERT_LE(a.crop_left + a.crop_width, kWidth);
        ASSERT_LE(a.crop_top + a.crop_height, kHeight);
        ASSERT_GE(a.brightness, 0.8f);
        ASSERT_LE(a.brightness, 1.2f);
        ASSERT_LE(std::abs(a.hue), 0.05f);
        ASSERT_GE(a.cutout_x, 0);
        ASSERT_LT(a.cutout_x, kOut);
    }
    // Bounds of about five standard errors.
    EXPECT_NEAR(flips / kCount, 0.25, 0.016);
    EXPECT_NEAR(rotation / kCount, 0.0, 3.7);
    EXPECT_NEAR(rotation_squared / kCount, 180.0 * 180.0 / 3, 350.0);
    EXPECT_NEAR(area / kCount, 0.5, 0.005);
    EXPECT_NEAR(log_aspect / kCount, 0.0, 0.01);
    EXPECT_NEAR(smallest, 0.3, 0.01);
    EXPECT_NEAR(largest, 0.7, 0.01);
    EXPECT_NEAR(widest, std::log(4.0 / 3.0), 0.02);
    EXPECT_NEAR(left_share / kCount, 0.5, 0.012);
    EXPECT_NEAR(brightness / kCount, 1.0, 0.005);
    EXPECT_NEAR(hue / kCount, 0.0, 0.002);
    EXPECT_NEAR(hole / kCount, (kOut - 1) / 2.0, 1.1);
}

TEST(Augment, ACropThatNeverFitsFallsBackToTheMiddle) {
    AugmentOptions options;
    options.crop_scale_min = 0.99f;
    options.crop_aspect = 1.001f;
    PhiloxStream random = stream(0);
    const AugmentChoice a = draw_augmentation(options, 10, 100, 8, random);
    EXPECT_EQ(a.crop_width, 10);
    EXPECT_EQ(a.crop_height, 10);
    EXPECT_EQ(a.crop_left, 45);
    EXPECT_EQ(a.crop_top, 0);
}

TEST(Augment, OptionsOutOfRangeAreRefusedByName) {
    const auto message = [](auto change) {
        AugmentOptions options;
        change(options);
        PhiloxStream random = stream(0);
        try {
            draw_augmentation(options, 8, 8, 8, random);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    const auto expect = [](const std::string& text, const std::string& part) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
    };
    expect(message([](AugmentOptions& o) { o.horizontal_flip = 1.5f; }), "horizontal_flip");
    expect(message([](AugmentOptions& o) { o.vertical_flip = -0.1f; }), "vertical_flip");
    expect(message([](AugmentOptions& o) { o.vertical_flip = std::nanf(""); }), "vertical_flip");
    expect(message([](AugmentOptions& o) { o.rotation_degrees = 200; }), "rotation_degrees");
    expect(message([](AugmentOptions& o) { o.crop_scale_min = 0; }), "crop scales");
    expect(message([](AugmentOptions& o) { o.crop_scale_max = 0.5f; }), "crop scales");
    expect(message([](AugmentOptions& o) { o.crop_aspect = 0.5f; }), "crop_aspect");
    expect(message([](AugmentOptions& o) { o.hue = 0.6f; }), "hue");
    expect(message([](AugmentOptions& o) { o.contrast = -1; }), "contrast");
    expect(message([](AugmentOptions& o) { o.cutout = -3; }), "cutout");
    EXPECT_EQ(message([](AugmentOptions&) {}), "");
    EXPECT_THROW(augment_preset("heavy"), Error);
}

TEST(Augment, SourcesHaveTheSidesThatAreForeseen) {
    for (const auto& [side, out_size] : {std::pair{90, 20}, {64, 64}, {40, 17}, {10, 24}, {450, 128}, {7, 1}, {1, 5}}) {
        const std::vector<int> foreseen = augmentation_sides(side, out_size);
        EXPECT_EQ(foreseen.front(), side);
        std::vector<int> met;
        for (const char* preset : {"none", "light", "full"}) {
            AugmentOptions options = augment_preset(preset);
            options.crop_scale_min = 0.02f;
            for (const AugmentOptions& each : {options, augment_preset(preset)}) {
                PhiloxStream random(7, RandomPurpose::augment);
                for (int i = 0; i < 300; ++i) {
                    const AugmentPlan plan =
                        plan_augmentation(draw_augmentation(each, side, side, out_size, random), side, side, out_size);
                    ASSERT_EQ(plan.source_height, plan.source_width);
                    ASSERT_EQ(plan.sample.width, plan.source_width);
                    met.push_back(plan.source_width);
                }
            }
        }
        for (const int each : met) {
            EXPECT_NE(std::find(foreseen.begin(), foreseen.end(), each), foreseen.end()) << each;
        }
        // And none of them in vain.
        for (const int each : foreseen) {
            EXPECT_NE(std::find(met.begin(), met.end(), each), met.end()) << side << " to " << out_size << ": " << each;
        }
    }
}

}  // namespace
}  // namespace cutis
