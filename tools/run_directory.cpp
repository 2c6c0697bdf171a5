#include "tools/run_directory.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "engine/files.h"
#include "engine/json.h"
#include "engine/safetensors.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "models/weights.h"
#include "tools/json_file.h"

namespace cutis {
namespace {

using Json = nlohmann::json;

constexpr const char* kConfigFile = "config.json";
constexpr std::size_t kLargestConfig = std::size_t{16} << 20;

/// Reads the members of an object that this program wrote; anything else is an Error with file and key.
class Reader {
  public:
    Reader(const Json& json, std::string file) : json_(json), file_(std::move(file)) {}

    template <class T>
    void read(const char* key, T& member) const {
        const auto found = json_.find(key);
        require(found != json_.end(), "{}: key '{}' is missing; this is no run of cutis, or its file was changed",
                file_, key);
        try {
            found->get_to(member);
        } catch (const Json::exception&) {
            refuse(key, "a value of another kind is wanted");
        }
    }
    [[noreturn]] void refuse(const char* key, std::string_view why) const {
        fail("{}: key '{}' is {}: {}; this is no run of cutis, or its file was changed", file_, key,
             printable(json_.at(key).dump(-1, ' ', false, Json::error_handler_t::replace), 60), why);
    }

  private:
    const Json& json_;
    std::string file_;
};

/// A fact as JSON.
template <class T>
Json to_value(const T& value) {
    return value;
}
/// Each number with the fewest digits that read back as the same float.
Json to_value(const std::array<float, 3>& values) {
    Json list = Json::array();
    for (const float value : values) {
        list.push_back(Json::parse(fmt::format("{}", value)));
    }
    return list;
}

template <class Facts, class Visit>
void for_each_fact(Facts& f, Visit&& visit) {
    visit("class_names", f.class_names);
    visit("size", f.size);
    visit("mean", f.mean);
    visit("std", f.std);
    visit("data_checksum", f.data_checksum);
    visit("split_description", f.split_description);
    visit("leaky", f.leaky);
    visit("parameters", f.parameters);
    visit("total_steps", f.total_steps);
    visit("steps_per_epoch", f.steps_per_epoch);
    visit("version", f.version);
    visit("git_revision", f.git_revision);
    visit("compiler", f.compiler);
    visit("isa", f.isa);
    visit("threads", f.threads);
}

/// Facts that not every run has.
template <class Facts, class Visit>
void for_each_optional_fact(Facts& f, Visit&& visit) {
    visit("init_license", f.init_license);
    visit("init_source", f.init_source);
}

void check_facts(const RunFacts& facts, const Reader& reader) {
    const std::set<std::string> distinct(facts.class_names.begin(), facts.class_names.end());
    if (facts.class_names.empty() || distinct.size() != facts.class_names.size() || distinct.contains("")) {
        reader.refuse("class_names", "distinct names are wanted");
    }
    if (facts.size < 1 || facts.size > 16384) {
        reader.refuse("size", "1 to 16384 pixels are possible");
    }
    const auto finite = [](float value) { return std::isfinite(value); };
    if (!std::all_of(facts.mean.begin(), facts.mean.end(), finite)) {
        reader.refuse("mean", "finite numbers are wanted");
    }
    if (!std::all_of(facts.std.begin(), facts.std.end(),
                     [](float value) { return std::isfinite(value) && value > 0; })) {
        reader.refuse("std", "positive numbers are wanted");
    }
}

}  // namespace

Run open_run(const std::filesystem::path& folder) {
    std::error_code ignored;
    const std::filesystem::path file = folder / kConfigFile;
    require(std::filesystem::is_directory(folder, ignored), "{}: is no folder; give the --out of a `cutis train`",
            folder.string());
    for (const auto& [other, what] :
         {std::pair{"ensemble.json", "an ensemble"}, {"folds.json", "a cross-validation"}}) {
        require(std::filesystem::exists(file, ignored) || !std::filesystem::exists(folder / other, ignored),
                "{}: is {}, but a single run is wanted; give one of those that its {} names", folder.string(), what,
                other);
    }
    require(std::filesystem::exists(file, ignored), "{}: has no {}, so it is no run; give the --out of a `cutis train`",
            folder.string(), kConfigFile);
    const Json json = parse_json(read_text_file(file, kLargestConfig), file.string());
    require(json.is_object() && json.contains("train"), "{}: has no key 'train', so it is no run's configuration",
            file.string());

    Run run;
    run.folder = folder;
    from_json(json["train"], run.config, file.string());
    const Reader reader(json, file.string());
    for_each_fact(run.facts, [&](const char* key, auto& member) { reader.read(key, member); });
    for_each_optional_fact(run.facts, [&](const char* key, auto& member) {
        if (json.contains(key)) {
            reader.read(key, member);
        }
    });
    check_facts(run.facts, reader);
    return run;
}

void save_run(const Run& run) {
    Json json = Json::object();
    for_each_fact(run.facts, [&](const char* key, const auto& member) { json[key] = to_value(member); });
    for_each_optional_fact(run.facts, [&](const char* key, const auto& member) {
        if (!member.empty()) {
            json[key] = member;
        }
    });
    json["train"] = to_json(run.config);
    write_json_file(run.file(kConfigFile), json);
}

namespace {

ModelOptions model_options(const Run& run) {
    const int classes = run.config.classes > 0 ? run.config.classes : static_cast<int>(run.facts.class_names.size());
    return {.classes = classes,
            .width = run.config.width,
            .dropout = run.config.dropout,
            .lstm_hidden = run.config.lstm_hidden,
            .seed = run.config.seed};
}

}  // namespace

std::unique_ptr<Model> make_run_model(const Run& run) {
    return make_model(run.config.model, model_options(run));
}

std::filesystem::path run_weights_file(const Run& run) {
    std::error_code ignored;
    const bool best = std::filesystem::exists(run.file("best.safetensors"), ignored);
    const std::filesystem::path weights = run.file(best ? "best.safetensors" : "checkpoint.safetensors");
    require(best || std::filesystem::exists(weights, ignored),
            "{}: holds no weights yet; let `cutis train` reach its first checkpoint", run.folder.string());
    return weights;
}

std::unique_ptr<Model> load_run_model(const Run& run) {
    std::unique_ptr<Model> model = build_model(run.config.model, model_options(run));
    load_weights(*model, SafetensorsFile(run_weights_file(run)), false);
    return model;
}

}  // namespace cutis
