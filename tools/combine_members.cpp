#include "tools/combine_members.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "engine/files.h"
#include "kernels/error.h"
#include "tools/console.h"
#include "tools/cross_validation.h"
#include "tools/evaluation.h"
#include "tools/figure_text.h"
#include "tools/output_files.h"
#include "tools/progress.h"
#include "tools/run_data.h"

namespace cutis {
namespace {

using Json = nlohmann::ordered_json;

Json figures(const Metrics& m) {
    return {{"accuracy", m.accuracy},
            {"balanced_accuracy", m.balanced_accuracy},
            {"macro_f1", m.macro_f1},
            {"macro_auc", m.macro_auc},
            {"ece", m.ece}};
}

Json to_json(const Difference& difference) {
    return figure_json(difference.value, difference.interval);
}

Json to_json(const PairedDifferences& d) {
    return {{"accuracy", to_json(d.accuracy)},
            {"balanced_accuracy", to_json(d.balanced_accuracy)},
            {"macro_f1", to_json(d.macro_f1)},
            {"macro_auc", to_json(d.macro_auc)}};
}

Json bootstrap_of(const PairedDifferences& d) {
    return {{"unit", "lesion"},         {"paired", true},
            {"level", d.options.level}, {"resamples", d.options.resamples},
            {"seed", d.options.seed},   {"lesions", d.lesions}};
}

std::string text_of(const Json& json) {
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// "test" or "val", "oof" where every image was held out of some run.
std::string part_name(const std::vector<EnsembleMember>& members, SplitPart part) {
    return members.front().folds && part == SplitPart::test ? "oof" : std::string(name_of(part));
}

/// A line of the table: a name, figures, whether they count.
void print_row(std::size_t width, std::string_view name, const std::string& val, const Metrics& m, bool leaky) {
    say("{:<{}}  {:>7}  {:>8}  {:>17}  {:>8}  {:>9}{}", name, width, val, figure_text(m.accuracy),
        figure_text(m.balanced_accuracy), figure_text(m.macro_f1), figure_text(m.macro_auc), leaky ? "  (leaky)" : "");
}

void print_head(std::size_t width, std::string_view what) {
    say("{:<{}}  {:>7}  {:>8}  {:>17}  {:>8}  {:>9}", what, width, "val BA", "accuracy", "balanced accuracy",
        "macro F1", "macro AUC");
}

std::string count_text(const Predictions& predictions) {
    return fmt::format("{} images of {} lesions", grouped_digits(static_cast<std::int64_t>(predictions.size())),
                       grouped_digits(static_cast<std::int64_t>(predictions.lesions())));
}

std::string tta_text(const Tta& tta) {
    return tta.kind == TtaKind::none ? "" : fmt::format(", mean over {} views ({})", view_count(tta), name_of(tta));
}

}  // namespace

void combine_members(const CombineOptions& options) {
    Ensemble ensemble{.folder = options.out, .rule = options.rules.front(), .tta = options.panel.tta};
    std::error_code ignored;
    require(
        !std::filesystem::exists(options.out / "config.json", ignored) && !is_cross_validation(options.out),
        "--out {}: holds a run or a cross-validation, whose predictions would be overwritten; choose another folder",
        options.out.string());
    make_out_folder(options.out);  // before the work, so that a wrong place costs no time
    std::size_t width = 6;
    for (auto folder = options.members.begin(); folder != options.members.end(); ++folder) {
        const auto twin = std::find_if(options.members.begin(), folder, [&](const std::filesystem::path& earlier) {
            return std::filesystem::equivalent(earlier, *folder, ignored);
        });
        require(twin == folder, "--members {}: stands there twice; a member has one voice", folder->string());
        ensemble.members.push_back(open_member(*folder));
        width = std::max(width, ensemble.members.back().name().size() + 2);
    }
    const PackedDataset data = open_data(ensemble.members.front().runs.front().config, options.data);
    const std::vector<Panel> panels = judge_members(ensemble.members, data, options.panel);
    const bool leaky = any_leaky(ensemble.members);
    const std::string part = part_name(ensemble.members, options.panel.part);
    const std::size_t best = best_member(panels);
    const Predictions best_predictions = judged_by(panels, best);

    say("{}: {}{}", part, count_text(best_predictions), tta_text(options.panel.tta));
    if (leaky) {
        warn("leaky: members were trained on lesions among these, so no figure says anything about new patients");
    }
    if (options.panel.part == SplitPart::val) {
        warn("val: these images chose the members' checkpoints and the rules' weights, which flatters every figure");
    }
    Json json{{"split", part},
              {"tta", name_of(options.panel.tta)},
              {"leaky", leaky},
              {"images", best_predictions.size()},
              {"best_member", ensemble.members[best].name()},
              {"members", Json::array()},
              {"rules", Json::array()}};
    print_head(width, "member");
    for (std::size_t m = 0; m < ensemble.members.size(); ++m) {
        const std::string name = ensemble.members[m].name();
        const double val = val_balanced_accuracy(panels, m);
        const Metrics metrics = compute_metrics(judged_by(panels, m));
        print_row(width, name + (m == best ? " *" : ""), figure_text(val), metrics, leaky);
        Json entry{
            {"path", name}, {"model", ensemble.members[m].runs.front().config.model}, {"val_balanced_accuracy", val}};
        entry.update(figures(metrics));
        json["members"].push_back(std::move(entry));
    }
    say("(* best on validation images)\n");

    print_head(width, "rule");
    std::vector<std::pair<EnsembleRule, PairedDifferences>> gains;
    Predictions kept;
    for (const EnsembleRule rule : options.rules) {
        Predictions combined = combine_panels(rule, panels, options.c);
        const Metrics metrics = compute_metrics(combined);
        print_row(width, name_of(rule), "", metrics, leaky);
        gains.emplace_back(rule, paired_differences(best_predictions, combined, {.resamples = options.resamples}));
        Json entry{{"rule", name_of(rule)}};
        entry.update(figures(metrics));
        entry["gain_over_best_member"] = to_json(gains.back().second);
        json["rules"].push_back(std::move(entry));
        if (rule == ensemble.rule) {
            kept = std::move(combined);
        }
    }
    say("\ngain over {}, {:.0f} % intervals from {} paired resamples of lesions", ensemble.members[best].name(),
        100 * gains.front().second.options.level, grouped_digits(options.resamples));
    say("{:<8}  {:<24}  {:<24}  {}", "rule", "accuracy", "balanced accuracy", "macro F1");
    for (const auto& [rule, gain] : gains) {
        say("{:<8}  {:<24}  {:<24}  {}", name_of(rule), figure_text(gain.accuracy), figure_text(gain.balanced_accuracy),
            figure_text(gain.macro_f1));
    }
    json["bootstrap"] = bootstrap_of(gains.front().second);

    ensemble.fit = fit_panels(ensemble.rule, panels, options.c);
    ensemble.class_names = ensemble.members.front().runs.front().facts.class_names;
    ensemble.data_checksum = data.checksum();
    if (ensemble.tta.kind == TtaKind::crops && ensemble.tta.side == 0) {
        ensemble.tta.side = data.image_size();  // so that other images are looked at alike
    }
    Evaluation evaluation = judge(part, std::move(kept), leaky, {.resamples = options.resamples});
    evaluation.tta = name_of(options.panel.tta);
    write_predictions_csv(options.out / fmt::format("predictions_{}.csv", part), evaluation.predictions);
    write_file_atomically(options.out / fmt::format("evaluation_{}.json", part), metrics_to_json(evaluation));
    write_file_atomically(options.out / fmt::format("comparison_{}.json", part), text_of(json));
    save_ensemble(ensemble);  // last: it says that all is there
    say("\n{}", (options.out / "ensemble.json").string());
}

Evaluation judge_ensemble(const Ensemble& ensemble, const PackedDataset& data, const PanelOptions& options,
                          int resamples) {
    require(data.checksum() != ensemble.data_checksum,
            "{}: the members of {} were trained on it; `cutis ensemble` judges them on its test part",
            data.path().string(), ensemble.folder.string());
    require_known_classes(data, ensemble.class_names, ensemble.folder);
    std::vector<int> rows(data.size());
    std::iota(rows.begin(), rows.end(), 0);
    const Tta tta = options.tta.kind == TtaKind::none ? ensemble.tta : options.tta;
    const MemberNetworks members(ensemble.members, options.device);
    Progress progress("evaluate", static_cast<std::int64_t>(rows.size()), "images");
    std::vector<Predictions> said = predict_dataset(members.networks(), data, rows, tta, options.batch_size, &progress);
    progress.finish();
    Predictions predictions = said.front();
    std::vector<std::vector<float>> probabilities;
    for (Predictions& one : said) {
        probabilities.push_back(std::move(one.probabilities));
    }
    predictions.class_names = ensemble.class_names;
    predictions.probabilities =
        combine(ensemble.rule, members.by_member(std::move(probabilities)), ensemble.class_names.size(), ensemble.fit);
    Evaluation evaluation = judge("all", std::move(predictions), false, {.resamples = resamples});
    evaluation.tta = name_of(tta);
    return evaluation;
}

void compare_members(const EnsembleMember& first, const EnsembleMember& second, const std::filesystem::path& data,
                     const PanelOptions& options, int resamples, const std::filesystem::path& out) {
    const std::vector<EnsembleMember> members{first, second};
    const PackedDataset packed = open_data(first.runs.front().config, data);
    const std::vector<Panel> panels = judge_members(members, packed, options);
    const bool leaky = any_leaky(members);
    const Predictions of_first = judged_by(panels, 0), of_second = judged_by(panels, 1);
    const PairedDifferences d = paired_differences(of_first, of_second, {.resamples = resamples});
    const Metrics metrics[] = {compute_metrics(of_first), compute_metrics(of_second)};
    const std::string part = part_name(members, options.part);

    say("{}: {}{}", part, count_text(of_first), tta_text(options.tta));
    if (leaky) {
        warn("leaky: a run was trained on lesions among these, so no figure says anything about new patients");
    }
    const std::size_t width = std::max({std::size_t{3}, first.name().size(), second.name().size()});
    print_head(width, "run");
    for (std::size_t m = 0; m < 2; ++m) {
        print_row(width, members[m].name(), figure_text(val_balanced_accuracy(panels, m)), metrics[m], leaky);
    }
    say("\n{} minus {}, {:.0f} % intervals from {} paired resamples of lesions:", second.name(), first.name(),
        100 * d.options.level, grouped_digits(resamples));
    const std::pair<const char*, const Difference*> rows[] = {{"accuracy", &d.accuracy},
                                                              {"balanced accuracy", &d.balanced_accuracy},
                                                              {"macro F1", &d.macro_f1},
                                                              {"macro AUC", &d.macro_auc}};
    for (const auto& [name, difference] : rows) {
        const Interval& i = difference->interval;
        const bool told_apart = i.low > 0 || i.high < 0;
        say("{:<20}  {}{}", name, figure_text(*difference), told_apart ? "" : "  may be chance");
    }
    if (!out.empty()) {
        Json json{{"split", part},
                  {"tta", name_of(options.tta)},
                  {"leaky", leaky},
                  {"images", of_first.size()},
                  {"runs", Json::array()}};
        for (std::size_t m = 0; m < 2; ++m) {
            Json entry{{"path", members[m].name()}};
            entry.update(figures(metrics[m]));
            json["runs"].push_back(std::move(entry));
        }
        json["difference"] = to_json(d);
        json["bootstrap"] = bootstrap_of(d);
        write_file_atomically(out, text_of(json));
        say("\n{}", out.string());
    }
}

std::string ensemble_mermaid(const Ensemble& ensemble) {
    std::string text = "flowchart LR\n  image[\"image\"]\n";
    const std::string views = ensemble.tta.kind == TtaKind::none
                                  ? ""
                                  : fmt::format("<br/>{} views ({})", view_count(ensemble.tta), name_of(ensemble.tta));
    for (std::size_t m = 0; m < ensemble.members.size(); ++m) {
        const EnsembleMember& member = ensemble.members[m];
        const Run& run = member.runs.front();
        const std::string weight = ensemble.rule == EnsembleRule::weighted
                                       ? fmt::format("<br/>accuracy {:.3f} x confidence", ensemble.fit.accuracy[m])
                                       : "";
        text += fmt::format("  image --> m{}[\"{}{}<br/>{} x {} x 3{}<br/>{} parameters\"]\n", m, run.config.model,
                            member.folds ? fmt::format(", mean of {} folds", member.runs.size()) : "", run.facts.size,
                            run.facts.size, views, grouped_digits(run.facts.parameters));
        text += fmt::format("  m{} -->|\"{} probabilities{}\"| rule\n", m, ensemble.class_names.size(), weight);
    }
    text += fmt::format("  rule([\"{}\"]) --> answer[\"{} probabilities\"]", name_of(ensemble.rule),
                        ensemble.class_names.size());
    return text;
}

}  // namespace cutis
