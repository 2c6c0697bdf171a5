#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/files.h"
#include "engine/json.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/ensemble.h"
#include "tools/json_file.h"

// ensemble.json: reading and writing.

namespace cutis {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kEnsembleFile = "ensemble.json";

/// A key of the file, as a value of type T.
template <class T>
T value_of(const Json& json, const char* key, const std::string& file) {
    try {
        return json.at(key).get<T>();
    } catch (const Json::exception&) {
        fail("{}: key '{}' is missing or of another kind; this is no ensemble of cutis, or its file was changed", file,
             key);
    }
}

LogisticRegression read_stacking(const Json& json, const std::string& file, std::size_t members, std::size_t classes) {
    LogisticRegression stacking{.features = members * classes,
                                .classes = classes,
                                .weights = value_of<std::vector<double>>(json, "weights", file),
                                .bias = value_of<std::vector<double>>(json, "bias", file)};
    const auto finite = [](const std::vector<double>& values) {
        return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
    };
    require(stacking.weights.size() == classes * stacking.features && stacking.bias.size() == classes &&
                finite(stacking.weights) && finite(stacking.bias),
            "{}: key 'stacking' does not hold {} x {} weights and {} biases; combine the members anew", file, classes,
            stacking.features, classes);
    return stacking;
}

}  // namespace

bool is_ensemble(const fs::path& folder) {
    std::error_code ignored;
    return fs::exists(folder / kEnsembleFile, ignored);
}

Ensemble open_ensemble(const fs::path& folder) {
    const std::string file = (folder / kEnsembleFile).string();
    const Json json = parse_json(read_text_file(file, std::size_t{64} << 20), file);
    require(json.is_object(), "{}: no JSON object; this is no ensemble of cutis", file);
    Ensemble ensemble;
    ensemble.folder = folder;
    ensemble.rule = ensemble_rule(value_of<std::string>(json, "rule", file));
    ensemble.tta = parse_tta(value_of<std::string>(json, "tta", file));
    ensemble.class_names = value_of<std::vector<std::string>>(json, "class_names", file);
    ensemble.data_checksum = value_of<std::string>(json, "data_checksum", file);
    for (const Json& entry : value_of<std::vector<Json>>(json, "members", file)) {
        const fs::path path = value_of<std::string>(entry, "path", file);
        ensemble.members.push_back(open_member((folder / path).lexically_normal()));  // an absolute path stays
        const double accuracy = value_of<double>(entry, "val_accuracy", file);
        require(accuracy >= 0 && accuracy <= 1, "{}: key 'val_accuracy' is {}; 0 to 1 is possible", file, accuracy);
        ensemble.fit.accuracy.push_back(accuracy);
        for (const Run& run : ensemble.members.back().runs) {
            require(run.facts.class_names == ensemble.class_names,
                    "{}: its classes are not those of {}; it was trained anew, so combine the members anew",
                    run.folder.string(), file);
        }
    }
    require(!ensemble.members.empty(), "{}: key 'members' is empty", file);
    if (ensemble.rule == EnsembleRule::stacked) {
        const Json stacking = value_of<Json>(json, "stacking", file);
        ensemble.fit.c = value_of<double>(stacking, "c", file);
        ensemble.fit.stacking = read_stacking(stacking, file, ensemble.members.size(), ensemble.class_names.size());
    }
    return ensemble;
}

void save_ensemble(const Ensemble& ensemble) {
    const fs::path file = ensemble.folder / kEnsembleFile;
    const fs::path home = fs::weakly_canonical(fs::absolute(ensemble.folder));
    Json json{{"rule", name_of(ensemble.rule)},
              {"tta", name_of(ensemble.tta)},
              {"class_names", ensemble.class_names},
              {"data_checksum", ensemble.data_checksum},
              {"members", Json::array()}};
    for (std::size_t m = 0; m < ensemble.members.size(); ++m) {
        const fs::path member = fs::weakly_canonical(fs::absolute(ensemble.members[m].folder));
        json["members"].push_back({{"path", member.lexically_relative(home).generic_string()},
                                   {"model", ensemble.members[m].runs.front().config.model},
                                   {"runs", ensemble.members[m].runs.size()},
                                   {"val_accuracy", ensemble.fit.accuracy[m]}});
    }
    if (ensemble.fit.stacking) {
        json["stacking"] = {
            {"c", ensemble.fit.c}, {"weights", ensemble.fit.stacking->weights}, {"bias", ensemble.fit.stacking->bias}};
    }
    write_json_file(file, json);
}

}  // namespace cutis
