#pragma once

#include <filesystem>
#include <string>
#include <unordered_map>

#include "engine/image.h"

namespace cutis {

struct MaskOptions {
    std::filesystem::path folder;  ///< empty: no masks
    /// Added on every side of the lesion's box, as a share of the box's longer side.
    double margin = 0.1;
    bool black_outside = false;  ///< what is not the lesion becomes black (Hosny et al. 2019 train on such images)
};

/// Where the lesion lies in a mask: the box of its pixels above 127, made square and larger by the margin, around the
/// same centre, moved into the image where it would stick out, and cut to it where it is larger.
struct LesionBox {
    int left = 0, top = 0, width = 0, height = 0;
};
/// Throws Error naming the mask when no pixel is above 127.
LesionBox lesion_box(const Image& mask, double margin, const std::string& name);

/// A folder of masks, folders in it included: IMAGE_segmentation.png, as HAM10000's and ISIC's are named, or IMAGE.png.
class LesionMasks {
  public:
    /// Throws Error for a folder that cannot be read or holds no .png file.
    explicit LesionMasks(const MaskOptions& options);

    /// The part of an image in which its lesion is. Throws Error naming the file for a mask that is missing, there
    /// twice, damaged, empty, or of another size than the image. May be called from several threads.
    Image region_of_interest(const Image& image, const std::string& image_id) const;

  private:
    MaskOptions options_;
    std::unordered_map<std::string, std::filesystem::path> files_;     // by image id
    std::unordered_map<std::string, std::filesystem::path> repeated_;  // the second of an id
};

}  // namespace cutis
