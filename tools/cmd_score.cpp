#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>

#include "engine/files.h"
#include "engine/text.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/figure_text.h"
#include "tools/isic_scorer.h"
#include "tools/output_files.h"

namespace cutis {
namespace {

struct Options {
    std::string truth, predictions, json, metric = "balanced_accuracy";
};

constexpr int kDigits = 4;
constexpr std::size_t kWidth = 6;  // of a figure

void print_row(std::string_view name, std::size_t width, const IsicFigures& values) {
    std::string line = fmt::format("{:<{}}", printable(name), width);
    for (const IsicFigure& column : kIsicFigures) {
        line +=
            fmt::format("  {:>{}}", figure_text(values.*column.value, kDigits), std::max(kWidth, column.name.size()));
    }
    say("{}", line);
}

void print_score(const IsicTruth& truth, const IsicScore& score) {
    std::size_t width = std::string_view("macro_average").size();
    for (const std::string& name : truth.class_names) {
        width = std::max(width, name.size());
    }
    std::string header = fmt::format("{:<{}}", "class", width);
    for (const IsicFigure& column : kIsicFigures) {
        header += fmt::format("  {:>{}}", column.name, kWidth);
    }
    say("overall            {}", figure_text(score.overall, kDigits));
    say("validation         {}", figure_text(score.validation, kDigits));
    say("balanced accuracy  {}", figure_text(score.balanced_accuracy, kDigits));
    say("\n{}", header);
    for (std::size_t k = 0; k < truth.classes(); ++k) {
        print_row(truth.class_names[k], width, score.per_category[k]);
    }
    print_row("macro_average", width, score.macro_average);
}

void run(const Options& options) {
    require_distinct_files({{"--json", options.json}},
                           {{"--truth", options.truth}, {"--predictions", options.predictions}});
    const IsicTruth truth = read_isic_truth(options.truth);
    const std::vector<double> predictions = read_isic_predictions(options.predictions, truth);
    const IsicScore score = isic_score(truth, predictions, isic_metric_named(options.metric));
    if (!options.json.empty()) {
        write_file_atomically(options.json, isic_score_to_json(truth, score));
    }
    for (std::size_t k = 0; k < truth.classes(); ++k) {
        if (std::isnan(score.per_category[k].auc)) {
            warn(
                "{}: the images that count are all of class {} or all of others, so its AUC is undefined and no part "
                "of the averages (the challenge's own program fails here)",
                options.truth, printable(truth.class_names[k]));
        }
    }
    print_score(truth, score);
    if (!options.json.empty()) {
        say("\n{}", options.json);
    }
}

}  // namespace

void add_score_command(CLI::App& app, Command& chosen) {
    CLI::App* const command =
        app.add_subcommand("score", "Score a CSV of predictions as the ISIC challenges do (2018 Task 3 and later)");
    const auto options = std::make_shared<Options>();
    command
        ->add_option("--truth", options->truth,
                     "Ground truth: image, a column of 0 and 1 per class, and perhaps score_weight, validation_weight")
        ->required();
    command
        ->add_option("--predictions", options->predictions,
                     "Predictions: image, a column per class with numbers from 0 to 1, as `cutis predict` writes them")
        ->required();
    command->add_option("--metric", options->metric, "The figure that ranks: balanced_accuracy, auc or ap")
        ->capture_default_str()
        ->check(CLI::IsMember({"balanced_accuracy", "auc", "ap"}));
    command->add_option("--json", options->json, "File for the figures, in the challenge's own JSON");
    command->footer(examples({"cutis score --truth ISIC2018_Task3_Test_GroundTruth.csv --predictions predictions.csv",
                              "cutis score --truth ISIC_2019_Test_GroundTruth.csv --predictions p.csv --json "
                              "score.json",
                              "cutis score --truth ISIC_2020_GroundTruth.csv --predictions p.csv --metric auc"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
