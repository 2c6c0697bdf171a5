#pragma once

#include <vector>

#include "engine/packed_dataset.h"
#include "engine/split.h"
#include "tools/run_directory.h"

namespace cutis {

/// The packed data set at `path` as a run of `config` sees it: a class that is held out (--hold-out-class, its name in
/// any case) comes last, so that the labels below are those of the model's outputs. Throws Error where the data set has
/// no such class, or fewer than two others.
PackedDataset open_data(const TrainConfig& config, const std::filesystem::path& path);

/// The names of the classes that a run of `config` trains on `data`, which open_data has opened.
std::vector<std::string> trained_classes(const TrainConfig& config, const PackedDataset& data);

/// The split that `config` asks for (split, split_file, fold, split_seed, seed), made anew from the data; the same call
/// by train, evaluate and report, so that they agree. `data` comes from open_data.
Split split_of(const TrainConfig& config, const PackedDataset& data);

/// The seed of that split.
std::uint64_t split_seed_of(const TrainConfig& config);

/// Throws Error unless the data set's classes are the first of `known`, in that order.
void require_known_classes(const PackedDataset& data, const std::vector<std::string>& known,
                           const std::filesystem::path& run);

/// Throws Error unless `data` is what `run` was trained on, whose split it then has.
void require_own_data(const Run& run, const PackedDataset& data);

/// Images per class of `indices`.
std::vector<std::int64_t> class_counts(const PackedDataset& data, std::span<const int> indices);

/// Weights of the classes in the loss, from the counts of the training part; their mean over the images is 1.
/// "none": empty. "inverse": proportional to 1 / count. "effective": (1 - b) / (1 - b^count) with b = 0.999 (Cui et al.
/// 2019, "Class-balanced loss based on effective number of samples"). A class without images gets 0. Throws Error for
/// another name.
std::vector<float> class_weights(std::string_view kind, std::span<const std::int64_t> counts);

}  // namespace cutis
