#pragma once

#include <cstdint>

#include "engine/image.h"

namespace cutis {

/// Anti-aliased bilinear resizing: a triangle filter as wide as a destination pixel where the image shrinks, and plain
/// bilinear interpolation where it grows. Both axes separately, rounded to 8 bits after each (columns first), weights
/// in fixed point of 22 bits: the arithmetic of Pillow's BILINEAR, whose pixels it gives exactly, so that images
/// prepared here and in a Python pipeline are the same. An image that already has the size comes back bit for bit.
/// @throws Error when the image is empty or inconsistent, or the new size is not within the limits of image.h
Image resize(const Image& image, int width, int height);

/// The window of `window_width` x `window_height` at (left, top) of `resize(image, width, height)`, without computing
/// the rest. `rgb`: rows x columns x 3 bytes. width and height may exceed the limits of image.h; the window may not.
Image resize_window(const std::uint8_t* rgb, int rows, int columns, int width, int height, int left, int top,
                    int window_width, int window_height);

/// A square image of `side` as one of `new_side`, to `to` (new_side x new_side x 3 bytes): resized, or copied where it
/// has that size.
void write_resized(const std::uint8_t* rgb, int side, int new_side, std::uint8_t* to);

/// The middle `width` x `height`: left = (W - width) / 2, top = (H - height) / 2, in integers. Error when either is
/// larger than the image.
Image center_crop(const Image& image, int width, int height);

/// A square of `size`. keep_aspect false: the shorter side is resized to `size` (the longer to size * longer / shorter,
/// cut to an integer as torchvision does), then the middle is cropped. keep_aspect true: the longer side is resized to
/// `size` and the rest is black, the image in the middle. An image that is size x size already comes back bit for bit.
Image fit_square(const Image& image, int size, bool keep_aspect);

}  // namespace cutis
