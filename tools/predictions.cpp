#include "tools/predictions.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "engine/csv.h"
#include "engine/files.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

/// Softmax in fp32 can end a little above 1.
constexpr float kLargestProbability = 1.001f;

constexpr std::array<std::string_view, 3> kFixedColumns = {"image", "lesion", "label"};

float parse_probability(const CsvTable& table, std::size_t row, std::size_t column) {
    const std::string_view field = table.field(row, column);
    float value = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    // Below the smallest float, from_chars reports a result out of range; so small a probability is zero.
    const bool tiny = error == std::errc::result_out_of_range && field.find("e-") != std::string_view::npos;
    if ((error != std::errc() && !tiny) || end != field.data() + field.size()) {
        fail("{}: column \"{}\": \"{}\" is not a number", table.place(row), printable(table.header()[column]),
             printable(field));
    }
    return tiny ? 0.0f : value;
}

}  // namespace

int Predictions::predicted(std::size_t i) const {
    const auto probability = row(i);
    return static_cast<int>(std::max_element(probability.begin(), probability.end()) - probability.begin());
}

std::size_t Predictions::lesions() const {
    const std::vector<std::uint32_t> numbers = lesion_numbers(*this);
    return numbers.empty() ? 0 : 1 + *std::max_element(numbers.begin(), numbers.end());
}

void validate(const Predictions& p, std::string_view origin) {
    const std::size_t n = p.size(), classes = p.classes();
    require(n > 0, "{}: no images, so there is nothing to judge", origin);
    require(classes > 0, "{}: no classes", origin);
    require(n < (std::size_t{1} << 31) && classes < (std::size_t{1} << 16), "{}: {} images of {} classes are too many",
            origin, n, classes);
    require(p.labels.size() == n && p.lesion_ids.size() == n && p.probabilities.size() == n * classes,
            "{}: {} images of {} classes with {} labels, {} lesion ids and {} probabilities", origin, n, classes,
            p.labels.size(), p.lesion_ids.size(), p.probabilities.size());
    std::unordered_set<std::string_view> seen;
    for (const std::string& name : p.class_names) {
        require(!name.empty(), "{}: a class has no name", origin);
        require(seen.insert(name).second, "{}: two classes are called \"{}\"", origin, printable(name));
    }
    seen.clear();
    for (std::size_t i = 0; i < n; ++i) {
        require(!p.image_ids[i].empty(), "{}: image {} has no id", origin, i);
        if (!seen.insert(p.image_ids[i]).second) {
            fail("{}: image \"{}\" occurs twice", origin, printable(p.image_ids[i]));
        }
        if (p.labels[i] < 0 || static_cast<std::size_t>(p.labels[i]) >= classes) {
            fail("{}: image \"{}\": label {} of {} classes", origin, printable(p.image_ids[i]), p.labels[i], classes);
        }
        const auto row = p.row(i);
        const auto bad = std::find_if_not(row.begin(), row.end(), [](float probability) {
            return probability >= 0 && probability <= kLargestProbability;  // false for what is not a number
        });
        if (bad != row.end()) {
            fail("{}: image \"{}\": the probability of {} is {}, it must lie in 0..1{}", origin,
                 printable(p.image_ids[i]), printable(p.class_names[static_cast<std::size_t>(bad - row.begin())]), *bad,
                 std::isnan(*bad) ? "; the model has diverged: train with a smaller learning rate" : "");
        }
    }
}

void append(Predictions& all, const Predictions& more, std::string_view origin) {
    if (all.class_names.empty()) {
        all.class_names = more.class_names;
    }
    require(all.class_names == more.class_names, "{}: its classes are {}, those before it are {}", origin,
            fmt::join(more.class_names, ","), fmt::join(all.class_names, ","));
    all.image_ids.insert(all.image_ids.end(), more.image_ids.begin(), more.image_ids.end());
    all.lesion_ids.insert(all.lesion_ids.end(), more.lesion_ids.begin(), more.lesion_ids.end());
    all.labels.insert(all.labels.end(), more.labels.begin(), more.labels.end());
    all.probabilities.insert(all.probabilities.end(), more.probabilities.begin(), more.probabilities.end());
}

std::vector<std::uint32_t> lesion_numbers(const Predictions& predictions) {
    return lesion_numbers(predictions.lesion_ids);
}

std::vector<std::uint32_t> lesion_numbers(std::span<const std::string> lesion_ids) {
    std::unordered_map<std::string_view, std::uint32_t> number_of;
    std::vector<std::uint32_t> result;
    result.reserve(lesion_ids.size());
    std::uint32_t next = 0;
    for (const std::string& lesion : lesion_ids) {
        if (lesion.empty()) {
            result.push_back(next++);
            continue;
        }
        const auto [entry, is_new] = number_of.try_emplace(lesion, next);
        next += is_new ? 1 : 0;
        result.push_back(entry->second);
    }
    return result;
}

std::vector<std::size_t> worst_mistakes(const Predictions& predictions, std::size_t count) {
    std::vector<std::size_t> wrong;
    for (std::size_t i = 0; i < predictions.size(); ++i) {
        if (predictions.predicted(i) != predictions.labels[i]) {
            wrong.push_back(i);
        }
    }
    const auto confidence = [&](std::size_t i) {
        return predictions.row(i)[static_cast<std::size_t>(predictions.predicted(i))];
    };
    std::stable_sort(wrong.begin(), wrong.end(),
                     [&](std::size_t a, std::size_t b) { return confidence(a) > confidence(b); });
    wrong.resize(std::min(count, wrong.size()));
    return wrong;
}

void write_predictions_csv(const std::filesystem::path& path, const Predictions& predictions) {
    validate(predictions, path.string());
    for (const std::string_view taken : kFixedColumns) {
        require(std::find(predictions.class_names.begin(), predictions.class_names.end(), taken) ==
                    predictions.class_names.end(),
                "{}: a class may not be called \"{}\", which is another column of this file; rename the class",
                path.string(), taken);
    }
    AtomicFile file(path);
    std::string line = fmt::format("{}", fmt::join(kFixedColumns, ","));
    for (const std::string& name : predictions.class_names) {
        line += "," + csv_field(name);
    }
    file.write(line + "\n");
    for (std::size_t i = 0; i < predictions.size(); ++i) {
        line = csv_field(predictions.image_ids[i]) + "," + csv_field(predictions.lesion_ids[i]) + "," +
               csv_field(predictions.class_names[static_cast<std::size_t>(predictions.labels[i])]);
        for (const float probability : predictions.row(i)) {
            fmt::format_to(std::back_inserter(line), ",{}", probability);
        }
        file.write(line + "\n");
    }
    file.commit();
}

Predictions read_predictions_csv(const std::filesystem::path& path) {
    const CsvTable table = read_csv(path);
    const std::vector<std::string_view>& header = table.header();
    require(
        header.size() > kFixedColumns.size() && std::equal(kFixedColumns.begin(), kFixedColumns.end(), header.begin()),
        "{}: begins with the columns {}, but predictions begin with image,lesion,label and a column per class; give a "
        "predictions_*.csv of a run",
        table.name(), table.header_text());
    Predictions predictions;
    std::unordered_map<std::string_view, int> class_of;
    for (std::size_t column = kFixedColumns.size(); column < header.size(); ++column) {
        class_of.emplace(header[column], static_cast<int>(class_of.size()));
        predictions.class_names.emplace_back(header[column]);
    }
    for (std::size_t row = 0; row < table.rows(); ++row) {
        predictions.image_ids.emplace_back(table.field(row, 0));
        predictions.lesion_ids.emplace_back(table.field(row, 1));
        const auto label = class_of.find(table.field(row, 2));
        if (label == class_of.end()) {
            fail("{}: the label \"{}\" is none of the {} classes in the header", table.place(row),
                 printable(table.field(row, 2)), class_of.size());
        }
        predictions.labels.push_back(label->second);
        for (std::size_t column = kFixedColumns.size(); column < header.size(); ++column) {
            predictions.probabilities.push_back(parse_probability(table, row, column));
        }
    }
    validate(predictions, table.name());
    return predictions;
}

}  // namespace cutis
