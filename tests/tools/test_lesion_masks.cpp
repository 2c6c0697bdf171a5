#include "tools/lesion_masks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tools/program_case.h"

namespace cutis::testing {
namespace {

/// A mask of `width` x `height` whose lesion is the given rectangle.
Image mask_of(int width, int height, int left, int top, int right, int bottom) {
    Image mask{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * width * height), 0)};
    for (int y = top; y < bottom; ++y) {
        for (int x = left; x < right; ++x) {
            std::fill_n(mask.rgb.begin() + 3 * (y * width + x), 3, std::uint8_t{255});
        }
    }
    return mask;
}

void expect_box(const LesionBox& box, int left, int top, int width, int height) {
    EXPECT_EQ(box.left, left);
    EXPECT_EQ(box.top, top);
    EXPECT_EQ(box.width, width);
    EXPECT_EQ(box.height, height);
}

TEST(LesionBox, IsSquareAroundTheLesion) {
    expect_box(lesion_box(mask_of(60, 40, 20, 10, 30, 16), 0, "m"), 20, 8, 10, 10);
    expect_box(lesion_box(mask_of(60, 40, 20, 10, 30, 20), 0.2, "m"), 18, 8, 14, 14);
    expect_box(lesion_box(mask_of(60, 40, 20, 10, 30, 20), 0.1, "m"), 19, 9, 12, 12);  // 10 * 1.2 is 12, not 13
    expect_box(lesion_box(mask_of(60, 40, 59, 39, 60, 40), 0, "m"), 59, 39, 1, 1);
}

TEST(LesionBox, StaysWithinTheImage) {
    expect_box(lesion_box(mask_of(60, 40, 0, 0, 10, 4), 0.5, "m"), 0, 0, 20, 20);
    expect_box(lesion_box(mask_of(60, 40, 50, 36, 60, 40), 0.5, "m"), 40, 20, 20, 20);
    expect_box(lesion_box(mask_of(60, 40, 2, 10, 58, 20), 0, "m"), 2, 0, 56, 40);  // wider than the image is high
    expect_box(lesion_box(mask_of(60, 40, 0, 0, 60, 40), 1000, "m"), 0, 0, 60, 40);
}

TEST(LesionBox, NeedsALesion) {
    Image mask = mask_of(6, 4, 0, 0, 0, 0);
    EXPECT_TRUE(is_line_with(error_of([&] { lesion_box(mask, 0.1, "m.png"); }), "m.png", "empty"));
    mask.rgb[3 * 7] = 127;
    EXPECT_TRUE(is_line_with(error_of([&] { lesion_box(mask, 0.1, "m.png"); }), "m.png", "empty"));
    mask.rgb[3 * 7] = 128;
    expect_box(lesion_box(mask, 0, "m.png"), 1, 1, 1, 1);
}

void write_png(const std::filesystem::path& path, const Image& image) {
    std::filesystem::create_directories(path.parent_path());
    const std::vector<std::uint8_t> bytes = encode_png(image.rgb, image.width, image.height);
    write_file_atomically(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

/// Pictures with a mask each: a box of 8 x 8 pixels at (i, i).
struct MaskedPictures : Pictures {
    MaskedPictures() : Pictures(kCount) {
        for (int i = 0; i < kCount; ++i) {
            const std::string id = "image" + std::to_string(i);
            write_png(masks / (i % 2 == 0 ? id + "_segmentation.png" : "weitere/" + id + ".png"),
                      mask_of(40, 32, i, i, i + 8, i + 8));
        }
    }
    ProgramResult prepare_masked(std::vector<std::string> further = {}) const {
        further.insert(further.begin(), {"--masks", masks.string(), "--size", "8"});
        return prepare(further);
    }
    static constexpr int kCount = 12;
    std::filesystem::path masks = home / "Masken";
};

TEST(PrepareMasks, PacksTheLesionsBox) {
    const MaskedPictures p;
    ASSERT_TRUE(succeeded(p.prepare_masked({"--mask-margin", "0"})));
    const PackedDataset data(p.data);
    ASSERT_EQ(data.size(), 12u);
    EXPECT_EQ(data.properties().at("roi"), "mask, margin 0");
    for (std::size_t i = 0; i < data.size(); ++i) {
        const Image image = load_image(p.images / (data.sample(i).image_id + ".png"));
        for (std::size_t y = 0; y < 8; ++y) {
            for (std::size_t x = 0; x < 24; ++x) {
                ASSERT_EQ(data.image(i)[y * 24 + x], image.rgb[(y + i) * 120 + 3 * i + x]) << i << ' ' << y << ' ' << x;
            }
        }
    }
}

TEST(PrepareMasks, BlackensTheRest) {
    const MaskedPictures p;
    ASSERT_TRUE(succeeded(p.prepare_masked({"--mask-margin", "0.25", "--mask-background", "black", "--size", "12"})));
    const PackedDataset data(p.data);
    EXPECT_EQ(data.properties().at("roi"), "mask, margin 0.25, black outside");
    const std::size_t at = 5;  // its box is 12 x 12 at (3, 3)
    const Image image = load_image(p.images / (data.sample(at).image_id + ".png"));
    for (std::size_t y = 0; y < 12; ++y) {
        for (std::size_t x = 0; x < 12; ++x) {
            const bool lesion = x >= 2 && x < 10 && y >= 2 && y < 10;
            ASSERT_EQ(data.image(at)[(y * 12 + x) * 3], lesion ? image.rgb[((y + 3) * 40 + x + 3) * 3] : 0) << y << x;
        }
    }
}

TEST(PrepareMasks, NamesWhatIsWrong) {
    const MaskedPictures p;
    const auto fails = [&](const auto&... parts) { return failed_with(1, p.prepare_masked(), parts...); };
    const auto mask = p.masks / "image4_segmentation.png";

    write_png(mask, mask_of(40, 31, 1, 1, 5, 5));
    EXPECT_TRUE(fails("image4_segmentation.png", "40 x 31", "40 x 32", "--skip-bad"));
    write_png(mask, mask_of(40, 32, 0, 0, 0, 0));
    EXPECT_TRUE(fails("image4_segmentation.png", "empty"));
    write_file_atomically(mask, "no PNG");
    EXPECT_TRUE(fails("image4_segmentation.png"));
    std::filesystem::remove(mask);
    EXPECT_TRUE(fails("image4_segmentation.png", "add it"));
    const ProgramResult skipped = p.prepare_masked({"--skip-bad"});
    EXPECT_EQ(skipped.status, 0);
    EXPECT_TRUE(holds(skipped.out, "image4"));
    EXPECT_EQ(PackedDataset(p.data).size(), 11u);
    write_png(mask, mask_of(40, 32, 4, 4, 12, 12));
    write_png(p.masks / "image6.png", mask_of(40, 32, 1, 1, 5, 5));
    EXPECT_TRUE(fails("image6", "two masks"));
}

TEST(PrepareMasks, RefusesWrongOptions) {
    const MaskedPictures p;
    EXPECT_TRUE(failed_with(1, p.prepare({"--masks", (p.home / "none").string()}), "--masks", "no folder"));
    EXPECT_TRUE(failed_with(2, p.prepare({"--mask-margin", "0.1"}), "--masks"));
    EXPECT_TRUE(failed_with(2, p.prepare({"--mask-background", "black"}), "--masks"));
    EXPECT_TRUE(failed_with(2, p.prepare_masked({"--mask-margin", "-0.1"}), "--mask-margin"));
    EXPECT_TRUE(failed_with(2, p.prepare_masked({"--mask-margin", "nan"}), "--mask-margin"));
    EXPECT_TRUE(failed_with(2, p.prepare_masked({"--mask-background", "white"}), "--mask-background"));
    const TempDir empty;
    EXPECT_TRUE(failed_with(1, p.prepare({"--masks", empty.path().string()}), "no .png"));
}

TEST(PrepareIsic2019, JoinsLesionsToTheOneHotFile) {
    const Pictures p(4);
    const auto truth = p.home / "gt.csv", metadata = p.home / "meta.csv";
    write_file_atomically(truth,
                          "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n"
                          "image0,1.0,0,0,0,0,0,0,0,0\nimage1,0,1.0,0,0,0,0,0,0,0\n"
                          "image2,0,0,0,1.0,0,0,0,0,0\nimage3,0,0,0,0,0,0,0,1.0,0\n");
    write_file_atomically(metadata,
                          "image,age_approx,lesion_id,sex\nimage3,5,L,\nimage0,,L0,\nimage1,,,\nimage2,,L,\n");
    const auto prepare = [&](std::vector<std::string> further) {
        std::vector<std::string> arguments{"prepare", "--images", p.images.string(), "--metadata",   truth.string(),
                                           "--size",  "8",        "--out",           p.data.string()};
        arguments.insert(arguments.end(), further.begin(), further.end());
        return cutis_program(arguments);
    };
    ASSERT_TRUE(succeeded(prepare({"--lesions", metadata.string()})));
    const PackedDataset data(p.data);
    EXPECT_TRUE(data.has_lesion_ids());
    EXPECT_EQ(data.class_names().size(), 8u);
    EXPECT_EQ(data.class_names()[3], "AK");
    EXPECT_EQ(data.sample(2).lesion_id, "L");
    EXPECT_EQ(data.sample(3).lesion_id, "L");
    EXPECT_EQ(data.sample(3).label, 7);
    EXPECT_EQ(data.sample(1).lesion_id, "image1");
    EXPECT_TRUE(failed_with(1, prepare({"--lesions", truth.string()}), "lesion_id"));
}

}  // namespace
}  // namespace cutis::testing
