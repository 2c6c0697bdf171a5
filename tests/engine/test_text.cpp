#include "engine/text.h"

#include <gtest/gtest.h>

namespace cutis {
namespace {

TEST(Printable, KeepsTextAndEscapesWhatWouldBreakALine) {
    EXPECT_EQ(printable("plain Läsion 皮膚 😀"), "plain Läsion 皮膚 😀");
    EXPECT_EQ(printable("a\nb\rc\x1b[31m\x7f"), "a\\x0ab\\x0dc\\x1b[31m\\x7f");
    EXPECT_EQ(printable(std::string_view("nul\0", 4)), "nul\\x00");
    EXPECT_EQ(printable("\xC2\x9B"), "\\xc2\\x9b");
    EXPECT_EQ(printable("\xC2\xA0"), "\xC2\xA0");
}

TEST(Printable, EscapesWhatIsNotUtf8) {
    EXPECT_EQ(printable("\xFF\xC3"), "\\xff\\xc3");                    // never a lead; cut short
    EXPECT_EQ(printable("\xC0\xAF"), "\\xc0\\xaf");                    // overlong
    EXPECT_EQ(printable("\xE0\x9F\xBF"), "\\xe0\\x9f\\xbf");           // overlong
    EXPECT_EQ(printable("\xF0\x8F\xBF\xBF"), "\\xf0\\x8f\\xbf\\xbf");  // overlong
    EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80");           // surrogate
    EXPECT_EQ(printable("\xF4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // above U+10FFFF
    EXPECT_EQ(printable("\xF4\x8F\xBF\xBF"), "\xF4\x8F\xBF\xBF");      // U+10FFFF itself
}

TEST(Printable, CutsBetweenCharacters) {
    EXPECT_EQ(printable("abcdef", 6), "abcdef");
    EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
    EXPECT_EQ(printable("abä", 3), "ab...");
    EXPECT_EQ(printable("\n\n", 7), "\\x0a...");
}

TEST(LowerCase, TouchesAsciiOnly) {
    EXPECT_EQ(lower_case("AKIEC-Zä@[`"), "akiec-zä@[`");
}

}  // namespace
}  // namespace cutis
