#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/image.h"
#include "engine/packed_dataset.h"

namespace cutis::bench {

/// Photographs of 600 x 450 pixels as HAM10000 has them, embedded in the sources.
std::filesystem::path sample_folder();

/// A JPEG file in memory.
struct JpegFile {
    std::string name;
    std::vector<std::byte> bytes;
};

/// The JPEG files of a folder, by name, at most `most`. Throws Error where there is none.
std::vector<JpegFile> read_jpegs(const std::filesystem::path& folder, std::size_t most = 256);

/// A packed data set of `count` images of size x size, made from `files` in turn, with labels 0 to 6 in turn.
void write_pack(const std::filesystem::path& path, const std::vector<JpegFile>& files, int count, int size);

}  // namespace cutis::bench
