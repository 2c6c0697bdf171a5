#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "engine/files.h"
#include "engine/metadata.h"

namespace cutis {

// A packed data set (.cutis) is one file that is mapped into memory: images, ready to be read in any order.
//
//   offset 0     header page of 4096 bytes, little-endian: magic (8 bytes), version (u32), CRC-32C of the index (u32),
//                offset and size of the index (u64 each), zeros; its last 4 bytes are the CRC-32C of the bytes before
//   offset 4096  the images one after the other, without gaps; codec "raw": each image_size x image_size x 3 bytes,
//                RGB, row by row; codec "jpeg": each a JPEG file of image_size x image_size pixels
//   after them   the index, JSON: "codec", "image_size", "class_names", "has_lesion_ids", "properties", and one list
//                each with a value per image: "image_ids", "lesion_ids", "ages", "sexes", "localizations", "labels",
//                "checksums" (CRC-32C of the image's bytes in the file), and with codec "jpeg" "sizes" (their number)
//
// So every byte is under a checksum: header and index are checked when the file is opened, an image when it is read.
//
// Raw images cost nothing to read, and their memory is the system's to take back. JPEG images make a file about a
// twentieth as large and change the pixels a little (docs/data.md has figures). Such an image is decoded when it is
// first asked for and stays decoded: the first pass pays for it, on the threads that read, and later ones are as fast
// as raw. In the end image_size x image_size x 3 bytes of memory per image are taken (1.5 GB for 10,000 at 224). A
// program that asks for labels alone decodes nothing.

/// How the images are stored.
enum class PackedCodec { raw, jpeg };

/// "raw" or "jpeg".
std::string_view name_of(PackedCodec codec);

/// What the index says.
struct PackedIndex {
    PackedCodec codec = PackedCodec::raw;
    int image_size = 0;
    std::vector<std::string> class_names;
    bool has_lesion_ids = true;
    /// How the images were made, for those who must make others alike (for instance {"framing": "crop"}).
    std::map<std::string, std::string> properties;
    std::vector<Sample> samples;
    std::vector<std::uint32_t> checksums;  ///< of each image
    std::vector<std::uint64_t> offsets;    ///< of each image in the file, and where the last one ends
    std::uint32_t checksum = 0;            ///< of the index itself
};

/// Reads and checks header and index of a packed data set that lies in memory. Throws Error naming `name`, what is
/// wrong and the remedy (preparing it again) for a file of another kind, codec or version, cut short, too long, or
/// changed.
PackedIndex parse_packed_index(std::span<const std::byte> file, std::string_view name);

/// A packed data set, mapped. Reading from several threads at once is fine.
class PackedDataset {
  public:
    /// Throws as parse_packed_index does.
    explicit PackedDataset(const std::filesystem::path& path);

    /// Numbers the classes anew: `label` comes last, the others keep their order. Nothing in the file changes, nor the
    /// checksum.
    void move_class_last(int label);

    std::size_t size() const { return index_.samples.size(); }
    PackedCodec codec() const { return index_.codec; }
    /// Side of the square images in pixels.
    int image_size() const { return index_.image_size; }
    const std::vector<std::string>& class_names() const { return index_.class_names; }
    bool has_lesion_ids() const { return index_.has_lesion_ids; }
    const std::map<std::string, std::string>& properties() const { return index_.properties; }
    const std::vector<Sample>& samples() const { return index_.samples; }
    const Sample& sample(std::size_t i) const { return index_.samples.at(i); }
    /// image_size x image_size x 3 bytes (height, width, RGB), as long as this data set lives. Throws Error when the
    /// bytes in the file are not those that were written, or are no JPEG of this size.
    std::span<const std::uint8_t> image(std::size_t i) const;
    /// Eight hexadecimal digits that change when any image, label or id changes.
    std::string checksum() const;
    const std::filesystem::path& path() const { return file_.path(); }

  private:
    /// The image as it lies in the file, checked.
    std::span<const std::byte> stored(std::size_t i) const;
    /// "FILE: image 3 ('ISIC_0024306')"
    std::string name_of_image(std::size_t i) const;

    struct Decoded {
        std::mutex mutex;
        std::vector<std::vector<std::uint8_t>> images;  // empty until asked for, then never changed
    };

    MappedFile file_;
    PackedIndex index_;
    std::unique_ptr<Decoded> decoded_;  // none where images are raw
};

/// Writes a packed data set image by image; the file appears at `commit`, whole.
class PackedDatasetWriter {
  public:
    /// @param image_size  side of the square images, 1 to 16384
    PackedDatasetWriter(const std::filesystem::path& path, int image_size, std::vector<std::string> class_names,
                        bool has_lesion_ids = true, std::map<std::string, std::string> properties = {},
                        PackedCodec codec = PackedCodec::raw);

    /// Appends an image as the codec stores it: image_size x image_size x 3 bytes, or a JPEG file of that many pixels
    /// (encode_jpeg makes one, and may do so on another thread). Throws Error for other bytes, a label outside the
    /// classes, an image id given before, a full disk.
    void add(const Sample& sample, std::span<const std::uint8_t> image);
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
