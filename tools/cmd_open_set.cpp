#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/csv.h"
#include "engine/files.h"
#include "engine/packed_dataset.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/device_choice.h"
#include "tools/figure_text.h"
#include "tools/open_set.h"
#include "tools/run_data.h"
#include "tools/run_directory.h"

namespace cutis {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
    std::string run, data, keep = "0.8,0.9,0.95,0.99", device = "auto";
    int bootstrap = 1000;
    int batch_size = 32, threads = 0;
};

/// A way to score, with its values on val and on the images that are judged.
struct Score {
    const char* name;
    const char* heading;
    std::vector<double> val, judged;
};

/// The images of the known classes in test, then those of the held-out class.
OpenSetImages judged_images(const LabelledFeatures& images) {
    const auto classes = static_cast<std::size_t>(images.classes);
    OpenSetImages judged{images.classes, images.lesion_ids, images.labels, {}, {}};
    for (std::size_t i = 0; i < images.size(); ++i) {
        const auto row = std::span(images.probabilities).subspan(i * classes, classes);
        judged.predicted.push_back(static_cast<int>(std::max_element(row.begin(), row.end()) - row.begin()));
    }
    return judged;
}

Json to_json(const std::vector<OpenSetResult>& results) {
    const OpenSetResult& any = results.front();
    Json json{{"auroc", figure_json(any.figures.auroc, any.intervals.auroc)},
              {"fpr_at_95_tpr", figure_json(any.figures.fpr_at_95_tpr, any.intervals.fpr_at_95_tpr)},
              {"thresholds", Json::array()}};
    for (const OpenSetResult& r : results) {
        json["thresholds"].push_back(
            {{"val_kept", r.threshold.share},
             {"threshold", r.threshold.value},
             {"known_kept", figure_json(r.figures.known_kept, r.intervals.known_kept)},
             {"unknown_kept", figure_json(r.figures.unknown_kept, r.intervals.unknown_kept)},
             {"balanced_accuracy", figure_json(r.figures.balanced_accuracy, r.intervals.balanced_accuracy)}});
    }
    return json;
}

void print(const Score& score, const std::vector<OpenSetResult>& results) {
    const OpenSetResult& any = results.front();
    say("\n{}: AUROC {}, unknown kept where 95 % of the known are {}", score.heading,
        figure_text(any.figures.auroc, any.intervals.auroc),
        figure_text(any.figures.fpr_at_95_tpr, any.intervals.fpr_at_95_tpr));
    say("{:>8}  {:>12}  {:>22}  {:>22}  {:>22}", "val kept", "threshold", "known kept", "unknown kept",
        "balanced accuracy");
    for (const OpenSetResult& r : results) {
        say("{:>8}  {:>12.5g}  {:>22}  {:>22}  {:>22}", r.threshold.share, r.threshold.value,
            figure_text(r.figures.known_kept, r.intervals.known_kept),
            figure_text(r.figures.unknown_kept, r.intervals.unknown_kept),
            figure_text(r.figures.balanced_accuracy, r.intervals.balanced_accuracy));
    }
}

/// image,lesion,label,predicted and a column per score.
void write_scores(const std::filesystem::path& path, const std::vector<std::string>& names,
                  const LabelledFeatures& images, const OpenSetImages& judged, const std::vector<Score>& scores) {
    AtomicFile file(path);
    std::string line = "image,lesion,label,predicted";
    for (const Score& score : scores) {
        line += fmt::format(",{}", score.name);
    }
    file.write(line + "\n");
    for (std::size_t i = 0; i < images.size(); ++i) {
        line = csv_field(images.features.image_ids[i]) + "," + csv_field(images.lesion_ids[i]) + "," +
               csv_field(names[static_cast<std::size_t>(images.labels[i])]) + "," +
               csv_field(names[static_cast<std::size_t>(judged.predicted[i])]);
        for (const Score& score : scores) {
            line += fmt::format(",{}", score.judged[i]);
        }
        file.write(line + "\n");
    }
    file.commit();
}

void run(const Options& options) {
    require_within("--bootstrap", options.bootstrap, 1, 100000);
    require_within("--batch-size", options.batch_size, 1, 65536);
    const std::vector<double> keep = number_list(
        "--keep", options.keep, [](double share) { return share > 0 && share <= 1; },
        "shares above 0 and up to 1 are wanted, like 0.9,0.95");
    use_threads(options.threads);
    const Run trained = open_run(options.run);
    require(!trained.config.hold_out_class.empty(),
            "run {}: knows every class of its data, so none is unknown to it; train one with --hold-out-class",
            options.run);
    const PackedDataset data = open_data(trained.config, options.data);
    require_own_data(trained, data);
    const Split split = split_of(trained.config, data);
    require(!split.val.empty() && !split.test.empty() && !split.held_out.empty(),
            "run {}: needs val images for the threshold and test images of known and of held-out classes ({}); train "
            "it with another split",
            options.run, split.description);
    const std::unique_ptr<Model> model = load_run_model(trained);
    model->parts().move_to(choose_device(options.device));
    require(model->classes() == static_cast<int>(data.class_names().size()) - 1,
            "run {}: has {} outputs for {} known classes; train it without --classes", options.run, model->classes(),
            data.class_names().size() - 1);

    const auto features = [&](const std::vector<int>& rows, std::string_view name) {
        return dataset_features(trained, *model, data, rows, options.batch_size, name);
    };
    std::vector<int> rows = split.test;
    rows.insert(rows.end(), split.held_out.begin(), split.held_out.end());
    const LabelledFeatures val = features(split.val, "val"), judged = features(rows, "test and held-out");
    const Mahalanobis mahalanobis(features(split.train, "train"));
    const std::vector<Score> scores{
        {"max_softmax", "largest softmax probability", max_softmax_scores(val), max_softmax_scores(judged)},
        {"mahalanobis", "Mahalanobis distance", mahalanobis.scores(val.features.values),
         mahalanobis.scores(judged.features.values)}};

    OpenSetImages images = judged_images(judged);
    Json json{{"held_out_class", data.class_names().back()},
              {"leaky", split.leaky},
              {"known_images", split.test.size()},
              {"held_out_images", split.held_out.size()},
              {"val_images", split.val.size()},
              {"covariance_shrinkage", mahalanobis.shrinkage()}};
    say("class {}, held out: {} images, beside {} of known classes in test; covariance shrunk by {:.3f}",
        data.class_names().back(), split.held_out.size(), split.test.size(), mahalanobis.shrinkage());
    if (split.leaky) {
        warn("leaky: lesions are shared between training and test, so no figure says anything about new patients");
    }
    for (const Score& score : scores) {
        images.scores = score.judged;
        std::vector<OpenSetThreshold> thresholds;
        for (const double share : keep) {
            thresholds.push_back({share, threshold_keeping(score.val, share)});
        }
        const std::vector<OpenSetResult> results = judge_open_set(images, thresholds, {.resamples = options.bootstrap});
        if (&score == &scores.front()) {
            const OpenSetResult& any = results.front();
            json["known_balanced_accuracy"] =
                figure_json(any.figures.known_balanced_accuracy, any.intervals.known_balanced_accuracy);
            say("balanced accuracy of the known classes without a threshold: {}",
                figure_text(any.figures.known_balanced_accuracy, any.intervals.known_balanced_accuracy));
        }
        json[score.name] = to_json(results);
        print(score, results);
    }
    json["bootstrap"] = {{"unit", "lesion"}, {"level", 0.95}, {"resamples", options.bootstrap}};
    const std::filesystem::path csv = trained.file("open_set.csv"), figures = trained.file("evaluation_open_set.json");
    write_scores(csv, data.class_names(), judged, images, scores);
    write_file_atomically(figures, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    say("\n{}\n{}", figures.string(), csv.string());
}

}  // namespace

void add_open_set_command(CLI::App& app, Command& chosen) {
    CLI::App* const command = app.add_subcommand(
        "open-set", "Judge whether a run tells a class that it has never seen from those that it knows");
    const auto options = std::make_shared<Options>();
    command->add_option("--run", options->run, "Folder of a run that was trained with --hold-out-class")->required();
    command->add_option("--data", options->data, "The run's packed data set")->required();
    command
        ->add_option("--keep", options->keep,
                     "Shares of the known val images that a threshold keeps; each gives one threshold")
        ->capture_default_str();
    command->add_option("--bootstrap", options->bootstrap, "Resamples of the lesions for the intervals")
        ->capture_default_str();
    command->add_option("--batch-size", options->batch_size, "Images at once")->capture_default_str();
    add_threads_option(*command, options->threads);
    add_device_option(*command, options->device);
    command->footer(
        examples({"cutis train --data ham10000.cutis --init W.safetensors --hold-out-class df --out "
                  "runs/without_df",
                  "cutis open-set --run runs/without_df --data ham10000.cutis",
                  "cutis open-set --run runs/without_df --data ham10000.cutis --keep 0.95"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
