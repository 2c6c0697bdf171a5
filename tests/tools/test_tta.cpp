#include "tools/tta.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "tests/support/error_of.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

/// A square whose pixels tell where they are: red the column, green the row.
std::vector<std::uint8_t> coordinates(int side) {
    std::vector<std::uint8_t> rgb;
    for (int y = 0; y < side; ++y) {
        for (int x = 0; x < side; ++x) {
            rgb.insert(rgb.end(), {static_cast<std::uint8_t>(x), static_cast<std::uint8_t>(y), 7});
        }
    }
    return rgb;
}

std::vector<std::uint8_t> view_of(const std::vector<std::uint8_t>& rgb, int side, std::string_view tta, int view,
                                  int size) {
    std::vector<std::uint8_t> out(static_cast<std::size_t>(size * size * 3));
    take_view(rgb.data(), side, parse_tta(tta), view, size, out.data());
    return out;
}

/// Where the corners of a view come from: "x,y" of the top left, top right and bottom left pixel.
std::string corners(const std::vector<std::uint8_t>& view, int size) {
    const auto at = [&](int x, int y) {
        const auto pixel = static_cast<std::size_t>((y * size + x) * 3);
        return fmt::format("{},{}", view[pixel], view[pixel + 1]);
    };
    return at(0, 0) + " " + at(size - 1, 0) + " " + at(0, size - 1);
}

TEST(Tta, TurnsAndMirrorsAreWhatTheyAreCalled) {
    constexpr int kSide = 5;
    const std::vector<std::uint8_t> image = coordinates(kSide);
    const auto view = [&](std::string_view tta, int number) {
        return corners(view_of(image, kSide, tta, number, kSide), kSide);
    };
    EXPECT_EQ(view("none", 0), "0,0 4,0 0,4");
    EXPECT_EQ(view("flips", 0), "0,0 4,0 0,4");
    EXPECT_EQ(view("flips", 1), "4,0 0,0 4,4") << "left-right";
    EXPECT_EQ(view("flips", 2), "0,4 4,4 0,0") << "top-bottom";
    EXPECT_EQ(view("flips", 3), "4,4 0,4 4,0") << "both";
    EXPECT_EQ(view("rotations", 0), "0,0 4,0 0,4");
    EXPECT_EQ(view("rotations", 1), "4,0 4,4 0,0") << "counter-clockwise: the right edge is on top";
    EXPECT_EQ(view("rotations", 2), "4,4 0,4 4,0");
    EXPECT_EQ(view("rotations", 3), "0,4 0,0 4,4");
    for (int quarter = 0; quarter < 4; ++quarter) {
        EXPECT_EQ(view("dihedral", quarter), view("rotations", quarter));
        const std::vector<std::uint8_t> mirrored = view_of(image, kSide, "flips", 1, kSide);
        EXPECT_EQ(view_of(image, kSide, "dihedral", 4 + quarter, kSide),
                  view_of(mirrored, kSide, "rotations", quarter, kSide));
    }
}

TEST(Tta, ViewsHaveAllPixelsAndDiffer) {
    constexpr int kSide = 7;
    const std::vector<std::uint8_t> image = coordinates(kSide);
    for (const char* tta : {"flips", "rotations", "dihedral"}) {
        std::set<std::vector<std::uint8_t>> views;
        for (int v = 0; v < view_count(parse_tta(tta)); ++v) {
            std::vector<std::uint8_t> view = view_of(image, kSide, tta, v, kSide);
            views.insert(view);
            std::sort(view.begin(), view.end());
            std::vector<std::uint8_t> all = image;
            std::sort(all.begin(), all.end());
            EXPECT_EQ(view, all) << tta << " " << v;
        }
        EXPECT_EQ(static_cast<int>(views.size()), view_count(parse_tta(tta))) << tta;
    }
}

TEST(Tta, CropsAreWindowsOnAGridFromEdgeToEdge) {
    const std::vector<std::uint8_t> image = coordinates(10);
    std::vector<std::string> places;
    for (int v = 0; v < 9; ++v) {
        places.push_back(corners(view_of(image, 10, "crops:9", v, 5), 5));
    }
    // Offsets 0, 2.5 (rounded up) and 5, row by row.
    EXPECT_EQ(places[0], "0,0 4,0 0,4");
    EXPECT_EQ(places[1], "3,0 7,0 3,4");
    EXPECT_EQ(places[2], "5,0 9,0 5,4");
    EXPECT_EQ(places[3], "0,3 4,3 0,7");
    EXPECT_EQ(places[8], "5,5 9,5 5,9");
    EXPECT_EQ(corners(view_of(image, 10, "crops:4", 3, 9), 9), "1,1 9,1 1,9");
}

TEST(Tta, SquaresHaveTheSideThatViewsAreTakenFrom) {
    EXPECT_EQ(square_side(parse_tta("none"), 224, 300), 224);
    EXPECT_EQ(square_side(parse_tta("dihedral"), 224, 0), 224);
    EXPECT_EQ(square_side(parse_tta("crops:16"), 224, 300), 300);
    EXPECT_EQ(square_side(parse_tta("crops:16@256"), 224, 300), 256);
    EXPECT_TRUE(is_line_with(error_of([] { square_side(parse_tta("crops:16"), 224, 224); }), "crops:16", "224 x 224",
                             "all alike", "crops:16@280"));
    EXPECT_TRUE(is_line_with(error_of([] { square_side(parse_tta("crops:4@200"), 224, 300); }), "200 x 200"));
    EXPECT_TRUE(is_line_with(error_of([] { square_side(parse_tta("crops:4"), 224, 0); }), "crops:4@280"));
}

TEST(Tta, NamesAreReadAndWritten) {
    for (const char* name :
         {"none", "flips", "rotations", "dihedral", "crops:4", "crops:100", "crops:9@300", "crops:36@16384"}) {
        EXPECT_EQ(name_of(parse_tta(name)), name);
    }
    EXPECT_EQ(file_suffix(parse_tta("none")), "");
    EXPECT_EQ(file_suffix(parse_tta("crops:9@300")), "_crops9@300");
    EXPECT_EQ(view_count(parse_tta("none")), 1);
    EXPECT_EQ(view_count(parse_tta("flips")), 4);
    EXPECT_EQ(view_count(parse_tta("dihedral")), 8);
    EXPECT_EQ(view_count(parse_tta("crops:36")), 36);
    for (const char* name : {"", "Flips", "flips ", "crops", "crops:", "crops:1", "crops:5", "crops:121", "crops:-4",
                             "crops:9@", "crops:9@0", "crops:9@16385", "crops:9@300x", "crops:99999999999"}) {
        EXPECT_TRUE(is_line_with(error_of([&] { parse_tta(name); }), "--tta '", name, "dihedral", "crops:N@SIDE"))
            << name;
    }
}

}  // namespace
}  // namespace cutis
