#include "tools/run_report.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/files.h"
#include "engine/packed_dataset.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;
using testing::TempDir;

TrainingHistory history_of(const TempDir& folder, std::string_view text) {
    write_file_atomically(folder / "metrics.jsonl", text);
    return read_history(folder / "metrics.jsonl");
}

TEST(RunReport, ReadsTheHistory) {
    const TempDir folder;
    const TrainingHistory history =
        history_of(folder,
                   "{\"kind\":\"step\",\"step\":1,\"loss\":2.5,\"lr\":0.1}\n"
                   "{\"kind\":\"epoch\",\"epoch\":1,\"step\":4,\"train_loss\":2,\"val_loss\":null,\"val_accuracy\":0.5,"
                   "\"val_balanced_accuracy\":0.25,\"lr\":0.1,\"images_per_second\":88}\r\n"
                   "\n"
                   "{\"kind\":\"something new\"}\n"
                   "{\"kind\":\"final\",\"best_epoch\":1}\n");
    ASSERT_EQ(history.steps.size(), 1u);
    EXPECT_EQ(history.steps[0].step, 1);
    EXPECT_EQ(history.steps[0].loss, 2.5);
    ASSERT_EQ(history.epochs.size(), 1u);
    const TrainingEpoch& epoch = history.epochs[0];
    EXPECT_EQ(epoch.epoch, 1);
    EXPECT_EQ(epoch.last_step, 4);
    EXPECT_EQ(epoch.train_loss, 2);
    EXPECT_TRUE(std::isnan(epoch.val_loss));
    EXPECT_EQ(epoch.val_accuracy, 0.5);
    EXPECT_EQ(epoch.val_balanced_accuracy, 0.25);
    EXPECT_EQ(epoch.learning_rate, 0.1);
    EXPECT_EQ(epoch.images_per_second, 88);
    EXPECT_EQ(history.best_epoch, 1);
}

TEST(RunReport, ALastLineCutShortIsLeftOut) {
    const TempDir folder;
    EXPECT_EQ(history_of(folder, "{\"kind\":\"step\",\"step\":1,\"loss\":2}\n{\"kind\":\"step\",\"st").steps.size(),
              1u);
    EXPECT_EQ(history_of(folder, "{\"ki").steps.size(), 0u);
    EXPECT_EQ(history_of(folder, "").steps.size(), 0u);
}

TEST(RunReport, NamesADamagedLine) {
    const TempDir folder;
    EXPECT_TRUE(
        is_line_with(error_of([&] { history_of(folder, "{}\n{\"kind\":\"st\n{}\n"); }), "metrics.jsonl:2", "JSON"));
    EXPECT_TRUE(is_line_with(error_of([&] { history_of(folder, "{}\n[1]\n"); }), "metrics.jsonl:2", "no JSON object"));
    EXPECT_TRUE(is_line_with(error_of([&] { history_of(folder, "{\"kind\":\"step\",\"step\":1,\"loss\":\"low\"}\n"); }),
                             "metrics.jsonl:1", "'loss'"));
}

/// A run that has nothing but its configuration, on a data set of 30 images.
struct SmallRun {
    SmallRun() {
        std::filesystem::create_directories(folder / "run");
        PackedDatasetWriter writer(folder / "data.cutis", 8, {"mel", "nv"});
        for (int i = 0; i < 30; ++i) {
            Sample sample;
            sample.image_id = "image" + std::to_string(i);
            sample.lesion_id = "HAM_" + std::to_string(i);
            sample.label = i % 2;
            writer.add(sample, std::vector<std::uint8_t>(8 * 8 * 3, static_cast<std::uint8_t>(i)));
        }
        writer.commit();
        run.folder = folder / "run";
        run.config.data = (folder / "data.cutis").string();
        run.facts.class_names = {"mel", "nv"};
        run.facts.size = 32;
        run.facts.std = {1, 1, 1};
        run.facts.data_checksum = PackedDataset(folder / "data.cutis").checksum();
        save_run(run);
    }

    /// Predictions of images 0 .. 9, of which `wrong` are wrong.
    void predict(const char* split, int wrong) {
        Predictions p;
        p.class_names = run.facts.class_names;
        for (int i = 0; i < 10; ++i) {
            p.image_ids.push_back("image" + std::to_string(i));
            p.lesion_ids.push_back("HAM_" + std::to_string(i));
            p.labels.push_back(i % 2);
            const bool right = i >= wrong;
            for (int c = 0; c < 2; ++c) {
                p.probabilities.push_back((c == i % 2) == right ? 0.75f : 0.25f);
            }
        }
        write_predictions_csv(run.folder / ("predictions_" + std::string(split) + ".csv"), p);
    }

    std::string page() {
        write_run_report(run);
        return read_text_file(run.file("report.html"));
    }

    TempDir folder;
    Run run;
};

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

TEST(RunReport, ARunWithoutFiguresHasItsConfigurationAndClassCounts) {
    SmallRun small;
    const std::string page = small.page();
    EXPECT_TRUE(has(page, "<h1>run</h1>"));
    EXPECT_TRUE(has(page, "batch_size"));
    EXPECT_TRUE(has(page, "augmentation.cutout"));
    EXPECT_TRUE(has(page, "No split has been evaluated"));
    EXPECT_TRUE(has(page, "train"));
    EXPECT_TRUE(has(page, "cutis evaluate --run"));
    EXPECT_FALSE(has(page, "HAM10000"));
}

TEST(RunReport, ShowsMistakesWithTheirImagesAndAttribution) {
    SmallRun small;
    small.predict("test", 2);
    const std::string page = small.page();
    EXPECT_TRUE(has(page, "image0"));
    EXPECT_TRUE(has(page, "image1"));
    EXPECT_FALSE(has(page, "image2"));
    EXPECT_TRUE(has(page, "data:image/png;base64,"));
    EXPECT_TRUE(has(page, "CC BY-NC 4.0"));
    EXPECT_TRUE(has(page, "0.800")) << "accuracy";
}

TEST(RunReport, WithoutTheDataSetItSaysSoAndShowsTheRest) {
    SmallRun small;
    small.predict("test", 2);
    std::filesystem::rename(small.run.config.data, small.folder / "moved.cutis");
    const std::string page = small.page();
    EXPECT_TRUE(has(page, "No images and class counts are shown"));
    EXPECT_TRUE(has(page, "image0"));
    EXPECT_FALSE(has(page, "data:image/png"));
    write_run_report(small.run, small.folder / "moved.cutis");
    EXPECT_TRUE(has(read_text_file(small.run.file("report.html")), "data:image/png"));
}

TEST(RunReport, DoesNotShowImagesOfAnotherDataSet) {
    SmallRun small;
    small.predict("test", 2);
    small.run.facts.data_checksum = "ffffffff";
    const std::string page = small.page();
    EXPECT_TRUE(has(page, "is not the data set of this run"));
    EXPECT_FALSE(has(page, "data:image/png"));
}

TEST(RunReport, ShowsAnotherDataSetOnlyWhereTheRunDidNotTrainOnIt) {
    SmallRun small;
    small.predict("all", 2);
    EXPECT_TRUE(has(small.page(), "No split has been evaluated"));
    write_file_atomically(small.run.file("evaluation_all.json"), "{\"leaky\": true}");
    EXPECT_TRUE(has(small.page(), "No split has been evaluated"));
    write_file_atomically(small.run.file("evaluation_all.json"), "{\"leaky\": false}");
    EXPECT_FALSE(has(small.page(), "No split has been evaluated"));
}

TEST(RunReport, ALeakySplitIsMarked) {
    SmallRun small;
    small.predict("test", 2);
    EXPECT_FALSE(has(small.page(), "Leaky split."));
    small.run.facts.leaky = true;
    EXPECT_TRUE(has(small.page(), "Leaky split."));
}

TEST(RunReport, DamagedPredictionsAreAnErrorAndLeaveTheEarlierReport) {
    SmallRun small;
    const std::string before = small.page();
    write_file_atomically(small.run.file("predictions_test.csv"), "image,lesion,label,mel,nv\nx,,mel,2,3\n");
    EXPECT_TRUE(is_line_with(error_of([&] { small.page(); }), "predictions_test.csv"));
    EXPECT_EQ(read_text_file(small.run.file("report.html")), before);
}

}  // namespace
}  // namespace cutis
