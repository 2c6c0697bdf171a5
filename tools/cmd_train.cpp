#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/files.h"
#include "engine/json.h"
#include "models/model.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/signals.h"
#include "tools/train_plan.h"
#include "tools/train_rules.h"
#include "tools/trainer.h"

namespace cutis {
namespace {

/// One flag: how it is declared, and how its value, if it was given, gets into the configuration. Values of --config
/// and defaults are there already.
struct Flag {
    CLI::Option* option = nullptr;
    std::function<void(TrainConfig&)> apply;
};

struct Options {
    std::vector<Flag> flags;
    std::string config, ensemble;
    int folds = 0;  ///< 0: one run
    bool resume = false, overwrite = false;
    std::string out, data;
};

/// Declares flags; the defaults that the help shows are those of TrainConfig.
class Declarer {
  public:
    Declarer(CLI::App& command, Options& options) : command_(command), options_(options) {}

    void group(std::string name) { group_ = std::move(name); }

    template <class T>
    void value(const std::string& flag, T TrainConfig::*member, const std::string& help) {
        const auto given = std::make_shared<T>(defaults_.*member);
        CLI::Option* const option = command_.add_option(flag, *given, help);
        if constexpr (std::is_unsigned_v<T>) {
            option->check(CLI::NonNegativeNumber);  // CLI11 would take -1 for the greatest number
        }
        if constexpr (std::is_arithmetic_v<T>) {
            option->default_str(fmt::format("{}", *given));
        } else if (!given->empty()) {
            option->default_str(*given);
        }
        keep(option, [given, member](TrainConfig& config) { config.*member = *given; });
    }

    void flag(const std::string& flag, bool TrainConfig::*member, bool means, const std::string& help) {
        keep(command_.add_flag(flag, help), [member, means](TrainConfig& config) { config.*member = means; });
    }

    /// A setting of the augmentation; its default is the preset's.
    template <class T>
    void augmentation(const std::string& flag, T AugmentOptions::*member, const std::string& help) {
        const auto given = std::make_shared<T>();
        keep(command_.add_option(flag, *given, help),
             [given, member](TrainConfig& config) { config.augmentation.*member = *given; });
    }

    /// A value that is read from text; `read` throws Misuse.
    void text(const std::string& flag, const std::string& help,
              std::function<void(const std::string&, TrainConfig&)> read) {
        const auto given = std::make_shared<std::string>();
        keep(command_.add_option(flag, *given, help), [given, read](TrainConfig& config) { read(*given, config); });
    }

  private:
    void keep(CLI::Option* option, std::function<void(TrainConfig&)> apply) {
        option->group(group_);
        options_.flags.push_back({option, std::move(apply)});
    }

    CLI::App& command_;
    Options& options_;
    std::string group_;
    const TrainConfig defaults_;
};

void read_crop_scale(const std::string& text, TrainConfig& config) {
    const std::vector<std::string> parts = comma_list("--crop-scale", text);
    float values[2] = {};
    bool good = parts.size() == 2;
    for (std::size_t i = 0; good && i < 2; ++i) {
        const char* const end = parts[i].data() + parts[i].size();
        const auto [rest, error] = std::from_chars(parts[i].data(), end, values[i]);
        good = error == std::errc() && rest == end;
    }
    if (!good) {
        throw Misuse(fmt::format("--crop-scale '{}' is not two numbers like 0.5,1", text));
    }
    config.augmentation.crop_scale_min = values[0];
    config.augmentation.crop_scale_max = values[1];
}

void read_fill(const std::string& text, TrainConfig& config) {
    const std::array<float, 3> colour = three_numbers("--fill", text, false);
    for (std::size_t i = 0; i < 3; ++i) {
        if (!(colour[i] >= 0 && colour[i] <= 255 && colour[i] == static_cast<float>(static_cast<int>(colour[i])))) {
            throw Misuse(fmt::format("--fill '{}' is not three whole numbers from 0 to 255", text));
        }
        config.augmentation.fill[i] = static_cast<std::uint8_t>(colour[i]);
    }
}

void declare_data(Declarer& add) {
    add.group("Data");
    add.value("--split", &TrainConfig::split,
              "honest: by lesion; leaky: by image, marks every figure; all: train on everything, validate on nothing");
    add.value("--split-file", &TrainConfig::split_file,
              "CSV with image_id and fold: fold --fold is the test, a tenth of the rest picks the checkpoint");
    add.value("--fold", &TrainConfig::fold, "Fold of --split-file to hold out");
    add.value("--split-seed", &TrainConfig::split_seed, "Of the split; -1: --seed");
    add.value("--hold-out-class", &TrainConfig::hold_out_class,
              "Leave the images of this class out, and give the model one output fewer; `cutis open-set` then asks "
              "whether it is told apart");
    add.value("--order", &TrainConfig::order, "sequential, shuffled, or balanced (each class equally often)");
    add.value("--size", &TrainConfig::size, "Side of the network's input; 0: the data set's");
    add.text("--mean", "r,g,b; default: what the weights state, else ImageNet's",
             [](const std::string& text, TrainConfig& config) {
                 const std::array<float, 3> mean = three_numbers("--mean", text, false);
                 config.mean.assign(mean.begin(), mean.end());
             });
    add.text("--std", "r,g,b; likewise", [](const std::string& text, TrainConfig& config) {
        const std::array<float, 3> deviation = three_numbers("--std", text, true);
        config.std.assign(deviation.begin(), deviation.end());
    });
}

void declare_augmentation(Declarer& add) {
    add.group("Augmentation (the single settings override the preset's)");
    add.text("--augment", "Preset: none, light or full [light]", [](const std::string& text, TrainConfig& config) {
        config.augment = text;
        try {
            config.augmentation = augment_preset(text);
        } catch (const Error& error) {
            throw Misuse(fmt::format("--augment: {}", error.what()));
        }
    });
    add.augmentation("--flip-horizontal", &AugmentOptions::horizontal_flip, "Probability of mirroring left-right");
    add.augmentation("--flip-vertical", &AugmentOptions::vertical_flip, "Probability of mirroring top-bottom");
    add.augmentation("--rotation", &AugmentOptions::rotation_degrees, "Turn by up to so many degrees, 0 to 180");
    add.text("--crop-scale", "Random resized crop: least and greatest share of the area, e.g. 0.5,1", read_crop_scale);
    add.augmentation("--crop-aspect", &AugmentOptions::crop_aspect, "Greatest aspect of the crop, from 1");
    add.augmentation("--brightness", &AugmentOptions::brightness, "Multiply by a factor in 1 -+ this");
    add.augmentation("--contrast", &AugmentOptions::contrast, "Likewise");
    add.augmentation("--saturation", &AugmentOptions::saturation, "Likewise");
    add.augmentation("--hue", &AugmentOptions::hue, "Turn by up to this share of the colour circle, 0 to 0.5");
    add.augmentation("--cutout", &AugmentOptions::cutout, "Side of a square hole in pixels; 0: none");
    add.text("--fill", "Colour outside the image: r,g,b of 0 to 255", read_fill);
}

void declare_model(Declarer& add) {
    add.group("Model");
    std::string models;
    for (const ModelEntry& entry : model_table()) {
        models += (models.empty() ? "" : ", ") + std::string(entry.name);
    }
    add.value("--model", &TrainConfig::model, models);
    add.value("--init", &TrainConfig::init,
              "Weights to start from (safetensors, torchvision's names); a classifier of another number of classes "
              "starts anew");
    add.value("--classes", &TrainConfig::classes, "Number of outputs; 0: the data set's classes");
    add.value("--width", &TrainConfig::width, "Width multiplier");
    add.value("--dropout", &TrainConfig::dropout, "Dropout before the classifier; 0: none");
    add.value("--lstm-hidden", &TrainConfig::lstm_hidden, "Hidden size of models with an LSTM");
    add.value(
        "--freeze", &TrainConfig::freeze,
        "Leave parameters as they are whose name begins with, or with * fits, PATTERN[,PATTERN..]: features.0,*.bias");
    add.value("--freeze-steps", &TrainConfig::freeze_steps, "Train them, too, after so many steps; 0: never");
}

void declare_optimisation(Declarer& add) {
    add.group("Optimisation");
    add.value("--epochs", &TrainConfig::epochs, "Times that every image is seen");
    add.value("--steps", &TrainConfig::steps, "Updates, instead of --epochs");
    add.value("--batch-size", &TrainConfig::batch_size, "Images of a step");
    add.value("--accumulate", &TrainConfig::accumulate, "Batches whose gradients are averaged for one update");
    add.value("--optimizer", &TrainConfig::optimizer, "sgd, rmsprop or adamw");
    add.value("--lr", &TrainConfig::lr, "Learning rate");
    add.value("--lr-head", &TrainConfig::lr_head, "Learning rate of the classifier; 0: --lr");
    add.value("--lr-scale", &TrainConfig::lr_scale,
              "Factors on the rate of parameters by such patterns: features.0=0.1,*.bias=2; the last that fits counts");
    add.value("--momentum", &TrainConfig::momentum, "Of sgd and rmsprop");
    add.flag("--nesterov", &TrainConfig::nesterov, true, "Nesterov's momentum (sgd)");
    add.value("--weight-decay", &TrainConfig::weight_decay, "On weights, not on norms and biases");
    add.value("--schedule", &TrainConfig::schedule, "Of the learning rate: constant, cosine or step");
    add.value("--warmup", &TrainConfig::warmup, "Steps in which the learning rate rises; 0: none");
    add.value("--clip-grad", &TrainConfig::clip_grad, "Greatest norm of the gradient; 0: any");
    add.value("--ema", &TrainConfig::ema,
              "Decay of a moving average of the weights, which is then judged and kept; 0: none");
    add.value("--loss", &TrainConfig::loss, "ce (cross-entropy) or focal");
    add.value("--focal-gamma", &TrainConfig::focal_gamma, "Of the focal loss");
    add.value("--label-smoothing", &TrainConfig::label_smoothing, "0: none");
    add.value("--class-weights", &TrainConfig::class_weights,
              "Of the loss: none, inverse (of the class's images) or effective");
    add.value("--early-stop", &TrainConfig::early_stop,
              "Stop after so many epochs without a better validation figure; 0: never");
}

void declare_running(Declarer& add) {
    add.group("Running");
    add.value("--seed", &TrainConfig::seed,
              "Of everything random; the same seed on as many threads repeats a run bit for bit");
    add.value("--threads", &TrainConfig::threads, "Threads that compute; 0: all cores");
    add.value("--loader-threads", &TrainConfig::loader_threads, "Threads that read and augment; 0: chosen");
    add.value("--device", &TrainConfig::device, "auto (a GPU where there is one), cpu or cuda");
    add.value("--backend", &TrainConfig::backend, "Whose kernels: native (ours), or vendor (oneDNN's on a CPU, cuDNN's on a GPU)");
    add.value(
        "--precision", &TrainConfig::precision,
        "fp32; on a GPU also tf32 (matrix products round their inputs to 10 bits) or bf16 (activations of 16 bits)");
    add.value("--resident", &TrainConfig::resident,
              "On a GPU: keep the training images in its memory; auto (where they fit), on, or off (send each step's)");
    add.flag("--no-graph", &TrainConfig::graph, false,
             "On a GPU: launch every kernel of a step by itself instead of replaying a recorded one");
    add.flag("--no-fuse", &TrainConfig::fused, false,
             "Run convolution, batchnorm and activation as separate operations");
    add.value("--log-every", &TrainConfig::log_every, "Steps between losses in metrics.jsonl");
}

/// Settings of a file: what config.json holds under "train", a whole config.json, or what --ensemble's file says of
/// all.
void read_config_file(const std::string& path, TrainConfig& config) {
    const nlohmann::json json = parse_json(read_text_file(path, std::size_t{16} << 20), path);
    const bool part = json.is_object() && (json.contains("train") || json.contains("members"));
    from_json(part ? json.value("train", nlohmann::json::object()) : json, config, path);
    try {
        check_train_config(config);
    } catch (const Error& error) {
        fail("{}: {}", path, error.what());
    }
}

TrainConfig configuration(const Options& options) {
    TrainConfig config;
    config.augmentation = augment_preset(config.augment);
    for (const std::string& file : {options.config, options.ensemble}) {
        if (!file.empty()) {
            read_config_file(file, config);
        }
    }
    for (const Flag& flag : options.flags) {
        if (flag.option->count() > 0) {
            flag.apply(config);
        }
    }
    config.data = options.data.empty() ? config.data : options.data;
    config.out = options.out.empty() ? config.out : options.out;
    try {
        check_train_config(config);
    } catch (const Error& error) {
        throw Misuse(error.what());
    }
    if (config.data.empty() || config.out.empty()) {
        throw Misuse(
            fmt::format("train: {} is missing; see `cutis train --help`", config.data.empty() ? "--data" : "--out"));
    }
    return config;
}

/// A folder that holds a run already must not be trained into by mistake.
void require_no_run(const TrainConfig& config) {
    std::error_code ignored;
    const std::filesystem::path out = config.out;
    require(!std::filesystem::exists(out / "config.json", ignored) && !is_train_plan(out) &&
                !std::filesystem::exists(out / "checkpoint.safetensors", ignored),
            "--out {}: holds a run already; go on with it by --resume, train anew over it by --overwrite, or choose "
            "another folder",
            config.out);
}

/// Removes what an earlier run left, and nothing else.
void remove_run(const std::filesystem::path& folder) {
    namespace fs = std::filesystem;
    for (const char* name : {"checkpoint.safetensors", "best.safetensors", "svm.safetensors", "open_set.csv",
                             "metrics.jsonl", "report.html", "config.json"}) {
        fs::remove(folder / name);
    }
    const auto remove_named = [](const fs::path& place, std::string_view start, std::string_view end) {
        std::error_code none;
        for (const fs::directory_entry& entry : fs::directory_iterator(place, none)) {
            const std::string name = entry.path().filename().string();
            if (name.starts_with(start) && name.ends_with(end)) {
                fs::remove(entry.path());
            }
        }
    };
    remove_named(folder, "predictions_", ".csv");
    remove_named(folder, "evaluation_", ".json");
    remove_named(folder / "tensorboard", "events.out.tfevents.", "");
}

/// Misuse where a setting is given with --resume.
void refuse_settings(const Options& options) {
    for (const Flag& flag : options.flags) {
        if (flag.option->count() > 0) {
            throw Misuse(
                fmt::format("{} cannot be given with --resume: a run goes on as it began, so that it ends as if it had "
                            "never stopped",
                            flag.option->get_name()));
        }
    }
    if (!options.config.empty() || options.overwrite || options.folds != 0 || !options.ensemble.empty()) {
        throw Misuse(fmt::format("{} cannot be given with --resume", !options.config.empty()     ? "--config"
                                                                     : !options.ensemble.empty() ? "--ensemble"
                                                                     : options.folds != 0        ? "--folds"
                                                                                                 : "--overwrite"));
    }
}

/// The run's own configuration; of the command line only --data may differ, since the data set's checksum is compared.
TrainConfig resumed_configuration(const Options& options) {
    refuse_settings(options);
    if (options.out.empty()) {
        throw Misuse("--resume needs --out, the folder of the run");
    }
    const Run run = open_run(options.out);
    TrainConfig config = run.config;
    config.out = options.out;
    config.data = options.data.empty() ? config.data : options.data;
    std::error_code ignored;
    require(std::filesystem::exists(run.file("checkpoint.safetensors"), ignored),
            "{}: has no checkpoint to go on from; train it anew with --overwrite", options.out);
    return config;
}

/// Several runs: the folds of a cross-validation, or the members of an ensemble.
void run_plan(const Options& options) {
    std::optional<TrainPlan> plan;
    if (options.resume) {
        refuse_settings(options);
        plan = open_train_plan(options.out, options.data);
    } else {
        const bool fold_given =
            options.folds > 0 && std::any_of(options.flags.begin(), options.flags.end(), [](const Flag& flag) {
                return flag.option->get_name() == "--fold" && flag.option->count() > 0;
            });
        if (options.overwrite || fold_given || (options.folds > 0 && !options.ensemble.empty())) {
            throw Misuse(options.overwrite ? "--overwrite is for one run; choose another --out for several"
                         : fold_given      ? "--fold names one fold to hold out; leave out one of --fold and --folds"
                                           : "--folds and --ensemble exclude each other");
        }
        if (options.folds != 0) {
            require_within("--folds", options.folds, 2, 1000);
        }
        const TrainConfig common = configuration(options);
        require_no_run(common);
        check_available(common);
        plan = options.folds > 0 ? plan_folds(common, options.folds) : plan_ensemble(common, options.ensemble);
    }
    if (train_plan(*plan) == TrainEnd::interrupted) {
        throw Stopped(stop_signal());
    }
}

void run(const Options& options) {
    if (options.folds != 0 || !options.ensemble.empty() || (options.resume && is_train_plan(options.out))) {
        run_plan(options);
        return;
    }
    const TrainConfig config = options.resume ? resumed_configuration(options) : configuration(options);
    check_available(config);
    if (!options.resume) {
        if (options.overwrite) {
            require_trainable(config);
            remove_run(config.out);
        } else {
            require_no_run(config);
        }
    }
    if (train(config, options.resume) == TrainEnd::interrupted) {
        throw Stopped(stop_signal());
    }
}

}  // namespace

void add_train_command(CLI::App& app, Command& chosen) {
    CLI::App* const command = app.add_subcommand("train", "Train a model on a packed data set");
    const auto options = std::make_shared<Options>();
    command->add_option("--data", options->data, "Packed data set, from `cutis prepare`");
    command->add_option("--out", options->out, "Folder of the run: checkpoints, figures, report");
    command->add_option("--config", options->config,
                        "JSON file with settings, which flags override: {\"batch_size\": 16, \"augmentation\": "
                        "{\"cutout\": 32}}, or a run's config.json");
    command->add_option(
        "--folds", options->folds,
        "Cross-validation: so many runs, each with one fold held out, dealt out by lesion and class, or "
        "as --split-file says");
    command->add_option("--ensemble", options->ensemble,
                        "JSON file of an ensemble, whose members are trained and combined: {\"train\": {..}, "
                        "\"rule\": \"mean\", \"members\": [{\"model\": \"alexnet\"}, ..]}");
    command->add_flag("--resume", options->resume,
                      "Go on with the run in --out, or with the folds or members there, where it stopped");
    command->add_flag("--overwrite", options->overwrite, "Train over the run in --out");
    Declarer add(*command, *options);
    declare_data(add);
    declare_model(add);
    declare_optimisation(add);
    declare_augmentation(add);
    declare_running(add);
    command->footer(
        examples({"cutis train --data ham10000.cutis --model mobilenet_v2 --init mobilenet_v2_imagenet.safetensors "
                  "--out runs/first",
                  "cutis train --data ham10000.cutis --split-file split.csv --fold 0 --epochs 30 --ema 0.999 "
                  "--class-weights effective --out runs/weighted",
                  "cutis train --data ham10000.cutis --folds 5 --out runs/folds",
                  "cutis train --ensemble members.json --data ham10000.cutis --out runs/ensemble",
                  "cutis train --resume --out runs/first",
                  "cutis train --config runs/first/config.json --seed 2 --out runs/second"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
