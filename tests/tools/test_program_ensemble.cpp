#include <csignal>
#include <nlohmann/json.hpp>

#include "engine/csv.h"
#include "tests/tools/program_case.h"
#include "tools/predictions.h"

// `cutis train --ensemble`, `cutis ensemble`, `cutis compare`, and what takes an ensemble's folder; test-time
// augmentation.

namespace cutis::testing {
namespace {

namespace fs = std::filesystem;

nlohmann::json json_of(const fs::path& path) {
    return nlohmann::json::parse(read_text_file(path));
}

/// Pictures and two runs on one split, the second at another size.
struct TwoRuns : Pictures {
    TwoRuns() {
        EXPECT_TRUE(succeeded(prepare({"--size", "40"})));
        EXPECT_TRUE(succeeded(train(first, {"--lr", "0.005"})));
        EXPECT_TRUE(succeeded(train(second, {"--split-seed", "0", "--seed", "7", "--size", "36"})));
    }
    ProgramResult train(const fs::path& run, std::vector<std::string> further = {}) const {
        std::vector<std::string> arguments{"train",   "--data",    data.string(), "--out",  run.string(),
                                           "--width", "0.1",       "--epochs",    "8",      "--batch-size",
                                           "4",       "--threads", "1",           "--size", "32"};
        arguments.insert(arguments.end(), further.begin(), further.end());
        return cutis_program(arguments);
    }
    ProgramResult ensemble(std::vector<std::string> further = {}) const {
        std::vector<std::string> arguments{"ensemble",    "--members",   first.string(), second.string(),
                                           "--data",      data.string(), "--out",        out.string(),
                                           "--bootstrap", "20",          "--threads",    "1"};
        arguments.insert(arguments.end(), further.begin(), further.end());
        return cutis_program(arguments);
    }

    fs::path first = home / "a", second = home / "b", out = home / "Verbund";
};

double at(const Predictions& p, std::size_t i, std::size_t k) {
    return static_cast<double>(p.row(i)[k]);
}

TEST(ProgramEnsemble, CombinesRunsAndPredictsAsItWasJudged) {
    const TwoRuns p;
    const ProgramResult combined = p.ensemble({"--rule", "all"});
    ASSERT_TRUE(succeeded(combined));
    EXPECT_TRUE(holds(combined.out, "best on validation images") && holds(combined.out, "stacked"));
    const nlohmann::json comparison = json_of(p.out / "comparison_test.json");
    ASSERT_EQ(comparison.at("rules").size(), 6u);
    EXPECT_EQ(comparison.at("members").size(), 2u);
    EXPECT_TRUE(comparison.at("rules")[0].at("gain_over_best_member").at("macro_f1").contains("low"));

    // The mean of what the members say, which is what they said when they were trained.
    const Predictions all = read_predictions_csv(p.out / "predictions_test.csv"),
                      a = read_predictions_csv(p.first / "predictions_test.csv"),
                      b = read_predictions_csv(p.second / "predictions_test.csv");
    ASSERT_EQ(all.image_ids, a.image_ids);
    for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t k = 0; k < 3; ++k) {
            EXPECT_NEAR(at(all, i, k), (at(a, i, k) + at(b, i, k)) / 2, 1e-5);
        }
    }

    // Files are predicted as the packed images were judged, with every rule. The pictures' middle is what was packed.
    const fs::path csv = p.home / "p.csv";
    for (const char* rule : {"weighted", "stacked"}) {
        ASSERT_TRUE(succeeded(p.ensemble({"--rule", rule, "--tta", "flips"})));
        EXPECT_EQ(json_of(p.out / "evaluation_test.json").at("tta"), "flips");
        const Predictions judged = read_predictions_csv(p.out / "predictions_test.csv");
        ASSERT_TRUE(succeeded(cutis_program({"predict", "--run", p.out.string(), "--images", p.images.string(), "--out",
                                             csv.string(), "--threads", "1"})));
        const CsvTable table = read_csv(csv);
        ASSERT_EQ(table.rows(), 36u);
        std::size_t found = 0;
        for (std::size_t row = 0; row < table.rows(); ++row) {
            for (std::size_t i = 0; i < judged.size(); ++i) {
                if (table.field(row, 0) == judged.image_ids[i]) {
                    ++found;
                    for (std::size_t k = 0; k < 3; ++k) {
                        // Packing at 40 pixels and scaling to 32 is not scaling to 32 at once.
                        EXPECT_NEAR(std::stod(std::string(table.field(row, 1 + k))), at(judged, i, k), 0.05);
                    }
                }
            }
        }
        EXPECT_EQ(found, judged.size());
    }
    EXPECT_TRUE(failed_with(2,
                            cutis_program({"predict", "--run", p.out.string(), "--images", p.images.string(), "--out",
                                           csv.string(), "--logits"}),
                            "is an ensemble", "--logits"));

    // Another data set is judged as a whole.
    const Pictures other(12);
    ASSERT_TRUE(succeeded(other.prepare()));
    const auto evaluate = [&](const fs::path& data, std::vector<std::string> further) {
        further.insert(further.begin(),
                       {"evaluate", "--run", p.out.string(), "--data", data.string(), "--bootstrap", "5"});
        return cutis_program(further);
    };
    ASSERT_TRUE(succeeded(evaluate(other.data, {"--split", "all"})));
    EXPECT_EQ(json_of(p.out / "evaluation_all.json").at("images"), 12);
    EXPECT_TRUE(failed_with(1, evaluate(p.data, {"--split", "all"}), "were trained on it"));
    EXPECT_TRUE(failed_with(2, evaluate(other.data, {}), "is an ensemble", "--split all"));

    const ProgramResult chart = cutis_program({"summary", "--ensemble", p.out.string(), "--format", "mermaid"});
    ASSERT_TRUE(succeeded(chart));
    EXPECT_TRUE(holds(chart.out, "flowchart") && holds(chart.out, "32 x 32 x 3") && holds(chart.out, "36 x 36 x 3") &&
                holds(chart.out, "stacked"));
    EXPECT_TRUE(failed_with(2, cutis_program({"summary", "--ensemble", p.out.string()}), "--format mermaid"));

    // Both can be moved together.
    const fs::path moved = p.folder / "anderswo";
    fs::rename(p.home, moved);
    EXPECT_TRUE(succeeded(cutis_program({"predict", "--run", (moved / "Verbund").string(), "--images",
                                         (moved / "Bilder").string(), "--out", (moved / "q.csv").string()})));
    EXPECT_EQ(read_text_file(moved / "q.csv").substr(0, 20), read_text_file(moved / "p.csv").substr(0, 20));
    fs::rename(moved, p.home);
}

TEST(ProgramEnsemble, RefusesMembersThatDoNotShareData) {
    const TwoRuns p;
    ASSERT_TRUE(succeeded(p.train(p.home / "other", {"--seed", "5", "--epochs", "1"})));
    const auto with = [&](const fs::path& member, std::vector<std::string> further = {}) {
        further.insert(further.begin(), {"ensemble", "--members", p.first.string(), member.string(), "--data",
                                         p.data.string(), "--out", p.out.string()});
        return cutis_program(further);
    };
    EXPECT_TRUE(failed_with(1, with(p.home / "other"), "other: trained on the lesion of image", "one split"));
    EXPECT_TRUE(failed_with(1, with(p.home / "nowhere"), "nowhere", "no folder"));
    EXPECT_TRUE(failed_with(2, with(p.second, {"--rule", "sum"}), "'sum'", "weighted", "all"));
    EXPECT_TRUE(failed_with(2, with(p.second, {"--tta", "turns"}), "'turns'", "dihedral"));
    EXPECT_TRUE(failed_with(2, with(p.second, {"--stacking-c", "0"}), "--stacking-c"));
    EXPECT_TRUE(failed_with(1, with(p.second, {"--tta", "crops:4@36"}), "36 x 36", "all alike"));
    const Pictures another(12);
    ASSERT_TRUE(succeeded(another.prepare()));
    EXPECT_TRUE(failed_with(1, with(p.second, {"--data", another.data.string()}), "was not trained on", "checksum"));
    EXPECT_FALSE(fs::exists(p.out / "ensemble.json"));
    EXPECT_TRUE(failed_with(1, p.ensemble({"--out", p.second.string()}), "holds a run", "another folder"));

    EXPECT_TRUE(failed_with(1, with(p.first), "a: stands there twice"));
    write_file_atomically(p.home / "datei", "");
    EXPECT_TRUE(
        failed_with(1, p.ensemble({"--out", (p.home / "datei/e").string()}), "datei/e", "cannot make the folder"));

    ASSERT_TRUE(succeeded(p.ensemble()));
    EXPECT_TRUE(failed_with(1, cutis_program({"report", "--run", p.out.string()}), "is an ensemble", "a single run"));
    nlohmann::json json = json_of(p.out / "ensemble.json");
    json["members"][1]["path"] = "../weg";
    write_file_atomically(p.out / "ensemble.json", json.dump());
    EXPECT_TRUE(failed_with(1,
                            cutis_program({"predict", "--run", p.out.string(), "--images", p.images.string(), "--out",
                                           (p.home / "p.csv").string()}),
                            "weg", "no folder"));
}

TEST(ProgramEnsemble, ComparesTwoRunsOnTheSameResamples) {
    const TwoRuns p;
    const fs::path out = p.home / "d.json";
    const auto compare = [&](const fs::path& a, const fs::path& b, std::vector<std::string> further = {}) {
        further.insert(further.begin(), {"compare", "--runs", a.string(), b.string(), "--data", p.data.string(),
                                         "--bootstrap", "50", "--out", out.string(), "--threads", "1"});
        return cutis_program(further);
    };
    const ProgramResult compared = compare(p.first, p.second, {"--tta", "crops:4"});
    ASSERT_TRUE(succeeded(compared));
    EXPECT_TRUE(holds(compared.out, "minus"));
    const nlohmann::json json = json_of(out);
    EXPECT_NEAR(json.at("difference").at("accuracy").at("value").get<double>(),
                json.at("runs")[1].at("accuracy").get<double>() - json.at("runs")[0].at("accuracy").get<double>(),
                1e-12);
    ASSERT_TRUE(succeeded(compare(p.first, p.first)));
    EXPECT_EQ(json_of(out).at("difference").at("balanced_accuracy").at("high"), 0);
    EXPECT_EQ(compare(p.first, p.second, {"--runs", p.first.string()}).status, 2);
}

TEST(ProgramEnsemble, EvaluateStatesItsTestTimeAugmentation) {
    const TwoRuns p;
    const auto evaluate = [&](std::vector<std::string> further) {
        further.insert(further.begin(),
                       {"evaluate", "--run", p.first.string(), "--data", p.data.string(), "--bootstrap", "5"});
        return cutis_program(further);
    };
    const std::string plain = read_text_file(p.first / "predictions_test.csv");
    ASSERT_TRUE(succeeded(evaluate({"--tta", "crops:9"})));
    EXPECT_EQ(json_of(p.first / "evaluation_test_crops9.json").at("tta"), "crops:9");
    EXPECT_NE(read_text_file(p.first / "predictions_test_crops9.csv"), plain);
    EXPECT_EQ(read_text_file(p.first / "predictions_test.csv"), plain);
    EXPECT_TRUE(failed_with(2, evaluate({"--tta", "crops"}), "'crops'"));

    const auto predict = [&](std::vector<std::string> further) {
        further.insert(further.begin(), {"predict", "--run", p.first.string(), "--images", p.images.string(), "--out",
                                         (p.home / "p.csv").string()});
        return cutis_program(further);
    };
    EXPECT_TRUE(succeeded(predict({"--tta", "crops:4@40"})));
    EXPECT_TRUE(failed_with(2, predict({"--tta", "crops:4"}), "say to which side"));
    EXPECT_TRUE(failed_with(2, predict({"--tta", "crops:4@40", "--crop", "32"}), "leave out --crop"));
    EXPECT_TRUE(failed_with(2, predict({"--tta", "flips", "--logits"}), "--logits"));
}

TEST(ProgramEnsemble, TrainsItsMembersFromOneFileOnTheSample) {
    const PackedSample sample;
    const fs::path config = sample.folder / "members.json";
    const auto write = [&](std::string_view members) {
        write_file_atomically(config,
                              "{\"train\": {\"width\": 0.1, \"steps\": 6, \"batch_size\": 16, \"threads\": 1, "
                              "\"loader_threads\": 1}, \"rule\": \"stacked\", \"tta\": \"flips\", \"members\": " +
                                  std::string(members) + "}");
    };
    const auto train = [&](const fs::path& out, const ProgramOptions& options = {}) {
        return cutis_program({"train", "--ensemble", config.string(), "--data", sample.data, "--out", out.string()},
                             options);
    };
    const fs::path whole = sample.folder / "whole", broken = sample.folder / "broken";
    EXPECT_TRUE(failed_with(1, (write("[]"), train(whole)), "members.json", "'members'"));
    EXPECT_TRUE(failed_with(1, (write("[{\"lr\": -1}]"), train(whole)), "members[0]", "--lr"));
    EXPECT_TRUE(failed_with(1, (write("[{\"seed\": 1}, {\"seed\": 2}]"), train(whole)), "members[1]", "name"));
    EXPECT_TRUE(failed_with(1, (write("[{\"split\": \"leaky\"}]"), train(whole)), "'split'", "\"train\""));
    EXPECT_TRUE(failed_with(1, (write("[{\"init\": \"nowhere.safetensors\"}]"), train(whole)), "nowhere.safetensors"));
    EXPECT_FALSE(fs::exists(whole / "mobilenet_v2"));

    write(
        "[{\"name\": \"small\"}, {\"name\": \"mit_LSTM\", \"model\": \"mobilenet_v2_lstm1\", \"lstm_hidden\": 8, "
        "\"seed\": 3}]");
    ASSERT_TRUE(succeeded(train(whole)));
    EXPECT_EQ(json_of(whole / "ensemble.json").at("members")[1].at("path"), "mit_LSTM");
    EXPECT_TRUE(holds(read_text_file(whole / "predictions_test.csv"), "image,lesion,label,"));
    EXPECT_EQ(json_of(whole / "mit_LSTM/config.json").at("train").at("seed"), 3);

    // Interrupted in a member and resumed it ends alike.
    const auto in_the_second = [&] { return fs::exists(broken / "mit_LSTM/checkpoint.safetensors"); };
    ASSERT_EQ(train(broken, {.signal = SIGINT, .signal_when = in_the_second}).status, 130);
    ASSERT_TRUE(succeeded(cutis_program({"train", "--resume", "--out", broken.string()})));
    for (const char* file : {"predictions_test.csv", "evaluation_test.json", "ensemble.json"}) {
        EXPECT_EQ(read_text_file(broken / file), read_text_file(whole / file)) << file;
    }
}

TEST(ProgramEnsemble, StacksCrossValidationsOutOfFold) {
    const Pictures p;
    ASSERT_TRUE(succeeded(p.prepare()));
    const fs::path first = p.home / "f1", second = p.home / "f2", out = p.home / "beide";
    for (const fs::path& folds : {first, second}) {
        ASSERT_TRUE(succeeded(cutis_program({"train", "--data", p.data.string(), "--out", folds.string(), "--folds",
                                             "3", "--width", "0.1", "--epochs", "3", "--batch-size", "4", "--threads",
                                             "1", "--split-seed", "1", "--seed", folds == first ? "1" : "2"})));
    }
    const ProgramResult combined =
        cutis_program({"ensemble", "--members", first.string(), second.string(), "--rule", "stacked", "--data",
                       p.data.string(), "--out", out.string(), "--bootstrap", "10", "--threads", "1"});
    ASSERT_TRUE(succeeded(combined));
    EXPECT_EQ(read_predictions_csv(out / "predictions_oof.csv").size(), 36u);
    EXPECT_EQ(json_of(out / "comparison_oof.json").at("split"), "oof");
    EXPECT_TRUE(succeeded(cutis_program(
        {"predict", "--run", out.string(), "--images", p.images.string(), "--out", (p.home / "p.csv").string()})));
    EXPECT_TRUE(failed_with(
        1, cutis_program({"compare", "--runs", first.string(), (first / "fold0").string(), "--data", p.data.string()}),
        "a cross-validation of 3 folds", "a run"));
}

}  // namespace
}  // namespace cutis::testing
