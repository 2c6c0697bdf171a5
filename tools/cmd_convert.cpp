#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/safetensors.h"
#include "models/key_maps.h"
#include "models/weights.h"
#include "tools/build_info.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/inference.h"
#include "tools/onnx_export.h"
#include "tools/output_files.h"
#include "tools/run_directory.h"

namespace cutis {
namespace {

using Metadata = std::map<std::string, std::string>;

struct Options {
    std::string run, model, weights, names = "auto", out, onnx, mean, std;
    int classes = 0, size = 0, lstm_hidden = ModelOptions{}.lstm_hidden;
    float width = ModelOptions{}.width;
    std::uint64_t seed = 0;
    bool half = false, fold_batchnorm = false, normalise = false;
};

/// A network with its weights, and what its files say of it.
struct Source {
    std::unique_ptr<Model> model;
    std::string name;
    InputSettings input;
    Metadata metadata;
};

/// Figures of a checkpoint's position, which weights alone have no use for, are left behind.
Source from_run(const Options& options) {
    const Run run = open_run(options.run);
    const SafetensorsFile file(run_weights_file(run));
    Source source{make_run_model(run), run.config.model, {run.facts.size, run.facts.mean, run.facts.std}, {}};
    const LoadReport report = load_weights(*source.model, file, false);
    say("{}: {} tensors of {}", file.path().string(), report.matched, source.name);
    for (const char* key : {"epoch", "val_balanced_accuracy", "init_license", "init_source"}) {
        if (const auto found = file.metadata().find(key); found != file.metadata().end()) {
            source.metadata.insert(*found);
        }
    }
    source.metadata["class_names"] =
        nlohmann::json(class_names_for(source.model->classes(), run.facts.class_names)).dump();
    return source;
}

std::string listed(const std::vector<std::string>& names) {
    return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

ModelOptions model_options(const Options& options, int classes) {
    return {.classes = classes, .width = options.width, .lstm_hidden = options.lstm_hidden, .seed = options.seed};
}

/// Weights as they are drawn before any training.
Source from_seed(const Options& options) {
    say("{}: initial weights of seed {}", options.model, options.seed);
    return {make_model(options.model, model_options(options, options.classes)),
            options.model,
            {224, kImageNetMean, kImageNetStd},
            {}};
}

Source from_weights(const Options& options) {
    const SafetensorsFile file(options.weights);
    Source source{build_model(options.model, model_options(options, 1)), options.model, {}, file.metadata()};
    source.input = input_settings(file, *source.model);
    const KeyMap map = key_map_for(*source.model, options.model, file, options.names);
    const std::string prefix = map.theirs(source.model->classifier_prefixes().front());
    const int in_file = classes_in_file(file, prefix);
    const int classes = options.classes > 0 ? options.classes : in_file;
    require(classes > 0, "{}: holds no classifier ({}*); say by --classes how many classes a new one is to have",
            options.weights, prefix);
    const auto load = [&] {
        return load_weights(*source.model, file, options.classes > 0,
                            [&](std::string_view ours) { return map.theirs(ours); });
    };
    source.model = build_model(options.model, model_options(options, classes));
    LoadReport report = load();
    if (!report.reinitialized.empty()) {
        source.model = make_model(options.model, model_options(options, classes));
        report = load();
    }
    say("{}: {} with the names of {}", options.weights, options.model, map.origin);
    say("matched: {} tensors", report.matched);
    say("re-initialised: {}{}", listed(report.reinitialized),
        report.reinitialized.empty() || in_file == 0 ? std::string()
                                                     : fmt::format(" (the file has {} classes)", in_file));
    say("left over: {}", listed(report.unused));
    say("normalisation: {}", normalisation_text(file, source.input));
    return source;
}

Source make_source(const Options& options) {
    Source source = !options.run.empty()      ? from_run(options)
                    : options.weights.empty() ? from_seed(options)
                                              : from_weights(options);
    InputSettings& input = source.input;
    input.size = options.size > 0 ? options.size : input.size;
    input.mean = options.mean.empty() ? input.mean : three_numbers("--mean", options.mean, false);
    input.std = options.std.empty() ? input.std : three_numbers("--std", options.std, true);
    source.metadata["format"] = "pt";
    source.metadata["model"] = source.name;
    source.metadata["size"] = std::to_string(input.size);
    source.metadata["mean"] = three_text(input.mean);
    source.metadata["std"] = three_text(input.std);
    return source;
}

void write_model(const Options& options, const Source& source) {
    OnnxOptions choices{.fold_batchnorm = options.fold_batchnorm, .normalise = std::nullopt};
    if (options.normalise) {
        choices.normalise = source.input;
    }
    OnnxExport exported = to_onnx(*source.model, source.name, source.input.size, choices);
    exported.model.metadata = source.metadata;
    exported.model.metadata.erase("format");
    exported.model.metadata["input"] = options.normalise ? "RGB, x / 255" : "RGB, (x / 255 - mean) / std";
    write_onnx(options.onnx, exported.model, fmt::format("{} ({})", build_info().version, build_info().git_revision));
    const int size = source.input.size;
    say("{}: opset {}, images n x 3 x {} x {} ({}) to logits n x {}", options.onnx, kOnnxOpset, size, size,
        exported.model.metadata["input"], source.model->classes());
    say("{} nodes; {} of {} batchnorms folded", exported.model.nodes.size(), exported.folded, exported.batchnorms);
}

void check(const Options& options) {
    if (options.run.empty() == options.model.empty() || (!options.run.empty() && !options.weights.empty())) {
        throw Misuse("convert: give either --run, or --model with --weights; see `cutis convert --help`");
    }
    if (!options.model.empty() && options.weights.empty() && options.classes == 0) {
        throw Misuse("convert: --model needs --weights, or --classes for a network with initial weights");
    }
    if (options.out.empty() && options.onnx.empty()) {
        throw Misuse("convert: say what to write: --out for safetensors, --onnx for a graph");
    }
    if (!options.run.empty() && options.classes > 0) {
        throw Misuse("convert: --classes is for --weights; a run has its classes");
    }
    if (options.onnx.empty() && (options.fold_batchnorm || options.normalise)) {
        throw Misuse(fmt::format("convert: --{} is for --onnx", options.normalise ? "normalise" : "fold-batchnorm"));
    }
    if (options.out.empty() && options.half) {
        throw Misuse("convert: --half is for --out");
    }
    std::vector<FlaggedFile> read{{"--weights", options.weights}};
    if (!options.run.empty()) {
        for (const char* file : {"best.safetensors", "checkpoint.safetensors", "config.json"}) {
            read.push_back({"--run", std::filesystem::path(options.run) / file});
        }
    }
    require_distinct_files({{"--out", options.out}, {"--onnx", options.onnx}}, read);
    require_within("--classes", options.classes, 0, 100000);
    require_within("--size", options.size, 0, 16384);
    require_within("--lstm-hidden", options.lstm_hidden, 1, 4096);
}

void run(const Options& options) {
    check(options);
    const Source source = make_source(options);
    if (!options.out.empty()) {
        save_weights(options.out, source.model->parts(), {}, source.metadata,
                     options.half ? WeightPrecision::f16 : WeightPrecision::f32);
        say("{}: {} tensors", options.out,
            source.model->parts().parameters.size() + source.model->parts().buffers.size());
    }
    if (!options.onnx.empty()) {
        write_model(options, source);
    }
}

}  // namespace

void add_convert_command(CLI::App& app, Command& chosen) {
    CLI::App* const command =
        app.add_subcommand("convert", "Weights under other names, a run's weights alone, or a model as ONNX");
    const auto options = std::make_shared<Options>();
    command->add_option("--run", options->run, "Folder of the run whose best weights to take");
    command->add_option("--model", options->model, "Instead of --run: name of the model whose weights --weights gives");
    command->add_option("--weights,--in", options->weights,
                        "Weights (safetensors, torchvision's or timm's names); none: initial ones");
    command->add_option("--names", options->names, "Whose names --weights has: auto, torchvision or timm")
        ->capture_default_str();
    command->add_option("--classes", options->classes,
                        "Number of classes; a classifier of another number starts anew; 0: what --weights has");
    command->add_option("--width", options->width, "Width multiplier of --model")->capture_default_str();
    command->add_option("--lstm-hidden", options->lstm_hidden, "Hidden size of --model, where it has an LSTM")
        ->capture_default_str();
    command->add_option("--seed", options->seed, "Of what starts anew")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    command->add_option("--out", options->out, "Safetensors to write, with torchvision's names");
    command->add_flag("--half", options->half, "Convolutions and linear layers of --out in half precision");
    command->add_option("--onnx", options->onnx, "ONNX model to write: images n x 3 x size x size to logits, fp32");
    command->add_flag("--fold-batchnorm", options->fold_batchnorm, "Put batchnorms into the convolutions before them");
    command->add_flag("--normalise", options->normalise,
                      "The ONNX model normalises: its input is RGB / 255, instead of (RGB / 255 - mean) / std");
    command->add_option("--size", options->size, "Side of the input; 0: what the run or the weights state, else 224");
    command->add_option("--mean", options->mean, "r,g,b; default: what the run or the weights state, else ImageNet's");
    command->add_option("--std", options->std, "r,g,b; likewise");
    command->footer(examples(
        {"cutis convert --run runs/first --onnx first.onnx --fold-batchnorm --normalise",
         "cutis convert --run runs/first --out first.safetensors --half",
         "cutis convert --model mobilenet_v2 --weights timm_mobilenetv2_100.safetensors --out mobilenet_v2.safetensors",
         "cutis convert --model mobilenet_v2 --weights mobilenet_v2.safetensors --classes 7 --out start.safetensors",
         "cutis convert --model alexnet --weights alexnet.safetensors --onnx alexnet.onnx"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
