#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/safetensors.h"
#include "models/model.h"

namespace cutis {

/// What came of loading weights.
struct LoadReport {
    std::int64_t matched = 0;  ///< tensors taken from the file
    std::vector<std::string>
        reinitialized;                ///< tensors of classifier and auxiliary heads that kept their initial values
    std::vector<std::string> unused;  ///< tensors of the file that the model does not have

    /// A notice for the user: one line, empty when everything matched.
    std::string notice() const;
};

/// Copies a file's tensors into the model by name (torchvision's names and layout; f16 and bf16 are widened). With
/// `new_classifier` the classifier may be missing or of another number of classes and keeps its initial values; so do
/// auxiliary heads that the file lacks, which published files often do, or has for other classes; every other tensor must be there in the
/// model's shape: otherwise Error names the file and tensor ("a checkpoint of another
/// model"). num_batches_tracked is ignored.
LoadReport load_weights(Model& model, const SafetensorsFile& file, bool new_classifier);

/// Number of classes that a file's classifier has: rows of its last weight matrix named like the model's; 0 where it
/// has none.
int classes_in_file(const SafetensorsFile& file, std::string_view classifier_prefix);

/// Further tensors of a checkpoint (optimiser, averages), saved in memory layout.
using ExtraTensors = std::vector<BufferRef>;

/// Writes parameters and buffers under their names in the file layout, f32, crash-safe; then `extra`.
void save_weights(const std::filesystem::path& path, const Parts& parts, const ExtraTensors& extra,
                  const std::map<std::string, std::string>& metadata);

/// Restores what save_weights wrote, every tensor by name and exact shape; Error for the first that is missing.
void load_checkpoint(const SafetensorsFile& file, const Parts& parts, const ExtraTensors& extra);

}  // namespace cutis
