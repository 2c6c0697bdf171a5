#include <nlohmann/json.hpp>

#include "tests/tools/program_case.h"

// What the program says where figures are undefined: of a class that the data set names and that has no image.

namespace cutis::testing {
namespace {

namespace fs = std::filesystem;

nlohmann::json json_of(const fs::path& path) {
    return nlohmann::json::parse(read_text_file(path));
}

/// That it ended well, with a dash and nowhere "nan".
::testing::AssertionResult dashes(const ProgramResult& result) {
    if (result.status != 0) {
        return ::testing::AssertionFailure() << "status " << result.status << ": " << result.err;
    }
    if (!holds(result.out, "\xE2\x80\x93") || holds(result.out, "nan")) {
        return ::testing::AssertionFailure() << result.out;
    }
    return ::testing::AssertionSuccess();
}

TEST(ProgramUndefined, FiguresAreADashInTextAndNullInJson) {
    const Pictures p;
    ASSERT_TRUE(succeeded(p.prepare({"--class-names", "red,green,blue,grey"})));
    const std::string data = p.data.string();
    const fs::path a = p.home / "a", b = p.home / "b";
    for (const fs::path& run : {a, b}) {
        ASSERT_TRUE(succeeded(cutis_program({"train", "--data", data, "--out", run.string(), "--width", "0.1",
                                             "--epochs", "1", "--batch-size", "4", "--threads", "1", "--split-seed",
                                             "0", "--seed", run == a ? "1" : "2"})));
    }
    ASSERT_TRUE(dashes(cutis_program({"evaluate", "--run", a.string(), "--data", data, "--bootstrap", "10"})));
    const nlohmann::json evaluation = json_of(a / "evaluation_test.json");
    EXPECT_TRUE(evaluation.at("per_class")[3].at("sensitivity").is_null());
    EXPECT_TRUE(evaluation.at("intervals").at("per_class")[3].at("auc").at("low").is_null());
    EXPECT_TRUE(evaluation.at("melanoma_sensitivity").is_null());
    EXPECT_TRUE(evaluation.at("balanced_accuracy").is_number());

    ASSERT_TRUE(succeeded(cutis_program({"report", "--run", a.string()})));
    const std::string report = read_text_file(a / "report.html");
    EXPECT_TRUE(holds(report, "<td>grey</td><td>0</td><td>\xE2\x80\x93</td>"));
    EXPECT_FALSE(holds(report, ">nan"));

    const fs::path predictions = p.home / "p.csv", truth = p.home / "t.csv", score = p.home / "s.json";
    ASSERT_TRUE(succeeded(
        cutis_program({"predict", "--run", a.string(), "--images", p.images.string(), "--out", predictions.string()})));
    std::string rows = "image,red,green,blue,grey\n";
    for (int i = 0; i < 36; ++i) {
        const int label = i / 2 % 3;
        rows += "image" + std::to_string(i) + (label == 0 ? ",1,0,0,0\n" : label == 1 ? ",0,1,0,0\n" : ",0,0,1,0\n");
    }
    write_file_atomically(truth, rows);
    const ProgramResult scored = cutis_program(
        {"score", "--truth", truth.string(), "--predictions", predictions.string(), "--json", score.string()});
    EXPECT_TRUE(dashes(scored));
    EXPECT_TRUE(holds(scored.err, "class grey"));
    EXPECT_FALSE(holds(read_text_file(score), "nan"));
    EXPECT_TRUE(failed_with(1,
                            cutis_program({"score", "--truth", truth.string(), "--predictions", predictions.string(),
                                           "--json", truth.string()}),
                            "read by --truth"));

    // These have nothing undefined to write, or an interval at most.
    for (const ProgramResult& result :
         {cutis_program({"compare", "--runs", a.string(), b.string(), "--data", data, "--bootstrap", "5"}),
          cutis_program({"ensemble", "--members", a.string(), b.string(), "--data", data, "--bootstrap", "5", "--out",
                         (p.home / "e").string()}),
          cutis_program({"svm", "--run", a.string(), "--data", data, "--bootstrap", "5", "--c", "0.01"})}) {
        EXPECT_EQ(result.status, 0) << result.err;
        EXPECT_FALSE(holds(result.out, "nan")) << result.out;
    }
}

TEST(ProgramUndefined, DataOfOneClassAreCrossValidated) {
    const Pictures p(12);
    std::string rows = "lesion_id,image_id,dx\n";
    for (int i = 0; i < 12; ++i) {
        rows += "L" + std::to_string(i) + ",image" + std::to_string(i) + ",red\n";
    }
    write_file_atomically(p.metadata, rows);
    ASSERT_TRUE(succeeded(p.prepare()));
    const fs::path out = p.home / "f";
    const ProgramResult folds = cutis_program({"train", "--data", p.data.string(), "--out", out.string(), "--folds",
                                               "2", "--width", "0.1", "--steps", "1", "--threads", "1"});
    EXPECT_TRUE(dashes(folds));
    EXPECT_TRUE(json_of(out / "folds.json").at("mean").at("macro_auc").at("mean").is_null());
}

}  // namespace
}  // namespace cutis::testing
