#include "engine/csv.h"

#include <gtest/gtest.h>

#include <utility>

#include "engine/files.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;
using testing::TempDir;

std::string error_for(std::string_view text) {
    return error_of([&] { CsvTable(text, "t.csv"); });
}

/// All fields, "|" between columns and "/" between rows.
std::string flat(const CsvTable& table) {
    std::string text;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        for (std::size_t column = 0; column < table.columns(); ++column) {
            text += std::string(column == 0 ? (row == 0 ? "" : "/") : "|") + std::string(table.field(row, column));
        }
    }
    return text;
}

TEST(Csv, ReadsPlainRows) {
    const CsvTable table("id,dx\na,nv\nb,mel\n", "t.csv");
    EXPECT_EQ(table.header(), (std::vector<std::string_view>{"id", "dx"}));
    EXPECT_EQ(flat(table), "a|nv/b|mel");
    EXPECT_EQ(table.rows(), 2u);
    EXPECT_EQ(table.place(1), "t.csv:3");
    EXPECT_EQ(table.column("dx"), 1u);
    EXPECT_EQ(table.find_column("dx_type"), std::nullopt);
}

TEST(Csv, AcceptsEveryLineEndABomAndBlankLines) {
    for (const std::string_view text :
         {"id,dx\r\na,nv\r\nb,mel\r\n", "id,dx\ra,nv\rb,mel\r", "id,dx\na,nv\nb,mel",
          "\xEF\xBB\xBFid,dx\na,nv\nb,mel\n\n\n", "\n\nid,dx\n\na,nv\r\n\r\nb,mel\r\n\r\n"}) {
        const CsvTable table(text, "t.csv");
        EXPECT_EQ(table.header()[0], "id");
        EXPECT_EQ(flat(table), "a|nv/b|mel") << text;
    }
    EXPECT_EQ(CsvTable("\r\n\r\nid\r\n\r\na\r\n", "t.csv").place(0), "t.csv:5");
}

TEST(Csv, ReadsQuotedFields) {
    const CsvTable table("\"id\",\"the \"\"dx\"\"\"\n\"a,b\",\"line\r\nbreak\nand\rmore\"\n\"\",\"\"\"\"\nc,d",
                         "t.csv");
    EXPECT_EQ(table.header()[1], "the \"dx\"");
    EXPECT_EQ(flat(table), "a,b|line\r\nbreak\nand\rmore/|\"/c|d");
    EXPECT_EQ(table.place(1), "t.csv:6");  // the row before it takes four lines
}

TEST(Csv, KeepsEmptyFieldsAndSpaces) {
    EXPECT_EQ(flat(CsvTable("a,b,c\n,,\n x ,, y\n1,2,", "t.csv")), "||/ x || y/1|2|");
}

TEST(Csv, NamesRaggedRows) {
    EXPECT_TRUE(is_line_with(error_for("a,b\n1,2\n\n3\n"), "t.csv:4: 1 fields, but the header has 2 columns"));
    EXPECT_TRUE(is_line_with(error_for("a,b\n1,2,3\n"), "t.csv:2: 3 fields"));
}

TEST(Csv, RefusesStrayQuotes) {
    EXPECT_TRUE(is_line_with(error_for("a,b\n1,5\" wide\n"), "t.csv:2: a quote inside the unquoted field '5\"'"));
    EXPECT_TRUE(is_line_with(error_for("a,b\n1,\"x\"y\n"), "t.csv:2: text follows the closing quote of 'x'"));
    EXPECT_TRUE(is_line_with(error_for("a,b\n1,\"x\n2,3\n"), "t.csv:2: a quoted field begins here and never ends"));
    EXPECT_TRUE(is_line_with(error_for("a,\""), "t.csv:1"));
}

TEST(Csv, RefusesWhatIsNoTable) {
    EXPECT_TRUE(is_line_with(error_for(""), "t.csv:1: empty"));
    EXPECT_TRUE(is_line_with(error_for("\xEF\xBB\xBF\r\n\n"), "t.csv:1: empty"));
    EXPECT_TRUE(is_line_with(error_for("a,b,a\n"), "'a' stands twice in the header"));
    EXPECT_TRUE(is_line_with(error_for(std::string_view("i\0d\0\n\0", 6)), "t.csv:1: a zero byte", "UTF-8"));
    EXPECT_TRUE(is_line_with(error_for(std::string_view("a,b\n1,2\n3,\0\n", 12)), "t.csv:3: a zero byte"));
    EXPECT_TRUE(is_line_with(error_for(std::string(10'000, ',') + "\n"), "10001 columns"));
}

TEST(Csv, MissingColumnsNameThoseThatAreThere) {
    const CsvTable table("image_id,dx\n", "t.csv");
    EXPECT_TRUE(is_line_with(error_of([&] { (void)table.column("lesion_id"); }), "t.csv", "no column 'lesion_id'",
                             "its columns: image_id,dx"));
    const CsvTable semicolons("image_id;dx\na;nv\n", "t.csv");
    EXPECT_TRUE(
        is_line_with(error_of([&] { (void)semicolons.column("dx"); }), "image_id;dx", "not to be separated by commas"));
}

TEST(Csv, FieldsStayWhereATableIsMoved) {
    CsvTable first("a\n\"x\"\"y\"\n", "t.csv");
    const CsvTable second = std::move(first);
    EXPECT_EQ(second.header()[0], "a");
    EXPECT_EQ(second.field(0, 0), "x\"y");
}

TEST(Csv, ReadsFiles) {
    TempDir folder;
    write_file_atomically(folder / "ä.csv", "a,b\n1\n");
    EXPECT_TRUE(is_line_with(error_of([&] { (void)read_csv(folder / "ä.csv"); }), "ä.csv:2: 1 fields"));
    EXPECT_TRUE(is_line_with(error_of([&] { (void)read_csv(folder / "none.csv"); }), "none.csv", "No such file"));
}

}  // namespace
}  // namespace cutis
