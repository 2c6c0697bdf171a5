#include "tools/run_report.h"

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>

#include "engine/files.h"
#include "engine/json.h"
#include "engine/packed_dataset.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/console.h"
#include "tools/png.h"
#include "tools/run_data.h"

namespace cutis {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMistakes = 12;

/// A figure of a record; null and absence are NaN.
double figure(const Json& record, const char* key, const std::string& place) {
    const auto found = record.find(key);
    if (found == record.end() || found->is_null()) {
        return kUndefined;
    }
    require(found->is_number(), "{}: '{}' is {}, but a number is wanted; remove the line", place, key,
            printable(found->dump(-1, ' ', false, Json::error_handler_t::replace), 60));
    return found->get<double>();
}

void add_record(const Json& record, const std::string& place, TrainingHistory& history) {
    const Json kind = record.value("kind", Json());
    const auto at = [&](const char* key) { return figure(record, key, place); };
    if (kind == "step") {
        history.steps.push_back({.step = at("step"), .loss = at("loss")});
    } else if (kind == "epoch") {
        history.epochs.push_back({.epoch = at("epoch"),
                                  .last_step = at("step"),
                                  .train_loss = at("train_loss"),
                                  .val_loss = at("val_loss"),
                                  .val_accuracy = at("val_accuracy"),
                                  .val_balanced_accuracy = at("val_balanced_accuracy"),
                                  .learning_rate = at("lr"),
                                  .images_per_second = at("images_per_second")});
    } else if (kind == "final") {
        history.best_epoch = at("best_epoch");
        history.finished = true;
    }
}

/// The packed data set of the run, or nothing and the reason.
std::optional<PackedDataset> data_of(const Run& run, const std::filesystem::path& path,
                                     std::vector<std::string>& notices) {
    try {
        PackedDataset data = open_data(run.config, path);
        if (data.checksum() == run.facts.data_checksum) {
            return data;
        }
        notices.push_back(
            fmt::format("{} is not the data set of this run (checksum {}, the run's is {}): no images and class counts "
                        "are shown.",
                        path.string(), data.checksum(), run.facts.data_checksum));
    } catch (const Error& error) {
        notices.push_back(fmt::format("No images and class counts are shown: {}.", error.what()));
    }
    return std::nullopt;
}

std::vector<ClassCounts> counts_per_part(const Run& run, const PackedDataset& data, std::vector<std::string>& notices) {
    std::vector<ClassCounts> counts;
    try {
        const Split split = split_of(run.config, data);
        for (const SplitPart part : {SplitPart::train, SplitPart::val, SplitPart::test}) {
            if (!split.part(part).empty()) {
                counts.push_back({std::string(name_of(part)), class_counts(data, split.part(part))});
                counts.back().images.resize(trained_classes(run.config, data).size());
            }
        }
    } catch (const Error& error) {
        notices.push_back(fmt::format("No class counts are shown: {}.", error.what()));
    }
    return counts;
}

std::vector<Mistake> mistakes_of(const Predictions& predictions, const PackedDataset* data) {
    std::unordered_map<std::string_view, std::size_t> rows;
    if (data != nullptr) {
        for (std::size_t i = 0; i < data->size(); ++i) {
            rows.emplace(data->sample(i).image_id, i);
        }
    }
    std::vector<Mistake> mistakes;
    for (const std::size_t i : worst_mistakes(predictions, kMistakes)) {
        const auto truth = static_cast<std::size_t>(predictions.labels[i]);
        const auto predicted = static_cast<std::size_t>(predictions.predicted(i));
        Mistake mistake{.image_id = predictions.image_ids[i],
                        .truth = predictions.class_names[truth],
                        .predicted = predictions.class_names[predicted],
                        .confidence = static_cast<double>(predictions.row(i)[predicted]),
                        .truth_probability = static_cast<double>(predictions.row(i)[truth]),
                        .image = {}};
        if (const auto row = rows.find(mistake.image_id); row != rows.end()) {
            mistake.image = encode_png(data->image(row->second), data->image_size(), data->image_size());
        }
        mistakes.push_back(std::move(mistake));
    }
    return mistakes;
}

/// Every setting on a line of its own: {"augmentation": {"hue": 0}} as "augmentation.hue", "0".
void flatten(const Json& json, const std::string& prefix, KeyValues& out) {
    for (const auto& item : json.items()) {
        const std::string key = prefix + item.key();
        if (item.value().is_object()) {
            flatten(item.value(), key + ".", out);
        } else {
            out.emplace_back(key, item.value().is_string() ? item.value().get<std::string>() : item.value().dump());
        }
    }
}

/// `text` as one word of a shell.
std::string shell_word(const std::string& text) {
    const bool plain = !text.empty() && text.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                            "_-./=,:+@%") == std::string::npos;
    if (plain) {
        return text;
    }
    std::string word = "'";
    for (const char c : text) {
        word += c == '\'' ? std::string("'\\''") : std::string(1, c);
    }
    return word + "'";
}

KeyValues facts_of(const Run& run) {
    const RunFacts& facts = run.facts;
    KeyValues result{{"Model", fmt::format("{}, {} parameters", run.config.model, grouped_digits(facts.parameters))},
                     {"Input", fmt::format("{} x {}", facts.size, facts.size)},
                     {"Data", fmt::format("{} ({})", std::filesystem::path(run.config.data).filename().string(),
                                          facts.data_checksum)},
                     {"Split", facts.split_description},
                     {"Seed", fmt::format("{}", run.config.seed)},
                     {"Program", fmt::format("cutis {} ({})", facts.version, facts.git_revision)}};
    if (!run.config.init.empty()) {
        std::string text = std::filesystem::path(run.config.init).filename().string();
        text += facts.init_license.empty() ? "" : fmt::format(", licence {}", facts.init_license);
        text += facts.init_source.empty() ? "" : fmt::format(", from {}", facts.init_source);
        result.emplace_back("Initial weights", text);
    }
    return result;
}

/// Whether predictions_all.csv is of a data set that the run did not train on, as evaluation_all.json says.
bool all_is_new(const Run& run) {
    const std::filesystem::path path = run.file("evaluation_all.json");
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
        return false;
    }
    const Json json = parse_json(read_text_file(path), path.string());
    return json.is_object() && json.value("leaky", Json()) == false;
}

bool is_ham10000(const std::vector<Evaluation>& evaluations) {
    for (const Evaluation& evaluation : evaluations) {
        for (const std::string& lesion : evaluation.predictions.lesion_ids) {
            if (lesion.starts_with("HAM_")) {
                return true;
            }
        }
    }
    return false;
}

}  // namespace

TrainingHistory read_history(const std::filesystem::path& metrics_jsonl) {
    const std::string text = read_text_file(metrics_jsonl);
    TrainingHistory history;
    std::size_t line = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        ++line;
        const std::size_t end = text.find('\n', begin);
        if (end == std::string::npos) {
            break;  // the program was killed in the midst of this line
        }
        const std::string_view content = std::string_view(text).substr(begin, end - begin);
        begin = end + 1;
        if (content.find_first_not_of(" \t\r") == std::string_view::npos) {
            continue;
        }
        const std::string place = fmt::format("{}:{}", metrics_jsonl.string(), line);
        const Json record = parse_json(content, place);
        require(record.is_object(), "{}: no JSON object; remove the line", place);
        add_record(record, place, history);
    }
    return history;
}

void write_run_report(const Run& run, const std::filesystem::path& data_path) {
    ReportInput input;
    const std::filesystem::path folder = std::filesystem::absolute(run.folder).lexically_normal();
    input.title = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
    input.facts = facts_of(run);
    input.leaky = run.facts.leaky;
    input.class_names = run.facts.class_names;

    std::error_code ignored;
    for (const char* split : {"test", "val", "all"}) {
        const std::filesystem::path predictions = run.folder / fmt::format("predictions_{}.csv", split);
        if (std::filesystem::exists(predictions, ignored) && (split != std::string_view("all") || all_is_new(run))) {
            input.evaluations.push_back(judge(split, read_predictions_csv(predictions), run.facts.leaky));
        }
    }
    if (std::filesystem::exists(run.file("metrics.jsonl"), ignored)) {
        input.history = read_history(run.file("metrics.jsonl"));
    }

    const std::optional<PackedDataset> data =
        data_of(run, data_path.empty() ? std::filesystem::path(run.config.data) : data_path, input.notices);
    if (data) {
        input.class_names = trained_classes(run.config, *data);
        input.class_counts = counts_per_part(run, *data, input.notices);
    }
    if (!input.evaluations.empty()) {
        input.mistakes = mistakes_of(input.evaluations.front().predictions, data ? &*data : nullptr);
    }
    if (is_ham10000(input.evaluations)) {
        input.image_attribution = kHam10000Attribution;
        input.citations.emplace_back(kHam10000Citation);
    }

    flatten(to_json(run.config), "", input.configuration);
    input.configuration_json = read_text_file(run.file("config.json"));
    const std::string run_word = shell_word(run.folder.string()), data_word = shell_word(run.config.data);
    input.commands = {fmt::format("cutis train --config {}/config.json --out {}-again", run_word, run_word),
                      fmt::format("cutis evaluate --run {} --data {}", run_word, data_word),
                      fmt::format("cutis report --run {}", run_word)};
    write_file_atomically(run.file("report.html"), make_report(input));
}

}  // namespace cutis
