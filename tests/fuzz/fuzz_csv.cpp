#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/csv.h"
#include "engine/metadata.h"
#include "tests/fuzz/accepts.h"

using namespace cutis;

namespace {

/// The table as text in which every field is quoted.
std::string quoted(const CsvTable& table) {
    std::string text;
    const auto add = [&](std::string_view field, bool last) {
        text += '"';
        for (const char c : field) {
            text += c == '"' ? "\"\"" : std::string(1, c);
        }
        text += last ? "\"\n" : "\",";
    };
    for (std::size_t column = 0; column < table.columns(); ++column) {
        add(table.header()[column], column + 1 == table.columns());
    }
    for (std::size_t row = 0; row < table.rows(); ++row) {
        for (std::size_t column = 0; column < table.columns(); ++column) {
            add(table.field(row, column), column + 1 == table.columns());
        }
    }
    return text;
}

void check_labels(const CsvTable& table, const std::vector<std::string>& class_names) {
    Labels labels;
    if (fuzz::accepts([&] { labels = read_labels(table, class_names); })) {
        fuzz::insist(labels.samples.size() == table.rows() && !labels.samples.empty());
        for (const Sample& sample : labels.samples) {
            fuzz::insist(sample.label >= 0 && static_cast<std::size_t>(sample.label) < labels.class_names.size());
            fuzz::insist(!sample.image_id.empty() && !sample.lesion_id.empty());
        }
    }
}

}  // namespace

/// CSV tables and the labels in them: every field of an accepted table survives being written and read again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    std::optional<CsvTable> table;
    if (!fuzz::accepts([&] { table.emplace(text, "fuzz.csv"); })) {
        return 0;
    }
    const CsvTable again(quoted(*table), "again");
    fuzz::insist(again.columns() == table->columns() && again.rows() == table->rows() &&
                 again.header() == table->header());
    for (std::size_t row = 0; row < again.rows(); ++row) {
        for (std::size_t column = 0; column < again.columns(); ++column) {
            fuzz::insist(again.field(row, column) == table->field(row, column));
        }
    }
    check_labels(*table, {});
    check_labels(*table, {"mole", "wart", "scar"});
    return 0;
}
