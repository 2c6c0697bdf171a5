#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <memory>
#include <numeric>

#include "engine/files.h"
#include "engine/packed_dataset.h"
#include "tools/combine_members.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/device_choice.h"
#include "tools/evaluation.h"
#include "tools/figure_text.h"
#include "tools/inference.h"
#include "tools/logit_adjust.h"
#include "tools/progress.h"
#include "tools/run_data.h"
#include "tools/run_directory.h"

namespace cutis {
namespace {

struct Options {
    std::string run, data, split = "test", logit_adjust, tta = "none";
    int bootstrap = 1000;
    int batch_size = 32;
    std::string device = "auto";
    int threads = 0;
};

/// What is judged: rows of a data set, and whether the model was trained on lesions among them.
struct Chosen {
    std::vector<int> rows;
    bool leaky = false;
};

Chosen choose(const Run& run, const PackedDataset& data, const std::string& split) {
    Chosen chosen;
    const bool own = data.checksum() == run.facts.data_checksum;
    require(own || split == "all",
            "{}: is not the data set of run {} (checksum {}, the run's is {}), so it has no such split; give the run's "
            "own, or judge all "
            "of this one by --split all",
            data.path().string(), run.folder.string(), data.checksum(), run.facts.data_checksum);
    if (split == "all") {
        // Another data set shares no images that the run could know of; its own were mostly trained on.
        chosen.leaky = own;
        chosen.rows.resize(data.size());
        std::iota(chosen.rows.begin(), chosen.rows.end(), 0);
        require_known_classes(data, run.facts.class_names, run.folder);
        return chosen;
    }
    const Split parts = split_of(run.config, data);
    const SplitPart part = split == "train" ? SplitPart::train : split == "val" ? SplitPart::val : SplitPart::test;
    chosen.rows = parts.part(part);
    chosen.leaky = parts.leaky || part == SplitPart::train;
    require(!chosen.rows.empty(), "run {}: its split has no {} images ({}); choose another --split",
            run.folder.string(), split, parts.description);
    return chosen;
}

Predictions predict(const Run& run, Model& model, const PackedDataset& data, std::span<const int> rows,
                    const Options& options) {
    Progress progress("evaluate", static_cast<std::int64_t>(rows.size()), "images");
    Predictions predictions = predict_dataset(model, data, rows, {run.facts.size, run.facts.mean, run.facts.std},
                                              options.batch_size, &progress, parse_tta(options.tta));
    predictions.class_names = class_names_for(model.classes(), run.facts.class_names);
    progress.finish();
    return predictions;
}

// --logit-adjust: a number, or "val" for the one that the validation part favours.
double tau_for(const Options& options, const Run& run, Model& model, const PackedDataset& data,
               std::span<const double> prior) {
    if (options.logit_adjust != "val") {
        const std::string& text = options.logit_adjust;
        double tau = 0.0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tau);
        if (error != std::errc() || end != text.data() + text.size() || !(std::abs(tau) <= 10.0)) {
            throw Misuse(fmt::format("--logit-adjust {}: a number from -10 to 10, or val, is wanted", text));
        }
        return tau;
    }
    const std::vector<int> val = split_of(run.config, data).val;
    require(!val.empty(), "run {}: its split has no val images to choose tau on; give --logit-adjust a number",
            run.folder.string());
    return choose_tau(predict(run, model, data, val, options), prior);
}

// ---- the readable table

void print_figures(const Evaluation& e) {
    const char* const mark = e.leaky ? "  (leaky)" : "";
    const auto row = [&](std::string_view name, double value, const Interval& interval) {
        say("{:<40}  {}{}", name, figure_text(value, interval), mark);
    };
    say("{:.0f} % intervals from {} resamples of lesions:", 100 * e.intervals.options.level,
        grouped_digits(e.intervals.options.resamples));
    row("accuracy", e.metrics.accuracy, e.intervals.accuracy);
    row("balanced accuracy", e.metrics.balanced_accuracy, e.intervals.balanced_accuracy);
    row("macro F1", e.metrics.macro_f1, e.intervals.macro_f1);
    row("macro AUC", e.metrics.macro_auc, e.intervals.macro_auc);
    row("calibration error (ECE)", e.metrics.ece, e.intervals.ece);
    if (melanoma_class(e.predictions.class_names) >= 0) {
        row("melanoma sensitivity", e.metrics.melanoma_sensitivity, e.intervals.melanoma_sensitivity);
        row("melanoma sensitivity at specificity 0.90", e.metrics.melanoma_sensitivity_at_90,
            e.intervals.melanoma_sensitivity_at_90);
        row("melanoma sensitivity at specificity 0.95", e.metrics.melanoma_sensitivity_at_95,
            e.intervals.melanoma_sensitivity_at_95);
    }
}

std::size_t name_width(const std::vector<std::string>& names) {
    std::size_t width = 5;
    for (const std::string& name : names) {
        width = std::max(width, name.size());
    }
    return width;
}

void print_classes(const Evaluation& e) {
    const std::vector<std::string>& names = e.predictions.class_names;
    const std::size_t width = name_width(names);
    say("\n{:<{}}  {:>7}  {:>11}  {:>11}  {:>9}  {:>5}  {:>5}", "class", width, "images", "sensitivity", "specificity",
        "precision", "F1", "AUC");
    for (std::size_t k = 0; k < names.size(); ++k) {
        const ClassMetrics& c = e.metrics.classes[k];
        say("{:<{}}  {:>7}  {:>11}  {:>11}  {:>9}  {:>5}  {:>5}", names[k], width, grouped_digits(c.support),
            figure_text(c.sensitivity), figure_text(c.specificity), figure_text(c.precision), figure_text(c.f1),
            figure_text(c.auc));
    }
}

void print_confusion(const Evaluation& e) {
    constexpr std::size_t kMostClasses = 20;  // more do not fit a terminal; the JSON has them all
    const std::vector<std::string>& names = e.predictions.class_names;
    if (names.size() > kMostClasses) {
        return;
    }
    const std::size_t width = name_width(names);
    const auto cell = [](const std::string& text) { return fmt::format(" {:>7}", text); };
    std::string text = fmt::format("\n{:<{}} ", "truth", width);
    for (const std::string& name : names) {
        text += cell(name);
    }
    text += "   <- predicted";
    for (std::size_t truth = 0; truth < names.size(); ++truth) {
        text += fmt::format("\n{:<{}} ", names[truth], width);
        for (std::size_t predicted = 0; predicted < names.size(); ++predicted) {
            text += cell(grouped_digits(e.metrics.confusion[truth * names.size() + predicted]));
        }
    }
    say("{}", text);
}

/// Writes an evaluation into the run's folder and prints it.
void write_and_print(const Evaluation& evaluation, const std::filesystem::path& folder, const std::string& suffix) {
    const std::filesystem::path csv = folder / fmt::format("predictions_{}{}.csv", evaluation.split, suffix);
    const std::filesystem::path json = folder / fmt::format("evaluation_{}{}.json", evaluation.split, suffix);
    write_predictions_csv(csv, evaluation.predictions);
    write_file_atomically(json, metrics_to_json(evaluation));
    const Tta tta = parse_tta(evaluation.tta);
    say("{}: {} images of {} lesions{}", evaluation.split,
        grouped_digits(static_cast<std::int64_t>(evaluation.predictions.size())),
        grouped_digits(static_cast<std::int64_t>(evaluation.predictions.lesions())),
        tta.kind == TtaKind::none ? "" : fmt::format(", mean over {} views ({})", view_count(tta), name_of(tta)));
    if (evaluation.leaky) {
        warn("leaky: the model was trained on lesions among these, so no figure says anything about new patients");
    }
    print_figures(evaluation);
    print_classes(evaluation);
    print_confusion(evaluation);
    say("\n{}\n{}", json.string(), csv.string());
}

void run_ensemble(const Options& options) {
    if (options.split != "all" || !options.logit_adjust.empty()) {
        throw Misuse(
            fmt::format("evaluate: {} is an ensemble, which is judged on other data sets by --split all, and "
                        "without --logit-adjust; on its own, by `cutis ensemble`",
                        options.run));
    }
    const Evaluation evaluation = judge_ensemble(
        open_ensemble(options.run), PackedDataset(options.data),
        {.tta = parse_tta(options.tta), .batch_size = options.batch_size, .device = choose_device(options.device)},
        options.bootstrap);
    write_and_print(evaluation, options.run, "");
}

void run(const Options& options) {
    require_within("--bootstrap", options.bootstrap, 1, 100000);
    require_within("--batch-size", options.batch_size, 1, 65536);
    const Tta tta = read_tta(options.tta);
    use_threads(options.threads);
    if (is_ensemble(options.run)) {
        run_ensemble(options);
        return;
    }
    const Run trained = open_run(options.run);
    // A data set that is judged as a whole is taken as it is: it may lack a class that the run held out.
    const PackedDataset data =
        options.split == "all" ? PackedDataset(options.data) : open_data(trained.config, options.data);
    const Chosen chosen = choose(trained, data, options.split);
    const std::unique_ptr<Model> model = load_run_model(trained);
    model->parts().move_to(choose_device(options.device));

    Predictions predictions = predict(trained, *model, data, chosen.rows, options);
    std::string suffix = file_suffix(tta);
    if (!options.logit_adjust.empty()) {
        require(data.checksum() == trained.facts.data_checksum,
                "--logit-adjust: needs the run's own data set, whose training part gives the class shares");
        const std::vector<double> prior = training_prior(trained, data);
        const double tau = tau_for(options, trained, *model, data, prior);
        adjust_logits(predictions, prior, tau);
        suffix += "_adjusted";
        say("logit adjustment with tau {:.2f}{}", tau, options.logit_adjust == "val" ? ", chosen on val" : "");
    }

    Evaluation evaluation =
        judge(options.split, std::move(predictions), chosen.leaky, {.resamples = options.bootstrap});
    evaluation.tta = name_of(tta);
    write_and_print(evaluation, trained.folder, suffix);
}

}  // namespace

void add_evaluate_command(CLI::App& app, Command& chosen) {
    CLI::App* const command =
        app.add_subcommand("evaluate", "Judge a run on a part of its data, or on another data set");
    const auto options = std::make_shared<Options>();
    command->add_option("--run", options->run, "Folder of the run, or of an ensemble")->required();
    command->add_option("--data", options->data, "Packed data set, from `cutis prepare`")->required();
    command
        ->add_option("--split", options->split,
                     "test, val or train of the run's own data; all: every image of any data set of the same classes")
        ->capture_default_str()
        ->check(CLI::IsMember({"test", "val", "train", "all"}));
    command->add_option("--bootstrap", options->bootstrap, "Resamples of the lesions for the intervals")
        ->capture_default_str();
    command->add_option("--logit-adjust", options->logit_adjust,
                        "Tau of a post-hoc logit adjustment by the training part's class shares (0: none, 1: as if all "
                        "classes were equally frequent), or val: the tau that is best there; files end in _adjusted");
    add_tta_option(*command, options->tta);
    command->add_option("--batch-size", options->batch_size, "Images at once")->capture_default_str();
    add_threads_option(*command, options->threads);
    add_device_option(*command, options->device);
    command->footer(examples({"cutis evaluate --run runs/first --data ham10000.cutis",
                              "cutis evaluate --run runs/first --data ham10000.cutis --split val --bootstrap 5000",
                              "cutis evaluate --run runs/first --data ham10000.cutis --tta dihedral",
                              "cutis evaluate --run runs/first --data isic2018_validation.cutis --split all"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
