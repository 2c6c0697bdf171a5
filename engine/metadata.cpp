#include "engine/metadata.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_set>

#include "engine/csv.h"
#include "engine/isic_metadata.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) {
        text += fmt::format("{}{}", text.empty() ? "" : ", ", name);
    }
    return printable(text, 300);
}

/// Lower-case class name -> its index. Refuses names that would be ambiguous or would break the CSV files that carry
/// them.
std::map<std::string, int> index_of(const std::vector<std::string>& class_names, const std::string& file) {
    require(class_names.size() >= 2, "{}: {} class name is too few; name at least two", file, class_names.size());
    std::map<std::string, int> index;
    for (const std::string& name : class_names) {
        require(!name.empty() && name.find_first_of(",\"") == std::string::npos && printable(name, name.size()) == name,
                "{}: '{}' is no usable class name; use letters, digits and the like, without commas and quotes", file,
                printable(name));
        require(index.emplace(lower_case(name), static_cast<int>(index.size())).second,
                "{}: the class name '{}' is given twice; rename one", file, name);
    }
    return index;
}

/// A field that identifies an image or a lesion.
std::string_view identifier(const CsvTable& table, std::size_t row, std::size_t column) {
    const std::string_view id = table.field(row, column);
    const std::string_view what = table.header()[column];
    require(!id.empty(), "{}: {} is empty; fill it in or remove the row", table.place(row), what);
    if (printable(id, id.size()) != id) {
        fail("{}: {} '{}' holds bytes that are no UTF-8 text; save the file as UTF-8", table.place(row), what,
             printable(id));
    }
    return id;
}

std::string optional_field(const CsvTable& table, std::size_t row, std::optional<std::size_t> column) {
    if (!column) {
        return {};
    }
    // These are shown and never compared, so unreadable bytes need not stop the work.
    return printable(table.field(row, *column));
}

/// Finds the class of each row from the text of its dx column.
class DiagnosisColumn {
  public:
    DiagnosisColumn(const CsvTable& table, const std::vector<std::string>& class_names)
        : table_(table),
          names_(class_names),
          index_(index_of(class_names, table.name())),
          column_(table.column("dx")) {}

    int label(std::size_t row) const {
        const std::string_view value = table_.field(row, column_);
        const auto found = index_.find(lower_case(value));
        if (found == index_.end()) {
            fail("{}: unknown diagnosis '{}' (known: {}); correct it, or name the classes with --class-names",
                 table_.place(row), printable(value), joined(names_));
        }
        return found->second;
    }

  private:
    const CsvTable& table_;
    const std::vector<std::string>& names_;
    std::map<std::string, int> index_;
    std::size_t column_;
};

/// Finds the class of each row from the one column that holds 1.
class OneHotColumns {
  public:
    OneHotColumns(const CsvTable& table, const std::vector<std::string>& class_names) : table_(table) {
        const std::map<std::string, int> index = index_of(class_names, table.name());
        columns_.resize(class_names.size(), table.columns());
        for (std::size_t column = 0; column < table.columns(); ++column) {
            if (const auto found = index.find(lower_case(table.header()[column])); found != index.end()) {
                std::size_t& place = columns_[static_cast<std::size_t>(found->second)];
                require(place == table.columns(), "{}: two columns are named '{}'; rename one", table.name(),
                        found->first);
                place = column;
            }
        }
        for (std::size_t c = 0; c < columns_.size(); ++c) {
            require(columns_[c] < table.columns(), "{}: has no column for the class '{}' (its columns: {}); add it",
                    table.name(), class_names[c], table.header_text());
        }
    }

    int label(std::size_t row) const {
        int label = -1;
        int ones = 0;
        for (std::size_t c = 0; c < columns_.size(); ++c) {
            if (is_one(row, columns_[c])) {
                label = static_cast<int>(c);
                ++ones;
            }
        }
        require(ones == 1,
                "{}: 1.0 stands in {} of the {} class columns, but exactly one is wanted; mend or remove the row",
                table_.place(row), ones, columns_.size());
        return label;
    }

  private:
    bool is_one(std::size_t row, std::size_t column) const {
        const std::string_view value = table_.field(row, column);
        // "1", "1.", "1.0", "1.000" and the same with 0: all that occurs, and nothing that a number parser would let
        // by.
        const bool digit = !value.empty() && (value[0] == '0' || value[0] == '1');
        const bool point = value.size() < 2 || value[1] == '.';
        const std::size_t other = value.size() < 2 ? std::string_view::npos : value.find_first_not_of('0', 2);
        if (!digit || !point || other != std::string_view::npos) {
            fail("{}: '{}' in column {} is neither 0.0 nor 1.0; correct it", table_.place(row), printable(value),
                 printable(table_.header()[column]));
        }
        return value[0] == '1';
    }

    const CsvTable& table_;
    std::vector<std::size_t> columns_;  // of each class
};

constexpr std::string_view kUnknown = "UNK";  // ISIC 2019's column for images of none of its classes

/// Whether both hold the same names, in whatever order and case.
bool same_names(const std::vector<std::string>& a, const std::vector<std::string>& b) {
    const auto has = [&](const std::string& name) {
        return std::any_of(b.begin(), b.end(),
                           [&](const std::string& other) { return lower_case(name) == lower_case(other); });
    };
    return a.size() == b.size() && std::all_of(a.begin(), a.end(), has);
}

/// Whether the column holds zeros alone.
bool is_empty_class(const CsvTable& table, std::size_t column) {
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const std::string_view value = table.field(row, column);
        if (value.empty() || value[0] != '0' || value.find_first_not_of("0.") != std::string_view::npos) {
            return false;
        }
    }
    return true;
}

/// The class names of a one-hot file: HAM10000's or ISIC 2019's where the columns are those, in whatever order, else as
/// they stand. Of ISIC 2019's UNK, which no training image is, nothing is left where it is empty.
std::vector<std::string> one_hot_class_names(const CsvTable& table) {
    std::vector<std::string> names;
    for (std::size_t column = 0; column < table.columns(); ++column) {
        const std::string_view name = table.header()[column];
        const bool other =
            name == "image" || name == "lesion_id" || name == "score_weight" || name == "validation_weight";
        if (!other && !(name == kUnknown && is_empty_class(table, column))) {
            names.emplace_back(name);
        }
    }
    std::vector<std::string> isic2019 = isic2019_class_names();
    for (const std::vector<std::string>* known : {&ham10000_class_names(), &isic2019_class_names()}) {
        if (same_names(names, *known)) {
            return *known;
        }
    }
    isic2019.emplace_back(kUnknown);
    return same_names(names, isic2019) ? isic2019 : names;
}

template <class LabelColumns>
void read_rows(const CsvTable& table, const LabelColumns& columns, Labels& labels) {
    const std::size_t image = image_column(table);
    const std::optional<std::size_t> lesion = table.find_column("lesion_id");
    const auto age = table.find_column("age");
    const auto sex = table.find_column("sex");
    const auto localization = table.find_column("localization");
    require(table.rows() > 0, "{}: has a header but no rows; check that it is the right file", table.name());
    labels.has_lesion_ids = lesion.has_value();

    std::unordered_set<std::string> ids;
    labels.samples.reserve(table.rows());
    for (std::size_t row = 0; row < table.rows(); ++row) {
        Sample sample;
        sample.image_id = image_id_of(identifier(table, row, image));
        if (!ids.insert(sample.image_id).second) {
            fail("{}: the image id '{}' stands in an earlier row already; remove one of the rows", table.place(row),
                 sample.image_id);
        }
        sample.lesion_id = lesion ? std::string(identifier(table, row, *lesion)) : sample.image_id;
        sample.label = columns.label(row);
        sample.age = optional_field(table, row, age);
        sample.sex = optional_field(table, row, sex);
        sample.localization = optional_field(table, row, localization);
        labels.samples.push_back(std::move(sample));
    }
}

void add_notices(const CsvTable& table, Labels& labels) {
    if (!labels.has_lesion_ids) {
        labels.notices.push_back(
            fmt::format("{} has no lesion ids, so each image counts as its own lesion; images of one lesion may end up "
                        "on both sides of a split",
                        table.name()));
    }
    std::vector<std::size_t> counts(labels.class_names.size(), 0);
    for (const Sample& sample : labels.samples) {
        ++counts[static_cast<std::size_t>(sample.label)];
    }
    std::vector<std::string> absent;
    for (std::size_t c = 0; c < counts.size(); ++c) {
        if (counts[c] == 0) {
            absent.push_back(labels.class_names[c]);
        }
    }
    if (!absent.empty()) {
        labels.notices.push_back(fmt::format("{} has no image of {}", table.name(), joined(absent)));
    }
}

}  // namespace

const std::vector<std::string>& ham10000_class_names() {
    static const std::vector<std::string> names{"MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"};
    return names;
}

std::string image_id_of(std::string_view field) {
    const std::string lower = lower_case(field);
    for (const std::string_view extension : {".jpg", ".jpeg", ".png"}) {
        if (lower.size() > extension.size() && lower.ends_with(extension)) {
            return std::string(field.substr(0, field.size() - extension.size()));
        }
    }
    return std::string(field);
}

std::size_t image_column(const CsvTable& table) {
    const std::optional<std::size_t> image = table.find_column("image");
    return image && !table.find_column("image_id") ? *image : table.column("image_id");
}

Labels read_labels(const CsvTable& table, const std::vector<std::string>& class_names) {
    Labels labels;
    if (table.find_column("dx")) {
        labels.class_names = class_names.empty() ? ham10000_class_names() : class_names;
        // HAM10000 has lesion ids; of a copy without them the lesions would leak across splits unseen.
        if (class_names.empty()) {
            (void)table.column("lesion_id");
        }
        read_rows(table, DiagnosisColumn(table, labels.class_names), labels);
    } else {
        require(table.find_column("image").has_value(),
                "{}: has neither a column 'dx' (HAM10000 metadata: lesion_id,image_id,dx) nor 'image' (ISIC one-hot: "
                "image,MEL,NV,...), but {}; give a file of one of the two kinds",
                table.name(), table.header_text());
        labels.class_names = class_names.empty() ? one_hot_class_names(table) : class_names;
        read_rows(table, OneHotColumns(table, labels.class_names), labels);
    }
    add_notices(table, labels);
    return labels;
}

Labels read_labels(const std::filesystem::path& path, const std::vector<std::string>& class_names) {
    return read_labels(read_csv(path), class_names);
}

}  // namespace cutis
