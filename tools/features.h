#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/inference.h"
#include "tools/run_directory.h"

namespace cutis {

/// Images as points: each is the input of the classifier's last linear layer, the penultimate activations.
struct Features {
    std::vector<std::string> image_ids;  ///< n
    std::int64_t dimension = 0;          ///< d
    std::vector<float> values;           ///< n x d, row-major

    std::size_t size() const { return image_ids.size(); }
    std::span<const float> row(std::size_t i) const {
        const auto d = static_cast<std::size_t>(dimension);
        return {values.data() + i * d, d};
    }
};

/// Features of images of a data set, and what is known and said of them.
struct LabelledFeatures {
    Features features;
    std::vector<std::string> lesion_ids;
    std::vector<int> labels;           ///< the data set's, also of classes that the model does not have
    int classes = 0;                   ///< of the model
    std::vector<float> probabilities;  ///< n x classes, the model's softmax

    std::size_t size() const { return features.size(); }
};

/// The run's model, in evaluation mode, on the images `indices` of `data`. Shows its progress as `name`. Throws as
/// predict_logits does.
LabelledFeatures dataset_features(const Run& run, Model& model, const PackedDataset& data, std::span<const int> indices,
                                  int batch_size, std::string_view name);

/// Writes them crash-safe. FILE.csv: image,f0,f1,.. with the fewest digits that read back as the same float.
/// FILE.safetensors: the tensor "features", n x d f32, with the images' names as a JSON list in the metadata "images".
/// Throws Error for another extension, see `check_features_path`.
void write_features(const std::filesystem::path& path, const Features& features);
/// Throws Error unless the name ends in .csv or .safetensors.
void check_features_path(const std::filesystem::path& path);

}  // namespace cutis
