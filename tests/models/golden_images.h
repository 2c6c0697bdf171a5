#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/image.h"
#include "layers/parts.h"

/// What golden figures of networks are made of: 16 crops of the sample, and values drawn by name
/// (tests/data/make_mobilenet_golden.py).

namespace cutis::testing {

inline std::filesystem::path golden_folder() {
    return std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/golden";
}

inline nlohmann::json read_golden(const char* name) {
    std::ifstream file(golden_folder() / name);
    return nlohmann::json::parse(file);
}

/// The tiles of the mosaic, each pixel repeated `enlarge` times in both directions, normalised as (x / 255 - mean) /
/// std.
inline Tensor golden_crops(const std::vector<float>& mean, const std::vector<float>& std, int enlarge) {
    constexpr int kTile = 64, kColumns = 4, kTiles = 16;
    const Image mosaic = load_image(golden_folder() / "crops.png");
    const int side = kTile * enlarge;
    Tensor images = Tensor::empty({kTiles, side, side, 3});
    float* out = images.data();
    for (int tile = 0; tile < kTiles; ++tile) {
        for (int row = 0; row < side; ++row) {
            for (int column = 0; column < side; ++column) {
                const int y = tile / kColumns * kTile + row / enlarge, x = tile % kColumns * kTile + column / enlarge;
                for (std::size_t c = 0; c < 3; ++c) {
                    const std::size_t at = static_cast<std::size_t>(y * mosaic.width + x) * 3 + c;
                    *out++ = (static_cast<float>(mosaic.rgb[at]) / 255.0f - mean[c]) / std[c];
                }
            }
        }
    }
    return images;
}

/// The crops' labels, modulo `classes`.
inline Tensor golden_labels(int classes) {
    auto labels = read_golden("crops.json").at("labels").get<std::vector<std::int32_t>>();
    for (std::int32_t& label : labels) {
        label %= classes;
    }
    return Tensor::from(labels, {static_cast<std::int64_t>(labels.size())});
}

/// Normal values by the tensor's name, each behind `map`.
template <class Map>
void draw(Tensor tensor, const std::string& name, std::uint64_t seed, Map map) {
    init_normal(tensor, WeightLayout::same, 1.0f, seed, name);
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
        tensor.data()[i] = map(tensor.data()[i]);
    }
}

}  // namespace cutis::testing
