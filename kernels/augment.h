#pragma once

#include <cstdint>
#include <span>

#include "kernels/stream.h"
#include "kernels/traffic.h"

/// Training images from bytes in device memory: crop, rotation and flips as one affine map sampled bilinearly, colour
/// jitter, normalisation, cutout, in one gather. engine/augment.h decides what happens to an image and turns it into an
/// AugmentSample; its apply_augmentation carries the same record out on the CPU.

namespace cutis {

/// How one image of a batch is made.
struct AugmentSample {
    std::int64_t first = 0;              ///< the source's first byte; it is height x width x 3, RGB
    std::int32_t height = 0, width = 0;  ///< of the source, in pixels
    /// Output pixel (x, y) lies at (a x + b y + c, d x + e y + f) of the source, all counted at pixel centres from 0.
    double a = 1.0, b = 0.0, c = 0.0, d = 0.0, e = 1.0, f = 0.0;
    /// False: the source has the output's size and is taken as it is, normalised with to_float's roundings; neither map
    /// nor colours are looked at.
    std::int32_t sampled = 0;
    std::int32_t coloured = 0;  ///< whether the colour map is applied, and its result clamped to 0..255
    /// colour'[i] = sum over j of colours[j][i] * colour[j] + contrast * the mean grey of the sampled image.
    float colours[3][3] = {{1.0f, 0.0f, 0.0f}, {0.0f, 1.0f, 0.0f}, {0.0f, 0.0f, 1.0f}};
    float contrast = 0.0f;
    /// Output pixels that are 0 after all: left <= x < right, top <= y < bottom.
    std::int32_t hole_left = 0, hole_top = 0, hole_right = 0, hole_bottom = 0;

    bool operator==(const AugmentSample&) const = default;
};

/// Luma of ITU-R BT.601, which torchvision's greyscale uses too.
inline constexpr double kLuma[3] = {0.299, 0.587, 0.114};

/// What is the same for every image: out = (v / 255 - mean) / std, and the colour beyond an image's edge.
struct AugmentLook {
    float mean[3] = {0.0f, 0.0f, 0.0f}, std[3] = {1.0f, 1.0f, 1.0f};
    std::uint8_t fill[3] = {0, 0, 0};
};

/// Throws Error unless n images of this side can be made in one call.
void check_augment(int n, int size);

namespace cuda {

/// out[n][size][size][3] from n samples of `images`; T fp32 or bf16. Samples and images are in device memory, so that a
/// recorded launch makes other images each time.
/// @param out       starts on 16 bytes
/// @param samples   n records
/// @param contrast  whether any sample's `contrast` may be other than 0
template <class T>
void augment(T* out, const std::uint8_t* images, const AugmentSample* samples, const AugmentLook& look, bool contrast,
             int n, int size, Stream stream);

/// Bytes of the call with these samples: records by each block, twelve bytes a sampled pixel, three a copied one, and
/// of the images the bytes under each sample's map. Maps that leave the image read less.
template <class T>
Traffic augment_traffic(std::span<const AugmentSample> samples, bool contrast, int size);

}  // namespace cuda
}  // namespace cutis
