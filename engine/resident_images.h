#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/packed_dataset.h"
#include "engine/tensor.h"

namespace cutis {

/// Images of a data set as bytes in a GPU's memory, for kernels/augment.h: a training step then needs no image from the
/// host. Each lies there in every size that plan_augmentation may ask for, resized once, here, as the CPU resizes it at
/// each use.
class ResidentImages {
  public:
    /// Bytes of `images` images with their sizes.
    static std::size_t bytes_needed(const PackedDataset& dataset, std::size_t images, int out_size);

    /// Copies the images at `indices` (positions in the data set; each once, however often it is named) to `device`.
    /// Throws Error for a damaged image and where memory is too small.
    ResidentImages(const PackedDataset& dataset, std::span<const int> indices, int out_size, Device device);

    std::size_t bytes() const { return bytes_.bytes(); }
    /// On the device.
    const std::uint8_t* data() const { return bytes_.data<std::uint8_t>(); }
    /// Where in `data` the image at `index` begins that is `side` pixels high and wide. Throws Error where it is not
    /// there.
    std::int64_t first_byte(int index, int side) const;

  private:
    std::vector<int> sides_;
    std::vector<std::int64_t> offset_of_side_;     ///< in an image's bytes
    std::int64_t image_bytes_ = 0;                 ///< of all sizes of an image
    std::unordered_map<int, std::int64_t> place_;  ///< by index
    Tensor bytes_;
};

}  // namespace cutis
