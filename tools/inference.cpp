#include "tools/inference.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

#include "engine/augment.h"
#include "engine/ops.h"
#include "engine/packed_dataset.h"
#include "engine/resize.h"
#include "engine/safetensors.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "kernels/parallel.h"
#include "tools/progress.h"
#include "tools/read_ahead.h"
#include "tools/signals.h"

namespace cutis {
namespace {

constexpr int kLargestInput = 16384;

void require_input_side(const Model& model, int size) {
    require(size >= model.least_size() && size <= kLargestInput, "input side {}: the model takes {} to {} pixels", size,
            model.least_size(), kLargestInput);
}

/// Appends the model's logits for normalised `inputs`, which are rows of a sequence from `first_row` on; an image has
/// `views` rows there. And to `features`, if not null, what its last linear layer read.
void append_logits(Model& model, const Tensor& inputs, std::int64_t first_row, std::int64_t views,
                   std::vector<float>& logits, std::vector<float>* features = nullptr) {
    Variable linear_input;
    const ForwardContext context{.linear_input = features != nullptr ? &linear_input : nullptr};
    const Variable output = model.forward(Variable(inputs.to(model.parts().device())), context);
    const Tensor values = output.value().to(Device{});
    std::int64_t position = 0;
    for (const float value : values.values()) {
        require(std::isfinite(value),
                "the model's output for image {} is not a finite number; its weights are damaged, or training diverged "
                "(try a lower --lr)",
                (first_row + position / model.classes()) / views);
        logits.push_back(value);
        ++position;
    }
    if (features != nullptr) {
        require(static_cast<bool>(linear_input), "features: the model has no linear layer whose input they could be");
        const Tensor read_by_classifier = std::as_const(linear_input).value().to(Device{});
        features->insert(features->end(), read_by_classifier.values().begin(), read_by_classifier.values().end());
    }
}

/// Views row .. row + rows - 1 of the images whose squares are `squares[image][which]`, normalised, to `out`.
void fill_views(const std::vector<std::vector<Image>>& squares, std::size_t which, int side, const Tta& tta,
                std::int64_t row, std::int64_t rows, const InputSettings& input, float* out) {
    const std::int64_t values = std::int64_t{3} * input.size * input.size, views = view_count(tta);
    parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<std::uint8_t> view(static_cast<std::size_t>(values));
        for (std::int64_t i = begin; i < end; ++i) {
            const Image& square = squares[static_cast<std::size_t>((row + i) / views)][which];
            take_view(square.rgb.data(), side, tta, static_cast<int>((row + i) % views), input.size, view.data());
            to_float(view.data(), input.size, input.size, input.mean.data(), input.std.data(), out + i * values);
        }
    });
}

/// Appends the mean of the softmax over each image's views to `probabilities`.
void append_mean_probabilities(const std::vector<float>& logits, std::int64_t rows, std::int64_t views,
                               std::vector<float>& probabilities) {
    const std::int64_t classes = static_cast<std::int64_t>(logits.size()) / rows;
    const Tensor each = softmax(Tensor::from(logits, {rows, classes}));
    const std::span<const float> values = std::as_const(each).values();
    for (std::int64_t image = 0; image < rows / views; ++image) {
        for (std::int64_t c = 0; c < classes; ++c) {
            double sum = 0.0;
            for (std::int64_t view = 0; view < views; ++view) {
                sum += static_cast<double>(values[static_cast<std::size_t>((image * views + view) * classes + c)]);
            }
            probabilities.push_back(static_cast<float>(sum / static_cast<double>(views)));
        }
    }
}

/// Image `row` of the data set as a square of `side`.
Image resized_image(const PackedDataset& data, int row, int side) {
    Image image{side, side,
                std::vector<std::uint8_t>(static_cast<std::size_t>(side) * static_cast<std::size_t>(side) * 3)};
    write_resized(data.image(static_cast<std::size_t>(row)).data(), data.image_size(), side, image.rgb.data());
    return image;
}

}  // namespace

std::array<float, 3> parse_three(std::string_view text, std::string_view what) {
    std::array<float, 3> values{};
    const char* at = text.data();
    const char* const end = at + text.size();
    for (std::size_t i = 0; i < values.size(); ++i) {
        const auto [rest, error] = std::from_chars(at, end, values[i]);
        const bool separated = i + 1 < values.size() ? rest != end && *rest == ',' : rest == end;
        require(error == std::errc() && separated && std::isfinite(values[i]),
                "{}: '{}' is not three numbers like 0.485,0.456,0.406", what, printable(text));
        at = rest + 1;
    }
    return values;
}

std::string three_text(const std::array<float, 3>& values) {
    return fmt::format("{},{},{}", values[0], values[1], values[2]);
}

InputSettings input_settings(const SafetensorsFile& weights, const Model& model) {
    const Normalisation published = model.published_normalisation();
    InputSettings input{224, published.mean, published.std};
    const auto& metadata = weights.metadata();
    const auto place = [&](const char* key) { return fmt::format("{}: metadata '{}'", weights.path().string(), key); };
    if (const auto mean = metadata.find("mean"); mean != metadata.end()) {
        input.mean = parse_three(mean->second, place("mean"));
    }
    if (const auto deviation = metadata.find("std"); deviation != metadata.end()) {
        input.std = parse_three(deviation->second, place("std"));
        require(*std::min_element(input.std.begin(), input.std.end()) > 0, "{}: '{}' must be positive", place("std"),
                printable(deviation->second));
    }
    if (const auto size = metadata.find("size"); size != metadata.end()) {
        const std::string& text = size->second;
        const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), input.size);
        require(
            error == std::errc() && rest == text.data() + text.size() && input.size >= 1 && input.size <= kLargestInput,
            "{}: '{}' is no image side from 1 to {}", place("size"), printable(text), kLargestInput);
    }
    return input;
}

std::string normalisation_text(const SafetensorsFile& weights, const InputSettings& input) {
    const auto& metadata = weights.metadata();
    return fmt::format("mean {}, deviation {}{}", three_text(input.mean), three_text(input.std),
                       metadata.contains("mean") && metadata.contains("std")
                           ? ""
                           : " (as torchvision's weights want; the file does not say)");
}

std::vector<float> predict_logits(Model& model, std::int64_t count, int size, int batch_size, const ReadInput& read,
                                  Progress* progress, int readers, std::vector<float>* features) {
    require_input_side(model, size);
    require(batch_size >= 1, "batch size {}: at least 1 is wanted", batch_size);
    const int batch = static_cast<int>(std::clamp<std::int64_t>(count, 1, batch_size));
    const auto classes = static_cast<std::size_t>(model.classes());
    std::vector<float> logits;
    logits.reserve(static_cast<std::size_t>(count) * classes);

    const NoGrad no_grad;
    const std::int64_t pixels = std::int64_t{3} * size * size;
    ReadAhead<std::vector<float>> inputs(count, std::max(readers, 1), 2 * batch, [&](std::int64_t index) {
        std::vector<float> input(static_cast<std::size_t>(pixels));
        read(index, input.data());
        return input;
    });
    Tensor images = Tensor::empty({batch, size, size, 3});
    for (std::int64_t begin = 0; begin < count; begin += batch) {
        const std::int64_t end = std::min(begin + batch, count);
        for (std::int64_t i = begin; i < end; ++i) {
            throw_if_stopped();
            const std::vector<float> input = inputs.next();
            std::copy(input.begin(), input.end(), images.data() + (i - begin) * pixels);
        }
        append_logits(model, images.rows(0, end - begin), begin, 1, logits, features);
        if (progress != nullptr) {
            progress->update(end);
        }
    }
    return logits;
}

ReadInput dataset_reader(const PackedDataset& data, std::span<const int> indices, const InputSettings& input) {
    return [&data, indices, input](std::int64_t i, float* out) {
        const Image image = resized_image(data, indices[static_cast<std::size_t>(i)], input.size);
        to_float(image.rgb.data(), image.height, image.width, input.mean.data(), input.std.data(), out);
    };
}

std::vector<std::vector<float>> predict_views(std::span<const PreparedNetwork> networks, std::int64_t count,
                                              const Tta& tta, int image_side, int batch_size, const ReadSquares& read,
                                              Progress* progress, int readers) {
    require(batch_size >= 1, "batch size {}: at least 1 is wanted", batch_size);
    std::vector<int> sides;  // of the squares that the networks look at, each once
    for (const PreparedNetwork& network : networks) {
        require_input_side(*network.model, network.input.size);
        sides.push_back(square_side(tta, network.input.size, image_side));
    }
    std::sort(sides.begin(), sides.end());
    sides.erase(std::unique(sides.begin(), sides.end()), sides.end());
    const std::int64_t views = view_count(tta);
    const std::int64_t chunk = std::clamp<std::int64_t>(count, 1, batch_size);

    const NoGrad no_grad;
    ReadAhead<std::vector<Image>> images(count, std::max(readers, 1), 2 * chunk, [&](std::int64_t index) {
        std::vector<Image> squares(sides.size());
        read(index, sides, squares);
        return squares;
    });
    std::vector<std::vector<float>> probabilities(networks.size());
    std::vector<std::vector<Image>> squares;
    for (std::int64_t begin = 0; begin < count; begin += chunk) {
        const std::int64_t n = std::min(chunk, count - begin);
        squares.clear();
        for (std::int64_t i = 0; i < n; ++i) {
            throw_if_stopped();
            squares.push_back(images.next());
        }
        for (std::size_t m = 0; m < networks.size(); ++m) {
            const PreparedNetwork& network = networks[m];
            const int size = network.input.size, side = square_side(tta, size, image_side);
            const auto which =
                static_cast<std::size_t>(std::lower_bound(sides.begin(), sides.end(), side) - sides.begin());
            const std::int64_t rows = n * views, at_once = std::min<std::int64_t>(rows, batch_size);
            Tensor input = Tensor::empty({at_once, size, size, 3});
            std::vector<float> logits;
            for (std::int64_t row = 0; row < rows; row += at_once) {
                throw_if_stopped();
                const std::int64_t filled = std::min(at_once, rows - row);
                fill_views(squares, which, side, tta, row, filled, network.input, input.data());
                append_logits(*network.model, input.rows(0, filled), begin * views + row, views, logits);
            }
            append_mean_probabilities(logits, rows, views, probabilities[m]);
            if (progress != nullptr) {
                progress->update(begin +
                                 n * static_cast<std::int64_t>(m + 1) / static_cast<std::int64_t>(networks.size()));
            }
        }
    }
    return probabilities;
}

std::vector<Predictions> predict_dataset(std::span<const PreparedNetwork> networks, const PackedDataset& data,
                                         std::span<const int> indices, const Tta& tta, int batch_size,
                                         Progress* progress) {
    std::vector<Predictions> predictions(networks.size());
    for (std::size_t m = 0; m < networks.size(); ++m) {
        const int classes = networks[m].model->classes();
        predictions[m].class_names = class_names_for(classes, data.class_names());
        for (const int index : indices) {
            const Sample& sample = data.sample(static_cast<std::size_t>(index));
            require(sample.label < classes, "{}: image {} is of class '{}', number {}, but the model has {} classes",
                    data.path().string(), printable(sample.image_id),
                    printable(data.class_names()[static_cast<std::size_t>(sample.label)]), sample.label, classes);
            predictions[m].image_ids.push_back(sample.image_id);
            predictions[m].lesion_ids.push_back(sample.lesion_id);
            predictions[m].labels.push_back(sample.label);
        }
    }
    const auto read = [&](std::int64_t index, std::span<const int> sides, std::span<Image> squares) {
        for (std::size_t k = 0; k < sides.size(); ++k) {
            squares[k] = resized_image(data, indices[static_cast<std::size_t>(index)], sides[k]);
        }
    };
    std::vector<std::vector<float>> probabilities = predict_views(networks, static_cast<std::int64_t>(indices.size()),
                                                                  tta, data.image_size(), batch_size, read, progress);
    for (std::size_t m = 0; m < networks.size(); ++m) {
        predictions[m].probabilities = std::move(probabilities[m]);
    }
    return predictions;
}

Predictions predict_dataset(Model& model, const PackedDataset& data, std::span<const int> indices,
                            const InputSettings& input, int batch_size, Progress* progress, const Tta& tta) {
    const PreparedNetwork network{&model, input};
    return std::move(predict_dataset(std::span(&network, 1), data, indices, tta, batch_size, progress).front());
}

std::vector<std::string> class_names_for(int classes, std::vector<std::string> known) {
    for (auto i = static_cast<int>(known.size()); i < classes; ++i) {
        known.push_back(fmt::format("class_{}", i));
    }
    known.resize(static_cast<std::size_t>(classes));
    return known;
}

}  // namespace cutis
