#include <algorithm>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "engine/csv.h"
#include "engine/safetensors.h"
#include "tests/tools/program_case.h"

// The program's transfer learning on the embedded sample: features, support vector machines, open set.

namespace cutis::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kSample = fs::path(CUTIS_SOURCE_DIR) / "tools/sample/ham10000";

nlohmann::json json_of(const fs::path& path) {
    return nlohmann::json::parse(read_text_file(path));
}

/// The embedded sample at 64 pixels, and short runs on it.
class ProgramTransfer : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(succeeded(
            cutis_program({"prepare", "--images", (kSample / "images").string(), "--metadata",
                           (kSample / "HAM10000_metadata.csv").string(), "--size", "64", "--out", data().string()})));
    }

    fs::path data() const { return folder_ / "Probe.cutis"; }
    fs::path run(const std::string& name) const { return folder_ / "Läufe" / name; }
    /// One step on ImageNet's features, which stay as they are: what is measured here is what stands on them.
    ProgramResult train(const std::string& name, std::vector<std::string> further = {}) const {
        const fs::path weights =
            fs::path(CUTIS_SOURCE_DIR) / "tools/sample/weights/mobilenet_v2_imagenet_features.safetensors";
        std::vector<std::string> arguments{"train",
                                           "--data",
                                           data().string(),
                                           "--out",
                                           run(name).string(),
                                           "--init",
                                           weights.string(),
                                           "--freeze",
                                           "features.",
                                           "--steps",
                                           "1",
                                           "--lr",
                                           "0.01",
                                           "--batch-size",
                                           "32",
                                           "--augment",
                                           "none"};
        further.insert(further.end(), {"--threads", "1"});
        arguments.insert(arguments.end(), further.begin(), further.end());
        return cutis_program(arguments);
    }
    ProgramResult open_set(const std::string& name, std::vector<std::string> further = {}) const {
        std::vector<std::string> arguments{"open-set",    "--run", run(name).string(), "--data", data().string(),
                                           "--bootstrap", "40"};
        further.insert(further.end(), {"--threads", "1"});
        arguments.insert(arguments.end(), further.begin(), further.end());
        return cutis_program(arguments);
    }
    ProgramResult svm(const std::string& name, std::vector<std::string> further = {},
                      const ProgramOptions& options = {}) const {
        std::vector<std::string> arguments{"svm", "--run", run(name).string(), "--data", data().string(), "--bootstrap",
                                           "50",  "--c",   "0.0001,0.01"};
        further.insert(further.end(), {"--threads", "1"});
        arguments.insert(arguments.end(), further.begin(), further.end());
        return cutis_program(arguments, options);
    }
    fs::path out(const std::string& name) const { return folder_ / name; }
    /// The sample's first files, by name.
    static std::vector<std::string> images() {
        std::vector<std::string> files;
        for (const auto& entry : fs::directory_iterator(kSample / "images")) {
            files.push_back(entry.path().string());
        }
        std::sort(files.begin(), files.end());
        files.resize(kImages);
        return files;
    }
    static constexpr std::size_t kImages = 40;

    TempDir folder_;
};

TEST_F(ProgramTransfer, SvmTrainsOnFeaturesIsJudgedAndPredicts) {
    ASSERT_TRUE(succeeded(train("plain")));
    EXPECT_EQ(json_of(run("plain") / "config.json").at("init_license"), "Apache-2.0");
    EXPECT_EQ(SafetensorsFile(run("plain") / "best.safetensors").metadata().at("init_license"), "Apache-2.0");
    EXPECT_TRUE(holds(read_text_file(run("plain") / "report.html"),
                      "mobilenet_v2_imagenet_features.safetensors, licence Apache-2.0, from google-coral/test_data"));
    const ProgramResult trained = svm("plain");
    ASSERT_TRUE(succeeded(trained));
    EXPECT_TRUE(holds(trained.out, "1280 features of 245 training images"));
    EXPECT_TRUE(holds(trained.out, "chosen: C "));
    const nlohmann::json test = json_of(run("plain") / "evaluation_test_svm.json");
    EXPECT_EQ(test.at("images"), 70);
    EXPECT_EQ(test.at("bootstrap").at("unit"), "lesion");
    EXPECT_GT(test.at("balanced_accuracy").get<double>(), 0.25);  // chance gives 0.14
    EXPECT_LT(test.at("nll").get<double>(), std::log(7.0) + 0.2);

    const auto predict = [&](std::vector<std::string> further) {
        std::vector<std::string> arguments{"predict", "--run", run("plain").string(), "--out", out("p.csv").string()};
        further.insert(further.end(), {"--threads", "1"});
        arguments.insert(arguments.end(), further.begin(), further.end());
        arguments.push_back("--images");
        const std::vector<std::string> files = images();
        arguments.insert(arguments.end(), files.begin(), files.end());
        return cutis_program(arguments);
    };
    // The saved file predicts what was judged.
    const std::string saved = (run("plain") / "svm.safetensors").string();
    const ProgramResult predicts = predict({"--svm", saved, "--features", out("f.csv").string()});
    ASSERT_TRUE(succeeded(predicts));
    EXPECT_TRUE(holds(predicts.out, "1280 features of 40 images"));
    const CsvTable judged = read_csv(run("plain") / "predictions_test_svm.csv"), predicted = read_csv(out("p.csv"));
    ASSERT_EQ(predicted.columns(), 8u);
    ASSERT_EQ(predicted.rows(), kImages);
    std::size_t compared = 0;
    for (std::size_t i = 0; i < judged.rows(); ++i) {
        for (std::size_t j = 0; j < predicted.rows(); ++j) {
            if (judged.field(i, 0) == predicted.field(j, 0)) {
                for (std::size_t k = 0; k < 7; ++k) {
                    EXPECT_NEAR(std::stod(std::string(judged.field(i, 3 + k))),
                                std::stod(std::string(predicted.field(j, 1 + k))), 1e-4);
                }
                ++compared;
            }
        }
    }
    EXPECT_GE(compared, 3u);  // a fifth of them are in the test part

    // Features are the same as CSV and as tensor.
    ASSERT_TRUE(succeeded(predict({"--svm", saved, "--logits", "--features", out("f.safetensors").string()})));
    EXPECT_TRUE(holds(read_text_file(out("p.csv")), ",-"));  // decision values have signs
    const CsvTable table = read_csv(out("f.csv"));
    ASSERT_EQ(table.rows(), kImages);
    ASSERT_EQ(table.columns(), 1281u);
    EXPECT_EQ(table.header()[0], "image");
    EXPECT_EQ(table.header()[1280], "f1279");
    const SafetensorsFile file(out("f.safetensors"));
    EXPECT_EQ(file.at("features").shape, (std::vector<std::int64_t>{kImages, 1280}));
    const std::vector<float> values = file.read_f32(file.at("features"));
    const auto names = nlohmann::json::parse(file.metadata().at("images"));
    for (std::size_t row = 0; row < kImages; ++row) {
        EXPECT_EQ(names[row].get<std::string>(), table.field(row, 0));
        for (std::size_t d = 0; d < 1280; ++d) {
            ASSERT_EQ(std::stof(std::string(table.field(row, d + 1))), values[row * 1280 + d]);
        }
    }
    EXPECT_GT(*std::max_element(values.begin(), values.end()), 0);

    EXPECT_TRUE(failed_with(1, predict({"--features", out("f.npy").string()}), "f.npy", ".safetensors"));
    EXPECT_TRUE(failed_with(1, predict({"--svm", (run("plain") / "best.safetensors").string()}), "class_names"));
    EXPECT_TRUE(failed_with(2, svm("plain", {"--c", "0.1,x"}), "--c"));
    EXPECT_TRUE(failed_with(2, svm("plain", {"--c", "0"}), "--c"));
    EXPECT_TRUE(failed_with(2, svm("plain", {"--bootstrap", "100001"}), "--bootstrap"));
    // Many resamples do not keep Ctrl-C waiting.
    fs::remove(saved);
    fs::remove(run("plain") / "evaluation_val_svm.json");
    EXPECT_EQ(
        svm("plain", {"--bootstrap", "100000"}, {.signal = SIGINT, .signal_when = [&] { return fs::exists(saved); }})
            .status,
        128 + SIGINT);
    EXPECT_FALSE(fs::exists(run("plain") / "evaluation_val_svm.json"));
    EXPECT_TRUE(failed_with(1, svm("none"), "none"));
    EXPECT_TRUE(failed_with(1, open_set("plain"), "--hold-out-class"));
    const Pictures others;
    ASSERT_TRUE(succeeded(others.prepare()));
    EXPECT_TRUE(failed_with(1, svm("plain", {"--data", others.data.string()}), "not the data set"));
    ASSERT_TRUE(succeeded(train("everything", {"--split", "all"})));
    EXPECT_TRUE(failed_with(1, svm("everything"), "no val images"));
}

TEST_F(ProgramTransfer, OpenSetIsJudgedOnAClassThatNoImageTrained) {
    ASSERT_TRUE(succeeded(train("without", {"--hold-out-class", "akiec"})));
    const fs::path folder = run("without");
    const nlohmann::json config = json_of(folder / "config.json");
    EXPECT_EQ(config.at("class_names"), (std::vector<std::string>{"MEL", "NV", "BCC", "BKL", "DF", "VASC"}));
    EXPECT_EQ(SafetensorsFile(folder / "best.safetensors").at("classifier.1.bias").shape[0], 6);
    EXPECT_FALSE(holds(read_text_file(folder / "predictions_test.csv"), "AKIEC"));
    EXPECT_FALSE(holds(read_text_file(folder / "predictions_val.csv"), "AKIEC"));
    EXPECT_TRUE(holds(read_text_file(folder / "report.html"), "held out"));

    const ProgramResult judged = open_set("without", {"--keep", "0.8,0.95"});
    ASSERT_TRUE(succeeded(judged));
    EXPECT_TRUE(holds(judged.out, "class AKIEC, held out: 50 images, beside 60 of known classes"));
    const nlohmann::json figures = json_of(folder / "evaluation_open_set.json");
    EXPECT_EQ(figures.at("held_out_class"), "AKIEC");
    EXPECT_EQ(figures.at("val_images"), 30);
    for (const char* score : {"max_softmax", "mahalanobis"}) {
        const nlohmann::json& of_score = figures.at(score);
        const double auroc = of_score.at("auroc").at("value");
        EXPECT_GT(auroc, 0) << score;
        EXPECT_LT(auroc, 1) << score;
        EXPECT_LE(of_score.at("auroc").at("low").get<double>(), auroc);
        EXPECT_GE(of_score.at("auroc").at("high").get<double>(), auroc);
        ASSERT_EQ(of_score.at("thresholds").size(), 2u);
        const double strict = of_score.at("thresholds")[0].at("threshold"),
                     lax = of_score.at("thresholds")[1].at("threshold");
        EXPECT_GE(strict, lax) << "keeping more takes a lower threshold";
    }
    const CsvTable scores = read_csv(folder / "open_set.csv");
    ASSERT_EQ(scores.rows(), 110u);
    for (std::size_t row = 0; row < scores.rows(); ++row) {
        EXPECT_EQ(scores.field(row, 2) == "AKIEC", row >= 60);
        EXPECT_NE(scores.field(row, 3), "AKIEC");
        EXPECT_LE(std::stod(std::string(scores.field(row, 4))), 1.0);
        EXPECT_LE(std::stod(std::string(scores.field(row, 5))), 0.0);
    }
    EXPECT_EQ(cutis_program({"evaluate", "--run", folder.string(), "--data", data().string(), "--bootstrap", "20",
                             "--threads", "1"})
                  .status,
              0);

    EXPECT_TRUE(failed_with(2, open_set("without", {"--keep", "0.9,1.2"}), "--keep"));
    EXPECT_TRUE(failed_with(1, train("wrong", {"--hold-out-class", "nevus"}), "'nevus'", "AKIEC"));
}

}  // namespace
}  // namespace cutis::testing
