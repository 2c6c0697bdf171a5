#include "tools/predictions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "engine/files.h"
#include "kernels/error.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

Predictions example() {
    Predictions p;
    p.class_names = {"MEL", "NV"};
    p.image_ids = {"ISIC_1", "ISIC_2", "ISIC_3"};
    p.lesion_ids = {"L1", "L1", ""};
    p.labels = {0, 1, 1};
    p.probabilities = {0.1f, 0.9f, 0.25f, 0.75f, 1.0f / 3, 2.0f / 3};
    return p;
}

/// What reading `text` complains about.
std::string complaint(const std::string& text) {
    const testing::TempDir folder;
    std::ofstream(folder / "p.csv", std::ios::binary) << text;
    try {
        read_predictions_csv(folder / "p.csv");
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("p.csv"), std::string::npos) << error.what();
        return error.what();
    }
    ADD_FAILURE() << "accepted: " << text;
    return "";
}

TEST(Predictions, CsvIsPlain) {
    const testing::TempDir folder;
    write_predictions_csv(folder / "p.csv", example());
    EXPECT_EQ(read_text_file(folder / "p.csv"),
              "image,lesion,label,MEL,NV\n"
              "ISIC_1,L1,MEL,0.1,0.9\n"
              "ISIC_2,L1,NV,0.25,0.75\n"
              "ISIC_3,,NV,0.33333334,0.6666667\n");
}

TEST(Predictions, CsvKeepsEveryBitAndEveryName) {
    const testing::TempDir folder;
    Predictions p = example();
    p.class_names = {"a,\"b\"", "na\xC3\xAFve\nline "};
    p.image_ids = {"x\r\ny", " leading", "\xE7\x97\xA3.png"};
    p.probabilities = {0x1.fffffep-1f, 0x1p-24f, std::numeric_limits<float>::denorm_min(), 0.0f, 1.0f, 0.1f};
    const auto path = folder /
                      "pr\xC3\xA9"
                      "dictions.csv";
    write_predictions_csv(path, p);
    const Predictions back = read_predictions_csv(path);
    EXPECT_EQ(back.class_names, p.class_names);
    EXPECT_EQ(back.image_ids, p.image_ids);
    EXPECT_EQ(back.lesion_ids, p.lesion_ids);
    EXPECT_EQ(back.labels, p.labels);
    EXPECT_EQ(back.probabilities, p.probabilities);
}

TEST(Predictions, ReadsWindowsLineEndsAndByteOrderMark) {
    const testing::TempDir folder;
    std::ofstream(folder / "p.csv", std::ios::binary) << "\xEF\xBB\xBFimage,lesion,label,a,b\r\ni,l,b,1e-60,1\r\n";
    const Predictions p = read_predictions_csv(folder / "p.csv");
    EXPECT_EQ(p.class_names, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(p.labels, std::vector<int>{1});
    EXPECT_EQ(p.probabilities, (std::vector<float>{0, 1}));
}

TEST(Predictions, RefusesOtherFiles) {
    EXPECT_NE(complaint("image,MEL,NV\nx,1,0\n").find("begin with image,lesion,label"), std::string::npos);
    EXPECT_NE(complaint("image,lesion,label\nx,l,MEL\n").find("begin with"), std::string::npos);
    EXPECT_NE(complaint("image,lesion,label,a\n").find("no images"), std::string::npos);
    EXPECT_NE(complaint("image,lesion,label,a\nx,l,b,1\n").find("p.csv:2: the label \"b\""), std::string::npos);
    EXPECT_NE(complaint("image,lesion,label,a\nx,l,a,1\ny,l,a,one\n").find("p.csv:3: column \"a\": \"one\""),
              std::string::npos);
    EXPECT_NE(complaint("image,lesion,label,a\nx,l,a,1\nx,l,a,1\n").find("twice"), std::string::npos);
    complaint("");
    complaint("image,lesion,label,a\nx,l,a,\n");
    complaint("image,lesion,label,a\nx,l,a,1 \n");
    complaint("image,lesion,label,a\nx,l,a,nan\n");
    complaint("image,lesion,label,a\nx,l,a,inf\n");
    complaint("image,lesion,label,a\nx,l,a,1e99\n");
    complaint("image,lesion,label,a\nx,l,a,-1\n");
    complaint("image,lesion,label,a\nx,l,a,1,0\n");
    complaint("image,lesion,label,a\n,l,a,1\n");
    complaint("image,lesion,label,a,\nx,l,a,1,0\n");
    EXPECT_THROW(read_predictions_csv("/nowhere/p.csv"), Error);
}

TEST(Predictions, RefusesToWriteWhatItCouldNotRead) {
    const testing::TempDir folder;
    Predictions p = example();
    write_predictions_csv(folder / "p.csv", p);
    const std::string before = read_text_file(folder / "p.csv");
    p.probabilities[0] = NAN;
    EXPECT_THROW(write_predictions_csv(folder / "p.csv", p), Error);
    p = example();
    p.class_names[1] = "label";
    EXPECT_THROW(write_predictions_csv(folder / "p.csv", p), Error);
    EXPECT_EQ(read_text_file(folder / "p.csv"), before);
}

TEST(Predictions, LesionsAreNumberedInOrder) {
    Predictions p = example();
    p.lesion_ids = {"b", "", "b"};
    EXPECT_EQ(lesion_numbers(p), (std::vector<std::uint32_t>{0, 1, 0}));
    EXPECT_EQ(p.lesions(), 2u);
    p.lesion_ids = {"", "", "z"};
    EXPECT_EQ(lesion_numbers(p), (std::vector<std::uint32_t>{0, 1, 2}));
    EXPECT_EQ(Predictions{}.lesions(), 0u);
}

TEST(Predictions, WorstMistakesAreTheSurestWrongAnswers) {
    Predictions p = example();
    p.labels = {0, 0, 1};  // wrong with 0.9 and 0.75, right
    EXPECT_EQ(worst_mistakes(p, 5), (std::vector<std::size_t>{0, 1}));
    EXPECT_EQ(worst_mistakes(p, 1), std::vector<std::size_t>{0});
    p.probabilities = {0.3f, 0.7f, 0.3f, 0.7f, 0.1f, 0.9f};
    EXPECT_EQ(worst_mistakes(p, 2), (std::vector<std::size_t>{0, 1})) << "equal ones stay in file order";
    p.labels = {1, 1, 1};
    EXPECT_TRUE(worst_mistakes(p, 3).empty());
}

}  // namespace
}  // namespace cutis
