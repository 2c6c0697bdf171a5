#include "engine/split.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

#include "engine/csv.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace cutis {
namespace {

constexpr double kValShare = 0.1;
constexpr double kTestShare = 0.2;

/// Images that stay together.
struct Group {
    std::string_view id;
    std::vector<int> members;
    int label = 0;
    std::uint64_t rank = 0;
};

/// A place in a random order that depends on the seed and the id alone. FNV-1a turns the id into the name of a stream
/// (Fowler, Noll, Vo: http://www.isthe.com/chongo/tech/comp/fnv).
std::uint64_t rank_of(std::string_view id, std::uint64_t seed) {
    std::uint64_t hash = 0xCBF29CE484222325u;
    for (const char c : id) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    }
    PhiloxStream stream(seed, RandomPurpose::split, 0, hash);
    const std::uint64_t high = stream.next();
    return high << 32 | stream.next();
}

void check_labels(std::span<const Sample> samples, int n_classes) {
    require(n_classes >= 1, "split: {} classes; at least one is needed", n_classes);
    require(!samples.empty(), "split: no images; prepare a data set that has some");
    for (const Sample& sample : samples) {
        if (sample.label < 0 || sample.label >= n_classes) {
            fail("split: image '{}' has label {}, but there are {} classes", printable(sample.image_id), sample.label,
                 n_classes);
        }
    }
}

bool has_lesion_ids(std::span<const Sample> samples) {
    return std::any_of(samples.begin(), samples.end(), [](const Sample& s) { return s.lesion_id != s.image_id; });
}

/// The most frequent label of a group, and whether there are others.
std::pair<int, bool> majority_label(const Group& group, std::span<const Sample> samples) {
    std::map<int, int> counts;
    for (const int i : group.members) {
        ++counts[samples[static_cast<std::size_t>(i)].label];
    }
    const auto most = std::max_element(counts.begin(), counts.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    return {most->first, counts.size() > 1};
}

/// Groups of the images `chosen`, by lesion or each image alone, in their random order.
std::vector<Group> make_groups(std::span<const Sample> samples, const std::vector<int>& chosen, bool by_lesion,
                               std::uint64_t seed, std::vector<std::string>& notices) {
    std::unordered_map<std::string_view, std::size_t> index;
    std::vector<Group> groups;
    for (const int i : chosen) {
        const Sample& sample = samples[static_cast<std::size_t>(i)];
        const std::string_view id = by_lesion ? sample.lesion_id : sample.image_id;
        const auto [at, fresh] = index.emplace(id, groups.size());
        if (fresh) {
            groups.push_back({.id = id, .members = {}});
        }
        groups[at->second].members.push_back(i);
    }
    std::size_t mixed = 0;
    std::string_view first_mixed;
    for (Group& group : groups) {
        const auto [label, several] = majority_label(group, samples);
        group.label = label;
        group.rank = rank_of(group.id, seed);
        if (several) {
            first_mixed = mixed == 0 ? group.id : std::min(first_mixed, group.id);
            ++mixed;
        }
    }
    if (mixed > 0) {
        notices.push_back(
            fmt::format("{} of {} lesions have images of different diagnoses ('{}' for instance); the split counts "
                        "each as its most frequent one",
                        mixed, groups.size(), printable(first_mixed)));
    }
    std::sort(groups.begin(), groups.end(),
              [](const Group& a, const Group& b) { return a.rank != b.rank ? a.rank < b.rank : a.id < b.id; });
    return groups;
}

/// How many of `count` groups a part gets; at least one where there is one for every part.
std::size_t share_of(std::size_t count, double share, std::size_t parts) {
    const auto rounded = static_cast<std::size_t>(std::lround(share * static_cast<double>(count)));
    return std::max<std::size_t>(rounded, count >= parts ? 1 : 0);
}

/// Hands the groups of each class out: the first to test, the next to val, the rest to train.
void deal(const std::vector<Group>& groups, int n_classes, double test_share, double val_share, Split& split) {
    const std::size_t parts = test_share > 0 ? 3 : 2;
    std::vector<std::size_t> counts(static_cast<std::size_t>(n_classes), 0);
    for (const Group& group : groups) {
        ++counts[static_cast<std::size_t>(group.label)];
    }
    std::vector<std::size_t> dealt(counts.size(), 0);
    for (const Group& group : groups) {
        const auto label = static_cast<std::size_t>(group.label);
        const std::size_t tested = test_share > 0 ? share_of(counts[label], test_share, parts) : 0;
        const std::size_t validated = share_of(counts[label], val_share, parts);
        const std::size_t place = dealt[label]++;
        std::vector<int>& part = place < tested ? split.test : place < tested + validated ? split.val : split.train;
        part.insert(part.end(), group.members.begin(), group.members.end());
    }
}

void finish(Split& split, std::string_view how) {
    for (std::vector<int>* part : {&split.train, &split.val, &split.test}) {
        std::sort(part->begin(), part->end());
    }
    split.description = fmt::format("{}: {} train, {} val, {} test images", how, split.train.size(), split.val.size(),
                                    split.test.size());
}

std::vector<int> all_of(std::span<const Sample> samples) {
    std::vector<int> all(samples.size());
    std::iota(all.begin(), all.end(), 0);
    return all;
}

/// image id -> fold.
std::unordered_map<std::string, int> read_folds(const CsvTable& table) {
    const std::size_t image = image_column(table);
    const std::size_t fold_column = table.column("fold");
    std::unordered_map<std::string, int> folds;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const std::string_view value = table.field(row, fold_column);
        int fold = 0;
        const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), fold);
        if (code != std::errc{} || end != value.data() + value.size()) {
            fail("{}: fold '{}' is no whole number; correct it", table.place(row), printable(value));
        }
        const std::string id = image_id_of(table.field(row, image));
        if (!folds.emplace(id, fold).second) {
            fail("{}: the image id '{}' stands in an earlier row already; remove one of the rows", table.place(row),
                 printable(id));
        }
    }
    return folds;
}

/// The fold of every sample; throws Error where one is missing.
std::vector<int> folds_of(std::span<const Sample> samples, const CsvTable& table,
                          const std::unordered_map<std::string, int>& folds) {
    std::vector<int> fold_of;
    std::vector<std::string_view> missing;
    for (const Sample& sample : samples) {
        const auto found = folds.find(sample.image_id);
        if (found == folds.end()) {
            missing.push_back(sample.image_id);
        } else {
            fold_of.push_back(found->second);
        }
    }
    if (!missing.empty()) {
        fail("{}: {} of {} images of the data set are not in it (the first is '{}'); add them or give another file",
             table.name(), missing.size(), samples.size(), printable(missing.front()));
    }
    return fold_of;
}

std::string fold_list(const std::unordered_map<std::string, int>& folds) {
    std::set<int> numbers;
    for (const auto& [id, fold] : folds) {
        numbers.insert(fold);
    }
    std::string text;
    for (const int number : numbers) {
        text += fmt::format("{}{}", text.empty() ? "" : ", ", number);
    }
    return printable(text);
}

}  // namespace

std::string_view name_of(SplitPart part) {
    return part == SplitPart::train ? "train" : part == SplitPart::val ? "val" : "test";
}

const std::vector<int>& Split::part(SplitPart part) const {
    return part == SplitPart::train ? train : part == SplitPart::val ? val : test;
}

Split make_honest_split(std::span<const Sample> samples, int n_classes, std::uint64_t seed) {
    check_labels(samples, n_classes);
    Split split;
    deal(make_groups(samples, all_of(samples), true, seed, split.notices), n_classes, kTestShare, kValShare, split);
    finish(split,
           fmt::format("honest, {}, stratified by class, seed {}",
                       has_lesion_ids(samples) ? "grouped by lesion" : "by image (there are no lesion ids)", seed));
    check_no_shared_lesion(split, samples);
    return split;
}

Split make_leaky_split(std::span<const Sample> samples, int n_classes, std::uint64_t seed) {
    check_labels(samples, n_classes);
    Split split;
    split.leaky = true;
    deal(make_groups(samples, all_of(samples), false, seed, split.notices), n_classes, kTestShare, kValShare, split);
    finish(split,
           fmt::format("LEAKY, by image (lesions are shared between the parts), stratified by class, seed {}", seed));
    return split;
}

Split make_fold_split(std::span<const Sample> samples, int n_classes, const std::filesystem::path& csv, int fold,
                      std::uint64_t seed, bool leaky) {
    check_labels(samples, n_classes);
    const CsvTable table = read_csv(csv);
    const std::unordered_map<std::string, int> folds = read_folds(table);
    Split split;
    split.leaky = leaky;
    std::vector<int> rest;
    const std::vector<int> fold_of = folds_of(samples, table, folds);
    for (std::size_t i = 0; i < samples.size(); ++i) {
        (fold_of[i] == fold ? split.test : rest).push_back(static_cast<int>(i));
    }
    if (split.test.empty()) {
        fail("{}: no image of the data set is in fold {} (its folds: {}); choose another with --fold", table.name(),
             fold, fold_list(folds));
    }
    require(!rest.empty(), "{}: all images are in fold {}, so none are left to train; choose another file",
            table.name(), fold);
    deal(make_groups(samples, rest, !leaky, seed, split.notices), n_classes, 0, kValShare, split);
    if (folds.size() > samples.size()) {
        split.notices.push_back(fmt::format("{}: {} of its {} images are not in the data set", table.name(),
                                            folds.size() - samples.size(), folds.size()));
    }
    finish(split, fmt::format("{}fold {} of {} is test, val {}, stratified by class, seed {}", leaky ? "LEAKY, " : "",
                              fold, csv.filename().string(), leaky ? "by image" : "grouped by lesion", seed));
    if (!leaky) {
        check_no_shared_lesion(split, samples);
    }
    return split;
}

std::vector<int> deal_folds(std::span<const Sample> samples, int n_classes, int folds, std::uint64_t seed, bool leaky,
                            std::vector<std::string>& notices) {
    check_labels(samples, n_classes);
    require(folds >= 2, "folds: {}; at least 2 are needed", folds);
    const std::vector<Group> groups = make_groups(samples, all_of(samples), !leaky, seed, notices);
    require(groups.size() >= static_cast<std::size_t>(folds), "folds: {} {} cannot fill {} folds; ask for fewer",
            groups.size(), leaky ? "images" : "lesions", folds);
    std::vector<int> fold_of(samples.size(), 0);
    std::size_t dealt = 0;
    for (int label = 0; label < n_classes; ++label) {
        const std::size_t before = dealt;
        for (const Group& group : groups) {
            if (group.label != label) {
                continue;
            }
            for (const int i : group.members) {
                fold_of[static_cast<std::size_t>(i)] = static_cast<int>(dealt % static_cast<std::size_t>(folds));
            }
            ++dealt;
        }
        if (dealt - before > 0 && dealt - before < static_cast<std::size_t>(folds)) {
            notices.push_back(fmt::format("class number {} has {} {} for {} folds; some folds have none of it", label,
                                          dealt - before, leaky ? "images" : "lesions", folds));
        }
    }
    return fold_of;
}

std::vector<int> folds_in_file(std::span<const Sample> samples, const std::filesystem::path& csv) {
    const CsvTable table = read_csv(csv);
    return folds_of(samples, table, read_folds(table));
}

Split make_all_split(std::span<const Sample> samples) {
    require(!samples.empty(), "split: no images; prepare a data set that has some");
    Split split;
    split.train = all_of(samples);
    finish(split, "all images train, none validate or test");
    return split;
}

void hold_out_class(Split& split, std::span<const Sample> samples, int label) {
    for (std::vector<int>* part : {&split.train, &split.val, &split.test}) {
        std::erase_if(*part, [&](int i) { return samples[static_cast<std::size_t>(i)].label == label; });
    }
    std::set<std::string_view> seen;
    for (const std::vector<int>* part : {&split.train, &split.val}) {
        for (const int i : *part) {
            seen.insert(samples[static_cast<std::size_t>(i)].lesion_id);
        }
    }
    std::size_t left_out = 0;
    for (std::size_t i = 0; i < samples.size(); ++i) {
        if (samples[i].label == label && seen.contains(samples[i].lesion_id)) {
            ++left_out;
        } else if (samples[i].label == label) {
            split.held_out.push_back(static_cast<int>(i));
        }
    }
    if (left_out > 0) {
        split.notices.push_back(
            fmt::format("{} images of the held-out class are left out: other images of their lesions train under "
                        "another label",
                        left_out));
    }
    split.description += fmt::format("; without a class of {} images, held out: {} train, {} val, {} test",
                                     split.held_out.size(), split.train.size(), split.val.size(), split.test.size());
}

void check_no_shared_lesion(const Split& split, std::span<const Sample> samples) {
    std::unordered_map<std::string_view, SplitPart> part_of;
    for (const SplitPart part : {SplitPart::train, SplitPart::val, SplitPart::test}) {
        for (const int i : split.part(part)) {
            const std::string& lesion = samples[static_cast<std::size_t>(i)].lesion_id;
            const SplitPart first = part_of.emplace(lesion, part).first->second;
            if (first != part) {
                fail(
                    "split: images of lesion '{}' are in both {} and {}, which flatters every figure; mend the split "
                    "file, or "
                    "ask for it by name with --split leaky",
                    printable(lesion), name_of(first), name_of(part));
            }
        }
    }
}

}  // namespace cutis
