#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/augment.h"
#include "kernels/philox.h"

namespace cutis {

/// What may happen to a training image. The defaults change nothing.
struct AugmentOptions {
    float horizontal_flip = 0.0f;   // probability of mirroring left-right
    float vertical_flip = 0.0f;     // probability of mirroring top-bottom
    float rotation_degrees = 0.0f;  // uniform in +- this many degrees, about the centre of the crop
    // Random resized crop (torchvision's RandomResizedCrop; Szegedy et al., "Going deeper with convolutions", 2015): a
    // box of a uniform share of the area, its aspect log-uniform in 1/crop_aspect .. crop_aspect, anywhere in the
    // image.
    float crop_scale_min = 1.0f, crop_scale_max = 1.0f;
    float crop_aspect = 1.0f;
    // Colour jitter as torchvision's ColorJitter: brightness, contrast and saturation are multiplied by a factor
    // uniform in max(0, 1 - v) .. 1 + v; the hue turns by a uniform share in +-v of the circle, v <= 0.5.
    float brightness = 0.0f, contrast = 0.0f, saturation = 0.0f, hue = 0.0f;
    // Side in output pixels of a square hole whose centre is anywhere (DeVries and Taylor, "Improved regularization of
    // convolutional neural networks with cutout", 2017), at most half the output's side; the hole is 0 after
    // normalisation, the mean colour. 0: none.
    int cutout = 0;
    std::array<std::uint8_t, 3> fill = {0, 0, 0};  // the colour outside the image
};

/// "none"; "light": both flips, crops of 80 to 100 % of the area, slight colour changes; "full": both flips, any
/// rotation, crops of 50 to 100 %, stronger colour changes, cutout. Lesions have no upright side, hence flips along
/// both axes. Error for another name.
AugmentOptions augment_preset(std::string_view name);

/// One sample's decisions.
struct AugmentChoice {
    bool horizontal_flip = false, vertical_flip = false;
    float rotation_degrees = 0.0f;  // counter-clockwise
    int crop_left = 0, crop_top = 0, crop_width = 0, crop_height = 0;
    float brightness = 1.0f, contrast = 1.0f, saturation = 1.0f;  // factors
    float hue = 0.0f;                                             // share of the circle
    int cutout = 0, cutout_x = 0, cutout_y = 0;                   // side and centre
};

/// Draws always this many numbers from the stream, whatever the options: switching one augmentation on or off leaves
/// the decisions of the others as they were.
inline constexpr int kAugmentDraws = 31;

/// Decides for an image of height x width that becomes out_size x out_size.
/// @throws Error when an option is out of its range
AugmentChoice draw_augmentation(const AugmentOptions& options, int height, int width, int out_size,
                                PhiloxStream& random);

/// What carrying decisions out comes to, for the CPU and for cuda::augment alike.
struct AugmentPlan {
    int source_height = 0, source_width = 0;  ///< the image is resized to this first, where it is of another size
    AugmentSample sample;                     ///< made from that source
};

/// @throws Error on an empty image, output or crop
AugmentPlan plan_augmentation(const AugmentChoice& choice, int height, int width, int out_size);

/// The sides of source that plan_augmentation may ask for when a square image of `side` becomes out_size x out_size:
/// `side` first.
std::vector<int> augmentation_sides(int side, int out_size);

/// Carries the decisions out. Crop, rotation and flips are one affine map, sampled once, bilinearly, with `fill` beyond
/// the image; then colours, clamped to 0..255 once at the end; then (v / 255 - mean) / std; then cutout. Where no crop,
/// rotation or flip is chosen, the image is not sampled but resized as resize.h does, or taken as it is if it is
/// out_size x out_size.
/// @param rgb   height x width x 3 bytes
/// @param out   out_size x out_size x 3, NHWC
void apply_augmentation(const std::uint8_t* rgb, int height, int width, const AugmentChoice& choice,
                        const std::array<std::uint8_t, 3>& fill, const float mean[3], const float std[3], int out_size,
                        float* out);

/// draw_augmentation, then apply_augmentation. The result depends on the arguments alone: give every sample a stream of
/// its own, and the number of loader threads changes nothing. With options that change nothing and an image of out_size
/// x out_size it equals to_float bit for bit.
void augment_to_float(const std::uint8_t* rgb, int height, int width, const AugmentOptions& options,
                      PhiloxStream& random, const float mean[3], const float std[3], int out_size, float* out);

/// out = (rgb / 255 - mean) / std per channel, rounded as these three fp32 operations round. Both are height x width
/// x 3.
void to_float(const std::uint8_t* rgb, int height, int width, const float mean[3], const float std[3], float* out);

}  // namespace cutis
