#include "tools/inference.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

#include "engine/augment.h"
#include "engine/ops.h"
#include "engine/packed_dataset.h"
#include "engine/safetensors.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/progress.h"
#include "tools/read_ahead.h"
#include "tools/signals.h"

namespace cutis {
namespace {

constexpr int kLargestInput = 16384;

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

InputSettings input_settings(const SafetensorsFile& weights) {
    InputSettings input{224, kImageNetMean, kImageNetStd};
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

std::vector<float> predict_logits(Model& model, std::int64_t count, int size, int batch_size, const ReadInput& read,
                                  Progress* progress, int readers, std::vector<float>* features) {
    require(size >= model.least_size() && size <= kLargestInput, "input side {}: the model takes {} to {} pixels", size,
            model.least_size(), kLargestInput);
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
    const Device device = model.parts().device();
    Tensor images = Tensor::empty({batch, size, size, 3});
    for (std::int64_t begin = 0; begin < count; begin += batch) {
        const std::int64_t end = std::min(begin + batch, count);
        for (std::int64_t i = begin; i < end; ++i) {
            throw_if_stopped();
            const std::vector<float> input = inputs.next();
            std::copy(input.begin(), input.end(), images.data() + (i - begin) * pixels);
        }
        Variable linear_input;
        const ForwardContext context{.linear_input = features != nullptr ? &linear_input : nullptr};
        const Variable output = model.forward(Variable(images.rows(0, end - begin).to(device)), context);
        const Tensor values = output.value().to(Device{});
        for (const float value : values.values()) {
            require(std::isfinite(value),
                    "the model's output for image {} is not a finite number; its weights are damaged, or training "
                    "diverged (try a lower --lr)",
                    logits.size() / classes);
            logits.push_back(value);
        }
        if (features != nullptr) {
            require(static_cast<bool>(linear_input),
                    "features: the model has no linear layer whose input they could be");
            const Tensor read_by_classifier = std::as_const(linear_input).value().to(Device{});
            features->insert(features->end(), read_by_classifier.values().begin(), read_by_classifier.values().end());
        }
        if (progress != nullptr) {
            progress->update(end);
        }
    }
    return logits;
}

ReadInput dataset_reader(const PackedDataset& data, std::span<const int> indices, const InputSettings& input) {
    return [&data, indices, input](std::int64_t i, float* out) {
        const auto row = static_cast<std::size_t>(indices[static_cast<std::size_t>(i)]);
        const int side = data.image_size();
        PhiloxStream unused(0, RandomPurpose::augment, 0);
        augment_to_float(data.image(row).data(), side, side, AugmentOptions{}, unused, input.mean.data(),
                         input.std.data(), input.size, out);
    };
}

Predictions predict_dataset(Model& model, const PackedDataset& data, std::span<const int> indices,
                            const InputSettings& input, int batch_size, Progress* progress) {
    const int classes = model.classes();
    Predictions predictions;
    predictions.class_names = class_names_for(classes, data.class_names());
    for (const int index : indices) {
        const Sample& sample = data.sample(static_cast<std::size_t>(index));
        require(sample.label < classes, "{}: image {} is of class '{}', number {}, but the model has {} classes",
                data.path().string(), printable(sample.image_id),
                printable(data.class_names()[static_cast<std::size_t>(sample.label)]), sample.label, classes);
        predictions.image_ids.push_back(sample.image_id);
        predictions.lesion_ids.push_back(sample.lesion_id);
        predictions.labels.push_back(sample.label);
    }
    const auto count = static_cast<std::int64_t>(indices.size());
    const std::vector<float> logits =
        predict_logits(model, count, input.size, batch_size, dataset_reader(data, indices, input), progress);
    if (count > 0) {
        const auto probabilities = softmax(Tensor::from(logits, {count, classes}));
        predictions.probabilities.assign(probabilities.values().begin(), probabilities.values().end());
    }
    return predictions;
}

std::vector<std::string> class_names_for(int classes, std::vector<std::string> known) {
    for (auto i = static_cast<int>(known.size()); i < classes; ++i) {
        known.push_back(fmt::format("class_{}", i));
    }
    known.resize(static_cast<std::size_t>(classes));
    return known;
}

}  // namespace cutis
