#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <unordered_map>

#include "engine/csv.h"
#include "engine/files.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/isic_scorer.h"

// The files of tools/isic_scorer.h and their checks.

namespace cutis {
namespace {

constexpr std::string_view kImage = "image", kScoreWeight = "score_weight", kValidationWeight = "validation_weight";
constexpr std::string_view kWithdrawn = "ISIC_0035068";  // the challenge gave it no weight

std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t");
    return first == std::string_view::npos ? std::string_view{}
                                           : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// A field as a number; throws Error naming its place.
double number(const CsvTable& table, std::size_t row, std::size_t column) {
    const auto where = [&] {
        return fmt::format("{}: column {}", table.place(row), printable(table.header()[column]));
    };
    std::string_view text = trimmed(table.field(row, column));
    require(!text.empty(), "{}: the value is missing; every image needs a number for every class", where());
    if (text.front() == '+') {
        text.remove_prefix(1);
    }
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = end == text.data() + text.size() && text.front() != '+';
    if (error == std::errc::result_out_of_range && whole) {
        const bool tiny = text.find("e-") != std::string_view::npos || text.find("E-") != std::string_view::npos;
        return tiny ? 0.0 : HUGE_VAL;
    }
    require(error == std::errc() && whole && !std::isnan(value), "{}: '{}' is no number; correct it", where(),
            printable(table.field(row, column)));
    return value;
}

bool is_whole_number(std::string_view text) {
    text = trimmed(text);
    if (!text.empty() && (text.front() == '+' || text.front() == '-')) {
        text.remove_prefix(1);
    }
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::string image_id(const CsvTable& table, std::size_t row, std::size_t column) {
    const std::string_view id = table.field(row, column);
    require(!id.empty(), "{}: the image's name is missing; fill it in or remove the row", table.place(row));
    return std::string(id);
}

std::vector<double> weights(const CsvTable& table, std::string_view name) {
    const std::optional<std::size_t> column = table.find_column(name);
    std::vector<double> values(table.rows(), 1.0);
    for (std::size_t row = 0; column && row < table.rows(); ++row) {
        values[row] = number(table, row, *column);
        require(values[row] >= 0 && std::isfinite(values[row]), "{}: {} is {}; a weight is a number from 0 on",
                table.place(row), name, values[row]);
    }
    return values;
}

/// The package's guard against files that are no tables.
void require_lines(std::string_view text, const std::string& name) {
    constexpr std::size_t kLooked = 2000;
    std::size_t characters = 0;
    int lines = 0;
    for (std::size_t i = 0; i < text.size() && characters < kLooked; ++i) {
        characters += (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80 ? 1 : 0;  // not inside a UTF-8 character
        lines += text[i] == '\n' || (text[i] == '\r' && (i + 1 == text.size() || text[i + 1] != '\n')) ? 1 : 0;
    }
    require(lines >= 2,
            "{}: has {} line ends in its first {} characters, and 2 are wanted (a header, and a row an image); "
            "check that it is the right file",
            name, lines, kLooked);
}

/// The column of each class; no other may be there.
std::vector<std::size_t> class_columns(const CsvTable& table, const IsicTruth& truth) {
    require(table.find_column(kImage).has_value(), "{}: has no column 'image' (its columns: {}); add it", table.name(),
            table.header_text());
    std::vector<std::size_t> columns;
    for (const std::string& name : truth.class_names) {
        const std::optional<std::size_t> column = table.find_column(name);
        require(column.has_value(), "{}: has no column for the class '{}' (its columns: {}); add it", table.name(),
                printable(name), table.header_text());
        columns.push_back(*column);
    }
    for (const std::string_view name : table.header()) {
        const bool known = name == kImage || std::find(truth.class_names.begin(), truth.class_names.end(), name) !=
                                                 truth.class_names.end();
        require(known, "{}: column '{}' is no class of the truth; remove it", table.name(), printable(name));
    }
    return columns;
}

}  // namespace

IsicTruth parse_isic_truth(std::string_view text, const std::string& name) {
    const CsvTable table(text, name);
    const std::size_t image = table.column(kImage);
    IsicTruth truth;
    std::vector<std::size_t> columns;
    for (std::size_t column = 0; column < table.columns(); ++column) {
        const std::string_view title = table.header()[column];
        if (title != kImage && title != kScoreWeight && title != kValidationWeight) {
            truth.class_names.emplace_back(title);
            columns.push_back(column);
        }
    }
    require(!columns.empty() && table.rows() > 0,
            "{}: has {} class columns and {} rows; check that it is the right file", name, columns.size(),
            table.rows());
    truth.score_weight = weights(table, kScoreWeight);
    truth.validation_weight = weights(table, kValidationWeight);
    std::unordered_map<std::string, std::size_t> seen;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const std::string id = image_id(table, row, image);
        require(seen.emplace(id, row).second, "{}: the image '{}' stands in an earlier row already; remove one",
                table.place(row), printable(id));
        for (const std::size_t column : columns) {
            const double value = number(table, row, column);
            require(value == 0 || value == 1, "{}: column {}: the truth is '{}', and 0 or 1 is wanted",
                    table.place(row), printable(table.header()[column]), printable(table.field(row, column)));
            truth.truth.push_back(value == 1 ? 1 : 0);
        }
        if (id == kWithdrawn) {
            truth.score_weight[row] = truth.validation_weight[row] = 0;
        }
        truth.image_ids.push_back(id);
    }
    return truth;
}

IsicTruth read_isic_truth(const std::filesystem::path& path) {
    return parse_isic_truth(read_text_file(path), path.string());
}

std::vector<double> parse_isic_predictions(std::string_view text, const std::string& name, const IsicTruth& truth) {
    require_lines(text, name);
    const CsvTable table(text, name);
    const std::vector<std::size_t> columns = class_columns(table, truth);
    const std::size_t image = table.column(kImage);

    std::unordered_map<std::string, std::size_t> row_of;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        std::string id = image_id(table, row, image);
        if (lower_case(id).ends_with(".jpg")) {
            id.resize(id.size() - 4);
        }
        require(row_of.emplace(id, row).second, "{}: the image '{}' stands in an earlier row already; remove one",
                table.place(row), printable(id));
    }
    std::vector<double> values;
    for (const std::string& id : truth.image_ids) {
        const auto found = row_of.find(id);
        require(found != row_of.end(), "{}: the image '{}' is missing; every image of the truth needs a row", name,
                printable(id));
        for (const std::size_t column : columns) {
            const double value = number(table, found->second, column);
            require(value >= 0 && value <= 1, "{}: column {}: {} is outside [0, 1]; correct it",
                    table.place(found->second), printable(table.header()[column]), value);
            values.push_back(value);
        }
        row_of.erase(found);
    }
    if (!row_of.empty()) {
        const auto first = std::min_element(row_of.begin(), row_of.end(),
                                            [](const auto& a, const auto& b) { return a.second < b.second; });
        fail("{}: the image '{}' is not in the truth ({} such rows); remove it", table.place(first->second),
             printable(first->first), row_of.size());
    }
    for (const std::size_t column : columns) {
        bool fraction = false;
        for (std::size_t row = 0; row < table.rows(); ++row) {
            fraction = fraction || !is_whole_number(table.field(row, column));
        }
        require(fraction,
                "{}: column {} holds whole numbers alone, which the challenge refuses; write 0.0 and 1.0 for 0 and 1",
                name, printable(table.header()[column]));
    }
    return values;
}

std::vector<double> read_isic_predictions(const std::filesystem::path& path, const IsicTruth& truth) {
    return parse_isic_predictions(read_text_file(path), path.string(), truth);
}

}  // namespace cutis
