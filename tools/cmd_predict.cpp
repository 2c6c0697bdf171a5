#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "engine/augment.h"
#include "engine/csv.h"
#include "engine/files.h"
#include "engine/image.h"
#include "engine/metadata.h"
#include "engine/resize.h"
#include "engine/safetensors.h"
#include "engine/text.h"
#include "kernels/parallel.h"
#include "models/weights.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/cross_validation.h"
#include "tools/device_choice.h"
#include "tools/ensemble.h"
#include "tools/features.h"
#include "tools/inference.h"
#include "tools/linear_svm.h"
#include "tools/output_files.h"
#include "tools/progress.h"
#include "tools/run_directory.h"

namespace cutis {
namespace {

namespace fs = std::filesystem;

struct Options {
    std::string run, model, weights, out, mean, std, features, svm, tta = "none";
    std::vector<std::string> images;
    int size = 0, crop = 0;
    int batch_size = 32, threads = 0;
    std::string device = "auto";
    float width = 1.0f;
    int lstm_hidden = 128;
    bool logits = false, keep_aspect = false, skip_bad = false;
};

/// A model ready to predict, or an ensemble of several.
struct Predictor {
    std::unique_ptr<Model> model;
    std::vector<std::string> class_names;
    InputSettings input;
    std::optional<Ensemble> ensemble{};  ///< then there is no model
};

/// An ensemble's folder, or that of a cross-validation, which answers with the mean of its runs.
Predictor from_ensemble(const Options& options) {
    if (options.logits || options.size > 0 || options.crop > 0 || !options.mean.empty() || !options.std.empty()) {
        throw Misuse(
            fmt::format("predict: {} is an ensemble, whose networks look at images in their own ways; leave "
                        "out --logits, --size, --crop, --mean and --std",
                        options.run));
    }
    Predictor predictor;
    if (is_ensemble(options.run)) {
        predictor.ensemble = open_ensemble(options.run);
    } else {
        predictor.ensemble = Ensemble{.folder = options.run, .members = {open_member(options.run)}};
        predictor.ensemble->class_names = predictor.ensemble->members.front().runs.front().facts.class_names;
    }
    predictor.class_names = predictor.ensemble->class_names;
    return predictor;
}

Predictor from_run(const std::string& folder) {
    const Run run = open_run(folder);
    Predictor predictor{load_run_model(run), {}, {run.facts.size, run.facts.mean, run.facts.std}, {}};
    predictor.class_names = class_names_for(predictor.model->classes(), run.facts.class_names);
    return predictor;
}

Predictor from_weights(const Options& options) {
    const SafetensorsFile file(options.weights);
    const std::string prefix =
        build_model(options.model, {.classes = 1, .width = options.width})->classifier_prefixes().front();
    const int classes = classes_in_file(file, prefix);
    require(classes > 0,
            "{}: holds no classifier ({}*), so it cannot predict; train from it first (cutis train --init)",
            options.weights, prefix);
    Predictor predictor{
        build_model(options.model, {.classes = classes, .width = options.width, .lstm_hidden = options.lstm_hidden}),
        class_names_for(classes, {}),
        {},
        {}};
    predictor.input = input_settings(file, *predictor.model);
    load_weights(*predictor.model, file, false);
    return predictor;
}

Predictor make_predictor(const Options& options) {
    if (!options.run.empty() && (is_ensemble(options.run) || is_cross_validation(options.run))) {
        return from_ensemble(options);
    }
    Predictor predictor = options.run.empty() ? from_weights(options) : from_run(options.run);
    if (options.size > 0) {
        predictor.input.size = options.size;
    }
    if (options.crop > 0) {
        predictor.input.size = options.crop;
    }
    if (!options.mean.empty()) {
        predictor.input.mean = three_numbers("--mean", options.mean, false);
    }
    if (!options.std.empty()) {
        predictor.input.std = three_numbers("--std", options.std, true);
    }
    return predictor;
}

/// An image file and its name in the result.
struct ImageFile {
    fs::path path;
    std::string id;
};

std::vector<fs::path> images_below(const fs::path& folder) {
    std::vector<fs::path> paths;
    std::error_code error;
    fs::recursive_directory_iterator entry(folder, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
        if (std::error_code ignored; is_image_path(entry->path()) && !entry->is_directory(ignored)) {
            paths.push_back(entry->path());
        }
    }
    require(!error, "--images {}: cannot be read: {}; check its permissions", folder.string(), error.message());
    require(!paths.empty(), "--images {}: holds no .jpg, .jpeg or .png file; check the path", folder.string());
    std::sort(paths.begin(), paths.end());
    return paths;
}

/// Files as they were given, those of a folder by name. A name that two files share would be ambiguous in the result.
std::vector<ImageFile> find_images(const std::vector<std::string>& arguments) {
    std::vector<ImageFile> files;
    std::unordered_map<std::string, fs::path> known;
    for (const std::string& argument : arguments) {
        std::error_code ignored;
        require(fs::exists(argument, ignored), "--images {}: there is no such file or folder; check the path",
                argument);
        const bool folder = fs::is_directory(argument, ignored);
        for (const fs::path& path : folder ? images_below(argument) : std::vector<fs::path>{argument}) {
            const std::string id = image_id_of(path.filename().string());
            const auto [earlier, fresh] = known.emplace(id, path);
            require(fresh,
                    "--images: {} and {} have the same name '{}', which would stand twice in the result; rename one",
                    earlier->second.string(), path.string(), printable(id));
            files.push_back({path, id});
        }
    }
    return files;
}

/// The image as a square of `side`: scaled and cut, or cut alone.
Image as_square(const Image& image, const fs::path& path, const Options& options, int side) {
    if (options.crop == 0) {
        return fit_square(image, side, options.keep_aspect);
    }
    require(image.width >= options.crop && image.height >= options.crop,
            "{}: {} x {} pixels, smaller than --crop {}; lower it, or use --size", path.string(), image.width,
            image.height, options.crop);
    return center_crop(image, options.crop, options.crop);
}

/// The images, and why some were left out, each entry written by one thread.
struct Images {
    std::vector<ImageFile> files;
    std::vector<std::string> reasons;
};

/// Calls `use` with image `index`; one that cannot be read or used is left out with --skip-bad, and then `otherwise` is
/// called.
void with_image(Images& images, std::int64_t index, const Options& options,
                const std::function<void(const Image&, const fs::path&)>& use, const std::function<void()>& otherwise) {
    const auto i = static_cast<std::size_t>(index);
    try {
        const fs::path& path = images.files[i].path;
        use(load_image(path), path);
    } catch (const Error& error) {
        require(options.skip_bad, "{}; --skip-bad leaves such images out", error.what());
        images.reasons[i] = error.what();
        otherwise();
    }
}

/// The features of the images that could be read.
Features features_of(const Images& images, const std::vector<float>& values) {
    Features features;
    const std::size_t d = values.size() / images.files.size();
    features.dimension = static_cast<std::int64_t>(d);
    for (std::size_t i = 0; i < images.files.size(); ++i) {
        if (images.reasons[i].empty()) {
            features.image_ids.push_back(images.files[i].id);
            const auto row = values.begin() + static_cast<std::ptrdiff_t>(i * d);
            features.values.insert(features.values.end(), row, row + static_cast<std::ptrdiff_t>(d));
        }
    }
    return features;
}

/// @param features  if not null, gets what the classifier's last linear layer reads, image by image
std::vector<float> logits_of(const Predictor& predictor, Images& images, const Options& options, Progress& progress,
                             std::vector<float>* features) {
    const InputSettings& input = predictor.input;
    const auto read = [&](std::int64_t index, float* out) {
        with_image(
            images, index, options,
            [&](const Image& image, const fs::path& path) {
                const Image square = as_square(image, path, options, input.size);
                to_float(square.rgb.data(), square.height, square.width, input.mean.data(), input.std.data(), out);
            },
            [&] { std::fill_n(out, std::size_t{3} * static_cast<std::size_t>(input.size * input.size), 0.0f); });
    };
    return predict_logits(*predictor.model, static_cast<std::int64_t>(images.files.size()), input.size,
                          options.batch_size, read, &progress, thread_count(), features);
}

std::vector<float> probabilities_of(const Predictor& predictor, Images& images, const Options& options,
                                    Progress& progress) {
    const auto read = [&](std::int64_t index, std::span<const int> sides, std::span<Image> squares) {
        with_image(
            images, index, options,
            [&](const Image& image, const fs::path& path) {
                for (std::size_t s = 0; s < sides.size(); ++s) {
                    squares[s] = as_square(image, path, options, sides[s]);
                }
            },
            [&] {
                for (std::size_t s = 0; s < sides.size(); ++s) {
                    const auto side = static_cast<std::size_t>(sides[s]);
                    squares[s] = {sides[s], sides[s], std::vector<std::uint8_t>(side * side * 3)};
                }
            });
    };
    const auto count = static_cast<std::int64_t>(images.files.size());
    const auto predict = [&](std::span<const PreparedNetwork> networks, const Tta& tta) {
        return predict_views(networks, count, tta, 0, options.batch_size, read, &progress, thread_count());
    };
    const Tta tta = parse_tta(options.tta);
    if (!predictor.ensemble) {
        const PreparedNetwork network{predictor.model.get(), predictor.input};
        return std::move(predict(std::span(&network, 1), tta).front());
    }
    const Ensemble& ensemble = *predictor.ensemble;
    const MemberNetworks members(ensemble.members, choose_device(options.device));
    const std::vector<std::vector<float>> answers =
        members.by_member(predict(members.networks(), tta.kind == TtaKind::none ? ensemble.tta : tta));
    return combine(ensemble.rule, answers, ensemble.class_names.size(), ensemble.fit);
}

std::string csv_text(const Images& images, const std::vector<std::string>& class_names,
                     const std::vector<float>& values) {
    std::string text = "image";
    for (const std::string& name : class_names) {
        text += "," + csv_field(name);
    }
    text += "\n";
    for (std::size_t i = 0; i < images.files.size(); ++i) {
        if (!images.reasons[i].empty()) {
            continue;
        }
        text += csv_field(images.files[i].id);
        for (std::size_t c = 0; c < class_names.size(); ++c) {
            text += fmt::format(",{}", values[i * class_names.size() + c]);
        }
        text += "\n";
    }
    return text;
}

void check(const Options& options) {
    if (options.run.empty() == (options.model.empty() && options.weights.empty()) ||
        options.model.empty() != options.weights.empty()) {
        throw Misuse("predict: give either --run, or --model and --weights; see `cutis predict --help`");
    }
    require_within("--batch-size", options.batch_size, 1, 65536);
    require_within("--lstm-hidden", options.lstm_hidden, 1, 4096);
    require_within("--size", options.size, 0, 16384);
    require_within("--crop", options.crop, 0, 16384);
    if (options.size > 0 && options.crop > 0 && options.size != options.crop) {
        throw Misuse(fmt::format("predict: --size {} resizes and --crop {} does not; give one of them", options.size,
                                 options.crop));
    }
    const Tta tta = read_tta(options.tta);
    if (options.logits && tta.kind != TtaKind::none) {
        throw Misuse("predict: --tta averages probabilities, and --logits wants none; leave out one of them");
    }
    if (tta.kind != TtaKind::none && !(options.features.empty() && options.svm.empty())) {
        throw Misuse(
            "predict: --tta averages probabilities, and --features and --svm look at the image alone; leave it out");
    }
    if (tta.kind == TtaKind::crops && (options.crop > 0 || tta.side == 0)) {
        throw Misuse(fmt::format("predict: --tta {}: cuts windows from images that are scaled first; {}", options.tta,
                                 options.crop > 0 ? "leave out --crop" : "say to which side, like crops:9@300"));
    }
}

void run(const Options& options) {
    check(options);
    std::vector<FlaggedFile> read{{"--weights", options.weights}, {"--svm", options.svm}};
    for (const std::string& path : options.images) {
        read.push_back({"--images", path});
    }
    require_distinct_files({{"--out", options.out}, {"--features", options.features}}, read);
    use_threads(options.threads);
    if (!options.features.empty()) {
        check_features_path(options.features);
    }
    std::optional<LinearSvm> svm;
    if (!options.svm.empty()) {
        svm = read_svm(options.svm);
    }
    Predictor predictor = make_predictor(options);
    const bool with_features = svm || !options.features.empty();
    if (predictor.ensemble && with_features) {
        throw Misuse(fmt::format(
            "predict: {} is an ensemble of several networks; --features and --svm want a run of one", options.run));
    }
    if (predictor.model) {
        predictor.model->parts().move_to(choose_device(options.device));
    }
    Images images{find_images(options.images), {}};
    images.reasons.resize(images.files.size());
    AtomicFile out(options.out);  // before the work, so that a place that cannot be written costs no time

    const auto count = static_cast<std::int64_t>(images.files.size());
    Progress progress("predict", count, "images");
    std::vector<float> features;
    std::vector<float> values =
        options.logits || with_features
            ? logits_of(predictor, images, options, progress, with_features ? &features : nullptr)
            : probabilities_of(predictor, images, options, progress);
    const double seconds = progress.elapsed();
    progress.finish();

    const auto left_out = count - std::count(images.reasons.begin(), images.reasons.end(), "");
    require(left_out < count, "none of the {} images can be read (the first: {})", count, images.reasons.front());
    if (svm) {
        const std::vector<double> decisions = svm->decisions(features);
        values = options.logits ? std::vector<float>(decisions.begin(), decisions.end()) : svm->probabilities(features);
        predictor.class_names = svm->class_names;
    } else if (with_features && !options.logits) {
        const Tensor probabilities =
            softmax(Tensor::from(values, {count, static_cast<std::int64_t>(predictor.class_names.size())}));
        values.assign(probabilities.values().begin(), probabilities.values().end());
    }
    out.write(csv_text(images, predictor.class_names, values));
    if (!options.features.empty()) {
        const Features table = features_of(images, features);
        write_features(options.features, table);
        say("{}: {} features of {} images", options.features, table.dimension, table.size());
    }
    out.commit();
    if (left_out > 0) {
        warn("{} images are left out (--skip-bad), as listed", left_out);
        for (const std::string& reason : images.reasons) {
            if (!reason.empty()) {
                say("left out: {}", reason);
            }
        }
    }
    say("{}: {} images, {} classes, {}", options.out, count - left_out, predictor.class_names.size(),
        options.logits ? "logits" : "probabilities");
    say("{} images in {} ({:.1f} images/s)", count, duration_text(seconds),
        static_cast<double>(count) / std::max(seconds, 1e-9));
}

}  // namespace

void add_predict_command(CLI::App& app, Command& chosen) {
    CLI::App* const command =
        app.add_subcommand("predict", "Predict images; the result is a CSV as ISIC 2018 Task 3 wants it");
    const auto options = std::make_shared<Options>();
    command->add_option("--run", options->run,
                        "Folder of the run whose best weights predict, of an ensemble or of a cross-validation");
    command->add_option("--model", options->model, "Instead of --run: name of the model whose weights --weights gives");
    command->add_option("--weights", options->weights,
                        "Weights (safetensors, torchvision's names); they decide the number of classes");
    command->add_option("--images", options->images, "Image files, and folders with .jpg, .jpeg or .png files")
        ->required();
    command->add_option("--out", options->out, "CSV to write: image, one column per class")->required();
    command->add_flag("--logits", options->logits, "Raw outputs instead of probabilities");
    command->add_option("--features", options->features,
                        "Also write what the classifier's last linear layer reads, the penultimate activations: "
                        "FILE.csv or FILE.safetensors");
    command->add_option("--svm", options->svm,
                        "Classify by the support vector machines of `cutis svm` in place of the model's last layer; "
                        "--logits gives their decision values");
    command->add_option(
        "--size", options->size,
        "Side of the network's input, to which images are scaled; 0: what the run or the weights state");
    command->add_option("--crop", options->crop, "Take the middle of so many pixels without scaling; 0: scale");
    command->add_flag("--keep-aspect", options->keep_aspect,
                      "Scale the longer side, as in `cutis prepare --keep-aspect`");
    command->add_option("--mean", options->mean, "r,g,b; default: what the run or the weights state");
    command->add_option("--std", options->std, "r,g,b; likewise");
    command->add_option("--width", options->width, "Width multiplier of --model")->capture_default_str();
    add_lstm_hidden_option(*command, options->lstm_hidden);
    add_tta_option(*command, options->tta);
    command->add_option("--batch-size", options->batch_size, "Images at once")->capture_default_str();
    command->add_flag("--skip-bad", options->skip_bad, "Leave out damaged images, and list them");
    add_threads_option(*command, options->threads);
    add_device_option(*command, options->device);
    command->footer(examples({"cutis predict --run runs/first --images photos --out predictions.csv",
                              "cutis predict --run runs/first --images a.jpg b.png --out logits.csv --logits",
                              "cutis predict --run runs/ensemble --images photos --out predictions.csv",
                              "cutis predict --run runs/first --images photos --tta crops:9@300 --out predictions.csv",
                              "cutis predict --run runs/first --images photos --out p.csv --features f.safetensors",
                              "cutis predict --run runs/first --svm runs/first/svm.safetensors --images photos --out "
                              "p.csv",
                              "cutis predict --model mobilenet_v2 --weights imagenet.safetensors --images crops --crop "
                              "224 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --logits --out logits.csv"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
