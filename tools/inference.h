#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/image.h"
#include "models/model.h"
#include "tools/predictions.h"
#include "tools/tta.h"

namespace cutis {

class PackedDataset;
class Progress;
class SafetensorsFile;

/// What a model's input looks like: size x size pixels, (x / 255 - mean) / std per channel.
struct InputSettings {
    int size = 224;
    std::array<float, 3> mean{}, std{};
};

/// What a weights file states in its metadata: "mean" and "std" as "r,g,b", "size" in pixels. Where it states nothing:
/// what torchvision's weights of the model want, 224. Throws Error naming the file and the key when a value is no such
/// thing.
InputSettings input_settings(const SafetensorsFile& weights, const Model& model);
/// "mean 0.5,0.5,0.5, deviation 0.5,0.5,0.5", and whether the file says so.
std::string normalisation_text(const SafetensorsFile& weights, const InputSettings& input);

/// "0.5,0.5,0.5", which reads back as the same numbers.
std::string three_text(const std::array<float, 3>& values);
/// "0.5,0.5,0.5" as three numbers; throws Error naming `what` otherwise. Deviations must be positive.
std::array<float, 3> parse_three(std::string_view text, std::string_view what);

/// Writes image `index` of a sequence, normalised, as size x size x 3 floats to `out`. Called from several threads.
using ReadInput = std::function<void(std::int64_t index, float* out)>;

/// Logits, count x model.classes(), row-major. Inputs are read ahead on threads of their own while the model computes
/// (evaluation mode, nothing recorded). `features`, where given, gets what the model's last linear layer reads, count x
/// d, row-major: the penultimate activations. The result depends neither on threads nor, beyond rounding, on
/// `batch_size`. Throws the Error of `read`, Error where an output is not finite, and Stopped after SIGINT or SIGTERM.
/// @param readers  reading threads
std::vector<float> predict_logits(Model& model, std::int64_t count, int size, int batch_size, const ReadInput& read,
                                  Progress* progress = nullptr, int readers = 1,
                                  std::vector<float>* features = nullptr);

/// Names of a model's outputs: `known` as far as it goes, then class_<number>.
std::vector<std::string> class_names_for(int classes, std::vector<std::string> known);

/// Reads the images `indices` of `data` for `predict_logits`; those of another size than the input are resized. Keeps
/// references to both.
ReadInput dataset_reader(const PackedDataset& data, std::span<const int> indices, const InputSettings& input);

/// One of several networks that look at the same images.
struct PreparedNetwork {
    Model* model = nullptr;
    InputSettings input;
};

/// Gives image `index` of a sequence as a square of each of `sides`. Called from several threads.
using ReadSquares = std::function<void(std::int64_t index, std::span<const int> sides, std::span<Image> squares)>;

/// Every network's probabilities, result[i] being count x networks[i].model->classes(), row-major: the mean of the
/// softmax over the views `tta`. An image is read once, for all networks and views; beside the networks themselves,
/// 3 batch_size images as bytes and batch_size inputs are in memory. The result depends neither on threads nor, beyond
/// rounding, on `batch_size`, and the networks do not know of each other. Throws as `predict_logits` and `square_side`.
/// @param image_side  side of the images as they are read, 0 where they differ: see `square_side`
/// @param batch_size  views that a network computes at once
std::vector<std::vector<float>> predict_views(std::span<const PreparedNetwork> networks, std::int64_t count,
                                              const Tta& tta, int image_side, int batch_size, const ReadSquares& read,
                                              Progress* progress = nullptr, int readers = 1);

/// `predict_views` of the images `indices` of `data`, with their labels and lesions, one element per network. Images of
/// another size than the input are resized. Throws Error, naming the row, for a damaged data set or a label that a
/// network does not have; Stopped after SIGINT or SIGTERM.
std::vector<Predictions> predict_dataset(std::span<const PreparedNetwork> networks, const PackedDataset& data,
                                         std::span<const int> indices, const Tta& tta, int batch_size,
                                         Progress* progress = nullptr);

/// The same for one network.
Predictions predict_dataset(Model& model, const PackedDataset& data, std::span<const int> indices,
                            const InputSettings& input, int batch_size, Progress* progress = nullptr,
                            const Tta& tta = {});

}  // namespace cutis
