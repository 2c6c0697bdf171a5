#pragma once

#include <cstddef>
#include <span>

#include "engine/image.h"

namespace cutis {

/// The orientation tag (0x0112) of an EXIF block, which is a TIFF header and its first directory in either byte order:
/// from JPEG's APP1 segment without its "Exif\0\0", or PNG's eXIf chunk (there with or without these six bytes).
/// @return 1 to 8 as EXIF defines them; 1 ("as stored") when the tag is absent or the block damaged: a broken tag must
///         not cost an image whose pixels are whole
int exif_orientation(std::span<const std::byte> block);

/// The image as it is meant to be seen. Orientation (EXIF 2.32, table 6): 1 as stored, 2 mirrored left-right, 3 rotated
/// by 180 degrees, 4 mirrored top-bottom, 5 mirrored along the main diagonal, 6 rotated clockwise by 90 degrees, 7
/// mirrored along the other diagonal, 8 rotated clockwise by 270 degrees. 5 to 8 exchange width and height.
Image apply_orientation(Image image, int orientation);

}  // namespace cutis
