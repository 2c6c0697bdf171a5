#include "tools/output_files.h"

#include <gtest/gtest.h>

#include "engine/files.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis::testing {
namespace {

namespace fs = std::filesystem;

TEST(OutputFiles, MustNotBeReadOrWrittenTwice) {
    const TempDir folder;
    const fs::path a = folder / "ä.csv", b = folder / "b.csv", link = folder / "link.csv", none = folder / "none.csv";
    write_file_atomically(a, "a");
    write_file_atomically(b, "b");
    fs::create_symlink(a, link);
    require_distinct_files({{"--out", a}, {"--json", none}, {"--svm", ""}}, {{"--truth", b}, {"--run", ""}});
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 require_distinct_files({{"--json", a}}, {{"--truth", b}, {"--data", a}});
                             }),
                             "--json", "ä.csv", "read by --data", "overwritten"));
    EXPECT_TRUE(is_line_with(error_of([&] { require_distinct_files({{"--json", link}}, {{"--data", a}}); }), "--data"));
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 require_distinct_files({{"--out", none}, {"--onnx", folder / "x/../none.csv"}});
                             }),
                             "--onnx", "the file of --out as well"))
        << "neither is there yet";
}

TEST(OutputFiles, MakesTheFolderOrSaysWhyNot) {
    const TempDir folder;
    make_out_folder(folder / "a/ü");
    make_out_folder(folder / "a/ü");
    EXPECT_TRUE(fs::is_directory(folder / "a/ü"));
    write_file_atomically(folder / "file", "");
    EXPECT_TRUE(is_line_with(error_of([&] { make_out_folder(folder / "file"); }), "--out", "is a file"));
    EXPECT_TRUE(is_line_with(error_of([&] { make_out_folder(folder / "file/below"); }), "file/below", "Not a directory",
                             "choose another place"));
}

}  // namespace
}  // namespace cutis::testing
