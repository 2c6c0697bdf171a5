#include "tools/train_plan.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "engine/csv.h"
#include "engine/files.h"
#include "engine/json.h"
#include "engine/packed_dataset.h"
#include "engine/safetensors.h"
#include "engine/split.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "kernels/parallel.h"
#include "models/model.h"
#include "tools/combine_members.h"
#include "tools/console.h"
#include "tools/cross_validation.h"
#include "tools/device_choice.h"
#include "tools/json_file.h"
#include "tools/output_files.h"
#include "tools/run_data.h"
#include "tools/run_directory.h"
#include "tools/run_report.h"
#include "tools/signals.h"
#include "tools/train_rules.h"

namespace cutis {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kPlanFile = "plan.json";
constexpr const char* kFoldsCsv = "folds.csv";
constexpr std::size_t kLargestPlan = std::size_t{16} << 20;

/// Runs lie in the plan's folder, wherever that is now, and so does the file that says which image is in which fold.
void place_runs(TrainPlan& plan) {
    for (PlannedRun& run : plan.runs) {
        run.config.out = (plan.folder / run.name).string();
        if (plan.folds) {
            run.config.split_file = (plan.folder / kFoldsCsv).string();
        }
    }
}

/// The folds of every image, as text of a CSV.
std::string folds_csv(const PackedDataset& data, const std::vector<int>& fold_of) {
    std::string text = "image_id,lesion_id,fold\n";
    for (std::size_t i = 0; i < fold_of.size(); ++i) {
        const Sample& sample = data.sample(i);
        text += fmt::format("{},{},{}\n", csv_field(sample.image_id), csv_field(sample.lesion_id), fold_of[i]);
    }
    return text;
}

/// What stands in the file under "members": names of folders, each with settings of its own.
std::vector<PlannedRun> read_runs(const Json& list, const TrainConfig& common, const std::string& file) {
    require(list.is_array() && !list.empty(),
            "{}: key 'members' is no list of settings like {{\"model\": \"alexnet\"}}", file);
    std::vector<PlannedRun> runs;
    std::set<std::string> names;
    for (std::size_t i = 0; i < list.size(); ++i) {
        const std::string place = fmt::format("{}: members[{}]", file, i);
        require(list[i].is_object(), "{}: no JSON object; write settings like {{\"model\": \"alexnet\"}}", place);
        Json settings = list[i];
        PlannedRun run{.name = "", .config = common};
        run.config.split_seed = static_cast<std::int64_t>(split_seed_of(common));  // whatever the member's own seed
        if (const auto name = settings.find("name"); name != settings.end()) {
            require(name->is_string(), "{}: key 'name' is no text", place);
            run.name = name->get<std::string>();
            settings.erase(name);
        }
        for (const char* key : {"data", "out", "split", "split_file", "fold", "split_seed", "classes"}) {
            require(!settings.contains(key), "{}: key '{}' is for all members alike; put it into \"train\"", place,
                    key);
        }
        from_json(settings, run.config, place);
        run.name = run.name.empty() ? run.config.model : run.name;
        require(fs::path(run.name).filename() == run.name && run.name != "." && run.name != ".." &&
                    names.insert(run.name).second,
                "{}: the name '{}' is another member's or none for a folder; give each a \"name\" of its own", place,
                printable(run.name));
        try {
            check_train_config(run.config);
        } catch (const Error& error) {
            fail("{}: {}", place, error.what());
        }
        runs.push_back(std::move(run));
    }
    return runs;
}

void read_combination(const Json& json, TrainPlan& plan, const std::string& file) {
    const auto text_of = [&](const char* key, std::string otherwise) {
        const auto found = json.find(key);
        require(found == json.end() || found->is_string(), "{}: key '{}' is no text", file, key);
        return found == json.end() ? std::move(otherwise) : found->get<std::string>();
    };
    const std::string rule = text_of("rule", "mean");
    try {
        plan.tta = parse_tta(text_of("tta", "none"));
        if (rule == "all") {
            plan.rules.assign(ensemble_rules().begin(), ensemble_rules().end());
        } else {
            plan.rules = {ensemble_rule(rule)};
        }
    } catch (const Error& error) {
        fail("{}: {}", file, error.what());
    }
}

void save_plan(const TrainPlan& plan) {
    Json json{{"kind", plan.folds ? "folds" : "ensemble"},
              {"rule", plan.rules.size() > 1 ? "all" : name_of(plan.rules.front())},
              {"tta", name_of(plan.tta)},
              {"runs", Json::array()}};
    for (const PlannedRun& run : plan.runs) {
        json["runs"].push_back({{"name", run.name}, {"train", to_json(run.config)}});
    }
    write_json_file(plan.folder / kPlanFile, json);
}

/// Whether the run ended and left all that a run leaves.
bool has_finished(const fs::path& folder) {
    std::error_code ignored;
    return fs::exists(folder / "metrics.jsonl", ignored) && fs::exists(folder / "report.html", ignored) &&
           read_history(folder / "metrics.jsonl").finished;
}

}  // namespace

TrainPlan plan_folds(const TrainConfig& common, int folds) {
    require(common.split != "all", "--folds: --split all holds nothing out; leave it out");
    const PackedDataset data = open_data(common, common.data);
    const int classes = static_cast<int>(data.class_names().size());
    const bool leaky = common.split == "leaky";
    std::vector<std::string> notices;
    const std::vector<int> fold_of =
        common.split_file.empty() ? deal_folds(data.samples(), classes, folds, split_seed_of(common), leaky, notices)
                                  : folds_in_file(data.samples(), common.split_file);
    const std::set<int> numbers(fold_of.begin(), fold_of.end());
    require(static_cast<int>(numbers.size()) == folds, "--folds is {}, but {} has {} folds; give that number", folds,
            common.split_file, numbers.size());
    for (const std::string& notice : notices) {
        say("note: {}", notice);
    }
    TrainPlan plan{.folder = common.out, .folds = true};
    for (const int number : numbers) {
        plan.runs.push_back({fmt::format("fold{}", number), common});
        plan.runs.back().config.fold = number;
    }
    place_runs(plan);
    make_out_folder(plan.folder);
    write_file_atomically(plan.folder / kFoldsCsv, folds_csv(data, fold_of));
    return plan;
}

TrainPlan plan_ensemble(const TrainConfig& common, const fs::path& file) {
    const std::string name = file.string();
    const Json json = parse_json(read_text_file(file, kLargestPlan), name);
    require(json.is_object() && json.contains("members"),
            "{}: has no key 'members'; write {{\"train\": {{..}}, \"members\": [{{\"model\": \"alexnet\"}}, ..]}}",
            name);
    for (const auto& item : json.items()) {
        const std::string& key = item.key();
        require(key == "train" || key == "members" || key == "rule" || key == "tta",
                "{}: unknown key '{}'; there are: train, members, rule, tta", name, printable(key));
    }
    TrainPlan plan{.folder = common.out};
    plan.runs = read_runs(json["members"], common, name);
    read_combination(json, plan, name);
    place_runs(plan);
    return plan;
}

bool is_train_plan(const fs::path& folder) {
    std::error_code ignored;
    return fs::exists(folder / kPlanFile, ignored);
}

TrainPlan open_train_plan(const fs::path& folder, const std::string& data) {
    const std::string file = (folder / kPlanFile).string();
    const Json json = parse_json(read_text_file(file, kLargestPlan), file);
    require(json.is_object() && json.contains("kind") && json.contains("runs") && json["runs"].is_array() &&
                !json["runs"].empty(),
            "{}: holds no list 'runs'; this is no plan of cutis, or its file was changed", file);
    TrainPlan plan{.folder = folder, .folds = json["kind"] == "folds"};
    for (const Json& entry : json["runs"]) {
        require(entry.is_object() && entry.contains("train") && entry.contains("name") && entry["name"].is_string(),
                "{}: an entry of 'runs' has no 'name' or 'train'; this is no plan of cutis, or its file was changed",
                file);
        PlannedRun run{.name = entry["name"].get<std::string>(), .config = {}};
        from_json(entry["train"], run.config, file);
        run.config.data = data.empty() ? run.config.data : data;
        plan.runs.push_back(std::move(run));
    }
    read_combination(json, plan, file);
    place_runs(plan);
    return plan;
}

void require_trainable(const TrainConfig& config) {
    split_of(config, open_data(config, config.data));
    const auto model = build_model(config.model, {.width = config.width, .lstm_hidden = config.lstm_hidden});
    check_patterns(config, model->parts().parameters);
    if (!config.init.empty()) {
        const SafetensorsFile weights(config.init);
    }
}

TrainEnd train_plan(const TrainPlan& plan, const StopCondition& should_stop) {
    for (const PlannedRun& run : plan.runs) {
        check_available(run.config);
        require_trainable(run.config);  // all, before the first of them costs hours
    }
    make_out_folder(plan.folder);
    save_plan(plan);
    for (std::size_t i = 0; i < plan.runs.size(); ++i) {
        const PlannedRun& run = plan.runs[i];
        const std::string title = fmt::format("{} ({} of {})", run.name, i + 1, plan.runs.size());
        throw_if_stopped();
        if (has_finished(run.config.out)) {
            say("{}: trained already", title);
            continue;
        }
        say("{}:", title);
        std::error_code ignored;
        const bool begun = fs::exists(fs::path(run.config.out) / "config.json", ignored) &&
                           fs::exists(fs::path(run.config.out) / "checkpoint.safetensors", ignored);
        if (train(run.config, begun, should_stop) == TrainEnd::interrupted) {
            say("go on with all of it: cutis train --resume --out {}", plan.folder.string());
            return TrainEnd::interrupted;
        }
    }
    if (plan.folds) {
        std::vector<std::string> names;
        for (const PlannedRun& run : plan.runs) {
            names.push_back(run.name);
        }
        finish_cross_validation(plan.folder, names);
        return TrainEnd::finished;
    }
    const TrainConfig& first = plan.runs.front().config;
    if (first.threads > 0) {
        set_thread_count(first.threads);  // as when it was trained just now: sums depend on it
    }
    CombineOptions combine{.members = {}, .data = first.data, .out = plan.folder, .rules = plan.rules};
    for (const PlannedRun& run : plan.runs) {
        combine.members.emplace_back(run.config.out);
    }
    combine.panel.tta = plan.tta;
    combine.panel.batch_size = first.batch_size;
    combine.panel.device = choose_device(first.device);
    combine_members(combine);
    return TrainEnd::finished;
}

}  // namespace cutis
