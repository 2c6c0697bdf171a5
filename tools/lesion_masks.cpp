#include "tools/lesion_masks.h"

#include <algorithm>
#include <cmath>
#include <system_error>

#include "engine/metadata.h"
#include "engine/resize.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSegmentation = "_segmentation";
constexpr int kLesion = 127;  // above it

bool is_lesion(const Image& mask, int x, int y) {
    return mask.rgb[3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(mask.width) +
                         static_cast<std::size_t>(x))] > kLesion;
}

/// Begin and length of a window of `wanted` around [low, high) within 0..size.
std::pair<int, int> window(int low, int high, int wanted, int size) {
    const int length = std::min(wanted, size);
    const int begin = (low + high - length) / 2;
    return {std::clamp(begin, 0, size - length), length};
}

}  // namespace

LesionBox lesion_box(const Image& mask, double margin, const std::string& name) {
    int left = mask.width, right = 0, top = mask.height, bottom = 0;
    for (int y = 0; y < mask.height; ++y) {
        for (int x = 0; x < mask.width; ++x) {
            if (is_lesion(mask, x, y)) {
                left = std::min(left, x);
                right = std::max(right, x + 1);
                top = std::min(top, y);
                bottom = std::max(bottom, y + 1);
            }
        }
    }
    require(right > left, "{}: the mask is empty, no pixel is above {}; mend it, or leave the image out", name,
            kLesion);
    const double side = std::max(right - left, bottom - top);
    const int wanted = static_cast<int>(std::min(std::ceil(side * (1.0 + 2.0 * margin) - 1e-9), double{1 << 20}));
    const auto [x, width] = window(left, right, wanted, mask.width);
    const auto [y, height] = window(top, bottom, wanted, mask.height);
    return {x, y, width, height};
}

LesionMasks::LesionMasks(const MaskOptions& options) : options_(options) {
    std::error_code error;
    const std::string folder = options.folder.string();
    require(fs::is_directory(options.folder, error), "--masks {}: is no folder; give the folder that holds the masks",
            folder);
    fs::recursive_directory_iterator entry(options.folder, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
        if (lower_case(entry->path().extension().string()) != ".png") {
            continue;
        }
        std::string id = image_id_of(entry->path().filename().string());
        if (lower_case(id).ends_with(kSegmentation)) {
            id.resize(id.size() - kSegmentation.size());
        }
        if (!files_.emplace(id, entry->path()).second) {
            repeated_.emplace(id, entry->path());
        }
    }
    require(!error, "--masks {}: cannot be read: {}; check its permissions", folder, error.message());
    require(!files_.empty(), "--masks {}: holds no .png file; check the path", folder);
}

Image LesionMasks::region_of_interest(const Image& image, const std::string& image_id) const {
    const auto found = files_.find(image_id);
    require(found != files_.end(), "--masks {}: holds no {}{}.png; add it, or leave the image out",
            options_.folder.string(), printable(image_id), kSegmentation);
    if (const auto second = repeated_.find(image_id); second != repeated_.end()) {
        fail("--masks: image '{}' has two masks, {} and {}; remove one", printable(image_id), found->second.string(),
             second->second.string());
    }
    const std::string name = found->second.string();
    const Image mask = load_image(found->second);
    require(mask.width == image.width && mask.height == image.height,
            "{}: the mask has {} x {} pixels, its image {} x {}; give the mask of this image", name, mask.width,
            mask.height, image.width, image.height);
    const LesionBox box = lesion_box(mask, options_.margin, name);
    Image shown = image;
    for (std::size_t i = 0; options_.black_outside && i < shown.rgb.size(); ++i) {
        shown.rgb[i] = mask.rgb[i - i % 3] > kLesion ? shown.rgb[i] : std::uint8_t{0};
    }
    return resize_window(shown.rgb.data(), shown.height, shown.width, shown.width, shown.height, box.left, box.top,
                         box.width, box.height);
}

}  // namespace cutis
