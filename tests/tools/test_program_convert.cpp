#include <fstream>

#include "engine/safetensors.h"
#include "models/weights.h"
#include "tests/tools/program_case.h"

// `cutis convert`: what it writes, says and refuses.

namespace cutis::testing {
namespace {

namespace fs = std::filesystem;

struct Convert {
    TempDir folder;
    fs::path home = folder / "Gewichte", start = home / "start.safetensors", out = home / "aus.safetensors",
             onnx = home / "netz.onnx";
    std::vector<std::string> small{"convert", "--model", "mobilenet_v2", "--width", "0.1"};

    Convert() { fs::create_directories(home); }
    ProgramResult operator()(std::vector<std::string> further) const {
        further.insert(further.begin(), small.begin(), small.end());
        return cutis_program(further);
    }
    ProgramResult make_start() const { return (*this)({"--classes", "5", "--seed", "4", "--out", start.string()}); }
};

TEST(ProgramConvert, WritesWeightsAndSaysWhatMatched) {
    const Convert convert;
    ASSERT_TRUE(succeeded(convert.make_start()));
    const ProgramResult same = convert({"--weights", convert.start.string(), "--out", convert.out.string()});
    ASSERT_TRUE(succeeded(same));
    EXPECT_TRUE(
        holds(same.out, "with the names of torchvision\nmatched: 262 tensors\nre-initialised: none\nleft over: none\n"))
        << same.out;
    EXPECT_EQ(read_text_file(convert.out), read_text_file(convert.start));

    const ProgramResult other = convert({"--in", convert.start.string(), "--classes", "3", "--mean", "0.1,0.2,0.3",
                                         "--size", "96", "--half", "--out", convert.out.string()});
    ASSERT_TRUE(succeeded(other));
    EXPECT_TRUE(
        holds(other.out,
              "matched: 260 tensors\nre-initialised: classifier.1.weight, classifier.1.bias (the file has 5 classes)"))
        << other.out;
    const SafetensorsFile file(convert.out);
    EXPECT_EQ(file.at("classifier.1.weight").shape[0], 3);
    EXPECT_EQ(file.at("features.0.0.weight").dtype, FileDType::f16);
    EXPECT_EQ(file.metadata().at("mean"), "0.1,0.2,0.3");
    EXPECT_EQ(file.metadata().at("size"), "96");
    EXPECT_EQ(file.metadata().at("model"), "mobilenet_v2");
}

TEST(ProgramConvert, WritesOnnxWithWhatTheWeightsSay) {
    const Convert convert;
    {
        const auto model = make_model("mobilenet_v2", {.classes = 5, .width = 0.1f});
        save_weights(convert.start, model->parts(), {{"extra.0", Tensor::zeros({1})}},
                     {{"license", "CC BY-NC 4.0"}, {"size", "64"}});
    }
    const ProgramResult result = convert(
        {"--weights", convert.start.string(), "--onnx", convert.onnx.string(), "--fold-batchnorm", "--normalise"});
    ASSERT_TRUE(succeeded(result));
    EXPECT_TRUE(holds(result.out, "left over: extra.0\n")) << result.out;
    EXPECT_TRUE(holds(result.out, "images n x 3 x 64 x 64 (RGB, x / 255) to logits n x 5")) << result.out;
    EXPECT_TRUE(holds(result.out, "52 of 52 batchnorms folded")) << result.out;
    const std::string bytes = read_text_file(convert.onnx);
    for (const char* part : {"CC BY-NC 4.0", "features.18.0/Conv", "logits", "RGB, x / 255"}) {
        EXPECT_TRUE(holds(bytes, part)) << part;
    }
    EXPECT_FALSE(holds(bytes, "BatchNormalization"));
    ASSERT_TRUE(succeeded(convert({"--weights", convert.start.string(), "--onnx", convert.onnx.string()})));
    EXPECT_TRUE(holds(read_text_file(convert.onnx), "BatchNormalization"));
}

TEST(ProgramConvert, TakesARunsWeights) {
    const Pictures pictures(12);
    ASSERT_TRUE(succeeded(pictures.prepare()));
    const fs::path run = pictures.home / "lauf", out = pictures.home / "w.safetensors", onnx = pictures.home / "m.onnx";
    ASSERT_TRUE(succeeded(cutis_program({"train", "--data", pictures.data.string(), "--out", run.string(), "--width",
                                         "0.1", "--steps", "1", "--split", "all", "--threads", "1", "--lr-scale",
                                         "features.*=0.5", "--freeze", "*.0.0.*"})));
    const ProgramResult result =
        cutis_program({"convert", "--run", run.string(), "--out", out.string(), "--onnx", onnx.string()});
    ASSERT_TRUE(succeeded(result));
    EXPECT_TRUE(holds(result.out, "best.safetensors: 262 tensors of mobilenet_v2"));
    const SafetensorsFile file(out), best(run / "best.safetensors");
    ASSERT_EQ(file.tensors().size(), best.tensors().size());
    for (const TensorView& view : best.tensors()) {
        EXPECT_EQ(file.read_f32(file.at(view.name)), best.read_f32(view)) << view.name;
    }
    EXPECT_EQ(file.metadata().at("class_names"), R"(["red","green","blue"])");
    EXPECT_EQ(file.metadata().at("size"), "32");
    EXPECT_TRUE(holds(read_text_file(onnx), R"(["red","green","blue"])"));
    EXPECT_TRUE(failed_with(
        1, cutis_program({"convert", "--run", run.string(), "--out", (run / "best.safetensors").string(), "--half"}),
        "read by --run"));
    EXPECT_TRUE(failed_with(
        2, cutis_program({"convert", "--run", run.string(), "--classes", "3", "--out", out.string()}), "--classes"));
}

TEST(ProgramConvert, LicenceAndSourceOfInitialWeightsGoWithWhatCameOfThem) {
    const Convert convert;
    const Pictures pictures(12);
    ASSERT_TRUE(succeeded(pictures.prepare()));
    {
        const auto model = make_model("mobilenet_v2", {.classes = 3, .width = 0.1f});
        save_weights(convert.start, model->parts(), {}, {{"license", "CC BY 4.0"}, {"source", "dorther"}});
    }
    fs::path weights = convert.start;
    for (const char* run : {"eins", "zwei"}) {
        const fs::path out = pictures.home / run;
        ASSERT_TRUE(
            succeeded(cutis_program({"train", "--data", pictures.data.string(), "--out", out.string(), "--width", "0.1",
                                     "--steps", "1", "--split", "all", "--threads", "1", "--init", weights.string()})));
        ASSERT_TRUE(succeeded(cutis_program({"convert", "--run", out.string(), "--out", convert.out.string()})));
        const SafetensorsFile file(convert.out);
        EXPECT_EQ(file.metadata().at("init_license"), "CC BY 4.0");
        EXPECT_EQ(file.metadata().at("init_source"), "dorther");
        EXPECT_FALSE(file.metadata().contains("license")) << "what training makes of weights has a licence of its own";
        weights = convert.out;
    }
}

TEST(ProgramConvert, NotesWhatTorchvisionsGoogLeNetWants) {
    const Convert convert;
    const Pictures pictures(12);
    ASSERT_TRUE(succeeded(pictures.prepare()));
    {
        const auto model = make_model("googlenet", {.classes = 5, .width = 0.1f});
        save_weights(convert.start, model->parts(), {}, {});  // as torchvision's state dict: no word of it
    }
    const auto googlenet = [&](std::vector<std::string> further) {
        further.insert(further.begin(), {"convert", "--model", "googlenet", "--width", "0.1", "--weights",
                                         convert.start.string(), "--out", convert.out.string()});
        return cutis_program(further);
    };
    const ProgramResult result = googlenet({});
    ASSERT_TRUE(succeeded(result));
    EXPECT_TRUE(holds(result.out, "normalisation: mean 0.5,0.5,0.5, deviation 0.5,0.5,0.5 (as torchvision's"))
        << result.out;
    EXPECT_EQ(SafetensorsFile(convert.out).metadata().at("mean"), "0.5,0.5,0.5");
    EXPECT_EQ(SafetensorsFile(convert.out).metadata().at("std"), "0.5,0.5,0.5");
    for (const fs::path& weights : {convert.start, convert.out}) {
        const fs::path run = pictures.home / "lauf";
        const ProgramResult trained = cutis_program(
            {"train", "--data", pictures.data.string(), "--out", run.string(), "--model", "googlenet", "--width", "0.1",
             "--steps", "1", "--split", "all", "--threads", "1", "--init", weights.string(), "--overwrite"});
        ASSERT_TRUE(succeeded(trained));
        EXPECT_TRUE(holds(trained.out, "mean 0.5,0.5,0.5"));
        EXPECT_TRUE(holds(read_text_file(run / "config.json"), "\"mean\": [\n    0.5,\n    0.5,\n    0.5\n  ]"))
            << read_text_file(run / "config.json");
    }
    ASSERT_TRUE(succeeded(googlenet({"--mean", "0.1,0.2,0.3"})));
    EXPECT_EQ(SafetensorsFile(convert.out).metadata().at("mean"), "0.1,0.2,0.3");
}

TEST(ProgramConvert, MisuseAndFailureSayWhatIsWrong) {
    const Convert convert;
    ASSERT_TRUE(succeeded(convert.make_start()));
    const std::string start = convert.start.string(), out = convert.out.string(), onnx = convert.onnx.string();
    EXPECT_TRUE(failed_with(2, cutis_program({"convert", "--out", out}), "--run", "--model"));
    EXPECT_TRUE(
        failed_with(2, cutis_program({"convert", "--run", "r", "--model", "alexnet", "--out", out}), "either --run"));
    EXPECT_TRUE(failed_with(2, convert({"--out", out}), "--weights", "--classes"));
    EXPECT_TRUE(failed_with(2, convert({"--weights", start}), "--out", "--onnx"));
    EXPECT_TRUE(failed_with(2, convert({"--weights", start, "--out", out, "--fold-batchnorm"}),
                            "--fold-batchnorm is for --onnx"));
    EXPECT_TRUE(failed_with(2, convert({"--weights", start, "--onnx", onnx, "--half"}), "--half"));
    EXPECT_TRUE(failed_with(2, convert({"--weights", start, "--onnx", onnx, "--std", "1,0,1"}), "--std"));
    EXPECT_TRUE(failed_with(1, convert({"--weights", start, "--onnx", onnx, "--size", "16"}), "16", "32 pixels"));
    EXPECT_TRUE(failed_with(1, convert({"--weights", start, "--out", out, "--names", "keras"}), "'keras'", "timm"));
    EXPECT_TRUE(failed_with(1, convert({"--weights", onnx, "--out", out}), onnx));
    EXPECT_TRUE(failed_with(1, convert({"--weights", start, "--out", start}), "read by --weights", "overwritten"));
    EXPECT_TRUE(failed_with(1, convert({"--weights", start, "--out", out, "--onnx", out}), "the file of --out"));
    EXPECT_TRUE(
        failed_with(1, convert({"--weights", start, "--onnx", (convert.home / "none/m.onnx").string()}), "none"));
    EXPECT_TRUE(
        failed_with(1, convert({"--weights", start, "--out", out, "--width", "0.5"}), "features.", "another model"));
    // A full disk leaves nothing.
    EXPECT_TRUE(failed_with(1,
                            cutis_program_within("-f 16", {"convert", "--model", "mobilenet_v2", "--width", "0.1",
                                                           "--weights", start, "--onnx", onnx}),
                            "netz.onnx"));
    EXPECT_EQ(std::distance(fs::directory_iterator(convert.home), {}), 1) << "start alone";
}

}  // namespace
}  // namespace cutis::testing
