#include "tools/prepare.h"

#include <gtest/gtest.h>

#include "engine/files.h"
#include "engine/image.h"
#include "engine/packed_dataset.h"
#include "engine/resize.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"
#include "tools/png.h"

namespace cutis {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::is_line_with;
using testing::TempDir;

std::string png(int width, int height, int seed) {
    std::vector<std::uint8_t> rgb(static_cast<std::size_t>(width * height * 3));
    for (std::size_t i = 0; i < rgb.size(); ++i) {
        rgb[i] = static_cast<std::uint8_t>(i * 5 + static_cast<std::size_t>(seed) * 17);
    }
    const std::vector<std::uint8_t> bytes = encode_png(rgb, width, height);
    return {bytes.begin(), bytes.end()};
}

/// A folder with images and metadata, and what packs them.
struct Input {
    Input() {
        fs::create_directories(folder / "Bilder/tief");
        write_file_atomically(folder / "Bilder/a.png", png(20, 16, 1));
        write_file_atomically(folder / "Bilder/B.PNG", png(16, 16, 2));
        write_file_atomically(folder / "Bilder/tief/ü.png", png(16, 40, 3));
        write_file_atomically(folder / "Bilder/stray.png", png(16, 16, 4));
        write_file_atomically(folder / "Bilder/notes.txt", "no image");
        metadata("lesion_id,image_id,dx\nL1,ü,nv\nL2,a,mel\nL1,B,nv\n");
        options.folders = {folder / "Bilder"};
        options.metadata = folder / "m.csv";
        options.out = folder / "out.cutis";
        options.size = 16;
    }
    void metadata(std::string_view text) { write_file_atomically(folder / "m.csv", text); }
    std::string failure() {
        return error_of([&] { prepare(options); });
    }

    TempDir folder;
    PrepareOptions options;
};

std::vector<std::uint8_t> bytes_of(std::span<const std::uint8_t> image) {
    return {image.begin(), image.end()};
}

TEST(Prepare, PacksTheRowsInTheirOrder) {
    Input input;
    const Prepared prepared = prepare(input.options);
    const PackedDataset data(input.options.out);
    ASSERT_EQ(data.size(), 3u);
    EXPECT_EQ(data.image_size(), 16);
    EXPECT_EQ(data.sample(0).image_id, "ü");
    EXPECT_EQ(data.sample(1).image_id, "a");
    EXPECT_EQ(data.sample(2).image_id, "B");
    EXPECT_EQ(data.sample(0).lesion_id, "L1");
    EXPECT_EQ(data.sample(1).label, 0);  // MEL
    EXPECT_EQ(data.properties().at("framing"), "crop");
    EXPECT_EQ(bytes_of(data.image(0)), fit_square(load_image(input.folder / "Bilder/tief/ü.png"), 16, false).rgb);
    EXPECT_EQ(bytes_of(data.image(2)), load_image(input.folder / "Bilder/B.PNG").rgb)
        << "a 16 x 16 image passes bit for bit";

    EXPECT_EQ(prepared.images, 3);
    EXPECT_EQ(prepared.lesions, 2);
    EXPECT_EQ(prepared.without_row, 1);
    EXPECT_TRUE(prepared.left_out.empty());
    ASSERT_EQ(prepared.classes.size(), 7u);
    EXPECT_EQ(prepared.classes[1].name, "NV");
    EXPECT_EQ(prepared.classes[1].images, 2);
    EXPECT_EQ(prepared.classes[1].lesions, 1);
    EXPECT_EQ(prepared.checksum, data.checksum());
    EXPECT_EQ(prepared.bytes, fs::file_size(input.options.out));
}

TEST(Prepare, GivesTheSameBytesOnAnyNumberOfThreads) {
    Input input;
    prepare(input.options);
    const std::string one = read_text_file(input.options.out);
    input.options.threads = 5;
    prepare(input.options);
    EXPECT_EQ(read_text_file(input.options.out), one);
}

TEST(Prepare, StoresJpegWhereAsked) {
    Input input;
    // Smooth, as photographs are: noise shrinks little.
    std::vector<std::uint8_t> rgb;
    for (int i = 0; i < 64 * 64; ++i) {
        rgb.insert(rgb.end(), {static_cast<std::uint8_t>(60 + i % 64), static_cast<std::uint8_t>(200 - i / 64),
                               static_cast<std::uint8_t>(90 + i % 64)});
    }
    const std::vector<std::uint8_t> file = encode_png(rgb, 64, 64);
    write_file_atomically(input.folder / "Bilder/a.png", {reinterpret_cast<const char*>(file.data()), file.size()});
    input.metadata("lesion_id,image_id,dx\nL2,a,mel\n");
    input.options.size = 64;
    const std::uintmax_t raw_bytes = prepare(input.options).bytes;
    input.options.codec = PackedCodec::jpeg;
    const Prepared prepared = prepare(input.options);
    EXPECT_LT(prepared.bytes, raw_bytes / 2);
    const PackedDataset data(input.options.out);
    EXPECT_EQ(prepared.checksum, data.checksum());
    EXPECT_EQ(data.codec(), PackedCodec::jpeg);
    EXPECT_EQ(data.properties().at("framing"), "crop");
    EXPECT_EQ(data.properties().at("jpeg_quality"), std::to_string(kJpegQuality));
    const auto image = data.image(0);
    ASSERT_EQ(image.size(), rgb.size());
    for (std::size_t i = 0; i < rgb.size(); ++i) {
        ASSERT_NEAR(image[i], rgb[i], 6) << i;
    }

    input.options.jpeg_quality = 30;
    EXPECT_LT(prepare(input.options).bytes, prepared.bytes);
    EXPECT_EQ(PackedDataset(input.options.out).properties().at("jpeg_quality"), "30");
}

TEST(Prepare, GivesTheSameJpegBytesOnAnyNumberOfThreads) {
    Input input;
    input.options.codec = PackedCodec::jpeg;
    prepare(input.options);
    const std::string one = read_text_file(input.options.out);
    input.options.threads = 5;
    prepare(input.options);
    EXPECT_EQ(read_text_file(input.options.out), one);
}

TEST(Prepare, KeepsTheWholeImageWhereAsked) {
    Input input;
    input.options.keep_aspect = true;
    prepare(input.options);
    const PackedDataset data(input.options.out);
    EXPECT_EQ(data.properties().at("framing"), "whole");
    EXPECT_EQ(bytes_of(data.image(0)), fit_square(load_image(input.folder / "Bilder/tief/ü.png"), 16, true).rgb);
}

TEST(Prepare, TakesClassesOfOnesOwnAndOneHotLabels) {
    Input input;
    input.metadata("image_id,dx\na,bad\nB,good\n");
    input.options.class_names = {"good", "bad"};
    EXPECT_EQ(prepare(input.options).classes[1].images, 1);
    input.options.class_names.clear();
    input.metadata("image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,0,0,1,0,0,0,0\n");
    const Prepared prepared = prepare(input.options);
    EXPECT_EQ(prepared.classes[2].images, 1);
    ASSERT_FALSE(prepared.notices.empty());
    EXPECT_NE(prepared.notices[0].find("no lesion ids"), std::string::npos);
    EXPECT_FALSE(PackedDataset(input.options.out).has_lesion_ids());
}

TEST(Prepare, NamesTheRowWhoseImageIsMissing) {
    Input input;
    input.metadata("lesion_id,image_id,dx\nL1,a,nv\nL2,gone,mel\nL3,away,mel\n");
    EXPECT_TRUE(is_line_with(input.failure(), "m.csv:3", "'gone'", "2 of 3 rows", "--images", "--skip-bad"));
    EXPECT_FALSE(fs::exists(input.options.out));
    input.options.skip_bad = true;
    const Prepared prepared = prepare(input.options);
    EXPECT_EQ(prepared.images, 1);
    ASSERT_EQ(prepared.left_out.size(), 2u);
    EXPECT_EQ(prepared.left_out[0].image_id, "gone");
    EXPECT_TRUE(is_line_with(prepared.left_out[0].reason, "m.csv:3", "missing"));
}

TEST(Prepare, NamesADamagedImageAndLeavesTheEarlierFile) {
    Input input;
    prepare(input.options);
    const std::string before = read_text_file(input.options.out);
    const std::string whole = png(16, 16, 2);
    for (const std::string& damaged : {whole.substr(0, whole.size() / 2), std::string(), std::string("GIF89a")}) {
        write_file_atomically(input.folder / "Bilder/B.PNG", damaged);
        for (const int threads : {1, 4}) {
            input.options.threads = threads;
            EXPECT_TRUE(is_line_with(input.failure(), "B.PNG", "--skip-bad"));
            EXPECT_EQ(read_text_file(input.options.out), before);
        }
    }
    input.options.skip_bad = true;
    const Prepared prepared = prepare(input.options);
    EXPECT_EQ(prepared.images, 2);
    ASSERT_EQ(prepared.left_out.size(), 1u);
    EXPECT_TRUE(is_line_with(prepared.left_out[0].reason, "B.PNG"));
    std::size_t files = 0;
    for (const fs::directory_entry& entry : fs::directory_iterator(input.folder.path())) {
        files += entry.is_regular_file() ? 1 : 0;
    }
    EXPECT_EQ(files, 2u) << "m.csv and out.cutis, and no leftover";
}

TEST(Prepare, RefusesWhatCannotBePacked) {
    Input input;
    write_file_atomically(input.folder / "Bilder/a.jpg", png(16, 16, 9));
    EXPECT_TRUE(is_line_with(input.failure(), "m.csv:3", "'a'", "a.jpg", "a.png"));
    fs::remove(input.folder / "Bilder/a.jpg");

    fs::create_directories(input.folder / "empty");
    input.options.folders = {input.folder / "empty"};
    EXPECT_TRUE(is_line_with(input.failure(), "empty", "holds no .jpg"));
    input.options.folders = {input.folder / "m.csv"};
    EXPECT_TRUE(is_line_with(input.failure(), "m.csv", "no folder"));

    input.options.folders = {input.folder / "Bilder"};
    input.options.skip_bad = true;
    input.metadata("lesion_id,image_id,dx\nL1,gone,nv\n");
    EXPECT_TRUE(is_line_with(input.failure(), "m.csv", "none of its 1 rows", "nothing to pack"));
    input.metadata("lesion_id,image_id,dx\nL1,a,xyz\n");
    EXPECT_TRUE(is_line_with(input.failure(), "m.csv:2", "'xyz'"));
    input.options.metadata = input.folder / "nothing.csv";
    EXPECT_TRUE(is_line_with(input.failure(), "nothing.csv"));
    EXPECT_FALSE(fs::exists(input.options.out));
}

TEST(Prepare, SaysWhereItCannotWrite) {
    Input input;
    input.options.out = input.folder / "nowhere/out.cutis";
    EXPECT_TRUE(is_line_with(input.failure(), "out.cutis", "nowhere"));
    input.options.out = input.folder / "Bilder";
    EXPECT_TRUE(is_line_with(input.failure(), "Bilder", "a folder"));
}

}  // namespace
}  // namespace cutis
