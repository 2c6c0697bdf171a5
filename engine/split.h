#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/metadata.h"

namespace cutis {

enum class SplitPart { train, val, test };

/// "train", "val" or "test".
std::string_view name_of(SplitPart part);

/// Which images of a data set train, which pick checkpoints and thresholds (val), and which are only reported (test).
struct Split {
    std::vector<int> train;  ///< indices of samples, ascending; so are the others
    std::vector<int> val;
    std::vector<int> test;
    std::vector<int> held_out;  ///< of a class that is in no other part, see hold_out_class; else empty
    bool leaky = false;         ///< images of one lesion may be in several parts: every figure made with it must say so
    std::string description;    ///< one line for reports: how it was made and how many images each part has
    std::vector<std::string> notices;

    const std::vector<int>& part(SplitPart part) const;
};

// All of them depend on ids, labels and seed alone, not on the order of the samples. Labels must be 0 to n_classes - 1.

/// 70 % train, 10 % val, 20 % test of the lesions of every class; all images of a lesion go to one part. A class of at
/// least three lesions is in all parts. A lesion whose images carry different labels counts as its most frequent one
/// (the lower of two that are equally frequent), and `notices` says so.
Split make_honest_split(std::span<const Sample> samples, int n_classes, std::uint64_t seed);

/// The same shares of the images of every class, whatever their lesions. Only for showing how much that flatters.
Split make_leaky_split(std::span<const Sample> samples, int n_classes, std::uint64_t seed);

/// Fold `fold` of a CSV file with columns image_id (or image) and fold is test; a tenth of the lesions of every class
/// of the rest is val, by seed; what remains is train. Throws Error when images are missing in the file, the file has
/// no such fold, an image stands in it twice, or one lesion is in several folds.
/// @param leaky  asked for by name: lesions may be shared, and val is drawn by image
Split make_fold_split(std::span<const Sample> samples, int n_classes, const std::filesystem::path& csv, int fold,
                      std::uint64_t seed, bool leaky = false);

/// Fold 0 .. folds - 1 of every sample: the lesions of every class, in an order by seed, are dealt out in turn, and a
/// class goes on where the one before ended, so that folds have as many lesions (one more or less) of every class and
/// in all. Throws Error unless every fold gets a lesion.
/// @param leaky    asked for by name: images are dealt out, whatever their lesions
/// @param notices  gets a line where lesions have images of different labels, or a class has fewer lesions than folds
std::vector<int> deal_folds(std::span<const Sample> samples, int n_classes, int folds, std::uint64_t seed, bool leaky,
                            std::vector<std::string>& notices);

/// The fold of every sample in a file as make_fold_split reads it; throws Error as that does.
std::vector<int> folds_in_file(std::span<const Sample> samples, const std::filesystem::path& csv);

/// Everything trains; nothing is left to validate or test.
Split make_all_split(std::span<const Sample> samples);

/// Takes the images of class `label` out of all parts and makes them `held_out`: unknown to whoever trains, picks or is
/// tested on the known classes. Those whose lesion has other images in train or val are left out altogether, and
/// `notices` says so.
void hold_out_class(Split& split, std::span<const Sample> samples, int label);

/// Throws Error naming the first lesion that has images in two parts, and the remedy.
void check_no_shared_lesion(const Split& split, std::span<const Sample> samples);

}  // namespace cutis
