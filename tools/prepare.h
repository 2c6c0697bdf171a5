#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/packed_dataset.h"
#include "tools/lesion_masks.h"

namespace cutis {

/// The largest round quality that keeps HAM10000 at 224 pixels below 64 MiB (docs/data.md has the figures).
inline constexpr int kJpegQuality = 80;

struct PrepareOptions {
    std::vector<std::filesystem::path> folders;  ///< with the images; folders in them count, too
    std::filesystem::path metadata;              ///< see read_labels
    std::vector<std::string> class_names;        ///< empty: HAM10000's, or a one-hot file's columns
    std::filesystem::path out;
    std::filesystem::path lesions;  ///< see join_isic_metadata; empty: none
    MaskOptions masks;              ///< where to crop the images
    int size = 224;
    bool keep_aspect = false;
    bool skip_bad = false;
    PackedCodec codec = PackedCodec::raw;
    int jpeg_quality = kJpegQuality;  ///< 1 to 100; for codec jpeg
    int threads = 1;
};

/// Images and lesions of one class.
struct PreparedClass {
    std::string name;
    std::int64_t images = 0, lesions = 0;
};

struct LeftOut {
    std::string image_id, reason;
};

struct Prepared {
    std::vector<PreparedClass> classes;
    std::int64_t images = 0, lesions = 0;
    std::int64_t without_row = 0;   ///< image files that the metadata do not name
    std::vector<LeftOut> left_out;  ///< rows whose image is missing or damaged, with skip_bad
    std::vector<std::string> notices;
    std::string checksum;
    std::uintmax_t bytes = 0;
    double seconds = 0;
};

/// Decodes every image that the metadata name, makes it size x size, and packs all in the order of the metadata: the
/// same content and options give the same file, bit for bit, on any number of threads. Shows its progress on the
/// console. Throws Error naming the row or the image: a folder without images, two files for one row, a missing or
/// damaged image (unless skip_bad), no image left; and Stopped after a signal. In every such case an earlier `out`
/// stays as it was.
Prepared prepare(const PrepareOptions& options);

}  // namespace cutis
