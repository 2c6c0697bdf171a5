#include <csignal>
#include <nlohmann/json.hpp>

#include "engine/cuda_device.h"
#include "tests/tools/program_case.h"

// The program as a whole: its help, exit statuses, messages and streams. test_program_run.cpp takes it through a run.

namespace cutis::testing {
namespace {

namespace fs = std::filesystem;

TEST(Program, HelpsWithoutAndWithACommand) {
    const ProgramResult bare = cutis_program({});
    EXPECT_TRUE(succeeded(bare));
    EXPECT_EQ(bare.out, cutis_program({"--help"}).out);
    for (const char* command : {"prepare", "train", "evaluate", "predict", "report", "convert", "ensemble", "compare",
                                "svm", "open-set", "score", "summary", "profile", "bench-report", "info"}) {
        EXPECT_TRUE(holds(bare.out, std::string("\n  ") + command + " "));
        const ProgramResult help = cutis_program({command, "--help"});
        EXPECT_TRUE(succeeded(help));
        EXPECT_TRUE(holds(help.out, std::string("Usage: cutis ") + command));
        EXPECT_TRUE(holds(help.out, "Examples:\n")) << help.out;
        EXPECT_TRUE(holds(help.out.substr(help.out.find("Examples:")), std::string("\n  cutis ") + command))
            << help.out;
    }
    const ProgramResult version = cutis_program({"--version"});
    EXPECT_TRUE(succeeded(version));
    EXPECT_TRUE(version.out.starts_with("cutis ")) << version.out;
}

TEST(Program, MisuseEndsWithTwoAndOneLine) {
    EXPECT_TRUE(failed_with(2, cutis_program({"fly"}), "fly", "prepare, train", "cutis --help"));
    EXPECT_TRUE(failed_with(2, cutis_program({"--fly"}), "--fly"));
    EXPECT_TRUE(failed_with(2, cutis_program({"summary"}), "--model", "cutis summary --help"));
    EXPECT_TRUE(failed_with(2, cutis_program({"summary", "--model", "mobilenet_v2", "--fly"}), "--fly"));
    EXPECT_TRUE(
        failed_with(2, cutis_program({"summary", "--model", "mobilenet_v2", "--size", "big"}), "--size", "big"));
    EXPECT_TRUE(
        failed_with(2, cutis_program({"summary", "--model", "mobilenet_v2", "--classes", "0"}), "--classes is 0"));
    EXPECT_TRUE(
        failed_with(2, cutis_program({"summary", "--model", "mobilenet_v2", "--format", "xml"}), "--format", "xml"));
    EXPECT_TRUE(failed_with(2, cutis_program({"summary", "--model", "a\nb", "--size", "c\nd"}), "c\\x0ad"))
        << "stays one line";
    EXPECT_TRUE(failed_with(
        2, cutis_program({"prepare", "--images", "x", "--metadata", "y", "--out", "z", "--class-names", "a,,b"}),
        "--class-names"));
    EXPECT_TRUE(failed_with(
        2, cutis_program({"prepare", "--images", "x", "--metadata", "y", "--out", "z", "--size", "0"}), "--size is 0"));
    EXPECT_TRUE(
        failed_with(2, cutis_program({"prepare", "--images", "x", "--metadata", "y", "--out", "z", "--threads", "-1"}),
                    "--threads is -1"));
    const auto prepare = [](std::vector<std::string> further) {
        further.insert(further.begin(), {"prepare", "--images", "x", "--metadata", "y", "--out", "z"});
        return cutis_program(further);
    };
    EXPECT_TRUE(failed_with(2, prepare({"--codec", "webp"}), "--codec", "webp", "jpeg"));
    EXPECT_TRUE(failed_with(2, prepare({"--codec", "jpeg", "--jpeg-quality", "0"}), "--jpeg-quality is 0; 1 to 100"));
    EXPECT_TRUE(failed_with(2, prepare({"--codec", "jpeg", "--jpeg-quality", "101"}), "--jpeg-quality is 101"));
    EXPECT_TRUE(failed_with(2, prepare({"--jpeg-quality", "80"}), "--jpeg-quality", "--codec jpeg"));
    EXPECT_TRUE(failed_with(2, cutis_program({"evaluate", "--run", "x", "--data", "y", "--split", "best"}), "--split"));
    EXPECT_TRUE(failed_with(2, cutis_program({"predict", "--images", "x", "--out", "y"}), "--run"));
    EXPECT_TRUE(failed_with(2, cutis_program({"predict", "--images", "x", "--out", "y", "--model", "mobilenet_v2"}),
                            "--weights"));
    EXPECT_TRUE(failed_with(
        2, cutis_program({"predict", "--images", "x", "--out", "y", "--run", "r", "--size", "64", "--crop", "32"}),
        "--crop 32"));
    EXPECT_TRUE(failed_with(2, cutis_program({"train"}), "--data"));
    EXPECT_TRUE(failed_with(2, cutis_program({"train", "--data", "x"}), "--out"));
    const auto train = [](std::vector<std::string> further) {
        further.insert(further.begin(), {"train", "--data", "x", "--out", "y"});
        return cutis_program(further);
    };
    EXPECT_TRUE(failed_with(2, train({"--lr", "-1"}), "--lr is -1"));
    EXPECT_TRUE(failed_with(2, train({"--optimizer", "adam"}), "--optimizer", "adamw"));
    EXPECT_TRUE(failed_with(2, train({"--augment", "heavy"}), "heavy"));
    EXPECT_TRUE(failed_with(2, train({"--hue", "0.7"}), "hue"));
    EXPECT_TRUE(failed_with(2, train({"--crop-scale", "1"}), "--crop-scale"));
    EXPECT_TRUE(failed_with(2, train({"--crop-scale", "0.1,x"}), "--crop-scale"));
    EXPECT_TRUE(failed_with(2, train({"--fill", "0,0,256"}), "--fill"));
    EXPECT_TRUE(failed_with(2, train({"--fill", "0,0,0.5"}), "--fill"));
    EXPECT_TRUE(failed_with(2, train({"--mean", "0.5"}), "--mean"));
    EXPECT_TRUE(failed_with(2, train({"--std", "1,0,1"}), "--std"));
    EXPECT_TRUE(failed_with(2, train({"--seed", "-1"}), "--seed"));
    EXPECT_TRUE(failed_with(2, train({"--fold", "1"}), "--split-file"));
    EXPECT_TRUE(failed_with(2, train({"--resume", "--lr", "1"}), "--lr", "--resume"));
    EXPECT_TRUE(failed_with(2, train({"--resume", "--overwrite"}), "--overwrite", "--resume"));
    EXPECT_FALSE(fs::exists("y"));
}

TEST(Program, FailureEndsWithOneAndOneLine) {
    const TempDir folder;
    write_file_atomically(folder / "no.cutis", "something else");
    const std::string none = (folder / "none").string(), out = (folder / "out").string();
    EXPECT_TRUE(failed_with(1, cutis_program({"summary", "--model", "net"}), "'net'", "mobilenet_v2"));
    EXPECT_TRUE(failed_with(1, cutis_program({"summary", "--model", "mobilenet_v2", "--size", "16"}), "32"));
    EXPECT_TRUE(failed_with(1, cutis_program({"train", "--data", none, "--out", out}), none));
    EXPECT_TRUE(failed_with(1, cutis_program({"train", "--data", (folder / "no.cutis").string(), "--out", out}),
                            "no.cutis", "prepare"));
    if (cuda_device_count() == 0) {
        EXPECT_TRUE(failed_with(1, cutis_program({"train", "--data", none, "--out", out, "--device", "cuda"}),
                                "--device cuda"));
    }
    EXPECT_TRUE(failed_with(1, cutis_program({"train", "--data", none, "--out", out, "--config", none}), none));
    EXPECT_TRUE(failed_with(1, cutis_program({"train", "--resume", "--out", none}), none));
    EXPECT_TRUE(failed_with(1, cutis_program({"evaluate", "--run", none, "--data", none}), none));
    EXPECT_TRUE(failed_with(1, cutis_program({"report", "--run", folder.path().string()}), "config.json"));
    EXPECT_TRUE(failed_with(
        1, cutis_program({"predict", "--model", "mobilenet_v2", "--weights", none, "--images", none, "--out", out}),
        none));
    EXPECT_TRUE(failed_with(1, cutis_program({"prepare", "--images", none, "--metadata", none, "--out", out}), none));
    EXPECT_FALSE(fs::exists(out));
}

TEST(Program, SaysWhenStandardOutputIsFull) {
    EXPECT_TRUE(failed_with(1, cutis_program({"summary", "--model", "mobilenet_v2"}, {.stdout_to = "/dev/full"}),
                            "standard output", "space"));
}

TEST(Program, AReaderThatLeftIsNoFailure) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    ::close(pipe_ends[0]);
    EXPECT_TRUE(succeeded(cutis_program({"summary", "--model", "mobilenet_v2"}, {.stdout_descriptor = pipe_ends[1]})));
    ::close(pipe_ends[1]);
}

TEST(Program, InfoNamesBuildAndDevices) {
    const ProgramResult text = cutis_program({"info"});
    EXPECT_TRUE(succeeded(text));
    EXPECT_TRUE(holds(text.out, "instruction set"));
    EXPECT_TRUE(holds(text.out, "mobilenet_v2"));
    const ProgramResult result = cutis_program({"info", "--json"});
    EXPECT_TRUE(succeeded(result));
    const nlohmann::json info = nlohmann::json::parse(result.out);
    EXPECT_EQ(info.at("devices").at(0).at("name"), "cpu");
    EXPECT_EQ(info.at("cuda"), cuda_mode());
    const auto gpus = static_cast<std::size_t>(cuda_device_count());
    ASSERT_EQ(info.at("devices").size(), 1 + gpus);
    if (gpus > 0) {
        const nlohmann::json& gpu = info.at("devices").at(1);
        EXPECT_EQ(gpu.at("name"), "cuda:0");
        EXPECT_FALSE(gpu.at("processor").get<std::string>().empty());
        EXPECT_GT(gpu.at("multiprocessors").get<int>(), 0);
        EXPECT_GT(gpu.at("memory_bytes").get<double>(), 0);
        EXPECT_TRUE(holds(text.out, "cuda:0: " + gpu.at("processor").get<std::string>())) << text.out;
    }
    EXPECT_GE(info.at("threads").get<int>(), 1);
    for (const char* library : {"oneDNN", "fmt", "nlohmann_json", "CLI11", "zlib"}) {
        EXPECT_FALSE(info.at("libraries").at(library).get<std::string>().empty());
    }
}

TEST(Program, SummaryCountsMobileNetV2AsItsPaper) {
    const ProgramResult result =
        cutis_program({"summary", "--model", "mobilenet_v2", "--classes", "1000", "--format", "json"});
    EXPECT_TRUE(succeeded(result));
    const nlohmann::json summary = nlohmann::json::parse(result.out);
    EXPECT_EQ(summary.at("parameters"), 3504872);  // torchvision's
    EXPECT_EQ(summary.at("macs"), 300774272);
    std::int64_t parameters = 0, macs = 0, bytes = 0;
    for (const nlohmann::json& layer : summary.at("layers")) {
        parameters += layer.at("parameters").get<std::int64_t>();
        macs += layer.at("macs").get<std::int64_t>();
        bytes += layer.at("bytes").get<std::int64_t>();
    }
    EXPECT_EQ(summary.at("parameters"), parameters);
    EXPECT_EQ(summary.at("macs"), macs);
    EXPECT_EQ(summary.at("activation_bytes"), bytes);
    const ProgramResult table = cutis_program({"summary", "--model", "mobilenet_v2", "--classes", "1000"});
    EXPECT_TRUE(holds(table.out, "3,504,872")) << table.out;
    EXPECT_TRUE(holds(table.out, "300,774,272"));
}

TEST(Program, SummaryDrawsGraphs) {
    const ProgramResult dot = cutis_program({"summary", "--model", "mobilenet_v2", "--format", "dot"});
    EXPECT_TRUE(succeeded(dot));
    EXPECT_TRUE(dot.out.starts_with("digraph mobilenet_v2 {\n"));
    EXPECT_TRUE(dot.out.ends_with("}\n"));
    EXPECT_TRUE(holds(dot.out, "features.0.0"));
    const ProgramResult mermaid = cutis_program({"summary", "--model", "mobilenet_v2", "--format", "mermaid"});
    EXPECT_TRUE(succeeded(mermaid));
    EXPECT_TRUE(mermaid.out.starts_with("flowchart TD\n"));
    EXPECT_TRUE(holds(mermaid.out, "classifier.1"));
}

TEST(Program, PrepareReportsWhatItPacked) {
    const Pictures pictures;
    fs::copy(pictures.images / "image0.png", pictures.images / "stray.png");
    const ProgramResult result = pictures.prepare();
    EXPECT_TRUE(succeeded(result));
    EXPECT_TRUE(holds(result.out, "note: 1 images have no row")) << result.out;
    EXPECT_TRUE(holds(result.out, "red           12          6\n"));
    EXPECT_TRUE(holds(result.out, "all           36         18\n"));
    EXPECT_TRUE(holds(result.out, "36 images in "));
    EXPECT_TRUE(holds(result.out, " images/s)\n"));
    EXPECT_TRUE(holds(result.out, PackedDataset(pictures.data).checksum()));
    const std::string bytes = read_text_file(pictures.data);
    EXPECT_TRUE(succeeded(pictures.prepare({"--threads", "3"})));
    EXPECT_EQ(read_text_file(pictures.data), bytes) << "the same on any number of threads";
    EXPECT_TRUE(holds(result.out, "d.cutis: 32 x 32 pixels, raw, ")) << result.out;
    const ProgramResult jpeg = pictures.prepare({"--codec", "jpeg", "--jpeg-quality", "60"});
    EXPECT_TRUE(succeeded(jpeg));
    EXPECT_TRUE(holds(jpeg.out, "d.cutis: 32 x 32 pixels, JPEG of quality 60, ")) << jpeg.out;
    EXPECT_TRUE(holds(jpeg.out, PackedDataset(pictures.data).checksum()));
    EXPECT_EQ(PackedDataset(pictures.data).codec(), PackedCodec::jpeg);
}

TEST(Program, PrepareListsWhatItLeavesOut) {
    const Pictures pictures;
    write_file_atomically(pictures.images / "image3.png", "damaged");
    fs::remove(pictures.images / "image4.png");
    EXPECT_TRUE(failed_with(1, pictures.prepare(), "m.csv:6", "'image4'", "--skip-bad"));
    const ProgramResult result = pictures.prepare({"--skip-bad"});
    EXPECT_EQ(result.status, 0);
    EXPECT_TRUE(holds(result.err, "cutis: warning: 2 images are left out"));
    EXPECT_TRUE(holds(result.out, "left out: image3: "));
    EXPECT_TRUE(holds(result.out, "left out: image4: "));
    EXPECT_EQ(PackedDataset(pictures.data).size(), 34u);
}

TEST(Program, AFullDiskIsAFailureThatLeavesTheEarlierFile) {
    const Pictures pictures;
    const std::vector<std::string> prepare{"prepare",
                                           "--images",
                                           pictures.images.string(),
                                           "--metadata",
                                           pictures.metadata.string(),
                                           "--class-names",
                                           "red,green,blue",
                                           "--out",
                                           pictures.data.string()};
    write_file_atomically(pictures.data, "earlier");
    EXPECT_TRUE(failed_with(1, cutis_program_within("-f 1000", prepare), "d.cutis", "too large", "is as it was"));
    EXPECT_EQ(read_text_file(pictures.data), "earlier");
    for (const fs::directory_entry& entry : fs::directory_iterator(pictures.home)) {
        EXPECT_FALSE(entry.path().filename().string().starts_with(".cutis-")) << entry.path();
    }
}

TEST(Program, SaysThatMemoryIsShort) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "sanitizers reserve more memory than any limit here";
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    GTEST_SKIP() << "sanitizers reserve more memory than any limit here";
#endif
#endif
    const TempDir folder;
    std::string rows = "lesion_id,image_id,dx\n";
    for (int i = 0; i < 1000000; ++i) {
        rows += "L,image" + std::to_string(i) + ",nv\n";
    }
    write_file_atomically(folder / "m.csv", rows);
    EXPECT_TRUE(
        failed_with(1,
                    cutis_program_within("-v 200000", {"prepare", "--images", folder.path().string(), "--metadata",
                                                       (folder / "m.csv").string(), "--out", (folder / "d").string()}),
                    "out of memory"));
}

TEST(Program, PrepareStoppedByASignalLeavesNothing) {
    const Pictures pictures(6);
    std::string rows = "lesion_id,image_id,dx\n";
    for (int i = 0; i < 3000; ++i) {  // links cost no time to make, and far more to decode than the signal needs
        const std::string id = "link" + std::to_string(i);
        fs::create_hard_link(pictures.images / "image0.png", pictures.images / (id + ".png"));
        rows += "L," + id + ",red\n";
    }
    write_file_atomically(pictures.metadata, rows);
    for (const int signal : {SIGINT, SIGTERM}) {
        const TempDir out;
        const auto begun = [&] { return !fs::is_empty(out.path()); };
        const ProgramResult result = cutis_program(
            {"prepare", "--images", pictures.images.string(), "--metadata", pictures.metadata.string(), "--class-names",
             "red,green", "--size", "512", "--threads", "1", "--out", (out / "d.cutis").string()},
            {.signal = signal, .signal_when = begun});
        EXPECT_EQ(result.status, 128 + signal);
        EXPECT_EQ(result.err, signal == SIGINT ? "cutis: stopped by Ctrl-C\n" : "cutis: stopped by SIGTERM\n");
        EXPECT_TRUE(fs::is_empty(out.path()));
    }
}

}  // namespace
}  // namespace cutis::testing
