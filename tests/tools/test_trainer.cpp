#include "tools/trainer.h"

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/augment.h"
#include "engine/files.h"
#include "engine/packed_dataset.h"
#include "engine/safetensors.h"
#include "kernels/backend.h"
#include "kernels/error.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"
#include "tools/run_data.h"
#include "tools/run_report.h"
#include "tools/signals.h"

namespace cutis {
namespace {

constexpr int kSide = 32;

// Three classes that a network can tell apart: the mean colour, under noise. Two images per lesion.
std::filesystem::path pack(const testing::TempDir& folder, int lesions = 30) {
    const std::filesystem::path path = folder / "colours.cutis";
    PackedDatasetWriter writer(path, kSide, {"red", "green", "blue"});
    PhiloxStream random(5, RandomPurpose::test);
    std::vector<std::uint8_t> rgb(kSide * kSide * 3);
    for (int i = 0; i < 2 * lesions; ++i) {
        Sample sample;
        sample.image_id = "image_" + std::to_string(i);
        sample.lesion_id = "lesion_" + std::to_string(i / 2);
        sample.label = i / 2 % 3;
        for (std::size_t v = 0; v < rgb.size(); ++v) {
            const std::uint32_t level = v % 3 == static_cast<std::size_t>(sample.label) ? 140 : 90;
            rgb[v] = static_cast<std::uint8_t>(level + random.below(64));
        }
        writer.add(sample, rgb);
    }
    writer.commit();
    return path;
}

TrainConfig small_run(const std::filesystem::path& data, const std::filesystem::path& out) {
    TrainConfig config;
    config.data = data.string();
    config.out = out.string();
    config.width = 0.35f;
    config.epochs = 3;
    config.batch_size = 8;
    config.optimizer = "adamw";
    config.lr = 0.002f;
    config.ema = 0.9f;
    config.augment = "light";
    config.augmentation = augment_preset("light");
    config.seed = 3;
    return config;
}

std::string bytes_of(const std::filesystem::path& path) {
    return read_text_file(path);
}

// metrics.jsonl without the one figure that depends on the clock.
std::vector<nlohmann::json> records(const std::filesystem::path& run) {
    std::vector<nlohmann::json> all;
    std::istringstream lines(bytes_of(run / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
        all.push_back(nlohmann::json::parse(line));
        all.back().erase("images_per_second");
    }
    return all;
}

void expect_same_run(const std::filesystem::path& a, const std::filesystem::path& b) {
    EXPECT_EQ(records(a), records(b));
    for (const char* file :
         {"checkpoint.safetensors", "best.safetensors", "predictions_val.csv", "predictions_test.csv"}) {
        EXPECT_EQ(bytes_of(a / file), bytes_of(b / file)) << file;
    }
}

TEST(Trainer, LearnsAndLeavesACompleteRun) {
    const testing::TempDir folder;
    TrainConfig config = small_run(pack(folder), folder / "run");
    config.epochs = 40;
    config.batch_size = 21;
    config.ema = 0.0f;
    config.lr = 0.004f;
    config.log_every = 2;
    ASSERT_EQ(train(config, false), TrainEnd::finished);
    for (const char* file :
         {"config.json", "metrics.jsonl", "checkpoint.safetensors", "best.safetensors", "predictions_val.csv",
          "predictions_test.csv", "evaluation_val.json", "evaluation_test.json", "report.html"}) {
        EXPECT_TRUE(std::filesystem::exists(folder / "run" / file)) << file;
    }
    const auto all = records(folder / "run");
    EXPECT_EQ(all.front().at("step"), 2);  // --log-every 2
    const nlohmann::json& final = all.back();
    EXPECT_EQ(final.at("kind"), "final");
    EXPECT_GT(final.at("test").at("balanced_accuracy").get<double>(), 0.9);
    EXPECT_LT(all[all.size() - 2].at("train_loss").get<double>(), 0.6);
    const cutis::Run run = open_run(folder / "run");
    EXPECT_EQ(run.facts.class_names, (std::vector<std::string>{"red", "green", "blue"}));
    EXPECT_EQ(run.facts.data_checksum, PackedDataset(config.data).checksum());
    EXPECT_EQ(load_run_model(run)->classes(), 3);
}

// Under the sanitizers thirty: it is the same code again and again.
TEST(Trainer, ThreeHundredStepsRepeatBitForBit) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    constexpr int kSteps = 30;
#else
    constexpr int kSteps = 300;
#endif
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder);
    for (const char* name : {"first", "second"}) {
        TrainConfig config = small_run(data, folder / name);
        config.steps = kSteps;
        config.ema = 0.0f;
        ASSERT_EQ(train(config, false), TrainEnd::finished);
    }
    expect_same_run(folder / "first", folder / "second");
    EXPECT_EQ(records(folder / "first").back().at("step"), kSteps);
}

// Everything that a run can carry over a break: momentum, averages, a frozen part that thaws behind the break, a batch
// count that does not divide the epoch, and the sums of a half-done epoch.
#ifdef CUTIS_WITH_ONEDNN
// A learning rate at which rounding does not grow (test_gpu_training.cpp).
TEST(Trainer, VendorsKernelsFollowOursForTwentySteps) {
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder);
    std::vector<std::vector<double>> losses;
    for (const char* backend : {"native", "vendor"}) {
        TrainConfig config = small_run(data, folder / backend);
        config.device = "cpu";
        config.backend = backend;
        config.lr = 1e-6f;
        config.steps = 20;
        ASSERT_EQ(train(config, false), TrainEnd::finished);
        losses.emplace_back();
        for (const TrainingStep& step : read_history(folder / backend / "metrics.jsonl").steps) {
            losses.back().push_back(step.loss);
        }
    }
    set_backend(Backend::native);
    ASSERT_EQ(losses[0].size(), 20u);
    ASSERT_EQ(losses[1].size(), 20u);
    for (std::size_t i = 0; i < 20; ++i) {
        EXPECT_NEAR(losses[0][i], losses[1][i], 1e-3) << "step " << i + 1;
    }
    EXPECT_NE(losses[0], losses[1]);
}
#endif

TEST(Trainer, ResumeEqualsNoBreak) {
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder);
    const auto variant = [&](const std::string& optimizer, const std::filesystem::path& out) {
        TrainConfig config = small_run(data, out);
        config.optimizer = optimizer;
        config.lr = optimizer == "sgd" ? 0.02f : 0.002f;
        config.freeze = "features.0,features.1.";
        config.freeze_steps = 9;
        config.accumulate = 2;
        config.batch_size = 5;
        config.warmup = 3;
        config.clip_grad = 5.0f;
        config.order = "balanced";
        config.class_weights = "effective";
        return config;
    };
    for (const std::string optimizer : {"sgd", "rmsprop", "adamw"}) {
        const std::filesystem::path whole = folder / (optimizer + "_whole"), broken = folder / (optimizer + "_broken");
        ASSERT_EQ(train(variant(optimizer, whole), false), TrainEnd::finished);
        const TrainConfig config = variant(optimizer, broken);
        ASSERT_EQ(train(config, false, [](std::int64_t step) { return step == 2; }), TrainEnd::interrupted);
        ASSERT_EQ(train(config, true, [](std::int64_t step) { return step == 7; }), TrainEnd::interrupted);
        ASSERT_EQ(train(config, true, [](std::int64_t step) { return step == 10; }), TrainEnd::interrupted);
        ASSERT_EQ(train(config, true), TrainEnd::finished);
        expect_same_run(whole, broken);
    }
}

TEST(Trainer, AResumedRunForgetsWhatItsCheckpointDoesNotKnow) {
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder);
    const TrainConfig config = small_run(data, folder / "run");
    ASSERT_EQ(train(config, false, [](std::int64_t step) { return step == 4; }), TrainEnd::interrupted);
    {
        // As if the process had died two steps later, in the middle of a line.
        std::ofstream log(folder / "run" / "metrics.jsonl", std::ios::app);
        log << R"({"kind":"step","loss":9.0,"step":5})"
            << "\n"
            << R"({"kind":"st)";
    }
    ASSERT_EQ(train(config, true), TrainEnd::finished);
    const auto all = records(folder / "run");
    int fives = 0;
    for (const nlohmann::json& record : all) {
        fives += record.at("kind") == "step" && record.at("step") == 5;
        EXPECT_NE(record.value("loss", 0.0), 9.0);
    }
    EXPECT_EQ(fives, 1);
}

TEST(Trainer, FrozenFeaturesStayAndTheClassifierMoves) {
    const testing::TempDir folder;
    TrainConfig config = small_run(pack(folder), folder / "run");
    config.epochs = 1;
    config.ema = 0.0f;
    config.freeze = "features";
    ASSERT_EQ(train(config, false), TrainEnd::finished);
    const SafetensorsFile after(folder / "run" / "checkpoint.safetensors");
    const cutis::Run run = open_run(folder / "run");
    const auto fresh = make_run_model(run);
    for (const ParameterRef& parameter : fresh->parts().parameters) {
        const bool same =
            to_file_order(parameter.variable.value(), parameter.layout) == after.read_f32(after.at(parameter.name));
        EXPECT_EQ(same, parameter.name.starts_with("features")) << parameter.name;
    }
    for (const BufferRef& buffer : fresh->parts().buffers) {
        EXPECT_EQ(to_file_order(buffer.tensor, WeightLayout::same), after.read_f32(after.at(buffer.name)))
            << buffer.name;
    }
}

TEST(Trainer, LearningRatesFollowPatterns) {
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder, 9);
    const auto moved = [&](const std::string& name, const std::string& lr_scale, const std::string& freeze) {
        TrainConfig config = small_run(data, folder / name);
        config.steps = 1;
        config.ema = 0.0f;
        config.optimizer = "sgd";
        config.weight_decay = 0.0f;
        config.lr_head = 2.0f * config.lr;
        config.lr_scale = lr_scale;
        config.freeze = freeze;
        EXPECT_EQ(train(config, false), TrainEnd::finished);
        const SafetensorsFile after(folder / name / "checkpoint.safetensors");
        std::map<std::string, std::vector<float>> steps;
        const auto fresh = make_run_model(open_run(folder / name));
        for (const ParameterRef& parameter : fresh->parts().parameters) {
            std::vector<float>& step = steps[parameter.name] = after.read_f32(after.at(parameter.name));
            const std::vector<float> before = to_file_order(parameter.variable.value(), parameter.layout);
            std::transform(step.begin(), step.end(), before.begin(), step.begin(), std::minus());
        }
        return steps;
    };
    const auto plain = moved("plain", "", ""), scaled = moved("scaled", "features.0.=0.5,*.bias=2", "");
    float largest = 0.0f;
    for (const auto& [name, steps] : plain) {
        const float factor = name.ends_with(".bias") ? 2.0f : name.starts_with("features.0.") ? 0.5f : 1.0f;
        for (std::size_t i = 0; i < steps.size(); ++i) {
            EXPECT_NEAR(scaled.at(name)[i], factor * steps[i], 1e-6f) << name;
            largest = std::max(largest, std::abs(steps[i]));
        }
    }
    EXPECT_GT(largest, 1e-3f);
    for (const auto& [name, steps] : moved("frozen", "", "*.weight")) {
        const bool still = std::all_of(steps.begin(), steps.end(), [](float step) { return step == 0.0f; });
        EXPECT_EQ(still, name.ends_with(".weight")) << name;
    }
}

TEST(Trainer, APatternThatFitsNothingIsAnError) {
    const testing::TempDir folder;
    TrainConfig config = small_run(pack(folder, 9), folder / "run");
    config.freeze = "feature.0";
    EXPECT_TRUE(
        testing::is_line_with(testing::error_of([&] { train(config, false); }), "--freeze feature.0", "features.0"));
    config.freeze = "";
    config.lr_scale = "*.biases=2";
    EXPECT_TRUE(testing::is_line_with(testing::error_of([&] { train(config, false); }), "--lr-scale *.biases"));
    EXPECT_FALSE(std::filesystem::exists(folder / "run"));
}

TEST(Trainer, EarlyStoppingCountsEpochsWithoutABetterFigure) {
    const testing::TempDir folder;
    TrainConfig config = small_run(pack(folder), folder / "run");
    config.epochs = 50;
    config.lr = 1e-9f;
    config.ema = 0.0f;
    config.freeze = "features";  // nothing that is validated changes
    config.early_stop = 2;
    ASSERT_EQ(train(config, false), TrainEnd::stopped_early);
    EXPECT_LT(records(folder / "run").back().at("epochs").get<int>(), 8);
}

TEST(Trainer, AllTrainsOnEverythingAndValidatesOnNothing) {
    const testing::TempDir folder;
    TrainConfig config = small_run(pack(folder, 9), folder / "run");
    config.split = "all";
    config.epochs = 1;
    ASSERT_EQ(train(config, false), TrainEnd::finished);
    EXPECT_FALSE(std::filesystem::exists(folder / "run" / "predictions_test.csv"));
    EXPECT_TRUE(std::filesystem::exists(folder / "run" / "best.safetensors"));
    EXPECT_TRUE(records(folder / "run").front().contains("loss"));
}

TEST(Trainer, ALeakySplitMarksItsFigures) {
    const testing::TempDir folder;
    TrainConfig config = small_run(pack(folder), folder / "run");
    config.split = "leaky";
    config.epochs = 1;
    ASSERT_EQ(train(config, false), TrainEnd::finished);
    EXPECT_TRUE(nlohmann::json::parse(bytes_of(folder / "run" / "evaluation_test.json")).at("leaky").get<bool>());
    EXPECT_TRUE(open_run(folder / "run").facts.leaky);
}

TEST(Trainer, RefusesOtherDataOnResumeAndABrokenCheckpoint) {
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder);
    const TrainConfig config = small_run(data, folder / "run");
    ASSERT_EQ(train(config, false, [](std::int64_t step) { return step == 1; }), TrainEnd::interrupted);
    const testing::TempDir elsewhere;
    TrainConfig other = config;
    other.data = pack(elsewhere, 12).string();
    EXPECT_NE(testing::error_of([&] { train(other, true); }).find("checksum"), std::string::npos);
    std::filesystem::resize_file(folder / "run" / "checkpoint.safetensors", 5000);
    EXPECT_NE(testing::error_of([&] { train(config, true); }).find("checkpoint.safetensors"), std::string::npos);
}

TEST(Trainer, ALossThatIsNoNumberEndsTheRunWithAdvice) {
    const testing::TempDir folder;
    TrainConfig config = small_run(pack(folder), folder / "run");
    config.optimizer = "sgd";
    config.lr = 1e30f;
    EXPECT_NE(testing::error_of([&] { train(config, false); }).find("lower --lr"), std::string::npos);
}

TEST(ClassWeights, BalanceTheImages) {
    const std::vector<std::int64_t> counts{100, 10, 0};
    EXPECT_TRUE(class_weights("none", counts).empty());
    const std::vector<float> inverse = class_weights("inverse", counts);
    EXPECT_NEAR(inverse[0] * 100, inverse[1] * 10, 1e-4);        // each class weighs the same in all
    EXPECT_NEAR(inverse[0] * 100 + inverse[1] * 10, 110, 1e-3);  // and an image 1 on average
    EXPECT_EQ(inverse[2], 0.0f);
    const std::vector<float> effective = class_weights("effective", counts);
    EXPECT_GT(effective[1], effective[0]);
    EXPECT_LE(effective[1] / effective[0], inverse[1] / inverse[0]);
    EXPECT_THROW(class_weights("other", counts), Error);
}

}  // namespace
}  // namespace cutis
