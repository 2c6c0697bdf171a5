#include "tools/ensemble.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "engine/text.h"
#include "kernels/error.h"
#include "tools/cross_validation.h"
#include "tools/metrics.h"
#include "tools/progress.h"
#include "tools/run_data.h"

namespace cutis {
namespace {

/// Throws Error unless `run` may answer beside `first`.
void require_same_data(const Run& first, const Run& run, const PackedDataset& data) {
    require(run.facts.data_checksum == data.checksum(),
            "{}: was not trained on {} (checksum {}, the member's is {}), so it has no such split; give the data set "
            "that all members were trained on",
            run.folder.string(), data.path().string(), data.checksum(), run.facts.data_checksum);
    require(run.facts.class_names == first.facts.class_names,
            "{}: its classes are {}, those of {} are {}; all members must name the same classes", run.folder.string(),
            fmt::join(run.facts.class_names, ","), first.folder.string(), fmt::join(first.facts.class_names, ","));
}

/// Throws Error naming an image of `judged` that `run` trained on or chose its checkpoint by.
void require_unseen(const Run& run, const Split& split, const std::vector<int>& judged, const PackedDataset& data) {
    std::unordered_set<std::string_view> seen;
    for (const std::vector<int>* part : {&split.train, &split.val}) {
        for (const int i : *part) {
            seen.insert(data.sample(static_cast<std::size_t>(i)).lesion_id);
        }
    }
    for (const int i : judged) {
        const Sample& sample = data.sample(static_cast<std::size_t>(i));
        require(!seen.contains(sample.lesion_id),
                "{}: trained on the lesion of image '{}', which is to be judged, so every figure would be flattered; "
                "train all members on one split (the same --split-file and --fold, or the same --seed)",
                run.folder.string(), printable(sample.image_id));
    }
}

/// The split of all of these runs.
Split common_split(std::span<const Run* const> runs, const PackedDataset& data, SplitPart part) {
    const Run& first = *runs.front();
    require_same_data(first, first, data);
    Split split = split_of(first.config, data);
    require(!split.part(part).empty() && !split.val.empty(),
            "{}: its split has {} val and {} {} images; both are needed ({})", first.folder.string(), split.val.size(),
            split.part(part).size(), name_of(part), split.description);
    for (const Run* const run : runs.subspan(1)) {
        require_same_data(first, *run, data);
        const Split other = split_of(run->config, data);
        if (part == SplitPart::test && !split.leaky && !other.leaky) {
            require_unseen(*run, other, split.test, data);
        }
        require(other.test == split.test && other.val == split.val && other.train == split.train,
                "{}: was trained on another split ({}) than {} ({}); train all members on one", run->folder.string(),
                other.description, first.folder.string(), split.description);
    }
    return split;
}

/// Members' predictions of `rows`, each with the names of the run's classes.
std::vector<Predictions> predict(const MemberNetworks& members, const Run& first, const PackedDataset& data,
                                 const std::vector<int>& rows, const PanelOptions& options, std::string_view title) {
    Progress progress(std::string(title), static_cast<std::int64_t>(rows.size()), "images");
    std::vector<Predictions> predictions =
        predict_dataset(members.networks(), data, rows, options.tta, options.batch_size, &progress);
    for (Predictions& one : predictions) {
        one.class_names = class_names_for(static_cast<int>(one.classes()), first.facts.class_names);
    }
    progress.finish();
    return predictions;
}

/// Member by member what all panels but `left_out` judged.
std::vector<Predictions> out_of_fold(std::span<const Panel> panels, std::size_t left_out) {
    std::vector<Predictions> members(panels.front().judged.size());
    for (std::size_t p = 0; p < panels.size(); ++p) {
        for (std::size_t m = 0; p != left_out && m < members.size(); ++m) {
            append(members[m], panels[p].judged[m], "ensemble");
        }
    }
    return members;
}

std::vector<double> val_accuracies(const Panel& panel) {
    std::vector<double> accuracies;
    for (const Predictions& val : panel.val) {
        accuracies.push_back(compute_metrics(val).accuracy);
    }
    return accuracies;
}

}  // namespace

EnsembleMember open_member(const std::filesystem::path& folder) {
    EnsembleMember member{.folder = folder, .runs = {}, .folds = is_cross_validation(folder)};
    if (!member.folds) {
        member.runs.push_back(open_run(folder));
        return member;
    }
    for (const std::string& name : fold_runs(folder)) {
        member.runs.push_back(open_run(folder / name));
    }
    return member;
}

std::vector<Panel> judge_members(std::span<const EnsembleMember> members, const PackedDataset& data,
                                 const PanelOptions& options) {
    require(!members.empty(), "ensemble: it has no members");
    const EnsembleMember& first = members.front();
    for (const EnsembleMember& member : members) {
        require(member.folds == first.folds && member.runs.size() == first.runs.size(),
                "{} is {}, {} is {}; all members must be runs, or cross-validations of as many folds", first.name(),
                first.folds ? fmt::format("a cross-validation of {} folds", first.runs.size()) : "a run", member.name(),
                member.folds ? fmt::format("one of {} folds", member.runs.size()) : "a run");
    }
    std::vector<Split> splits;  // all are looked at before any network computes
    for (std::size_t f = 0; f < first.runs.size(); ++f) {
        std::vector<const Run*> runs;
        for (const EnsembleMember& member : members) {
            runs.push_back(&member.runs[f]);
        }
        splits.push_back(common_split(runs, data, options.part));
    }
    std::vector<Panel> panels;
    for (std::size_t f = 0; f < splits.size(); ++f) {
        std::vector<EnsembleMember> of_fold;
        for (const EnsembleMember& member : members) {
            of_fold.push_back({.folder = member.folder, .runs = {member.runs[f]}});
        }
        const MemberNetworks networks(of_fold, options.device);
        const Run& run = first.runs[f];
        const std::string of = first.folds ? fmt::format(" of fold {}/{}", f + 1, splits.size()) : "";
        Panel panel{.val = predict(networks, run, data, splits[f].val, options, "val" + of), .judged = {}};
        panel.judged = options.part == SplitPart::val ? panel.val
                                                      : predict(networks, run, data, splits[f].part(options.part),
                                                                options, std::string(name_of(options.part)) + of);
        panels.push_back(std::move(panel));
    }
    return panels;
}

bool any_leaky(std::span<const EnsembleMember> members) {
    return std::any_of(members.begin(), members.end(), [](const EnsembleMember& member) {
        return std::any_of(member.runs.begin(), member.runs.end(), [](const Run& run) { return run.facts.leaky; });
    });
}

Predictions judged_by(std::span<const Panel> panels, std::size_t m) {
    Predictions all;
    for (const Panel& panel : panels) {
        append(all, panel.judged[m], "ensemble");
    }
    return all;
}

double val_balanced_accuracy(std::span<const Panel> panels, std::size_t m) {
    double sum = 0.0;
    for (const Panel& panel : panels) {
        sum += compute_metrics(panel.val[m]).balanced_accuracy;
    }
    return sum / static_cast<double>(panels.size());
}

std::size_t best_member(std::span<const Panel> panels) {
    std::vector<double> figures;
    for (std::size_t m = 0; m < panels.front().val.size(); ++m) {
        figures.push_back(val_balanced_accuracy(panels, m));
    }
    return static_cast<std::size_t>(std::max_element(figures.begin(), figures.end()) - figures.begin());
}

Predictions combine_panels(EnsembleRule rule, std::span<const Panel> panels, double c) {
    Predictions all;
    for (std::size_t p = 0; p < panels.size(); ++p) {
        EnsembleFit fit{.accuracy = val_accuracies(panels[p]), .c = c, .stacking = std::nullopt};
        if (rule == EnsembleRule::stacked) {
            fit.stacking =
                panels.size() == 1 ? fit_stacking(panels[p].val, c) : fit_stacking(out_of_fold(panels, p), c);
        }
        append(all, combine(rule, panels[p].judged, fit), "ensemble");
    }
    return all;
}

EnsembleFit fit_panels(EnsembleRule rule, std::span<const Panel> panels, double c) {
    EnsembleFit fit{.accuracy = std::vector<double>(panels.front().val.size(), 0.0), .c = c, .stacking = std::nullopt};
    for (const Panel& panel : panels) {
        const std::vector<double> accuracies = val_accuracies(panel);
        for (std::size_t m = 0; m < accuracies.size(); ++m) {
            fit.accuracy[m] += accuracies[m] / static_cast<double>(panels.size());
        }
    }
    if (rule == EnsembleRule::stacked) {
        fit.stacking = panels.size() == 1 ? fit_stacking(panels.front().val, c)
                                          : fit_stacking(out_of_fold(panels, panels.size()), c);
    }
    return fit;
}

MemberNetworks::MemberNetworks(std::span<const EnsembleMember> members, Device device) {
    for (const EnsembleMember& member : members) {
        for (const Run& run : member.runs) {
            models_.push_back(load_run_model(run));
            models_.back()->parts().move_to(device);
            networks_.push_back({models_.back().get(), {run.facts.size, run.facts.mean, run.facts.std}});
        }
        runs_.push_back(member.runs.size());
    }
}

std::vector<std::vector<float>> MemberNetworks::by_member(std::vector<std::vector<float>> probabilities) const {
    std::vector<std::vector<float>> members;
    std::size_t next = 0;
    for (const std::size_t runs : runs_) {
        std::vector<float> mean = std::move(probabilities[next]);
        for (std::size_t i = 0; i < mean.size() && runs > 1; ++i) {
            double sum = static_cast<double>(mean[i]);
            for (std::size_t r = 1; r < runs; ++r) {
                sum += static_cast<double>(probabilities[next + r][i]);
            }
            mean[i] = static_cast<float>(sum / static_cast<double>(runs));
        }
        members.push_back(std::move(mean));
        next += runs;
    }
    return members;
}

}  // namespace cutis
