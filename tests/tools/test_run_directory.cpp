#include "tools/run_directory.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/files.h"
#include "models/weights.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

using nlohmann::json;
using testing::error_of;
using testing::is_line_with;
using testing::TempDir;

Run small_run(const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    Run run;
    run.folder = folder;
    run.config.width = 0.1f;
    run.config.seed = 5;
    run.config.data = "Größe.cutis";
    run.facts = {.class_names = {"a", "ß"},
                 .size = 64,
                 .mean = {0.485f, 0.456f, 0.406f},
                 .std = {0.1f, 0.2f, 0.3f},
                 .data_checksum = "0123abcd",
                 .split_description = "by hand",
                 .leaky = true,
                 .parameters = 12,
                 .total_steps = 5'000'000'000,
                 .steps_per_epoch = 7,
                 .version = "0.1.0",
                 .git_revision = "abc",
                 .compiler = "c++",
                 .isa = "avx2",
                 .threads = 3};
    return run;
}

json config_of(const Run& run) {
    return json::parse(read_text_file(run.file("config.json")));
}

TEST(RunDirectory, ConfigurationAndFactsComeBack) {
    const TempDir folder;
    cutis::Run run = small_run(folder / "Läufe/eins");
    run.facts.init_license = "CC0-1.0";
    save_run(run);
    const cutis::Run back = open_run(run.folder);
    EXPECT_EQ(to_json(back.config), to_json(run.config));
    EXPECT_EQ(back.folder, run.folder);
    const RunFacts& f = back.facts;
    EXPECT_EQ(f.class_names, run.facts.class_names);
    EXPECT_EQ(f.size, 64);
    EXPECT_EQ(f.mean, run.facts.mean) << "bit for bit";
    EXPECT_EQ(f.std, run.facts.std);
    EXPECT_EQ(f.data_checksum, "0123abcd");
    EXPECT_EQ(f.split_description, "by hand");
    EXPECT_TRUE(f.leaky);
    EXPECT_EQ(f.init_license, "CC0-1.0");
    EXPECT_EQ(f.init_source, "");
    EXPECT_FALSE(config_of(run).contains("init_source")) << "what is not known is left out, as in older runs";
    EXPECT_EQ(f.parameters, 12);
    EXPECT_EQ(f.total_steps, 5'000'000'000);
    EXPECT_EQ(f.steps_per_epoch, 7);
    EXPECT_EQ(f.version + f.git_revision + f.compiler + f.isa, "0.1.0abcc++avx2");
    EXPECT_EQ(f.threads, 3);
    EXPECT_EQ(config_of(run).at("mean").dump(), "[0.485,0.456,0.406]");
}

TEST(RunDirectory, RefusesWhatIsNoRun) {
    const TempDir folder;
    EXPECT_TRUE(is_line_with(error_of([&] { open_run(folder / "nowhere"); }), "nowhere", "no folder"));
    EXPECT_TRUE(is_line_with(error_of([&] { open_run(folder.path()); }), "no config.json", "no run"));
    write_file_atomically(folder / "config.json", "{\"size\": 3");
    EXPECT_TRUE(is_line_with(error_of([&] { open_run(folder.path()); }), "config.json", "JSON"));
    write_file_atomically(folder / "config.json", "[]");
    EXPECT_TRUE(is_line_with(error_of([&] { open_run(folder.path()); }), "config.json", "'train'"));
}

TEST(RunDirectory, NamesTheKeyThatIsWrong) {
    const TempDir folder;
    const cutis::Run run = small_run(folder / "run");
    save_run(run);
    const json good = config_of(run);
    const auto error_with = [&](const char* key, const json& value) {
        json changed = good;
        changed[key] = value;
        write_file_atomically(run.file("config.json"), changed.dump());
        return error_of([&] { open_run(run.folder); });
    };
    for (const auto& item : good.items()) {
        json changed = good;
        changed.erase(item.key());
        write_file_atomically(run.file("config.json"), changed.dump());
        EXPECT_TRUE(is_line_with(error_of([&] { open_run(run.folder); }), "config.json", item.key().c_str()));
    }
    EXPECT_TRUE(is_line_with(error_with("size", "big"), "'size'"));
    EXPECT_TRUE(is_line_with(error_with("size", 0), "'size' is 0"));
    EXPECT_TRUE(is_line_with(error_with("class_names", json::array()), "'class_names'"));
    EXPECT_TRUE(is_line_with(error_with("class_names", {"a", "a"}), "'class_names'"));
    EXPECT_TRUE(is_line_with(error_with("class_names", {"a", 1}), "'class_names'"));
    EXPECT_TRUE(is_line_with(error_with("std", {1, 0, 1}), "'std'"));
    EXPECT_TRUE(is_line_with(error_with("std", {1, 1}), "'std'"));
    EXPECT_TRUE(is_line_with(error_with("train", {{"lr", "x"}}), "config.json", "'lr'"));
}

TEST(RunDirectory, AFailedSaveLeavesTheEarlierFile) {
    const TempDir folder;
    cutis::Run run = small_run(folder / "run");
    save_run(run);
    const std::string before = read_text_file(run.file("config.json"));
    run.config.data = "caf\xe9.cutis";  // Latin-1
    EXPECT_TRUE(is_line_with(error_of([&] { save_run(run); }), "config.json", "UTF-8"));
    EXPECT_EQ(read_text_file(run.file("config.json")), before);
}

/// Saves a model whose weights all come from `seed`.
void save_model(const Run& run, const char* file, std::uint64_t seed, int classes = 2) {
    const auto model = make_model("mobilenet_v2", {.classes = classes, .width = 0.1f, .seed = seed});
    save_weights(run.file(file), model->parts(), {}, {});
}

float first_weight(const Model& model) {
    return model.parts().parameters.front().variable.value().data()[0];
}

TEST(RunDirectory, TheModelHasTheBestWeightsElseTheCheckpoints) {
    const TempDir folder;
    const cutis::Run run = small_run(folder / "run");
    EXPECT_EQ(make_run_model(run)->classes(), 2);
    EXPECT_EQ(first_weight(*make_run_model(run)),
              first_weight(*make_model("mobilenet_v2", {.classes = 2, .width = 0.1f, .seed = 5})));
    EXPECT_TRUE(is_line_with(error_of([&] { load_run_model(run); }), "run", "no weights yet"));
    save_model(run, "checkpoint.safetensors", 11);
    EXPECT_EQ(first_weight(*load_run_model(run)),
              first_weight(*make_model("mobilenet_v2", {.classes = 2, .width = 0.1f, .seed = 11})));
    save_model(run, "best.safetensors", 12);
    EXPECT_EQ(first_weight(*load_run_model(run)),
              first_weight(*make_model("mobilenet_v2", {.classes = 2, .width = 0.1f, .seed = 12})));
}

TEST(RunDirectory, RefusesWeightsOfAnotherModel) {
    const TempDir folder;
    cutis::Run run = small_run(folder / "run");
    save_model(run, "best.safetensors", 11, 3);
    EXPECT_TRUE(
        is_line_with(error_of([&] { load_run_model(run); }), "best.safetensors", "classifier", "another model"));
    run.config.classes = 3;
    EXPECT_EQ(load_run_model(run)->classes(), 3) << "--classes decides where it is given";
    run.config.model = "unknown";
    EXPECT_TRUE(is_line_with(error_of([&] { load_run_model(run); }), "'unknown'", "mobilenet_v2"));
}

}  // namespace
}  // namespace cutis
