#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cutis {

enum class TtaKind { none, flips, rotations, dihedral, crops };

/// Test-time augmentation: an image is looked at in several views, and the probabilities are averaged. Every view is
/// the image's own pixels in another order or a window of them: nothing is drawn at random, nothing interpolated.
struct Tta {
    TtaKind kind = TtaKind::none;
    int crops = 0;  ///< views of `crops`: 4, 9, 16 .. 100
    int side = 0;   ///< `crops`: the image is scaled to this side first; 0: it stays as it is
};

/// "none"; "flips": as it is, mirrored left-right, top-bottom, and both; "rotations": turned counter-clockwise by 0,
/// 90, 180 and 270 degrees; "dihedral": these four, then the four of the image mirrored left-right; "crops:9": windows
/// of the network's size on a grid of 3 x 3 that reaches all edges, row by row; "crops:9@300": of the image scaled to
/// 300 x 300. Throws Error for anything else.
Tta parse_tta(std::string_view text);

/// What `parse_tta` reads.
std::string name_of(const Tta& tta);

/// What names of files made with it end in: "" for none, "_flips", "_crops9@300".
std::string file_suffix(const Tta& tta);

/// Views of one image, 1 to 100.
int view_count(const Tta& tta);

/// The side of the square image that `take_view` wants: the network's `size`, or, for crops, the side that is given,
/// else `image_side`. Throws Error where crops would not be smaller than the image, since all would be alike.
/// @param image_side  of the images at hand; 0: they have none, then crops need a side
int square_side(const Tta& tta, int size, int image_side);

/// View `view` of a square image of `side` = square_side(...), as size x size x 3 bytes.
void take_view(const std::uint8_t* rgb, int side, const Tta& tta, int view, int size, std::uint8_t* out);

}  // namespace cutis
