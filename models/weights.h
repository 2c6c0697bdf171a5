#pragma once

#include <filesystem>
#include <functional>
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
/// @param name_in_file  how the file calls a tensor of the model, where not by its name (models/key_maps.h); linear
///                      weights on a map may then be those of a convolution, k c r s
LoadReport load_weights(Model& model, const SafetensorsFile& file, bool new_classifier,
                        const std::function<std::string(std::string_view)>& name_in_file = {});

/// Number of classes that a file's classifier has: rows of its last linear weight named like the model's, in the order
/// of the data (an LSTM's, weight_ih_l0, .., are none); 0 where it has none.
int classes_in_file(const SafetensorsFile& file, std::string_view classifier_prefix);

/// Further tensors of a checkpoint (optimiser, averages), saved in memory layout.
using ExtraTensors = std::vector<BufferRef>;

/// How the weights of convolutions and linear layers are written; norms, biases and statistics always are f32.
enum class WeightPrecision { f32, f16 };

/// Writes parameters and buffers under their names in the file layout, crash-safe; then `extra`. Throws Error naming a
/// tensor whose values are too large for f16.
void save_weights(const std::filesystem::path& path, const Parts& parts, const ExtraTensors& extra,
                  const std::map<std::string, std::string>& metadata, WeightPrecision precision = WeightPrecision::f32);

/// Restores what save_weights wrote, every tensor by name and exact shape; Error for the first that is missing.
void load_checkpoint(const SafetensorsFile& file, const Parts& parts, const ExtraTensors& extra);

}  // namespace cutis
