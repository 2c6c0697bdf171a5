#include "engine/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "engine/resize.h"
#include "kernels/error.h"

namespace cutis {
namespace {

// A pixel in four lanes; the fourth carries whatever byte follows and is never stored. The compiler's vectors, not one
// processor's: SSE2 and NEON both do. The widening is spelled out in the two interleaving steps that both have as
// instructions, and the store in two parts, because g++ 12 otherwise goes lane by lane and through the stack.
using Pixel = float __attribute__((vector_size(16)));

Pixel load_pixel(const std::uint8_t* rgb) {  // reads four bytes
    using Words = std::int32_t __attribute__((vector_size(16)));
    using Halves = std::uint16_t __attribute__((vector_size(16)));
    using Bytes = std::uint8_t __attribute__((vector_size(16)));
    std::int32_t word = 0;
    std::memcpy(&word, rgb, sizeof(word));
    const auto bytes = reinterpret_cast<Bytes>(Words{word, 0, 0, 0});
    const auto halves = reinterpret_cast<Halves>(
        __builtin_shufflevector(bytes, Bytes{}, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
    const auto words = reinterpret_cast<Words>(__builtin_shufflevector(halves, Halves{}, 0, 8, 1, 9, 2, 10, 3, 11));
    return __builtin_convertvector(words, Pixel);
}

void store_pixel(float* out, Pixel pixel) {
    using Pairs = double __attribute__((vector_size(16)));
    const double first_two = reinterpret_cast<Pairs>(pixel)[0];
    std::memcpy(out, &first_two, sizeof(first_two));
    out[2] = pixel[2];
}

// The sample's affine map: from the output over the unit square about its centre, mirrored, rotated, to the crop in the
// source.
void map_output_to_source(AugmentSample& map, const AugmentChoice& choice, int out_size) {
    const double angle = choice.rotation_degrees * std::numbers::pi / 180.0;
    const double cosine = std::cos(angle), sine = std::sin(angle);
    const double step_x = static_cast<double>(choice.crop_width) / out_size * (choice.horizontal_flip ? -1 : 1);
    const double step_y = static_cast<double>(choice.crop_height) / out_size * (choice.vertical_flip ? -1 : 1);
    const double middle = (out_size - 1) / 2.0;
    map.a = cosine * step_x;
    map.b = -sine * step_y;
    map.d = sine * step_x;
    map.e = cosine * step_y;
    map.c = choice.crop_left + (choice.crop_width - 1) / 2.0 - (map.a + map.b) * middle;
    map.f = choice.crop_top + (choice.crop_height - 1) / 2.0 - (map.d + map.e) * middle;
}

// Bilinear sampling of an image; beyond its edge everything is `fill`.
class Sampler {
  public:
    Sampler(const std::uint8_t* rgb, int height, int width, const std::array<std::uint8_t, 3>& fill)
        : rgb_(rgb), height_(height), width_(width), fill_{float(fill[0]), float(fill[1]), float(fill[2]), 0.0f} {}

    Pixel operator()(float x, float y) const {
        // Four bytes of a three-byte pixel are read: past the end for the last pixel of the image, so the last column
        // is not taken the quick way. Written so that NaN is outside.
        if (x >= 0.0f && y >= 0.0f && x < static_cast<float>(width_ - 2) && y < static_cast<float>(height_ - 1))
            [[likely]] {
            const int column = static_cast<int>(x), row = static_cast<int>(y);
            const std::uint8_t* p = at(row, column);
            const std::uint8_t* q = p + static_cast<std::ptrdiff_t>(width_) * 3;
            return blend(load_pixel(p), load_pixel(p + 3), load_pixel(q), load_pixel(q + 3),
                         x - static_cast<float>(column), y - static_cast<float>(row));
        }
        return near_edge(x, y);
    }

  private:
    const std::uint8_t* at(int row, int column) const {
        return rgb_ + (static_cast<std::ptrdiff_t>(row) * width_ + column) * 3;
    }
    static Pixel blend(Pixel p00, Pixel p01, Pixel p10, Pixel p11, float right, float down) {
        const Pixel upper = p00 + (p01 - p00) * right, lower = p10 + (p11 - p10) * right;
        return upper + (lower - upper) * down;
    }
    Pixel tap(int row, int column) const {
        if (row < 0 || row >= height_ || column < 0 || column >= width_) {
            return fill_;
        }
        const std::uint8_t* p = at(row, column);
        return Pixel{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), 0.0f};
    }
    [[gnu::noinline]] Pixel near_edge(float x, float y) const {
        if (!(x > -1.0f && y > -1.0f && x < static_cast<float>(width_) && y < static_cast<float>(height_))) {
            return fill_;
        }
        const float left = std::floor(x), upper = std::floor(y);
        const int column = static_cast<int>(left), row = static_cast<int>(upper);
        return blend(tap(row, column), tap(row, column + 1), tap(row + 1, column), tap(row + 1, column + 1), x - left,
                     y - upper);
    }

    const std::uint8_t* rgb_;
    int height_, width_;
    Pixel fill_;
};

// Fills `out` with samples of 0..255 and returns their mean colour, which contrast needs. Measured at 224x224 on one
// core of an AMD EPYC (Zen 5, g++ 12 -O3): 0.25 ms of the 0.34 ms that preset "full" takes.
std::array<double, 3> gather(const Sampler& sample, const AugmentSample& map, int out_size, float* out) {
    std::array<double, 3> sum{};
    const float step_x = static_cast<float>(map.a), step_y = static_cast<float>(map.d);
    for (int y = 0; y < out_size; ++y) {
        const float row_x = static_cast<float>(map.b * y + map.c), row_y = static_cast<float>(map.e * y + map.f);
        Pixel row_sum{};
        for (int x = 0; x < out_size; ++x, out += 3) {
            const float column = static_cast<float>(x);
            const Pixel pixel = sample(row_x + step_x * column, row_y + step_y * column);
            row_sum += pixel;
            store_pixel(out, pixel);
        }
        for (std::size_t c = 0; c < 3; ++c) {
            sum[c] += row_sum[c];
        }
    }
    for (double& s : sum) {
        s /= static_cast<double>(out_size) * out_size;
    }
    return sum;
}

// The colour jitter as one affine map of (r, g, b), torchvision's definitions, with g(p) the grey of a pixel:
// brightness b * p; contrast c * p + (1 - c) * mean of g; saturation s * p + (1 - s) * g(p). The hue turns the chroma
// plane of YUV instead of HSV's hexagon, which makes it linear and keeps the grey. Without a clamp between them these
// four commute (saturation and hue change no grey, brightness scales all alike), so that they need no random order and
// are one matrix. torchvision clamps after each and draws their order.
void map_colours(AugmentSample& map, const AugmentChoice& choice) {
    // Scales of U and V in BT.601; they give the angle its meaning.
    constexpr double kU = 0.492111, kV = 0.877283;
    const double angle = 2.0 * std::numbers::pi * choice.hue;
    const double cosine = std::cos(angle), sine = std::sin(angle);
    const double gain = static_cast<double>(choice.brightness) * choice.contrast;
    for (std::size_t from = 0; from < 3; ++from) {
        std::array<double, 3> unit{};
        unit[from] = 1.0;
        const double grey = kLuma[from];
        const double u = kU * (unit[2] - grey), v = kV * (unit[0] - grey);
        const double red = grey + choice.saturation * (sine * u + cosine * v) / kV;
        const double blue = grey + choice.saturation * (cosine * u - sine * v) / kU;
        const double green = (grey - kLuma[0] * red - kLuma[2] * blue) / kLuma[1];
        map.colours[from][0] = float(gain * red);
        map.colours[from][1] = float(gain * green);
        map.colours[from][2] = float(gain * blue);
    }
    map.contrast = static_cast<float>(choice.brightness * (1.0 - choice.contrast));
}

bool changes_colour(const AugmentChoice& choice) {
    return choice.brightness != 1.0f || choice.contrast != 1.0f || choice.saturation != 1.0f || choice.hue != 0.0f;
}

// Colour and normalisation of samples of 0..255, in place.
void finish_pixels(const AugmentSample& map, const std::array<double, 3>& mean_colour, const float mean[3],
                   const float std[3], std::size_t pixels, float* out) {
    const Pixel scale{1.0f / (255.0f * std[0]), 1.0f / (255.0f * std[1]), 1.0f / (255.0f * std[2]), 0.0f};
    const Pixel shift{-mean[0] / std[0], -mean[1] / std[1], -mean[2] / std[2], 0.0f};
    if (map.coloured == 0) {
        for (std::size_t i = 0; i < pixels; ++i, out += 3) {
            store_pixel(out, Pixel{out[0], out[1], out[2], 0.0f} * scale + shift);
        }
        return;
    }
    const auto column = [&](int from) {
        return Pixel{map.colours[from][0], map.colours[from][1], map.colours[from][2], 0.0f};
    };
    const Pixel red = column(0), green = column(1), blue = column(2);
    const double mean_grey = kLuma[0] * mean_colour[0] + kLuma[1] * mean_colour[1] + kLuma[2] * mean_colour[2];
    const float added = static_cast<float>(map.contrast * mean_grey);
    const Pixel offset{added, added, added, 0.0f}, zero{}, full{255.0f, 255.0f, 255.0f, 255.0f};
    for (std::size_t i = 0; i < pixels; ++i, out += 3) {
        Pixel pixel = red * out[0] + green * out[1] + blue * out[2] + offset;
        pixel = pixel < zero ? zero : pixel;
        pixel = pixel > full ? full : pixel;
        store_pixel(out, pixel * scale + shift);
    }
}

void cut_out(const AugmentSample& sample, int out_size, float* out) {
    for (int y = sample.hole_top; y < sample.hole_bottom; ++y) {
        float* row = out + (static_cast<std::ptrdiff_t>(y) * out_size + sample.hole_left) * 3;
        std::fill(row, row + 3 * (sample.hole_right - sample.hole_left), 0.0f);
    }
}

bool changes_geometry(const AugmentChoice& choice, int height, int width) {
    return choice.horizontal_flip || choice.vertical_flip || choice.rotation_degrees != 0.0f ||
           choice.crop_width != width || choice.crop_height != height;
}

void check_options(const AugmentOptions& o) {
    const auto probability = [](float p, const char* name) {
        require(p >= 0.0f && p <= 1.0f, "augmentation: {} is a probability, so within 0 to 1, not {}", name, p);
    };
    probability(o.horizontal_flip, "horizontal_flip");
    probability(o.vertical_flip, "vertical_flip");
    require(o.rotation_degrees >= 0.0f && o.rotation_degrees <= 180.0f,
            "augmentation: rotation_degrees must be within 0 to 180, not {}", o.rotation_degrees);
    require(o.crop_scale_min > 0.0f && o.crop_scale_min <= o.crop_scale_max && o.crop_scale_max <= 1.0f,
            "augmentation: crop scales must satisfy 0 < min <= max <= 1, not {} and {}", o.crop_scale_min,
            o.crop_scale_max);
    require(o.crop_aspect >= 1.0f && o.crop_aspect <= 100.0f,
            "augmentation: crop_aspect must be within 1 to 100, not {}", o.crop_aspect);
    const auto jitter = [](float v, float limit, const char* name) {
        require(v >= 0.0f && v <= limit, "augmentation: {} must be within 0 to {}, not {}", name, limit, v);
    };
    jitter(o.brightness, 10.0f, "brightness");
    jitter(o.contrast, 10.0f, "contrast");
    jitter(o.saturation, 10.0f, "saturation");
    jitter(o.hue, 0.5f, "hue");
    require(o.cutout >= 0, "augmentation: cutout must be a side in pixels or 0, not {}", o.cutout);
}

// torchvision's RandomResizedCrop.get_params: ten attempts, then the middle at the nearest allowed aspect. All attempts
// are drawn even after one fits, to keep the count of draws.
void draw_crop(const AugmentOptions& options, int height, int width, PhiloxStream& random, AugmentChoice& choice) {
    const double area = static_cast<double>(height) * width;
    const double log_aspect = std::log(static_cast<double>(options.crop_aspect));
    bool found = false;
    for (int attempt = 0; attempt < 10; ++attempt) {
        const double target = area * random.uniform(options.crop_scale_min, options.crop_scale_max);
        const double aspect = std::exp(log_aspect * (2.0 * random.uniform() - 1.0));
        const long w = std::lround(std::sqrt(target * aspect)), h = std::lround(std::sqrt(target / aspect));
        if (!found && w > 0 && h > 0 && w <= width && h <= height) {
            choice.crop_width = static_cast<int>(w);
            choice.crop_height = static_cast<int>(h);
            found = true;
        }
    }
    const float across = random.uniform(), down = random.uniform();
    const bool wanted = options.crop_scale_min < 1.0f || options.crop_aspect > 1.0f;
    if (!wanted) {
        choice.crop_width = width;
        choice.crop_height = height;
    } else if (!found) {
        const double longest = options.crop_aspect;
        choice.crop_width = std::min(width, std::max(1, static_cast<int>(std::lround(height * longest))));
        choice.crop_height = std::min(height, std::max(1, static_cast<int>(std::lround(width * longest))));
        choice.crop_left = (width - choice.crop_width) / 2;
        choice.crop_top = (height - choice.crop_height) / 2;
        return;
    }
    choice.crop_left = static_cast<int>(across * static_cast<float>(width - choice.crop_width + 1));
    choice.crop_top = static_cast<int>(down * static_cast<float>(height - choice.crop_height + 1));
}

float draw_factor(float amount, PhiloxStream& random) {
    return random.uniform(std::max(0.0f, 1.0f - amount), 1.0f + amount);
}

}  // namespace

AugmentOptions augment_preset(std::string_view name) {
    if (name == "none") {
        return {};
    }
    if (name == "light") {
        return {.horizontal_flip = 0.5f,
                .vertical_flip = 0.5f,
                .crop_scale_min = 0.8f,
                .crop_aspect = 1.1f,
                .brightness = 0.1f,
                .contrast = 0.1f,
                .saturation = 0.1f,
                .hue = 0.02f};
    }
    if (name == "full") {
        return {.horizontal_flip = 0.5f,
                .vertical_flip = 0.5f,
                .rotation_degrees = 180.0f,
                .crop_scale_min = 0.5f,
                .crop_aspect = 4.0f / 3.0f,
                .brightness = 0.2f,
                .contrast = 0.2f,
                .saturation = 0.2f,
                .hue = 0.05f,
                .cutout = 32};
    }
    fail("augmentation: no preset is called \"{}\"; there are none, light and full", name);
}

AugmentChoice draw_augmentation(const AugmentOptions& options, int height, int width, int out_size,
                                PhiloxStream& random) {
    check_options(options);
    AugmentChoice choice;
    choice.horizontal_flip = random.uniform() < options.horizontal_flip;
    choice.vertical_flip = random.uniform() < options.vertical_flip;
    choice.rotation_degrees = random.uniform(-options.rotation_degrees, options.rotation_degrees);
    choice.brightness = draw_factor(options.brightness, random);
    choice.contrast = draw_factor(options.contrast, random);
    choice.saturation = draw_factor(options.saturation, random);
    choice.hue = random.uniform(-options.hue, options.hue);
    choice.cutout =
        std::min(options.cutout, out_size / 2);  // presets are made for large images: small ones keep something to see
    choice.cutout_x = static_cast<int>(random.uniform() * static_cast<float>(out_size));
    choice.cutout_y = static_cast<int>(random.uniform() * static_cast<float>(out_size));
    draw_crop(options, height, width, random, choice);
    return choice;
}

AugmentPlan plan_augmentation(const AugmentChoice& choice, int height, int width, int out_size) {
    require(height > 0 && width > 0 && out_size > 0, "augmentation: {}x{} pixels to {}x{}; sizes must be positive",
            width, height, out_size, out_size);
    require(choice.crop_width > 0 && choice.crop_height > 0, "augmentation: empty crop of {}x{}", choice.crop_width,
            choice.crop_height);
    AugmentPlan plan{height, width, {}};
    AugmentChoice scaled = choice;
    const auto resize_to = [&](int new_height, int new_width) {
        const auto rescale = [](int v, int to, int from) { return static_cast<int>(std::int64_t{v} * to / from); };
        scaled.crop_left = rescale(choice.crop_left, new_width, width);
        scaled.crop_top = rescale(choice.crop_top, new_height, height);
        scaled.crop_width = std::max(1, rescale(choice.crop_width, new_width, width));
        scaled.crop_height = std::max(1, rescale(choice.crop_height, new_height, height));
        plan.source_height = new_height;
        plan.source_width = new_width;
    };
    // Bilinear sampling looks at four pixels, so a reduction by 2 or more would skip some: then the image is reduced
    // first.
    const bool sampled = changes_geometry(choice, height, width);
    const int shrink = std::min(choice.crop_width, choice.crop_height) / out_size;
    if (!sampled && (height != out_size || width != out_size)) {
        resize_to(out_size, out_size);
    } else if (sampled && shrink >= 2) {
        resize_to(std::max(1, height / shrink), std::max(1, width / shrink));
    }
    AugmentSample& sample = plan.sample;
    sample.height = plan.source_height;
    sample.width = plan.source_width;
    sample.coloured = changes_colour(choice);
    sample.sampled = sampled || sample.coloured;
    if (sample.sampled != 0) {
        map_output_to_source(sample, scaled, out_size);
    }
    if (sample.coloured != 0) {
        map_colours(sample, choice);
    }
    if (choice.cutout > 0) {
        const int left = choice.cutout_x - choice.cutout / 2, top = choice.cutout_y - choice.cutout / 2;
        sample.hole_left = std::clamp(left, 0, out_size);
        sample.hole_top = std::clamp(top, 0, out_size);
        sample.hole_right = std::clamp(left + choice.cutout, 0, out_size);
        sample.hole_bottom = std::clamp(top + choice.cutout, 0, out_size);
    }
    return plan;
}

std::vector<int> augmentation_sides(int side, int out_size) {
    std::vector<int> sides = {side};
    const auto add = [&](int another) {
        if (std::find(sides.begin(), sides.end(), another) == sides.end()) {
            sides.push_back(another);
        }
    };
    add(out_size);
    for (int shrink = 2; shrink <= side / out_size; ++shrink) {
        add(side / shrink);
    }
    return sides;
}

void apply_augmentation(const std::uint8_t* rgb, int height, int width, const AugmentChoice& choice,
                        const std::array<std::uint8_t, 3>& fill, const float mean[3], const float std[3], int out_size,
                        float* out) {
    const AugmentPlan plan = plan_augmentation(choice, height, width, out_size);
    const AugmentSample& sample = plan.sample;
    Image resized;
    if (sample.height != height || sample.width != width) {
        resized = resize_window(rgb, height, width, sample.width, sample.height, 0, 0, sample.width, sample.height);
        rgb = resized.rgb.data();
    }
    if (sample.sampled == 0) {
        to_float(rgb, sample.height, sample.width, mean, std, out);
    } else {
        const Sampler sampler(rgb, sample.height, sample.width, fill);
        const std::array<double, 3> mean_colour = gather(sampler, sample, out_size, out);
        finish_pixels(sample, mean_colour, mean, std,
                      static_cast<std::size_t>(out_size) * static_cast<std::size_t>(out_size), out);
    }
    cut_out(sample, out_size, out);
}

void augment_to_float(const std::uint8_t* rgb, int height, int width, const AugmentOptions& options,
                      PhiloxStream& random, const float mean[3], const float std[3], int out_size, float* out) {
    const AugmentChoice choice = draw_augmentation(options, height, width, out_size, random);
    apply_augmentation(rgb, height, width, choice, options.fill, mean, std, out_size, out);
}

void to_float(const std::uint8_t* rgb, int height, int width, const float mean[3], const float std[3], float* out) {
    std::array<std::array<float, 3>, 256> table;
    for (std::size_t v = 0; v < table.size(); ++v) {
        for (std::size_t c = 0; c < 3; ++c) {
            table[v][c] = (static_cast<float>(v) / 255.0f - mean[c]) / std[c];
        }
    }
    const std::size_t pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    for (std::size_t i = 0; i < pixels; ++i, rgb += 3, out += 3) {
        out[0] = table[rgb[0]][0];
        out[1] = table[rgb[1]][1];
        out[2] = table[rgb[2]][2];
    }
}

}  // namespace cutis
