#include "engine/metadata.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "engine/csv.h"
#include "tests/support/error_of.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

Labels labels_of(std::string_view text, const std::vector<std::string>& class_names = {}) {
    return read_labels(CsvTable(text, "m.csv"), class_names);
}

std::string error_for(std::string_view text, const std::vector<std::string>& class_names = {}) {
    return error_of([&] { (void)labels_of(text, class_names); });
}

std::vector<int> label_list(const Labels& labels) {
    std::vector<int> list;
    for (const Sample& sample : labels.samples) {
        list.push_back(sample.label);
    }
    return list;
}

constexpr const char* kHam =
    "lesion_id,image_id,dx,dx_type,age,sex,localization\r\n"
    "HAM_1,ISIC_1,bkl,histo,80.0,male,scalp\r\n"
    "HAM_1,ISIC_2,bkl,histo,80.0,male,scalp\r\n"
    "HAM_2,ISIC_3,mel,histo,,female,unknown\r\n"
    "HAM_3,ISIC_4,NV,consensus,40.0,male,back\r\n"
    "HAM_4,ISIC_5,Vasc,consensus,40.0,male,back\r\n"
    "HAM_5,ISIC_6,akiec,histo,1,male,back\r\n"
    "HAM_6,ISIC_7,df,histo,1,male,back\r\n"
    "HAM_7,ISIC_8,bcc,histo,1,male,back\r\n";

TEST(ReadLabels, Ham10000) {
    const Labels labels = labels_of(kHam);
    EXPECT_EQ(labels.class_names, (std::vector<std::string>{"MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"}));
    EXPECT_EQ(label_list(labels), (std::vector<int>{4, 4, 0, 1, 6, 3, 5, 2}));
    EXPECT_TRUE(labels.has_lesion_ids);
    EXPECT_TRUE(labels.notices.empty());
    EXPECT_EQ(labels.samples[1].image_id, "ISIC_2");
    EXPECT_EQ(labels.samples[1].lesion_id, "HAM_1");
    EXPECT_EQ(labels.samples[2].age, "");
    EXPECT_EQ(labels.samples[2].sex, "female");
    EXPECT_EQ(labels.samples[2].localization, "unknown");
}

TEST(ReadLabels, TheKindOfDiagnosisIsNeverRead) {
    std::string without = kHam;
    std::string spoilt = kHam;
    for (const std::string_view kind : {"histo", "consensus"}) {
        for (std::size_t at = 0; (at = spoilt.find(kind, at)) != std::string::npos;) {
            spoilt.replace(at, kind.size(), "\xFF\"\"\xFF");
            spoilt.insert(at + 4, "\"");
            spoilt.insert(at, "\"");
        }
    }
    without.replace(without.find("dx_type"), 7, "dx_tipe");
    EXPECT_EQ(label_list(labels_of(without)), label_list(labels_of(kHam)));
    EXPECT_EQ(label_list(labels_of(spoilt)), label_list(labels_of(kHam)));
}

TEST(ReadLabels, OneHotInAnyOrderOfTheHamColumns) {
    const Labels labels = labels_of(
        "\xEF\xBB\xBFimage,nv,MEL,BCC,AKIEC,BKL,DF,VASC\n"
        "ISIC_1,1.0,0.0,0.0,0.0,0.0,0.0,0.0\n"
        "ISIC_2,0,1,0,0,0,0,0.\n"
        "ISIC_3.JPG,0.0,0.0,0.0,0.0,0.0,0.0,1.000\n");
    EXPECT_EQ(labels.class_names, ham10000_class_names());
    EXPECT_EQ(label_list(labels), (std::vector<int>{1, 0, 6}));
    EXPECT_FALSE(labels.has_lesion_ids);
    EXPECT_EQ(labels.samples[2].image_id, "ISIC_3");
    EXPECT_EQ(labels.samples[2].lesion_id, "ISIC_3");
    ASSERT_EQ(labels.notices.size(), 2u);
    EXPECT_TRUE(is_line_with(labels.notices[0], "m.csv", "no lesion ids", "its own lesion"));
    EXPECT_TRUE(is_line_with(labels.notices[1], "no image of BCC, AKIEC, BKL, DF"));
}

TEST(ReadLabels, OneHotWithClassesOfOnesOwn) {
    const char* text = "image,mole,Wart,scar,lesion_id\na,0,0,1,L1\nb,1,0,0,L2\nc,0,1,0,L2\n";
    const Labels labels = labels_of(text);
    EXPECT_EQ(labels.class_names, (std::vector<std::string>{"mole", "Wart", "scar"}));
    EXPECT_EQ(label_list(labels), (std::vector<int>{2, 0, 1}));
    EXPECT_TRUE(labels.has_lesion_ids);
    EXPECT_EQ(labels.samples[2].lesion_id, "L2");
    EXPECT_TRUE(labels.notices.empty());

    const Labels chosen = labels_of(text, {"scar", "wart", "mole"});
    EXPECT_EQ(label_list(chosen), (std::vector<int>{0, 2, 1}));
    EXPECT_TRUE(is_line_with(error_for(text, {"scar", "mole"}), "m.csv:4: 1.0 stands in 0 of the 2 class columns"));
    EXPECT_TRUE(
        is_line_with(error_for(text, {"scar", "burn"}), "no column for the class 'burn'", "image,mole,Wart,scar"));
}

TEST(ReadLabels, DiagnosesOfOnesOwn) {
    const Labels labels = labels_of("image,dx\na.png,Mole\nb,wart\n.png,MOLE\n", {"wart", "mole", "burn"});
    EXPECT_EQ(label_list(labels), (std::vector<int>{1, 0, 1}));
    EXPECT_EQ(labels.samples[0].image_id, "a");
    EXPECT_EQ(labels.samples[2].image_id, ".png");
    EXPECT_FALSE(labels.has_lesion_ids);
    EXPECT_EQ(labels.samples[1].lesion_id, "b");
    EXPECT_EQ(labels.notices.size(), 2u);
    const Labels grouped = labels_of("image_id,lesion_id,dx\na,1,mole\nb,1,wart\n", {"wart", "mole"});
    EXPECT_TRUE(grouped.has_lesion_ids);
    EXPECT_EQ(grouped.samples[1].lesion_id, "1");
}

TEST(ReadLabels, RefusesUnknownDiagnoses) {
    EXPECT_TRUE(is_line_with(error_for("lesion_id,image_id,dx\n1,a,nv\n2,b,wart\n"),
                             "m.csv:3: unknown diagnosis 'wart'", "MEL, NV, BCC, AKIEC, BKL, DF, VASC",
                             "--class-names"));
    EXPECT_TRUE(is_line_with(error_for("lesion_id,image_id,dx\n1,a,\n"), "m.csv:2: unknown diagnosis ''"));
    EXPECT_TRUE(
        is_line_with(error_for("image_id,dx\na,nv\n", {"wart", "mole"}), "unknown diagnosis 'nv'", "wart, mole"));
}

TEST(ReadLabels, RefusesMissingColumns) {
    EXPECT_TRUE(is_line_with(error_for("image_id,dx\na,nv\n"), "m.csv", "no column 'lesion_id'", "image_id,dx"));
    EXPECT_TRUE(is_line_with(error_for("lesion_id,dx\na,nv\n"), "no column 'image_id'"));
    EXPECT_TRUE(is_line_with(error_for("lesion_id,image_id,age\n1,a,3\n"), "m.csv", "neither a column 'dx'",
                             "nor 'image'", "lesion_id,image_id,age"));
    EXPECT_TRUE(is_line_with(error_for("lesion_id;image_id;dx\n1;a;nv\n"), "not to be separated by commas"));
    EXPECT_TRUE(is_line_with(error_for("image,MEL\na,1\n"), "1 class name is too few"));
}

TEST(ReadLabels, RefusesBadIds) {
    EXPECT_TRUE(
        is_line_with(error_for("lesion_id,image_id,dx\n1,a,nv\n2,a,nv\n"), "m.csv:3: the image id 'a'", "earlier row"));
    EXPECT_TRUE(is_line_with(error_for("lesion_id,image_id,dx\n1,a,nv\n2,a.jpg,nv\n"), "m.csv:3: the image id 'a'"));
    EXPECT_TRUE(is_line_with(error_for("lesion_id,image_id,dx\n1,,nv\n"), "m.csv:2: image_id is empty"));
    EXPECT_TRUE(is_line_with(error_for("lesion_id,image_id,dx\n,a,nv\n"), "m.csv:2: lesion_id is empty"));
    EXPECT_TRUE(
        is_line_with(error_for("lesion_id,image_id,dx\n1,\"a\nb\",nv\n"), "m.csv:2: image_id 'a\\x0ab'", "UTF-8"));
    EXPECT_TRUE(is_line_with(error_for("lesion_id,image_id,dx\n1,l\xE4sion,nv\n"), "image_id 'l\\xe4sion'", "UTF-8"));
    EXPECT_TRUE(is_line_with(error_for("lesion_id,image_id,dx\n"), "m.csv", "no rows"));
}

TEST(ReadLabels, RefusesRowsThatAreNotOneHot) {
    const std::string header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,1,0,0,0,0,0,0\n";
    EXPECT_TRUE(is_line_with(error_for(header + "b,1,0,0,0,0,0,1\n"), "m.csv:3: 1.0 stands in 2 of the 7"));
    EXPECT_TRUE(is_line_with(error_for(header + "b,0,0,0,0,0,0,0\n"), "m.csv:3: 1.0 stands in 0 of the 7"));
    for (const char* value : {"0.5", "2", "", "nan", "1.1", "-1", "01", "1e0", "10", "1.0 "}) {
        EXPECT_TRUE(is_line_with(error_for(header + "b,0,0,0," + value + ",0,0,0\n"), "m.csv:3",
                                 std::string("'") + value + "' in column AKIEC is neither 0.0 nor 1.0"));
    }
}

TEST(ReadLabels, RefusesUnusableClassNames) {
    const char* text = "image_id,dx\na,mole\n";
    EXPECT_TRUE(is_line_with(error_for(text, {"mole", "MOLE"}), "'MOLE' is given twice"));
    EXPECT_TRUE(is_line_with(error_for(text, {"mole", ""}), "'' is no usable class name"));
    EXPECT_TRUE(is_line_with(error_for(text, {"mole", "a\nb"}), "'a\\x0ab' is no usable class name"));
    EXPECT_TRUE(is_line_with(error_for(text, {"mole"}), "too few"));
    EXPECT_TRUE(is_line_with(error_for("image,\"a,b\",c\nx,1,0\n"), "'a,b' is no usable class name"));
    EXPECT_TRUE(is_line_with(error_for("image,a,A\nx,1,0\n"), "'A' is given twice"));
    EXPECT_TRUE(is_line_with(error_for("image,a,A,b\nx,1,0,0\n", {"a", "b"}), "two columns are named 'a'"));
}

TEST(ReadLabels, TheEmbeddedSample) {
    const Labels labels =
        read_labels(std::filesystem::path(CUTIS_SOURCE_DIR) / "tools/sample/ham10000/HAM10000_metadata.csv");
    EXPECT_EQ(labels.samples.size(), 350u);
    EXPECT_TRUE(labels.notices.empty());
    std::set<std::string> lesions;
    for (const Sample& sample : labels.samples) {
        lesions.insert(sample.lesion_id);
    }
    EXPECT_EQ(lesions.size(), 350u);
}

TEST(ReadLabels, AllOfHam10000) {
    const char* folder = std::getenv("HAM10000");
    if (folder == nullptr) {
        GTEST_SKIP() << "set HAM10000 to the folder of HAM10000_metadata.csv to run this";
    }
    const Labels labels = read_labels(std::filesystem::path(folder) / "HAM10000_metadata.csv");
    std::vector<int> counts(7, 0);
    std::set<std::string> lesions;
    for (const Sample& sample : labels.samples) {
        ++counts[static_cast<std::size_t>(sample.label)];
        lesions.insert(sample.lesion_id);
    }
    // The counts that the data set's paper gives.
    EXPECT_EQ(counts, (std::vector<int>{1113, 6705, 514, 327, 1099, 115, 142}));
    EXPECT_EQ(lesions.size(), 7470u);
}

}  // namespace
}  // namespace cutis
