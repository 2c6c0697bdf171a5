#include "bench/sample_images.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/files.h"
#include "engine/metadata.h"
#include "engine/resize.h"
#include "kernels/error.h"

namespace cutis::bench {

namespace fs = std::filesystem;

fs::path sample_folder() {
    return fs::path(CUTIS_SOURCE_DIR) / "tools/sample/ham10000/sample_600x450";
}

std::vector<JpegFile> read_jpegs(const fs::path& folder, std::size_t most) {
    require(fs::is_directory(folder), "{}: no folder; give one with JPEG files by --images", folder.string());
    std::vector<fs::path> paths;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
        const std::string ending = entry.path().extension().string();
        if (ending == ".jpg" || ending == ".jpeg") {
            paths.push_back(entry.path());
        }
    }
    require(!paths.empty(), "{}: holds no file *.jpg or *.jpeg; give another folder by --images", folder.string());
    std::sort(paths.begin(), paths.end());
    paths.resize(std::min(paths.size(), most));
    std::vector<JpegFile> files;
    for (const fs::path& path : paths) {
        const MappedFile mapped(path);
        files.push_back({path.filename().string(), {mapped.bytes().begin(), mapped.bytes().end()}});
    }
    return files;
}

void write_pack(const fs::path& path, const std::vector<JpegFile>& files, int count, int size) {
    std::vector<Image> squares;
    for (const JpegFile& file : files) {
        squares.push_back(fit_square(decode_image(file.bytes, file.name), size, false));
    }
    PackedDatasetWriter writer(path, size, ham10000_class_names());
    for (int i = 0; i < count; ++i) {
        Sample sample;
        sample.image_id = fmt::format("image_{}", i);
        sample.lesion_id = fmt::format("lesion_{}", i);
        sample.label = i % 7;
        writer.add(sample, squares[static_cast<std::size_t>(i) % squares.size()].rgb);
    }
    writer.commit();
}

}  // namespace cutis::bench
