#include "engine/csv.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "engine/files.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

constexpr std::size_t kLargestFile = std::size_t{256} << 20;
constexpr std::size_t kMostColumns = 10'000;
constexpr std::size_t kMostFields = 50'000'000;

/// Walks over the text record by record.
class Reader {
  public:
    Reader(std::vector<char>& text, const std::string& name) : text_(text), name_(name) {
        constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
        if (std::string_view(text_.data(), text_.size()).starts_with(kByteOrderMark)) {
            at_ = kByteOrderMark.size();
        }
    }

    /// Appends the fields of the next record that is not blank to `fields`; gives the line it begins on, 0 at the end.
    std::size_t next(std::vector<std::string_view>& fields) {
        while (at_ < text_.size() && skip_line_end()) {
        }
        if (at_ == text_.size()) {
            return 0;
        }
        const std::size_t first_line = line_;
        fields.push_back(field());
        while (at_ < text_.size() && !skip_line_end()) {
            ++at_;  // the comma at which the last field ended
            fields.push_back(field());
            require(fields.size() <= kMostFields, "{}:{}: more than {} fields; split the file", name_, first_line,
                    kMostFields);
        }
        return first_line;
    }

  private:
    bool skip_line_end() {
        if (text_[at_] != '\n' && text_[at_] != '\r') {
            return false;
        }
        at_ += text_[at_] == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n' ? 2 : 1;
        ++line_;
        return true;
    }

    bool at_field_end() const {
        return at_ == text_.size() || text_[at_] == ',' || text_[at_] == '\n' || text_[at_] == '\r';
    }

    std::string_view field() {
        if (at_ < text_.size() && text_[at_] == '"') {
            return quoted_field();
        }
        const std::size_t begin = at_;
        for (; !at_field_end(); ++at_) {
            if (text_[at_] == '"') {
                fail(
                    "{}:{}: a quote inside the unquoted field '{}'; put the whole field in quotes and double the inner "
                    "one",
                    name_, line_, printable({text_.data() + begin, at_ - begin + 1}, 40));
            }
        }
        return {text_.data() + begin, at_ - begin};
    }

    std::string_view quoted_field() {
        const std::size_t first_line = line_;
        const std::size_t begin = ++at_;
        std::size_t end = begin;
        for (;; ++at_) {
            require(at_ < text_.size(), "{}:{}: a quoted field begins here and never ends; close it or mend the file",
                    name_, first_line);
            if (text_[at_] == '"') {
                ++at_;
                if (at_ == text_.size() || text_[at_] != '"') {
                    break;
                }
            } else if (text_[at_] == '\n' ||
                       (text_[at_] == '\r' && (at_ + 1 == text_.size() || text_[at_ + 1] != '\n'))) {
                ++line_;
            }
            text_[end++] = text_[at_];
        }
        if (!at_field_end()) {
            fail("{}:{}: text follows the closing quote of '{}'; double the quotes inside a quoted field", name_, line_,
                 printable({text_.data() + begin, end - begin}, 40));
        }
        return {text_.data() + begin, end - begin};
    }

    std::vector<char>& text_;
    const std::string& name_;
    std::size_t at_ = 0;
    std::size_t line_ = 1;
};

}  // namespace

CsvTable::CsvTable(std::string_view text, std::string name) : name_(std::move(name)), text_(text.begin(), text.end()) {
    if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
        fail("{}:{}: a zero byte, so this is no UTF-8 text; save it as CSV in UTF-8", name_,
             1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(zero), '\n'));
    }
    Reader reader(text_, name_);
    require(reader.next(header_) != 0, "{}:1: empty, but a header line with column names is wanted; check the file",
            name_);
    require(columns() <= kMostColumns, "{}: {} columns, but at most {} are allowed; check that it is the right file",
            name_, columns(), kMostColumns);
    std::set<std::string_view> seen;
    for (const std::string_view column : header_) {
        if (!seen.insert(column).second) {
            fail("{}: the column '{}' stands twice in the header; rename or remove one", name_, printable(column));
        }
    }
    while (const std::size_t line = reader.next(fields_)) {
        lines_.push_back(line);
        if (fields_.size() != lines_.size() * columns()) {
            fail("{}:{}: {} fields, but the header has {} columns; mend the row (a field with a comma needs quotes)",
                 name_, line, fields_.size() - (lines_.size() - 1) * columns(), columns());
        }
    }
}

std::string CsvTable::place(std::size_t row) const {
    return fmt::format("{}:{}", name_, lines_[row]);
}

std::optional<std::size_t> CsvTable::find_column(std::string_view column) const {
    const auto found = std::find(header_.begin(), header_.end(), column);
    return found == header_.end() ? std::nullopt : std::optional(static_cast<std::size_t>(found - header_.begin()));
}

std::size_t CsvTable::column(std::string_view column) const {
    const std::optional<std::size_t> found = find_column(column);
    if (!found) {
        fail("{}: has no column '{}' (its columns: {}); add it or give another file", name_, printable(column),
             header_text());
    }
    return *found;
}

std::string CsvTable::header_text() const {
    std::string names;
    for (const std::string_view column : header_) {
        names += fmt::format("{}{}", names.empty() ? "" : ",", column);
        if (names.size() > 200) {
            break;
        }
    }
    const bool other_separator = columns() == 1 && names.find_first_of(";\t") != std::string::npos;
    return printable(names, 200) + (other_separator ? "; it seems not to be separated by commas" : "");
}

CsvTable read_csv(const std::filesystem::path& path) {
    return {read_text_file(path, kLargestFile), path.string()};
}

std::string csv_field(std::string_view text) {
    if (text.find_first_of(",\"\r\n") == std::string_view::npos &&
        (text.empty() || (text.front() != ' ' && text.back() != ' '))) {
        return std::string(text);
    }
    std::string result = "\"";
    for (const char c : text) {
        result += c;
        if (c == '"') {
            result += '"';
        }
    }
    return result + "\"";
}

}  // namespace cutis
