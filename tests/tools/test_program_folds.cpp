#include <csignal>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/tools/program_case.h"
#include "tools/predictions.h"

// `cutis train --folds`.

namespace cutis::testing {
namespace {

namespace fs = std::filesystem;

nlohmann::json json_of(const fs::path& path) {
    return nlohmann::json::parse(read_text_file(path));
}

ProgramResult train(const std::string& data, const fs::path& out, std::vector<std::string> further,
                    const ProgramOptions& options = {}) {
    std::vector<std::string> arguments{"train", "--data",       data, "--out",     out.string(), "--width",
                                       "0.1",   "--batch-size", "16", "--threads", "1"};
    arguments.insert(arguments.end(), further.begin(), further.end());
    return cutis_program(arguments, options);
}

TEST(ProgramFolds, JudgeEveryImageOfTheSampleByARunThatDidNotSeeIt) {
    const PackedSample sample;
    const fs::path out = sample.folder / "folds";
    const ProgramResult trained =
        train(sample.data, out,
              {"--folds", "5", "--split-file", (sample.home / "split.csv").string(), "--steps", "2", "--ema", "0.9"});
    ASSERT_TRUE(succeeded(trained));
    EXPECT_TRUE(holds(trained.out, "mean over folds"));
    const nlohmann::json folds = json_of(out / "folds.json");
    const auto runs = folds.at("runs").get<std::vector<std::string>>();
    ASSERT_EQ(runs.size(), 5u);
    const PackedDataset data(sample.data);
    std::set<std::string> seen;
    double sum = 0;
    for (std::size_t f = 0; f < runs.size(); ++f) {
        const Predictions fold = read_predictions_csv(out / runs[f] / "predictions_test.csv");
        EXPECT_EQ(fold.size(), 70u);
        seen.insert(fold.image_ids.begin(), fold.image_ids.end());
        const nlohmann::json evaluation = json_of(out / runs[f] / "evaluation_test.json");
        EXPECT_EQ(evaluation.at("balanced_accuracy"), folds.at("per_fold")[f].at("balanced_accuracy"));
        sum += evaluation.at("balanced_accuracy").get<double>();
    }
    EXPECT_EQ(seen.size(), data.size());
    const nlohmann::json& mean = folds.at("mean").at("balanced_accuracy");
    EXPECT_NEAR(mean.at("mean").get<double>(), sum / 5, 1e-12);
    const nlohmann::json& auc = folds.at("mean").at("macro_auc");
    EXPECT_LT(auc.at("low").get<double>(), auc.at("high").get<double>());
    const Predictions oof = read_predictions_csv(out / "predictions_oof.csv");
    EXPECT_EQ(oof.size(), data.size());
    EXPECT_EQ(json_of(out / "evaluation_oof.json").at("images"), data.size());

    // Each fold is an ordinary run.
    EXPECT_TRUE(succeeded(cutis_program({"report", "--run", (out / runs[2]).string()})));
    const std::string judged = read_text_file(out / runs[2] / "predictions_test.csv");
    EXPECT_TRUE(succeeded(cutis_program({"evaluate", "--run", (out / runs[2]).string(), "--data", sample.data,
                                         "--bootstrap", "5", "--batch-size", "16", "--threads", "1"})));
    EXPECT_EQ(read_text_file(out / runs[2] / "predictions_test.csv"), judged);

    EXPECT_TRUE(
        failed_with(1, cutis_program({"report", "--run", out.string()}), "is a cross-validation", "folds.json"));

    // New images get the mean of the runs.
    const fs::path csv = sample.folder / "p.csv";
    EXPECT_TRUE(succeeded(cutis_program({"predict", "--run", out.string(), "--images",
                                         (sample.home / "images/ISIC_0024331.jpg").string(), "--out", csv.string()})));
    EXPECT_TRUE(holds(read_text_file(csv), "ISIC_0024331,"));
}

TEST(ProgramFolds, InterruptedAndResumedTheyEndAsIfTheyHadNeverStopped) {
    const Pictures p;
    ASSERT_TRUE(succeeded(p.prepare()));
    const fs::path whole = p.home / "ganz", broken = p.home / "unterbrochen";
    const std::vector<std::string> settings{"--folds", "3", "--epochs", "4", "--batch-size", "4"};
    ASSERT_TRUE(succeeded(train(p.data.string(), whole, settings)));
    const auto in_the_second = [&] { return fs::exists(broken / "fold1/checkpoint.safetensors"); };
    const ProgramResult stopped =
        train(p.data.string(), broken, settings, {.signal = SIGTERM, .signal_when = in_the_second});
    ASSERT_EQ(stopped.status, 128 + SIGTERM) << stopped.err;
    EXPECT_FALSE(fs::exists(broken / "folds.json"));
    EXPECT_FALSE(fs::exists(broken / "fold2"));
    EXPECT_TRUE(failed_with(1, train(p.data.string(), broken, settings), "holds a run", "--resume"));
    EXPECT_TRUE(failed_with(2, cutis_program({"train", "--resume", "--out", broken.string(), "--lr", "1"}), "--lr",
                            "--resume"));
    const ProgramResult resumed = cutis_program({"train", "--resume", "--out", broken.string()});
    ASSERT_TRUE(succeeded(resumed));
    EXPECT_TRUE(holds(resumed.out, "fold0 (1 of 3): trained already"));
    for (const char* file : {"predictions_oof.csv", "evaluation_oof.json", "folds.json", "folds.csv",
                             "fold1/checkpoint.safetensors", "fold2/best.safetensors"}) {
        EXPECT_EQ(read_text_file(broken / file), read_text_file(whole / file)) << file;
    }
    // Once more does nothing but join the folds again.
    const std::string before = read_text_file(broken / "fold2/metrics.jsonl");
    EXPECT_TRUE(succeeded(cutis_program({"train", "--resume", "--out", broken.string()})));
    EXPECT_EQ(read_text_file(broken / "fold2/metrics.jsonl"), before);
}

TEST(ProgramFolds, RefuseWhatContradicts) {
    const Pictures p(12);
    ASSERT_TRUE(succeeded(p.prepare()));
    const fs::path out = p.home / "f", csv = p.home / "split.csv";
    const auto refused = [&](int status, std::vector<std::string> further, auto... parts) {
        return failed_with(status, train(p.data.string(), out, std::move(further)), parts...);
    };
    std::string text = "image_id,fold\n";
    for (int i = 0; i < 12; ++i) {
        text += "image" + std::to_string(i) + "," + std::to_string(i / 2 % 2) + "\n";
    }
    write_file_atomically(csv, text);
    EXPECT_TRUE(refused(2, {"--folds", "2", "--fold", "1", "--split-file", csv.string()}, "--fold"));
    EXPECT_TRUE(refused(2, {"--folds", "1"}, "--folds is 1"));
    EXPECT_TRUE(refused(2, {"--folds", "-3"}, "--folds is -3"));
    EXPECT_TRUE(refused(2, {"--folds", "2", "--overwrite"}, "--overwrite"));
    EXPECT_TRUE(refused(1, {"--folds", "3", "--split-file", csv.string()}, "--folds is 3", "2 folds"));
    EXPECT_TRUE(refused(1, {"--folds", "7"}, "6 lesions", "7 folds"));
    EXPECT_TRUE(refused(1, {"--folds", "2", "--split", "all"}, "--split all"));
    EXPECT_TRUE(refused(1, {"--folds", "2", "--model", "net"}, "'net'"));
    EXPECT_FALSE(fs::exists(out / "plan.json"));
}

}  // namespace
}  // namespace cutis::testing
