#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/augment.h"
#include "kernels/error.h"
#include "kernels/philox.h"
#include "tests/support/device_array.h"
#include "tests/support/device_values.h"

// cuda::augment against its definition in double, written from the words of kernels/augment.h alone.

namespace cutis::testing {
namespace {

constexpr AugmentLook kLook{{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}, {12, 200, 77}};

// Noise, the sharpest thing to sample, for images that lie one after the other.
std::vector<std::uint8_t> noise(std::size_t bytes) {
    PhiloxStream random(3, RandomPurpose::test);
    std::vector<std::uint8_t> values(bytes);
    for (std::uint8_t& value : values) {
        value = static_cast<std::uint8_t>(random.below(256));
    }
    return values;
}

struct Colour {
    double v[3];
};

Colour pixel_of(const std::vector<std::uint8_t>& images, const AugmentSample& s, double row, double column) {
    if (row < 0 || column < 0 || row >= s.height || column >= s.width) {
        return {{double(kLook.fill[0]), double(kLook.fill[1]), double(kLook.fill[2])}};
    }
    const auto at = static_cast<std::size_t>(s.first + (std::int64_t(row) * s.width + std::int64_t(column)) * 3);
    return {{double(images[at]), double(images[at + 1]), double(images[at + 2])}};
}

Colour sampled(const std::vector<std::uint8_t>& images, const AugmentSample& s, int x, int y) {
    if (s.sampled == 0) {
        return pixel_of(images, s, y, x);
    }
    const double column = s.a * x + s.b * y + s.c, row = s.d * x + s.e * y + s.f;
    const double left = std::floor(column), upper = std::floor(row);
    Colour sum{};
    for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
            const double weight =
                (i == 0 ? 1 - (row - upper) : row - upper) * (j == 0 ? 1 - (column - left) : column - left);
            const Colour corner = pixel_of(images, s, upper + i, left + j);
            for (int c = 0; c < 3; ++c) {
                sum.v[c] += weight * corner.v[c];
            }
        }
    }
    return sum;
}

std::vector<double> define(const std::vector<std::uint8_t>& images, const AugmentSample& s, int size) {
    double grey = 0.0;
    for (int i = 0; i < size * size; ++i) {
        const Colour p = sampled(images, s, i % size, i / size);
        grey += kLuma[0] * p.v[0] + kLuma[1] * p.v[1] + kLuma[2] * p.v[2];
    }
    grey /= size * size;
    std::vector<double> out;
    for (int i = 0; i < size * size; ++i) {
        const int x = i % size, y = i / size;
        const bool hole = x >= s.hole_left && x < s.hole_right && y >= s.hole_top && y < s.hole_bottom;
        const Colour p = sampled(images, s, x, y);
        for (int c = 0; c < 3; ++c) {
            double value = p.v[c];
            if (s.coloured != 0) {
                value = double(s.contrast) * grey;
                for (int j = 0; j < 3; ++j) {
                    value += double(s.colours[j][c]) * p.v[j];
                }
                value = std::clamp(value, 0.0, 255.0);
            }
            out.push_back(hole ? 0.0 : (value / 255.0 - double(kLook.mean[c])) / double(kLook.std[c]));
        }
    }
    return out;
}

void set_colours(AugmentSample& s, float contrast) {
    const float colours[3][3] = {{1.1f, 0.05f, -0.1f}, {-0.2f, 0.9f, 0.15f}, {0.1f, -0.05f, 1.2f}};
    std::copy(&colours[0][0], &colours[0][0] + 9, &s.colours[0][0]);
    s.sampled = s.coloured = 1;
    s.contrast = contrast;
}

// One of each kind for images of height x width that lie one after the other.
std::vector<AugmentSample> samples_of(int count, int height, int width, int size) {
    std::vector<AugmentSample> samples(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        AugmentSample& s = samples[static_cast<std::size_t>(i)];
        s.first = std::int64_t{(i * 5) % count} * height * width * 3;
        s.height = height;
        s.width = width;
        s.sampled = 1;
        s.a = double(width) / size;
        s.e = double(height) / size;
        s.c = (s.a - 1) / 2;
        s.f = (s.e - 1) / 2;
        switch (i % 5) {
            case 0:  // taken as it is where it has the size, else scaled
                s.sampled = height == size && width == size ? 0 : 1;
                break;
            case 1:  // mirrored, a crop
                s.a *= -0.7;
                s.c = 0.8 * (width - 1);
                s.e *= 0.5;
                s.f = 0.3 * height;
                break;
            case 2:  // turned beyond the edges
                s.b = 0.6 * s.a;
                s.d = -0.8 * s.e;
                s.f += 0.5 * height;
                break;
            case 3:
                set_colours(s, 0.4f);
                break;
            case 4:
                set_colours(s, 0.0f);
                s.hole_left = size / 3;
                s.hole_right = size;
                s.hole_top = 0;
                s.hole_bottom = size / 2;
                break;
        }
    }
    return samples;
}

struct Made {
    std::vector<float> values;
    bool intact;
};

template <class T>
Made make(const std::vector<std::uint8_t>& images, const std::vector<AugmentSample>& samples, int size) {
    const DeviceValues<std::uint8_t> bytes(images);
    const DeviceValues<AugmentSample> records(samples);
    const int n = static_cast<int>(samples.size());
    const DeviceArray<T> out(std::int64_t{n} * size * size * 3);
    const bool contrast = std::any_of(samples.begin(), samples.end(), [](const auto& s) { return s.contrast != 0.0f; });
    cuda::augment(out.data(), bytes.data(), records.data(), kLook, contrast, n, size, {});
    return {out.values(), out.intact()};
}

struct Case {
    int n, height, width, size;
};

class CudaAugment : public ::testing::TestWithParam<Case> {};

TEST_P(CudaAugment, MakesWhatItsDefinitionSays) {
    const auto [n, height, width, size] = GetParam();
    const std::vector<std::uint8_t> images = noise(static_cast<std::size_t>(n * height * width * 3));
    const std::vector<AugmentSample> samples = samples_of(n, height, width, size);
    const Made fp32 = make<float>(images, samples, size), bf16 = make<BFloat16>(images, samples, size);
    EXPECT_TRUE(fp32.intact && bf16.intact);
    const auto values = static_cast<std::size_t>(size * size * 3);
    for (std::size_t i = 0; i < samples.size(); ++i) {
        const std::vector<double> expected = define(images, samples[i], size);
        for (std::size_t k = 0; k < values; ++k) {
            const double e = expected[k];
            // A hundredth of a grey level: a float's coordinate is off by some 1e-5 of a pixel, next to which the noise
            // changes by up to 255 levels.
            ASSERT_NEAR(fp32.values[i * values + k], e, 0.01 / 255.0 / 0.22) << "image " << i << ", value " << k;
            ASSERT_NEAR(bf16.values[i * values + k], e, 0.01 / 255.0 / 0.22 + std::abs(e) / 256.0)
                << "bf16, image " << i << ", value " << k;
        }
    }
    EXPECT_EQ(make<float>(images, samples, size).values, fp32.values) << "the same again";
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaAugment,
                         ::testing::Values(Case{5, 32, 32, 32}, Case{10, 33, 33, 33}, Case{5, 20, 31, 17},
                                           Case{6, 1, 1, 5}, Case{5, 9, 6, 1}, Case{4, 2, 3, 70}, Case{1, 64, 64, 64},
                                           Case{0, 4, 4, 8}),
                         [](const auto& tested) {
                             const Case& c = tested.param;
                             return "n" + std::to_string(c.n) + "_" + std::to_string(c.height) + "x" +
                                    std::to_string(c.width) + "_to_" + std::to_string(c.size);
                         });

// Bit for bit what to_float gives: mean and standard deviation are applied with its three roundings.
TEST(CudaAugment, AnImageThatIsTakenAsItIsIsExact) {
    const std::vector<std::uint8_t> images = noise(16 * 16 * 3);
    AugmentSample sample;
    sample.height = sample.width = 16;
    const Made made = make<float>(images, {sample}, 16);
    for (std::size_t i = 0; i < images.size(); ++i) {
        const std::size_t c = i % 3;
        ASSERT_EQ(made.values[i], (static_cast<float>(images[i]) / 255.0f - kLook.mean[c]) / kLook.std[c]) << i;
    }
}

// A recorded launch reads its samples anew, contrast or not.
TEST(CudaAugment, SamplesMayChangeBetweenLaunches) {
    constexpr int kSide = 40;
    const std::vector<std::uint8_t> images = noise(2 * kSide * kSide * 3);
    const std::vector<AugmentSample> all = samples_of(5, kSide, kSide, kSide);
    const DeviceValues<std::uint8_t> bytes(images);
    DeviceValues<AugmentSample> record(all[3]);
    const DeviceArray<float> out(kSide * kSide * 3);
    for (const std::size_t i : {3u, 1u, 4u, 3u}) {
        AugmentSample sample = all[i];
        sample.first %= kSide * kSide * 3 * 2;
        record.set({sample});
        cuda::augment(out.data(), bytes.data(), record.data(), kLook, true, 1, kSide, {});
        EXPECT_EQ(out.values(), make<float>(images, {sample}, kSide).values) << i;
    }
}

TEST(CudaAugment, SizesOutOfRangeAreRefused) {
    EXPECT_THROW(cuda::augment<float>(nullptr, nullptr, nullptr, kLook, false, -1, 8, {}), Error);
    EXPECT_THROW(cuda::augment<float>(nullptr, nullptr, nullptr, kLook, false, 1, 0, {}), Error);
    EXPECT_THROW(cuda::augment<float>(nullptr, nullptr, nullptr, kLook, false, 1 << 30, 16384, {}), Error);
}

}  // namespace
}  // namespace cutis::testing
