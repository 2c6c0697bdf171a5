#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/packed_dataset.h"
#include "kernels/philox.h"
#include "tests/support/temp_dir.h"

namespace cutis::testing {

/// A packed data set of `count` images of noise, side x side, in three classes, two to a lesion.
inline std::filesystem::path noise_pack(const TempDir& folder, int count, int side) {
    const std::filesystem::path path = folder / "noise.cutis";
    PackedDatasetWriter writer(path, side, {"a", "b", "c"});
    PhiloxStream random(5, RandomPurpose::test);
    std::vector<std::uint8_t> rgb(static_cast<std::size_t>(side) * static_cast<std::size_t>(side) * 3);
    for (int i = 0; i < count; ++i) {
        for (std::uint8_t& value : rgb) {
            value = static_cast<std::uint8_t>(random.below(256));
        }
        Sample sample;
        sample.image_id = "image_" + std::to_string(i);
        sample.lesion_id = "lesion_" + std::to_string(i / 2);
        sample.label = i % 3;
        writer.add(sample, rgb);
    }
    writer.commit();
    return path;
}

}  // namespace cutis::testing
