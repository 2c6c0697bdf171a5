#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cutis {

/// A CSV file with a header line (RFC 4180): quoted fields with doubled quotes, separators and line ends in them; line
/// ends of any system; a UTF-8 byte order mark; blank lines, which are passed over.
class CsvTable {
  public:
    /// Throws Error naming `name`, the line, the broken rule and the remedy: a row of another number of fields, a quote
    /// inside an unquoted field or without an end, a zero byte (UTF-16), a column name twice, no header, more than
    /// 10,000 columns or 50 million fields.
    /// @param name  the file, for messages
    CsvTable(std::string_view text, std::string name);
    CsvTable(CsvTable&&) = default;
    CsvTable& operator=(CsvTable&&) = default;
    CsvTable(const CsvTable&) = delete;
    CsvTable& operator=(const CsvTable&) = delete;

    const std::string& name() const { return name_; }
    const std::vector<std::string_view>& header() const { return header_; }
    std::size_t columns() const { return header_.size(); }
    std::size_t rows() const { return lines_.size(); }
    std::string_view field(std::size_t row, std::size_t column) const { return fields_[row * columns() + column]; }
    /// "file.csv:12", with the line (from 1) on which the row begins.
    std::string place(std::size_t row) const;

    /// The column of that very name, if there is one.
    std::optional<std::size_t> find_column(std::string_view column) const;
    /// The column of that very name; throws Error naming the file and the columns that it has.
    std::size_t column(std::string_view column) const;
    /// The column names as one line, for messages.
    std::string header_text() const;

  private:
    std::string name_;
    std::vector<char> text_;  // quoted fields are unquoted in place; all views point into it
    std::vector<std::string_view> header_;
    std::vector<std::string_view> fields_;  // row after row
    std::vector<std::size_t> lines_;        // of each row
};

/// Reads a CSV file of at most 256 MiB.
CsvTable read_csv(const std::filesystem::path& path);

/// `text` as a field to be written: quoted where it must be (RFC 4180), and where spaces at its ends could be lost.
std::string csv_field(std::string_view text);

}  // namespace cutis
