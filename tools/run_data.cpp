#include "tools/run_data.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {

std::uint64_t split_seed_of(const TrainConfig& config) {
    return config.split_seed < 0 ? config.seed : static_cast<std::uint64_t>(config.split_seed);
}

PackedDataset open_data(const TrainConfig& config, const std::filesystem::path& path) {
    PackedDataset data(path);
    if (config.hold_out_class.empty()) {
        return data;
    }
    const std::vector<std::string>& names = data.class_names();
    const auto found = std::find_if(names.begin(), names.end(), [&](const std::string& name) {
        return lower_case(name) == lower_case(config.hold_out_class);
    });
    require(found != names.end(), "{}: has no class '{}' to hold out (its classes: {}); name one of them",
            path.string(), printable(config.hold_out_class), fmt::join(names, ", "));
    require(names.size() >= 3, "{}: has {} classes, and without '{}' two are not left to tell apart; hold none out",
            path.string(), names.size(), printable(config.hold_out_class));
    data.move_class_last(static_cast<int>(found - names.begin()));
    return data;
}

std::vector<std::string> trained_classes(const TrainConfig& config, const PackedDataset& data) {
    std::vector<std::string> names = data.class_names();
    if (!config.hold_out_class.empty()) {
        names.pop_back();
    }
    return names;
}

namespace {

Split whole_split(const TrainConfig& config, const PackedDataset& data) {
    const int classes = static_cast<int>(data.class_names().size());
    const bool leaky = config.split == "leaky";
    if (config.split == "all") {
        require(config.split_file.empty(), "split: 'all' trains on everything; leave out --split-file");
        return make_all_split(data.samples());
    }
    require(leaky || config.split == "honest", "split '{}' is unknown; use honest, leaky or all", config.split);
    if (!config.split_file.empty()) {
        return make_fold_split(data.samples(), classes, std::filesystem::path(config.split_file), config.fold,
                               split_seed_of(config), leaky);
    }
    return leaky ? make_leaky_split(data.samples(), classes, split_seed_of(config))
                 : make_honest_split(data.samples(), classes, split_seed_of(config));
}

}  // namespace

void require_known_classes(const PackedDataset& data, const std::vector<std::string>& known,
                           const std::filesystem::path& run) {
    const std::vector<std::string>& names = data.class_names();
    require(names.size() <= known.size() && std::equal(names.begin(), names.end(), known.begin()),
            "{}: its classes are {}, those of run {} are {}; prepare it with --class-names", data.path().string(),
            fmt::join(names, ","), run.string(), fmt::join(known, ","));
}

Split split_of(const TrainConfig& config, const PackedDataset& data) {
    Split split = whole_split(config, data);
    if (!config.hold_out_class.empty()) {
        hold_out_class(split, data.samples(), static_cast<int>(data.class_names().size()) - 1);
    }
    return split;
}

void require_own_data(const Run& run, const PackedDataset& data) {
    require(data.checksum() == run.facts.data_checksum,
            "{}: is not the data set of run {} (checksum {}, the run's is {}); give the run's own",
            data.path().string(), run.folder.string(), data.checksum(), run.facts.data_checksum);
}

std::vector<std::int64_t> class_counts(const PackedDataset& data, std::span<const int> indices) {
    std::vector<std::int64_t> counts(data.class_names().size(), 0);
    for (const int index : indices) {
        ++counts[static_cast<std::size_t>(data.sample(static_cast<std::size_t>(index)).label)];
    }
    return counts;
}

std::vector<float> class_weights(std::string_view kind, std::span<const std::int64_t> counts) {
    if (kind == "none") {
        return {};
    }
    require(kind == "inverse" || kind == "effective", "class weights '{}' are unknown; use none, inverse or effective",
            kind);
    constexpr double kBeta = 0.999;
    std::vector<double> raw;
    double images = 0.0, weighted = 0.0;
    for (const std::int64_t count : counts) {
        const auto n = static_cast<double>(count);
        double weight = 0.0;
        if (count > 0) {
            weight = kind == "inverse" ? 1.0 / n : (1.0 - kBeta) / (1.0 - std::pow(kBeta, n));
        }
        raw.push_back(weight);
        images += n;
        weighted += n * weight;
    }
    std::vector<float> weights;
    for (const double weight : raw) {
        weights.push_back(static_cast<float>(weight * images / weighted));
    }
    return weights;
}

}  // namespace cutis
