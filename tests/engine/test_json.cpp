#include "engine/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/error_of.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

std::string error_for(std::string_view text) {
    return error_of([&] { (void)parse_json(text, "config.json"); });
}

TEST(ParseJson, AcceptsDocumentsWithABomAndEqualKeysOfDifferentObjects) {
    const auto json =
        parse_json("\xEF\xBB\xBF{\"a\": {\"x\": 1}, \"b\": {\"x\": [1.5, null, \"\\u00e4\"]}}\r\n", "config.json");
    EXPECT_EQ(json["b"]["x"][0], 1.5);
    EXPECT_EQ(json["b"]["x"][2], "ä");
    EXPECT_EQ(json["a"]["x"], 1);
}

TEST(ParseJson, NamesFileLineAndColumn) {
    EXPECT_TRUE(is_line_with(error_for("{\n  \"lr\": 0.1,\n  \"epochs\" 3\n}"),
                             "config.json: not valid JSON at line 3, column 12", "expected ':'"));
    EXPECT_TRUE(is_line_with(error_for(""), "config.json", "line 1, column 1", "unexpected end of input"));
    EXPECT_TRUE(is_line_with(error_for("{} {}"), "line 1, column 4", "expected end of input"));
    EXPECT_TRUE(is_line_with(error_for("{\"a\": \"line\nbreak\"}"), "line 1, column 12"));
    EXPECT_TRUE(is_line_with(error_for("[\"\xFF\"]"), "UTF-8"));
    EXPECT_TRUE(is_line_with(error_for("[1e999]"), "config.json", "number overflow", "1e999"));
    EXPECT_TRUE(is_line_with(error_for("[NaN]"), "line 1, column 2"));
}

TEST(ParseJson, RefusesDuplicateKeys) {
    EXPECT_TRUE(
        is_line_with(error_for("{\"lr\": 1, \"x\": {\"lr\": 2}, \"lr\": 3}"), "config.json", "'lr' stands twice"));
    EXPECT_TRUE(is_line_with(error_for("[{\"a\\nb\": 1, \"a\\u000ab\": 2}]"), "'a\\x0ab' stands twice"));
}

TEST(ParseJson, RefusesDeepNestingAndAllowsSixtyFourLevels) {
    EXPECT_NO_THROW((void)parse_json(std::string(64, '[') + std::string(64, ']'), "x"));
    EXPECT_TRUE(is_line_with(error_for(std::string(65, '[') + std::string(65, ']')), "nested deeper than 64"));
    EXPECT_TRUE(is_line_with(error_for(std::string(1'000'000, '[')), "nested deeper than 64"));
    std::string objects;
    for (int i = 0; i < 100'000; ++i) {
        objects += "{\"a\":";
    }
    EXPECT_TRUE(is_line_with(error_for(objects), "nested deeper than 64"));
}

}  // namespace
}  // namespace cutis
