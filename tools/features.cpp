#include "tools/features.h"

#include <nlohmann/json.hpp>

#include "engine/csv.h"
#include "engine/files.h"
#include "engine/ops.h"
#include "engine/packed_dataset.h"
#include "engine/safetensors.h"
#include "kernels/error.h"
#include "tools/progress.h"

namespace cutis {
namespace {

void write_csv(const std::filesystem::path& path, const Features& features) {
    AtomicFile file(path);
    std::string line = "image";
    for (std::int64_t d = 0; d < features.dimension; ++d) {
        line += fmt::format(",f{}", d);
    }
    file.write(line + "\n");
    for (std::size_t i = 0; i < features.size(); ++i) {
        line = csv_field(features.image_ids[i]);
        for (const float value : features.row(i)) {
            fmt::format_to(std::back_inserter(line), ",{}", value);
        }
        file.write(line + "\n");
    }
    file.commit();
}

void write_tensor(const std::filesystem::path& path, const Features& features) {
    const nlohmann::json images = features.image_ids;
    const TensorToWrite tensor{.name = "features",
                               .dtype = FileDType::f32,
                               .shape = {static_cast<std::int64_t>(features.size()), features.dimension},
                               .bytes = std::as_bytes(std::span(features.values))};
    write_safetensors(path, std::span(&tensor, 1),
                      {{"images", images.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)}});
}

}  // namespace

LabelledFeatures dataset_features(const Run& run, Model& model, const PackedDataset& data, std::span<const int> indices,
                                  int batch_size, std::string_view name) {
    LabelledFeatures result;
    result.classes = model.classes();
    for (const int index : indices) {
        const Sample& sample = data.sample(static_cast<std::size_t>(index));
        result.features.image_ids.push_back(sample.image_id);
        result.lesion_ids.push_back(sample.lesion_id);
        result.labels.push_back(sample.label);
    }
    if (indices.empty()) {
        return result;
    }
    const auto count = static_cast<std::int64_t>(indices.size());
    const InputSettings input{run.facts.size, run.facts.mean, run.facts.std};
    Progress progress(std::string(name), count, "images");
    const std::vector<float> logits =
        predict_logits(model, count, input.size, batch_size, dataset_reader(data, indices, input), &progress, 1,
                       &result.features.values);
    progress.finish();
    result.features.dimension = static_cast<std::int64_t>(result.features.values.size()) / count;
    const Tensor probabilities = softmax(Tensor::from(logits, {count, result.classes}));
    result.probabilities.assign(probabilities.values().begin(), probabilities.values().end());
    return result;
}

void check_features_path(const std::filesystem::path& path) {
    require(path.extension() == ".csv" || path.extension() == ".safetensors",
            "features file {}: a name that ends in .csv or .safetensors is wanted", path.string());
}

void write_features(const std::filesystem::path& path, const Features& features) {
    check_features_path(path);
    if (path.extension() == ".csv") {
        write_csv(path, features);
    } else {
        write_tensor(path, features);
    }
}

}  // namespace cutis
