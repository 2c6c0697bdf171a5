#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cutis {

/// What a model said about images whose truth is known: the input of every metric, of the report and of ensembles.
struct Predictions {
    std::vector<std::string> class_names;  ///< distinct, in the order of the columns
    std::vector<std::string> image_ids;    ///< n, distinct
    std::vector<std::string> lesion_ids;   ///< n; an empty id: the image is a lesion of its own
    std::vector<int> labels;               ///< n, the true class, 0 <= label < classes()
    std::vector<float> probabilities;      ///< n x classes(), row-major, each in [0, 1]

    std::size_t size() const { return image_ids.size(); }
    std::size_t classes() const { return class_names.size(); }
    std::span<const float> row(std::size_t i) const { return {probabilities.data() + i * classes(), classes()}; }
    /// The class of the highest probability; of equal ones the first, as numpy.argmax.
    int predicted(std::size_t i) const;
    /// Number of distinct lesions; each image without a lesion id counts as one.
    std::size_t lesions() const;
};

/// Throws Error, starting with `origin` (a file or a split), unless the sizes fit together, there is at least one image
/// and one class, names and image ids are distinct and not empty, labels are in range and probabilities are numbers in
/// [0, 1].
void validate(const Predictions& predictions, std::string_view origin);

/// Puts the images of `more` behind those of `all`, which may be empty still. Throws Error, starting with `origin`,
/// where the classes differ.
void append(Predictions& all, const Predictions& more, std::string_view origin);

/// For each image the number of its lesion, 0 .. lesions()-1 in the order of first appearance.
std::vector<std::uint32_t> lesion_numbers(const Predictions& predictions);
/// The same for the lesion ids themselves; each empty one is a lesion of its own.
std::vector<std::uint32_t> lesion_numbers(std::span<const std::string> lesion_ids);

/// The `count` wrong images in which the model was surest of its wrong answer, surest first (equal ones in file order).
std::vector<std::size_t> worst_mistakes(const Predictions& predictions, std::size_t count);

/// Writes `image,lesion,label,<one column per class>`: the label as the class's name, each probability with the fewest
/// digits that read back as the same float. RFC 4180 quoting; the file appears whole or not at all. Throws Error (see
/// `validate` and `write_file_atomically`).
void write_predictions_csv(const std::filesystem::path& path, const Predictions& predictions);

/// Reads what `write_predictions_csv` wrote. Anything else is an Error that names the file, the row and the rule.
Predictions read_predictions_csv(const std::filesystem::path& path);

}  // namespace cutis
