#include "engine/isic_metadata.h"

#include <gtest/gtest.h>

#include "engine/csv.h"
#include "tests/support/error_of.h"

namespace cutis::testing {
namespace {

const std::string kHeader = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n";
const std::string kTruth = kHeader +
                           "ISIC_0000000,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n"
                           "ISIC_0000002_downsampled,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n"
                           "ISIC_0000004_downsampled,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0\n";
const std::string kMetadata =
    "image,age_approx,anatom_site_general,lesion_id,sex\n"
    "ISIC_0000004_downsampled,80.0,lower extremity,MSK4_0000001,female\n"
    "ISIC_0000000,55.0,anterior torso,,female\n"
    "ISIC_0000009,,,MSK4_0000009,\n"
    "ISIC_0000002_downsampled,,,MSK4_0000001,\n";

Labels labels_of(const std::string& text, const std::vector<std::string>& class_names = {}) {
    return read_labels(CsvTable(text, "gt.csv"), class_names);
}

TEST(Isic2019, HasItsOwnOrderAndNoUnknownInTraining) {
    const Labels labels = labels_of(kTruth);
    EXPECT_EQ(labels.class_names, isic2019_class_names());
    ASSERT_EQ(labels.samples.size(), 3u);
    EXPECT_EQ(labels.samples[0].label, 1);
    EXPECT_EQ(labels.samples[1].label, 0);
    EXPECT_EQ(labels.samples[1].image_id, "ISIC_0000002_downsampled");
    EXPECT_EQ(labels.samples[2].label, 7);
    EXPECT_FALSE(labels.has_lesion_ids);
}

TEST(Isic2019, OrderDoesNotDependOnTheFiles) {
    const Labels labels = labels_of("image,UNK,SCC,VASC,DF,BKL,AK,BCC,NV,MEL\nx,0,1,0,0,0,0,0,0,0\n");
    EXPECT_EQ(labels.class_names, isic2019_class_names());
    EXPECT_EQ(labels.samples[0].label, 7);
}

TEST(Isic2019, UnknownIsAClassWhereItOccurs) {
    const Labels labels = labels_of(kTruth + "ISIC_1,0,0,0,0,0,0,0,0,1\n");
    ASSERT_EQ(labels.class_names.size(), 9u);
    EXPECT_EQ(labels.class_names.back(), "UNK");
    EXPECT_EQ(labels.samples.back().label, 8);
    EXPECT_EQ(labels.samples[2].label, 7);
}

TEST(Isic2019, WeightsOfTheScoreAreNoClasses) {
    const Labels labels = labels_of("image,A,B,score_weight,validation_weight\nx,1,0,1.0,0.0\ny,0,1,0.5,1.0\n");
    EXPECT_EQ(labels.class_names, (std::vector<std::string>{"A", "B"}));
}

TEST(Isic2019, RefusesRowsOfNoOrSeveralClassesAndOtherNumbers) {
    const auto refusal = [](const std::string& row) { return error_of([&] { labels_of(kHeader + row); }); };
    EXPECT_TRUE(is_line_with(refusal("x,0,0,0,0,0,0,0,0,0\n"), "gt.csv:2", "1.0 stands in 0 of the 8"));
    EXPECT_TRUE(is_line_with(refusal("x,1,0,0,1,0,0,0,0,0\n"), "gt.csv:2", "1.0 stands in 2 of the 8"));
    EXPECT_TRUE(is_line_with(refusal("x,1,0,0,0,0,0,0,0,0.5\n"), "gt.csv:2", "'0.5' in column UNK"));
    EXPECT_TRUE(is_line_with(refusal("x,1,0,0,0,0,0,0,0,\n"), "gt.csv:2", "UNK"));
    EXPECT_TRUE(is_line_with(refusal("x,1,0,0,0,0,0,0,0\n"), "gt.csv:2"));
}

TEST(Isic2019, MetadataJoinByImage) {
    Labels labels = labels_of(kTruth);
    join_isic_metadata(labels, CsvTable(kMetadata, "meta.csv"));
    EXPECT_TRUE(labels.has_lesion_ids);
    EXPECT_EQ(labels.samples[0].lesion_id, "ISIC_0000000") << "empty there: a lesion of its own";
    EXPECT_EQ(labels.samples[1].lesion_id, "MSK4_0000001");
    EXPECT_EQ(labels.samples[2].lesion_id, "MSK4_0000001");
    EXPECT_EQ(labels.samples[2].age, "80.0");
    EXPECT_EQ(labels.samples[2].sex, "female");
    EXPECT_EQ(labels.samples[0].localization, "anterior torso");
    EXPECT_EQ(labels.samples[1].age, "");
    bool counted = false;
    for (const std::string& notice : labels.notices) {
        EXPECT_EQ(notice.find("has no lesion ids"), std::string::npos);
        counted = counted || notice.find("1 of 3 images") != std::string::npos;
    }
    EXPECT_TRUE(counted);
}

TEST(Isic2019, RefusesMetadataThatDoNotFit) {
    const auto refusal = [](const std::string& metadata) {
        Labels labels = labels_of(kTruth);
        return error_of([&] { join_isic_metadata(labels, CsvTable(metadata, "meta.csv")); });
    };
    EXPECT_TRUE(is_line_with(refusal("image,lesion_id\nISIC_0000000,L\n"), "meta.csv", "'ISIC_0000002_downsampled'"));
    EXPECT_TRUE(is_line_with(refusal("image,lesion_id\nx,L\nx,L\n"), "meta.csv:3", "'x'"));
    EXPECT_TRUE(is_line_with(refusal("image,sex\nISIC_0000000,male\n"), "meta.csv", "lesion_id"));
    EXPECT_TRUE(is_line_with(refusal("name,lesion_id\nISIC_0000000,L\n"), "meta.csv", "image"));
    EXPECT_TRUE(is_line_with(refusal("image,lesion_id\nISIC_0000000,\xFF\n"), "meta.csv:2", "UTF-8"));
    Labels labels = labels_of("image,lesion_id,A,B\nx,L,1,0\n");
    EXPECT_TRUE(is_line_with(error_of([&] { join_isic_metadata(labels, CsvTable(kMetadata, "meta.csv")); }), "meta.csv",
                             "already"));
}

}  // namespace
}  // namespace cutis::testing
