#include <CLI/CLI.hpp>
#include <memory>

#include "tools/combine_members.h"
#include "tools/command_options.h"
#include "tools/device_choice.h"
#include "tools/output_files.h"

// `cutis ensemble` and `cutis compare`: several runs judged on the same images.

namespace cutis {
namespace {

struct Options {
    std::vector<std::string> members;
    std::string data, out, split = "test", rule = "mean", tta = "none", device = "auto";
    double stacking_c = 1.0;
    int bootstrap = 1000, batch_size = 32, threads = 0;
};

void add_common_options(CLI::App& command, Options& options) {
    command.add_option("--data", options.data, "Packed data set that all were trained on")->required();
    command
        .add_option("--split", options.split,
                    "test or val; cross-validations are judged on the folds that each of their runs held out")
        ->capture_default_str()
        ->check(CLI::IsMember({"test", "val"}));
    command.add_option("--bootstrap", options.bootstrap, "Resamples of the lesions for the intervals")
        ->capture_default_str();
    add_tta_option(command, options.tta);
    command.add_option("--batch-size", options.batch_size, "Images at once")->capture_default_str();
    add_threads_option(command, options.threads);
    add_device_option(command, options.device);
}

PanelOptions panel_options(const Options& options) {
    require_within("--bootstrap", options.bootstrap, 1, 100000);
    require_within("--batch-size", options.batch_size, 1, 65536);
    const Tta tta = read_tta(options.tta);
    use_threads(options.threads);
    return {.part = options.split == "val" ? SplitPart::val : SplitPart::test,
            .tta = tta,
            .batch_size = options.batch_size,
            .device = choose_device(options.device)};
}

std::vector<EnsembleRule> rules_named(const std::string& name) {
    if (name != "all") {
        try {
            return {ensemble_rule(name)};
        } catch (const Error& error) {
            throw Misuse(fmt::format("--rule: {}, and all", error.what()));
        }
    }
    const auto all = ensemble_rules();
    return {all.begin(), all.end()};
}

void combine(const Options& options) {
    CombineOptions combine{.members = {options.members.begin(), options.members.end()},
                           .data = options.data,
                           .out = options.out,
                           .rules = rules_named(options.rule),
                           .panel = panel_options(options),
                           .c = options.stacking_c,
                           .resamples = options.bootstrap};
    if (!(options.stacking_c > 0)) {
        throw Misuse(fmt::format("--stacking-c is {}; a number above 0 is wanted", options.stacking_c));
    }
    combine_members(combine);
}

void compare(const Options& options) {
    require_distinct_files({{"--out", options.out}}, {{"--data", options.data}});
    compare_members(open_member(options.members[0]), open_member(options.members[1]), options.data,
                    panel_options(options), options.bootstrap, options.out);
}

}  // namespace

void add_ensemble_command(CLI::App& app, Command& chosen) {
    CLI::App* const command = app.add_subcommand("ensemble", "Combine runs into one answer, and judge it");
    const auto options = std::make_shared<Options>();
    command
        ->add_option("--members", options->members,
                     "Folders of runs on one split, or of cross-validations on the same folds")
        ->required();
    command
        ->add_option("--rule", options->rule,
                     "mean, product, vote, max, weighted (by validation accuracy and confidence), stacked (logistic "
                     "regression on images that no member trained on), or all: every rule side by side, mean is kept")
        ->capture_default_str();
    command->add_option("--out", options->out, "Folder of the ensemble, which `cutis predict --run` takes")->required();
    command
        ->add_option("--stacking-c", options->stacking_c,
                     "Inverse strength of the penalty on the weights of `stacked`, as C of scikit-learn")
        ->capture_default_str();
    add_common_options(*command, *options);
    command->footer(examples(
        {"cutis ensemble --members runs/googlenet runs/alexnet runs/resnet50 --rule weighted --data ham10000.cutis "
         "--out runs/ensemble",
         "cutis ensemble --members runs/a runs/b --rule all --tta dihedral --data ham10000.cutis --out runs/pair",
         "cutis predict --run runs/ensemble --images photos --out predictions.csv",
         "cutis summary --ensemble runs/ensemble --format mermaid"}));
    command->callback([=, &chosen] { chosen = [options] { combine(*options); }; });
}

void add_compare_command(CLI::App& app, Command& chosen) {
    CLI::App* const command =
        app.add_subcommand("compare", "By how much one run is better than another, on the same images");
    const auto options = std::make_shared<Options>();
    command->add_option("--runs", options->members, "Two runs on one split, or two cross-validations on the same folds")
        ->required()
        ->expected(2);
    command->add_option("--out", options->out, "JSON file with the differences");
    add_common_options(*command, *options);
    command->footer(
        examples({"cutis compare --runs runs/mobilenet_v2 runs/mobilenet_v2_lstm49 --data ham10000.cutis",
                  "cutis compare --runs runs/folds_a runs/folds_b --data ham10000.cutis --out difference.json"}));
    command->callback([=, &chosen] { chosen = [options] { compare(*options); }; });
}

}  // namespace cutis
