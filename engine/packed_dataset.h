#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "engine/files.h"
#include "engine/metadata.h"

namespace cutis {

// A packed data set (.cutis) is one file that is mapped into memory: decoded images, ready to be read in any order.
//
//   offset 0     header page of 4096 bytes, little-endian: magic (8 bytes), version (u32), CRC-32C of the index (u32),
//   offset and
//                size of the index (u64 each), zeros; its last 4 bytes are the CRC-32C of the bytes before them
//   offset 4096  the images one after the other, each image_size x image_size x 3 bytes, RGB, row by row
//   after them   the index, JSON: "codec" (only "raw" so far), "image_size", "class_names", "has_lesion_ids",
//   "properties", and one
//                list each with a value per image: "image_ids", "lesion_ids", "labels", "ages", "sexes",
//                "localizations", "checksums" (CRC-32C of the image's bytes)
//
// So every byte is under a checksum: header and index are checked when the file is opened, an image when it is read.

/// What the index says.
struct PackedIndex {
    int image_size = 0;
    std::vector<std::string> class_names;
    bool has_lesion_ids = true;
    /// How the images were made, for those who must make others alike (for instance {"framing": "crop"}).
    std::map<std::string, std::string> properties;
    std::vector<Sample> samples;
    std::vector<std::uint32_t> checksums;  ///< of each image
    std::uint32_t checksum = 0;            ///< of the index itself
};

/// Reads and checks header and index of a packed data set that lies in memory. Throws Error naming `name`, what is
/// wrong and the remedy (preparing it again) for a file of another kind or a newer version, cut short, too long, or
/// changed.
PackedIndex parse_packed_index(std::span<const std::byte> file, std::string_view name);

/// A packed data set, mapped. Reading from several threads at once is fine.
class PackedDataset {
  public:
    /// Throws as parse_packed_index does.
    explicit PackedDataset(const std::filesystem::path& path);

    std::size_t size() const { return index_.samples.size(); }
    /// Side of the square images in pixels.
    int image_size() const { return index_.image_size; }
    const std::vector<std::string>& class_names() const { return index_.class_names; }
    bool has_lesion_ids() const { return index_.has_lesion_ids; }
    const std::map<std::string, std::string>& properties() const { return index_.properties; }
    const std::vector<Sample>& samples() const { return index_.samples; }
    const Sample& sample(std::size_t i) const { return index_.samples.at(i); }
    /// image_size x image_size x 3 bytes (height, width, RGB). Throws Error when they are not those that were written.
    std::span<const std::uint8_t> image(std::size_t i) const;
    /// Eight hexadecimal digits that change when any image, label or id changes.
    std::string checksum() const;
    const std::filesystem::path& path() const { return file_.path(); }

  private:
    MappedFile file_;
    PackedIndex index_;
};

/// Writes a packed data set image by image; the file appears at `commit`, whole.
class PackedDatasetWriter {
  public:
    /// @param image_size  side of the square images, 1 to 16384
    PackedDatasetWriter(const std::filesystem::path& path, int image_size, std::vector<std::string> class_names,
                        bool has_lesion_ids = true, std::map<std::string, std::string> properties = {});

    /// Appends an image of image_size x image_size x 3 bytes. Throws Error for another number of bytes, a label outside
    /// the classes, an image id given before, a full disk.
    void add(const Sample& sample, std::span<const std::uint8_t> rgb);
    std::size_t size() const { return index_.samples.size(); }
    /// Throws Error when no image was added.
    void commit();

  private:
    std::string name_;
    AtomicFile file_;
    PackedIndex index_;
    std::unordered_set<std::string> image_ids_;
};

}  // namespace cutis
