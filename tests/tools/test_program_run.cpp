#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/csv.h"
#include "engine/cuda_device.h"
#include "tests/tools/program_case.h"
#include "tools/run_directory.h"
#include "tools/run_report.h"

// The program from a packed data set to predictions: train, evaluate, predict, report.

namespace cutis::testing {
namespace {

namespace fs = std::filesystem;

/// Pictures, packed, and the commands of a small run on them.
struct ProgramRun : Pictures {
    ProgramRun() { EXPECT_TRUE(succeeded(prepare())); }

    ProgramResult train(std::vector<std::string> further = {}, const ProgramOptions& options = {}) const {
        std::vector<std::string> arguments{"train",   "--data",    data.string(), "--out",  run.string(),
                                           "--width", "0.1",       "--epochs",    "2",      "--batch-size",
                                           "4",       "--threads", "1",           "--seed", "3"};
        arguments.insert(arguments.end(), further.begin(), further.end());
        return cutis_program(arguments, options);
    }
    ProgramResult evaluate(std::vector<std::string> further = {}) const {
        std::vector<std::string> arguments{"evaluate",    "--run",       run.string(), "--data",
                                           data.string(), "--bootstrap", "20",         "--batch-size",
                                           "4",           "--threads",   "1"};
        arguments.insert(arguments.end(), further.begin(), further.end());
        return cutis_program(arguments);
    }

    fs::path run = home / "Läufe/eins";
};

nlohmann::json json_of(const fs::path& path) {
    return nlohmann::json::parse(read_text_file(path));
}

TEST(ProgramRun, TrainsEvaluatesPredictsAndReports) {
    const ProgramRun p;
    // Long enough that the images get different answers: else the comparisons below would mean little.
    const ProgramResult trained = p.train({"--epochs", "25", "--lr", "0.005", "--augment", "none"});
    ASSERT_TRUE(succeeded(trained));
    EXPECT_TRUE(holds(trained.out, "report.html"));
    for (const char* file : {"config.json", "metrics.jsonl", "checkpoint.safetensors", "best.safetensors",
                             "predictions_test.csv", "report.html"}) {
        EXPECT_TRUE(fs::exists(p.run / file)) << file;
    }
    const nlohmann::json config = json_of(p.run / "config.json");
    EXPECT_EQ(config.at("train").at("width"), 0.1);
    EXPECT_EQ(config.at("data_checksum"), PackedDataset(p.data).checksum());

    // Evaluation repeats what training said of its test part.
    const std::string predicted = read_text_file(p.run / "predictions_test.csv");
    const ProgramResult evaluated = p.evaluate();
    ASSERT_TRUE(succeeded(evaluated));
    EXPECT_EQ(read_text_file(p.run / "predictions_test.csv"), predicted);
    const nlohmann::json evaluation = json_of(p.run / "evaluation_test.json");
    EXPECT_FALSE(evaluation.at("leaky").get<bool>());
    EXPECT_EQ(evaluation.at("bootstrap").at("resamples"), 20);
    EXPECT_TRUE(holds(evaluated.out, "balanced accuracy"));
    EXPECT_TRUE(holds(evaluated.out, fmt::format("{:.3f}", evaluation.at("accuracy").get<double>())));
    EXPECT_TRUE(holds(evaluated.out, "<- predicted"));
    EXPECT_FALSE(holds(evaluated.out, "leaky"));

    // What was trained on is judged, but marked.
    const ProgramResult on_train = p.evaluate({"--split", "train"});
    EXPECT_EQ(on_train.status, 0);
    EXPECT_TRUE(holds(on_train.err, "warning: leaky"));
    EXPECT_TRUE(holds(on_train.out, "(leaky)"));
    EXPECT_TRUE(json_of(p.run / "evaluation_train.json").at("leaky").get<bool>());

    fs::remove(p.run / "report.html");
    EXPECT_TRUE(succeeded(cutis_program({"report", "--run", p.run.string()})));
    EXPECT_TRUE(holds(read_text_file(p.run / "report.html"), "Confusion matrix"));

    // Predicting the files gives what evaluating the packed images gave.
    const fs::path csv = p.home / "p.csv";
    ASSERT_TRUE(succeeded(
        cutis_program({"predict", "--run", p.run.string(), "--images", p.images.string(), "--out", csv.string()})));
    const CsvTable predictions = read_csv(csv);
    EXPECT_EQ(predictions.header(), (std::vector<std::string_view>{"image", "red", "green", "blue"}));
    ASSERT_EQ(predictions.rows(), 36u);
    const CsvTable judged = read_csv(p.run / "predictions_test.csv");
    EXPECT_GT(std::abs(std::stod(std::string(judged.field(0, 3))) -
                       std::stod(std::string(judged.field(judged.rows() - 1, 3)))),
              1e-4);
    for (std::size_t row = 0; row < judged.rows(); ++row) {
        std::size_t same = 0;
        while (same < predictions.rows() && predictions.field(same, 0) != judged.field(row, 0)) {
            ++same;
        }
        ASSERT_LT(same, predictions.rows());
        double sum = 0;
        for (std::size_t c = 0; c < 3; ++c) {
            const double value = std::stod(std::string(predictions.field(same, 1 + c)));
            EXPECT_NEAR(value, std::stod(std::string(judged.field(row, 3 + c))), 2e-6);
            sum += value;
        }
        EXPECT_NEAR(sum, 1, 1e-5);
    }
}

TEST(ProgramRun, TrainsEvaluatesPredictsAndReportsOnTheSampleAsJpeg) {
    const TempDir folder;
    const fs::path sample = fs::path(CUTIS_SOURCE_DIR) / "tools/sample/ham10000";
    const std::string data = (folder / "sample.cutis").string(), run = (folder / "run").string();
    const auto prepare = [&](std::vector<std::string> further, const std::string& out) {
        further.insert(further.begin(), {"prepare", "--images", (sample / "images").string(), "--metadata",
                                         (sample / "HAM10000_metadata.csv").string(), "--size", "48", "--out", out});
        return cutis_program(further);
    };
    ASSERT_TRUE(succeeded(prepare({"--codec", "jpeg"}, data)));
    ASSERT_TRUE(succeeded(prepare({}, (folder / "raw.cutis").string())));
    EXPECT_LT(fs::file_size(data), fs::file_size(folder / "raw.cutis") / 3);
    const auto train = [&](const std::string& out, const std::string& loaders) {
        return cutis_program({"train", "--data", data, "--out", out, "--width", "0.1", "--steps", "3", "--batch-size",
                              "8", "--threads", "1", "--loader-threads", loaders, "--log-every", "1"});
    };
    ASSERT_TRUE(succeeded(train(run, "1")));
    EXPECT_EQ(json_of(fs::path(run) / "config.json").at("data_checksum"), PackedDataset(data).checksum());
    const std::string predicted = read_text_file(fs::path(run) / "predictions_test.csv");
    ASSERT_TRUE(succeeded(train((folder / "again").string(), "3")));
    EXPECT_EQ(read_text_file(folder / "again/predictions_test.csv"), predicted);
    EXPECT_EQ(read_text_file(folder / "again/checkpoint.safetensors"),
              read_text_file(fs::path(run) / "checkpoint.safetensors"));

    ASSERT_TRUE(succeeded(cutis_program(
        {"evaluate", "--run", run, "--data", data, "--bootstrap", "20", "--batch-size", "8", "--threads", "1"})));
    EXPECT_EQ(read_text_file(fs::path(run) / "predictions_test.csv"), predicted);
    fs::remove(fs::path(run) / "report.html");
    ASSERT_TRUE(succeeded(cutis_program({"report", "--run", run})));
    const std::string report = read_text_file(fs::path(run) / "report.html");
    EXPECT_TRUE(holds(report, "data:image/png;base64,")) << "the mistakes' images are shown";
    EXPECT_FALSE(holds(report, "No images and class counts are shown"));
    EXPECT_TRUE(
        succeeded(cutis_program({"predict", "--run", run, "--images", (sample / "images/ISIC_0024331.jpg").string(),
                                 "--out", (folder / "p.csv").string()})));
    const std::string onnx = (folder / "sample.onnx").string();
    EXPECT_TRUE(succeeded(cutis_program({"convert", "--run", run, "--onnx", onnx, "--fold-batchnorm", "--normalise"})));
    EXPECT_TRUE(holds(read_text_file(onnx), R"(["MEL","NV","BCC","AKIEC","BKL","DF","VASC"])"));

    // A damaged image ends the training with its name.
    {
        std::fstream file(data, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(4096 + 300);
        const int byte = file.peek();
        file.put(static_cast<char>(byte ^ 1));
    }
    EXPECT_TRUE(failed_with(1,
                            cutis_program({"train", "--data", data, "--out", (folder / "bad").string(), "--split",
                                           "all", "--width", "0.1", "--epochs", "1", "--threads", "1"}),
                            "sample.cutis: image 0 ('", "is damaged", "run `cutis prepare` again"));
}

TEST(ProgramRun, JudgesAnotherDataSetAsAWhole) {
    const ProgramRun p;
    ASSERT_TRUE(succeeded(p.train({"--epochs", "1"})));
    const Pictures other(12);
    ASSERT_TRUE(succeeded(other.prepare()));
    const auto evaluate = [&](std::vector<std::string> further) {
        further.insert(further.begin(),
                       {"evaluate", "--run", p.run.string(), "--data", other.data.string(), "--bootstrap", "20"});
        return cutis_program(further);
    };
    EXPECT_TRUE(failed_with(1, evaluate({}), "d.cutis", "not the data set of run", "--split all"));
    EXPECT_TRUE(succeeded(evaluate({"--split", "all"})));
    const nlohmann::json evaluation = json_of(p.run / "evaluation_all.json");
    EXPECT_FALSE(evaluation.at("leaky").get<bool>());
    EXPECT_EQ(evaluation.at("images"), 12);
    EXPECT_TRUE(json_of(p.run / "evaluation_test.json").at("images") != 12);
    ASSERT_TRUE(succeeded(other.prepare({"--class-names", "blue,green,red"}))) << "the last one counts";
    EXPECT_TRUE(failed_with(1, evaluate({"--split", "all"}), "blue,green,red", "red,green,blue"));
    EXPECT_EQ(p.evaluate({"--split", "all"}).status, 0);
    EXPECT_TRUE(json_of(p.run / "evaluation_all.json").at("leaky").get<bool>()) << "its own data were trained on";
}

TEST(ProgramRun, ARunThatTrainedOnEverythingHasNoTest) {
    const ProgramRun p;
    ASSERT_TRUE(succeeded(p.train({"--split", "all", "--epochs", "1"})));
    EXPECT_TRUE(failed_with(1, p.evaluate(), "no test images"));
    EXPECT_TRUE(succeeded(cutis_program({"report", "--run", p.run.string()})));
}

TEST(ProgramRun, ALeakySplitIsMarkedEverywhere) {
    const ProgramRun p;
    const ProgramResult trained = p.train({"--split", "leaky", "--epochs", "1"});
    EXPECT_EQ(trained.status, 0);
    EXPECT_TRUE(holds(trained.err, "warning"));
    const ProgramResult evaluated = p.evaluate();
    EXPECT_TRUE(holds(evaluated.out, "(leaky)"));
    EXPECT_TRUE(json_of(p.run / "evaluation_test.json").at("leaky").get<bool>());
    EXPECT_TRUE(holds(read_text_file(p.run / "report.html"), "Leaky split."));
}

TEST(ProgramRun, DoesNotTrainOverARunByMistake) {
    const ProgramRun p;
    ASSERT_TRUE(succeeded(p.train({"--epochs", "1"})));
    const std::string config = read_text_file(p.run / "config.json"), best = read_text_file(p.run / "best.safetensors");
    EXPECT_TRUE(failed_with(1, p.train(), "holds a run", "--resume", "--overwrite"));
    EXPECT_TRUE(failed_with(1, p.train({"--out", p.data.string()}), "--out", "d.cutis: is a file"));
    EXPECT_TRUE(failed_with(1, p.train({"--overwrite", "--data", "nowhere.cutis"}), "nowhere.cutis"));
    EXPECT_TRUE(failed_with(1, p.train({"--overwrite", "--model", "net"}), "'net'"));
    EXPECT_TRUE(failed_with(1, p.train({"--overwrite", "--init", "nowhere.safetensors"}), "nowhere.safetensors"));
    EXPECT_EQ(read_text_file(p.run / "config.json"), config);
    EXPECT_EQ(read_text_file(p.run / "best.safetensors"), best);
    ASSERT_TRUE(succeeded(p.train({"--overwrite", "--epochs", "1", "--split", "all"})));
    EXPECT_FALSE(fs::exists(p.run / "predictions_test.csv")) << "nothing of the earlier run is left";
    EXPECT_EQ(json_of(p.run / "config.json").at("train").at("split"), "all");
}

TEST(ProgramRun, SettingsComeFromAFileAndFlagsOverrideThem) {
    const ProgramRun p;
    const fs::path file = p.home / "c.json";
    const auto train_with = [&](std::string_view text, std::vector<std::string> further = {}) {
        write_file_atomically(file, text);
        further.insert(further.begin(), {"train", "--data", p.data.string(), "--out", p.run.string(), "--config",
                                         file.string(), "--overwrite"});
        return cutis_program(further);
    };
    EXPECT_TRUE(failed_with(1, train_with("{\"learning_rate\": 1}"), "c.json", "'learning_rate'"));
    EXPECT_TRUE(failed_with(1, train_with("{\"epochs\": 0}"), "c.json", "--epochs is 0"));
    EXPECT_TRUE(failed_with(1, train_with("{\"epochs\": 1"), "c.json", "JSON"));
    EXPECT_FALSE(fs::exists(p.run));
    ASSERT_TRUE(
        succeeded(train_with("{\"epochs\": 1, \"width\": 0.1, \"lr\": 0.5, \"augment\": \"full\", \"augmentation\": "
                             "{\"cutout\": 5, \"hue\": 0.25}}",
                             {"--lr", "0.003", "--cutout", "7", "--crop-scale", "0.25,0.75", "--fill", "1,2,3"})));
    const nlohmann::json settings = json_of(p.run / "config.json").at("train");
    EXPECT_EQ(settings.at("epochs"), 1);
    EXPECT_EQ(settings.at("lr"), 0.003);
    EXPECT_EQ(settings.at("augmentation").at("cutout"), 7);
    EXPECT_EQ(settings.at("augmentation").at("hue"), 0.25);
    EXPECT_EQ(settings.at("augmentation").at("crop_scale_min"), 0.25);
    EXPECT_EQ(settings.at("augmentation").at("fill"), (std::vector<int>{1, 2, 3}));
    EXPECT_EQ(settings.at("augmentation").at("vertical_flip"), 0.5) << "the preset's";

    // A run's own configuration repeats it, bit for bit.
    const fs::path again = p.home / "again";
    ASSERT_TRUE(
        succeeded(cutis_program({"train", "--config", (p.run / "config.json").string(), "--out", again.string()})));
    EXPECT_EQ(read_text_file(again / "best.safetensors"), read_text_file(p.run / "best.safetensors"));
    // A preset on the command line replaces the file's settings.
    ASSERT_TRUE(succeeded(cutis_program({"train", "--config", (p.run / "config.json").string(), "--out",
                                         (p.home / "plain").string(), "--augment", "none"})));
    EXPECT_EQ(json_of(p.home / "plain/config.json").at("train").at("augmentation").at("cutout"), 0);
}

TEST(ProgramRun, InterruptedItSavesAndResumeEndsAsIfItHadNeverStopped) {
    const ProgramRun p;
    for (const int signal : {SIGINT, SIGTERM}) {
        const auto begun = [&] { return fs::exists(p.run / "checkpoint.safetensors"); };
        const ProgramResult stopped =
            p.train({"--epochs", "40", "--overwrite"}, {.signal = signal, .signal_when = begun});
        ASSERT_EQ(stopped.status, 128 + signal) << stopped.err;
        EXPECT_TRUE(holds(stopped.out, "cutis train --resume --out"));
        EXPECT_FALSE(fs::exists(p.run / "report.html"));
        fs::remove_all(p.run);
    }
    const auto begun = [&] { return fs::exists(p.run / "checkpoint.safetensors"); };
    ASSERT_EQ(p.train({"--epochs", "10"}, {.signal = SIGINT, .signal_when = begun}).status, 130);
    EXPECT_TRUE(failed_with(2, cutis_program({"train", "--resume", "--out", p.run.string(), "--epochs", "5"}),
                            "--epochs", "--resume"));
    const ProgramResult resumed = cutis_program({"train", "--resume", "--out", p.run.string()});
    ASSERT_TRUE(succeeded(resumed));
    ASSERT_TRUE(succeeded(p.train({"--epochs", "10", "--out", (p.home / "whole").string()})));
    for (const char* file : {"checkpoint.safetensors", "best.safetensors", "predictions_test.csv"}) {
        EXPECT_EQ(read_text_file(p.run / file), read_text_file(p.home / "whole" / file)) << file;
    }
}

TEST(ProgramRun, ResumesWhereTheDataSetWentTo) {
    const ProgramRun p;
    const auto begun = [&] { return fs::exists(p.run / "checkpoint.safetensors"); };
    ASSERT_EQ(p.train({"--epochs", "10"}, {.signal = SIGINT, .signal_when = begun}).status, 130);
    const fs::path moved = p.home / "moved.cutis";
    fs::rename(p.data, moved);
    EXPECT_TRUE(failed_with(1, cutis_program({"train", "--resume", "--out", p.run.string()}), "d.cutis"));
    const Pictures other(12);
    ASSERT_TRUE(succeeded(other.prepare()));
    EXPECT_TRUE(failed_with(
        1, cutis_program({"train", "--resume", "--out", p.run.string(), "--data", other.data.string()}), "checksum"));
    EXPECT_TRUE(succeeded(cutis_program({"train", "--resume", "--out", p.run.string(), "--data", moved.string()})));
}

TEST(ProgramRun, PredictsCropsOfImagesOfAnySize) {
    const ProgramRun p;
    ASSERT_TRUE(succeeded(p.train({"--epochs", "1"})));
    const std::string weights = (p.run / "best.safetensors").string(), csv = (p.home / "p.csv").string();
    const auto write = [&](const char* name, int width, int height, std::uint8_t value) {
        const std::vector<std::uint8_t> rgb(static_cast<std::size_t>(width * height * 3), value);
        const std::vector<std::uint8_t> bytes = encode_png(rgb, width, height);
        write_file_atomically(p.home / name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        return (p.home / name).string();
    };
    const std::string wide = write("wide,1.png", 90, 33, 77), high = write("high.PNG", 33, 64, 77),
                      small = write("small.png", 31, 64, 77);
    const auto predict = [&](std::vector<std::string> further) {
        further.insert(further.begin(), {"predict", "--model", "mobilenet_v2", "--width", "0.1", "--weights", weights,
                                         "--out", csv, "--crop", "32", "--logits"});
        return cutis_program(further);
    };
    ASSERT_TRUE(succeeded(predict({"--images", wide, high, "--mean", "0,0,0", "--std", "1,1,1"})));
    const std::string text = read_text_file(csv);
    EXPECT_TRUE(text.starts_with("image,class_0,class_1,class_2\n\"wide,1\",")) << text;
    const CsvTable table = read_csv(p.home / "p.csv");
    ASSERT_EQ(table.rows(), 2u);
    EXPECT_EQ(table.field(1, 0), "high");
    EXPECT_EQ(table.field(0, 1), table.field(1, 1)) << "crops of one colour are alike, whatever they were cut from";

    EXPECT_TRUE(failed_with(1, predict({"--images", wide, small}), "small.png", "31 x 64", "--crop 32"));
    EXPECT_EQ(read_text_file(csv), text) << "a failure leaves the earlier file";
    const ProgramResult skipped = predict({"--images", wide, small, high, "--skip-bad"});
    EXPECT_EQ(skipped.status, 0);
    EXPECT_TRUE(holds(skipped.out, "left out: ") && holds(skipped.out, "small.png"));
    EXPECT_EQ(read_csv(p.home / "p.csv").rows(), 2u);

    fs::create_directories(p.home / "twice");
    fs::copy(high, p.home / "twice/high.png");
    EXPECT_TRUE(failed_with(1, predict({"--images", high, (p.home / "twice").string()}), "'high'", "high.PNG",
                            "twice/high.png"));
    EXPECT_TRUE(failed_with(1, predict({"--images", (p.home / "none.png").string()}), "none.png"));
    EXPECT_TRUE(failed_with(1, predict({"--images", small, "--skip-bad"}), "none of the 1 images"));
    EXPECT_TRUE(failed_with(1, predict({"--images", high, "--features", csv}), "--features", "the file of --out"));
    EXPECT_TRUE(failed_with(1, predict({"--images", high, "--out", high}), "read by --images"));
}

#ifdef CUTIS_WITH_CUDA
// The numbers of a CSV behind its first columns, which must be equal.
std::vector<double> figures(const fs::path& path, std::size_t text_columns, std::string* texts) {
    const CsvTable table = read_csv(path);
    std::vector<double> all;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        for (std::size_t c = 0; c < table.header().size(); ++c) {
            if (c < text_columns) {
                *texts += std::string(table.field(row, c)) + ";";
            } else {
                all.push_back(std::stod(std::string(table.field(row, c))));
            }
        }
    }
    return all;
}

TEST(ProgramRun, TheGpuJudgesAndPredictsAsTheCpuDoes) {
    if (cuda_device_count() == 0) {
        GTEST_SKIP() << "no GPU";
    }
    const ProgramRun p;
    ASSERT_TRUE(succeeded(p.train({"--epochs", "25", "--lr", "0.005", "--augment", "none", "--device", "cpu"})));
    const auto compare = [](const fs::path& a, const fs::path& b, std::size_t text_columns, double tolerance) {
        std::string texts_a, texts_b;
        const std::vector<double> on_cpu = figures(a, text_columns, &texts_a);
        const std::vector<double> on_gpu = figures(b, text_columns, &texts_b);
        ASSERT_EQ(on_cpu.size(), on_gpu.size());
        ASSERT_GT(on_cpu.size(), 3u);
        EXPECT_EQ(texts_a, texts_b);
        // Images get different answers: else equal ones would mean little.
        double low = on_cpu.front(), high = low;
        for (std::size_t i = 0; i < on_cpu.size(); i += 3) {
            low = std::min(low, on_cpu[i]);
            high = std::max(high, on_cpu[i]);
        }
        EXPECT_GT(high - low, 20 * tolerance);
        EXPECT_NE(on_cpu, on_gpu) << "sums in another order round differently: was the GPU used?";
        for (std::size_t i = 0; i < on_cpu.size(); ++i) {
            EXPECT_NEAR(on_cpu[i], on_gpu[i], tolerance) << i;
        }
    };
    ASSERT_TRUE(succeeded(p.evaluate({"--device", "cpu"})));
    fs::rename(p.run / "predictions_test.csv", p.home / "cpu.csv");
    const nlohmann::json on_cpu = json_of(p.run / "evaluation_test.json");
    ASSERT_TRUE(succeeded(p.evaluate({"--device", "cuda"})));
    compare(p.home / "cpu.csv", p.run / "predictions_test.csv", 3, 2e-6);
    const nlohmann::json on_gpu = json_of(p.run / "evaluation_test.json");
    EXPECT_EQ(on_cpu.at("confusion_matrix"), on_gpu.at("confusion_matrix"));
    EXPECT_NEAR(on_cpu.at("nll").get<double>(), on_gpu.at("nll").get<double>(), 1e-5);

    for (const char* device : {"cpu", "cuda"}) {
        ASSERT_TRUE(succeeded(cutis_program({"predict", "--run", p.run.string(), "--images", p.images.string(), "--out",
                                             (p.home / (std::string(device) + ".csv")).string(), "--logits",
                                             "--batch-size", "7", "--device", device})));
    }
    compare(p.home / "cpu.csv", p.home / "cuda.csv", 1, 1e-5);
}
#endif

#ifdef CUTIS_WITH_ONEDNN
// At gentle rates: at others the networks drift apart as they do by any other rounding (docs/precision.md).
TEST(ProgramRun, VendorsKernelsFollowOursOnTheSample) {
    const TempDir folder;
    const fs::path sample = fs::path(CUTIS_SOURCE_DIR) / "tools/sample";
    const std::string data = (folder / "sample.cutis").string();
    ASSERT_TRUE(succeeded(
        cutis_program({"prepare", "--images", (sample / "ham10000/images").string(), "--metadata",
                       (sample / "ham10000/HAM10000_metadata.csv").string(), "--size", "112", "--out", data})));
    std::vector<std::vector<double>> losses;
    for (const char* backend : {"native", "vendor"}) {
        const fs::path run = folder / backend;
        ASSERT_TRUE(succeeded(cutis_program({"train",
                                             "--data",
                                             data,
                                             "--init",
                                             (sample / "weights/mobilenet_v2_imagenet_features.safetensors").string(),
                                             "--batch-size",
                                             "32",
                                             "--steps",
                                             "20",
                                             "--optimizer",
                                             "sgd",
                                             "--lr",
                                             "0.0002",
                                             "--warmup",
                                             "20",
                                             "--device",
                                             "cpu",
                                             "--backend",
                                             backend,
                                             "--log-every",
                                             "1",
                                             "--out",
                                             run.string()})));
        losses.emplace_back();
        for (const TrainingStep& step : read_history(run / "metrics.jsonl").steps) {
            losses.back().push_back(step.loss);
        }
        ASSERT_EQ(losses.back().size(), 20u);
    }
    for (std::size_t i = 0; i < 20; ++i) {
        EXPECT_NEAR(losses[0][i], losses[1][i], 1e-3) << "step " << i + 1;
    }
    EXPECT_NE(losses[0], losses[1]);
    EXPECT_LT(losses[0].back(), losses[0].front() - 0.05);  // it learns
}
#endif

TEST(ProgramRun, SaysWhichWeightsCannotPredict) {
    const TempDir folder;
    const std::string features = CUTIS_SOURCE_DIR "/tools/sample/weights/mobilenet_v2_imagenet_features.safetensors";
    EXPECT_TRUE(failed_with(1,
                            cutis_program({"predict", "--model", "mobilenet_v2", "--weights", features, "--images", "x",
                                           "--out", (folder / "p.csv").string()}),
                            "no classifier"));
}

}  // namespace
}  // namespace cutis::testing
