#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>

#include "engine/files.h"
#include "engine/packed_dataset.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/device_choice.h"
#include "tools/evaluation.h"
#include "tools/features.h"
#include "tools/figure_text.h"
#include "tools/linear_svm.h"
#include "tools/output_files.h"
#include "tools/run_data.h"
#include "tools/run_directory.h"

namespace cutis {
namespace {

struct Options {
    std::string run, data, out, c = "0.00001,0.0001,0.001,0.01,0.1,1", device = "auto";
    int bootstrap = 1000;
    int batch_size = 32, threads = 0;
};

Predictions predictions_of(const LinearSvm& svm, const LabelledFeatures& images) {
    return {.class_names = svm.class_names,
            .image_ids = images.features.image_ids,
            .lesion_ids = images.lesion_ids,
            .labels = images.labels,
            .probabilities = svm.probabilities(images.features.values)};
}

/// The machine of the C with the best balanced accuracy on val, the smallest of equals.
LinearSvm choose(const LabelledFeatures& train, const LabelledFeatures& val, const std::vector<std::string>& names,
                 const std::vector<double>& c_values, std::uint64_t seed) {
    LinearSvm best;
    double best_score = -1.0;
    for (const double c : c_values) {
        const SvmOptions options{.c = c, .seed = seed};
        LinearSvm svm = train_svm(train.features.values, train.labels, names, options);
        for (const int k : svm.unfinished) {
            warn("C {}: {} passes were too few for class {}, whose machine is not quite the best", c, options.passes,
                 names[static_cast<std::size_t>(k)]);
        }
        const Metrics metrics = compute_metrics(predictions_of(svm, val));
        say("C {:<8}  val balanced accuracy {:.4f}, accuracy {:.4f}", c, metrics.balanced_accuracy, metrics.accuracy);
        if (metrics.balanced_accuracy > best_score) {
            best_score = metrics.balanced_accuracy;
            best = std::move(svm);
        }
    }
    best.slope = fitted_slope(best, val.features.values, val.labels);
    return best;
}

void report(const Run& run, const LinearSvm& svm, const std::string& part, const LabelledFeatures& images, bool leaky,
            int resamples) {
    const Evaluation evaluation = judge(part, predictions_of(svm, images), leaky, {.resamples = resamples});
    const std::filesystem::path json = run.folder / fmt::format("evaluation_{}_svm.json", part);
    write_predictions_csv(run.folder / fmt::format("predictions_{}_svm.csv", part), evaluation.predictions);
    write_file_atomically(json, metrics_to_json(evaluation));
    say("{}: {}{}; {}", part, headline_text(evaluation), leaky ? " (leaky split)" : "", json.string());
}

void run(const Options& options) {
    require_within("--bootstrap", options.bootstrap, 1, 100000);
    require_within("--batch-size", options.batch_size, 1, 65536);
    std::vector<double> c_values = number_list(
        "--c", options.c, [](double c) { return c >= 1e-12 && c <= 1e12; },
        "numbers from 1e-12 to 1e12 are wanted, like 0.001,0.01");
    std::sort(c_values.begin(), c_values.end());
    use_threads(options.threads);
    const Run trained = open_run(options.run);
    require_distinct_files({{"--out", options.out}}, {{"--run", run_weights_file(trained)}, {"--data", options.data}});
    const PackedDataset data = open_data(trained.config, options.data);
    require_own_data(trained, data);
    const Split split = split_of(trained.config, data);
    require(!split.val.empty(), "run {}: its split has no val images to choose C on ({}); train it with another split",
            options.run, split.description);
    const std::unique_ptr<Model> model = load_run_model(trained);
    model->parts().move_to(choose_device(options.device));

    const auto features = [&](const std::vector<int>& rows, std::string_view name) {
        return dataset_features(trained, *model, data, rows, options.batch_size, name);
    };
    const LabelledFeatures train = features(split.train, "train"), val = features(split.val, "val");
    say("{} features of {} training images", train.features.dimension,
        grouped_digits(static_cast<std::int64_t>(train.size())));
    const LinearSvm svm = choose(train, val, trained.facts.class_names, c_values, trained.config.seed);
    say("chosen: C {}, slope of the probabilities {:.3f}", svm.c, svm.slope);
    if (svm.c == c_values.back() && c_values.size() > 1) {
        say("note: the best C is the largest that was tried; --c may try larger ones");
    }

    const std::filesystem::path out =
        options.out.empty() ? trained.file("svm.safetensors") : std::filesystem::path(options.out);
    save_svm(out, svm, {{"model", trained.config.model}, {"data_checksum", data.checksum()}});
    report(trained, svm, "val", val, split.leaky, options.bootstrap);
    if (!split.test.empty()) {
        report(trained, svm, "test", features(split.test, "test"), split.leaky, options.bootstrap);
    }
    say("{}", out.string());
}

}  // namespace

void add_svm_command(CLI::App& app, Command& chosen) {
    CLI::App* const command = app.add_subcommand(
        "svm", "Train linear support vector machines on a run's features, in place of its last layer");
    const auto options = std::make_shared<Options>();
    command->add_option("--run", options->run, "Folder of the run whose model gives the features")->required();
    command->add_option("--data", options->data, "The run's packed data set")->required();
    command->add_option("--c", options->c, "Prices of a misplaced image to choose from, by balanced accuracy on val")
        ->capture_default_str();
    command->add_option("--out", options->out, "File for the machines; default: svm.safetensors in the run's folder");
    command->add_option("--bootstrap", options->bootstrap, "Resamples of the lesions for the intervals")
        ->capture_default_str();
    command->add_option("--batch-size", options->batch_size, "Images at once")->capture_default_str();
    add_threads_option(*command, options->threads);
    add_device_option(*command, options->device);
    command->footer(examples({"cutis svm --run runs/first --data ham10000.cutis",
                              "cutis svm --run runs/first --data ham10000.cutis --c 0.0003,0.001,0.003",
                              "cutis predict --run runs/first --svm runs/first/svm.safetensors --images photos --out "
                              "predictions.csv"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
