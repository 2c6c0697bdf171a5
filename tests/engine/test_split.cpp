#include "engine/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "engine/files.h"
#include "kernels/philox.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;
using testing::TempDir;

/// `counts[c]` lesions of class c, of one to three images each.
std::vector<Sample> make_samples(const std::vector<int>& counts) {
    std::vector<Sample> samples;
    int lesion = 0;
    for (std::size_t c = 0; c < counts.size(); ++c) {
        for (int i = 0; i < counts[c]; ++i, ++lesion) {
            for (int k = 0; k <= lesion % 3; ++k) {
                Sample sample;
                sample.lesion_id = "L" + std::to_string(lesion);
                sample.image_id = "I" + std::to_string(lesion) + "_" + std::to_string(k);
                sample.label = static_cast<int>(c);
                samples.push_back(sample);
            }
        }
    }
    return samples;
}

const std::vector<int> kCounts{100, 40, 7, 3};

constexpr SplitPart kParts[] = {SplitPart::train, SplitPart::val, SplitPart::test};

/// Lesions of every class in a part.
std::vector<int> lesions_of(const std::vector<int>& part, const std::vector<Sample>& samples, std::size_t classes) {
    std::set<std::pair<int, std::string>> lesions;
    for (const int i : part) {
        lesions.insert({samples[static_cast<std::size_t>(i)].label, samples[static_cast<std::size_t>(i)].lesion_id});
    }
    std::vector<int> counts(classes, 0);
    for (const auto& [label, lesion] : lesions) {
        ++counts[static_cast<std::size_t>(label)];
    }
    return counts;
}

std::map<std::string, SplitPart> parts_by_image(const Split& split, const std::vector<Sample>& samples) {
    std::map<std::string, SplitPart> parts;
    for (const SplitPart part : kParts) {
        for (const int i : split.part(part)) {
            EXPECT_TRUE(parts.emplace(samples[static_cast<std::size_t>(i)].image_id, part).second) << i;
        }
    }
    EXPECT_EQ(parts.size(), samples.size());
    return parts;
}

std::vector<Sample> reordered(std::vector<Sample> samples) {
    PhiloxStream stream(3, RandomPurpose::test);
    for (std::size_t left = samples.size(); left > 1; --left) {
        std::swap(samples[left - 1], samples[stream.below(static_cast<std::uint32_t>(left))]);
    }
    return samples;
}

std::string folds_csv(const std::vector<Sample>& samples, int folds) {
    std::string text = "image_id,lesion_id,dx,fold\n";
    for (const Sample& sample : samples) {
        text += sample.image_id + "," + sample.lesion_id + ",x," +
                std::to_string(std::stoi(sample.lesion_id.substr(1)) % folds) + "\n";
    }
    return text;
}

TEST(HonestSplit, SharesOfEveryClassByLesion) {
    const std::vector<Sample> samples = make_samples(kCounts);
    const Split split = make_honest_split(samples, 4, 1);
    EXPECT_EQ(lesions_of(split.test, samples, 4), (std::vector<int>{20, 8, 1, 1}));
    EXPECT_EQ(lesions_of(split.val, samples, 4), (std::vector<int>{10, 4, 1, 1}));
    EXPECT_EQ(lesions_of(split.train, samples, 4), (std::vector<int>{70, 28, 5, 1}));
    (void)parts_by_image(split, samples);
    EXPECT_NO_THROW(check_no_shared_lesion(split, samples));
    EXPECT_FALSE(split.leaky);
    EXPECT_TRUE(split.notices.empty());
    EXPECT_TRUE(is_line_with(
        split.description, "honest, grouped by lesion", "seed 1",
        fmt::format("{} train, {} val, {} test images", split.train.size(), split.val.size(), split.test.size())));
    for (const SplitPart part : kParts) {
        EXPECT_TRUE(std::is_sorted(split.part(part).begin(), split.part(part).end()));
    }
}

TEST(HonestSplit, DependsOnTheSeedAndNotOnTheOrder) {
    const std::vector<Sample> samples = make_samples(kCounts);
    const auto parts = parts_by_image(make_honest_split(samples, 4, 1), samples);
    EXPECT_EQ(parts_by_image(make_honest_split(samples, 4, 1), samples), parts);
    const std::vector<Sample> shuffled = reordered(samples);
    EXPECT_NE(shuffled[0].image_id, samples[0].image_id);
    EXPECT_EQ(parts_by_image(make_honest_split(shuffled, 4, 1), shuffled), parts);
    EXPECT_NE(parts_by_image(make_honest_split(samples, 4, 2), samples), parts);
    EXPECT_NE(parts_by_image(make_honest_split(samples, 4, 1ull << 40 | 1), samples), parts);
}

TEST(HonestSplit, EveryLesionIsEquallyLikelyToBeTested) {
    const std::vector<Sample> samples = make_samples({10});
    std::map<std::string, int> tested;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        const Split split = make_honest_split(samples, 1, seed);
        std::set<std::string> lesions;
        for (const int i : split.test) {
            lesions.insert(samples[static_cast<std::size_t>(i)].lesion_id);
        }
        for (const std::string& lesion : lesions) {
            ++tested[lesion];
        }
    }
    ASSERT_EQ(tested.size(), 10u);
    for (const auto& [lesion, times] : tested) {
        // Binomial(1000, 0.2): 200 with a deviation of 12.6; five of them either way.
        EXPECT_NEAR(times, 200, 64) << lesion;
    }
}

TEST(HonestSplit, SmallClassesTrainFirst) {
    const std::vector<Sample> samples = make_samples({1, 2, 3, 4, 5});
    const Split split = make_honest_split(samples, 5, 9);
    EXPECT_EQ(lesions_of(split.train, samples, 5), (std::vector<int>{1, 2, 1, 2, 3}));
    EXPECT_EQ(lesions_of(split.val, samples, 5), (std::vector<int>{0, 0, 1, 1, 1}));
    EXPECT_EQ(lesions_of(split.test, samples, 5), (std::vector<int>{0, 0, 1, 1, 1}));
}

TEST(HonestSplit, ALesionOfSeveralLabelsCountsAsItsMostFrequent) {
    std::vector<Sample> samples = make_samples({3, 3});
    // Lesion 2 (three images) is of class 0 by majority; lesion 4 (two images) ties, so the lower class counts.
    samples[3].label = 1;
    ASSERT_EQ(samples[3].lesion_id, "L2");
    const auto of_four =
        std::find_if(samples.begin(), samples.end(), [](const Sample& s) { return s.lesion_id == "L4"; });
    of_four->label = 0;
    const Split split = make_honest_split(samples, 2, 1);
    ASSERT_EQ(split.notices.size(), 1u);
    EXPECT_TRUE(is_line_with(split.notices[0], "2 of 6 lesions", "'L2' for instance", "most frequent"));
    EXPECT_NO_THROW(check_no_shared_lesion(split, samples));
    // Four lesions count as class 0 and two as class 1, so class 1 is too small to be shared out.
    std::set<std::string> trained;
    for (const int i : split.train) {
        trained.insert(samples[static_cast<std::size_t>(i)].lesion_id);
    }
    EXPECT_TRUE(trained.count("L3") == 1 && trained.count("L5") == 1);
    EXPECT_EQ(trained.size(), 4u);
}

TEST(HonestSplit, SaysWhereThereAreNoLesionIds) {
    std::vector<Sample> samples = make_samples({10, 10});
    for (Sample& sample : samples) {
        sample.lesion_id = sample.image_id;
    }
    EXPECT_TRUE(is_line_with(make_honest_split(samples, 2, 1).description, "by image (there are no lesion ids)"));
}

TEST(LeakySplit, SplitsImagesAndSaysSo) {
    const std::vector<Sample> samples = make_samples(kCounts);
    const Split split = make_leaky_split(samples, 4, 1);
    EXPECT_TRUE(split.leaky);
    EXPECT_TRUE(is_line_with(split.description, "LEAKY, by image"));
    (void)parts_by_image(split, samples);
    EXPECT_EQ(split.test.size(), 40u + 16u + 3u + 1u);  // a fifth of 199, 80, 14 and 7 images
    EXPECT_TRUE(is_line_with(error_of([&] { check_no_shared_lesion(split, samples); }), "images of lesion 'L",
                             "are in both", "--split leaky"));
}

TEST(AllSplit, EverythingTrains) {
    const std::vector<Sample> samples = make_samples({3});
    const Split split = make_all_split(samples);
    EXPECT_EQ(split.train.size(), samples.size());
    EXPECT_TRUE(split.val.empty() && split.test.empty());
    EXPECT_FALSE(split.leaky);
    EXPECT_TRUE(is_line_with(error_of([] { (void)make_all_split({}); }), "no images"));
}

TEST(FoldSplit, HoldsTheFoldOutAndATenthOfTheRestByLesion) {
    TempDir folder;
    const std::vector<Sample> samples = make_samples(kCounts);
    write_file_atomically(folder / "split.csv", folds_csv(samples, 5));
    const Split split = make_fold_split(samples, 4, folder / "split.csv", 2, 1);
    for (const int i : split.test) {
        EXPECT_EQ(std::stoi(samples[static_cast<std::size_t>(i)].lesion_id.substr(1)) % 5, 2);
    }
    EXPECT_EQ(lesions_of(split.test, samples, 4), (std::vector<int>{20, 8, 1, 1}));
    EXPECT_EQ(lesions_of(split.val, samples, 4), (std::vector<int>{8, 3, 1, 1}));
    EXPECT_EQ(lesions_of(split.train, samples, 4), (std::vector<int>{72, 29, 5, 1}));
    (void)parts_by_image(split, samples);
    EXPECT_NO_THROW(check_no_shared_lesion(split, samples));
    EXPECT_TRUE(is_line_with(split.description, "fold 2 of split.csv is test", "grouped by lesion", "seed 1"));
    const std::vector<Sample> shuffled = reordered(samples);
    EXPECT_EQ(parts_by_image(make_fold_split(shuffled, 4, folder / "split.csv", 2, 1), shuffled),
              parts_by_image(split, samples));
    const Split other = make_fold_split(samples, 4, folder / "split.csv", 2, 2);
    EXPECT_EQ(other.test, split.test);
    EXPECT_NE(other.val, split.val);
}

TEST(FoldSplit, RefusesALesionInTwoFoldsUnlessAskedForByName) {
    TempDir folder;
    const std::vector<Sample> samples = make_samples({30});
    std::string text = folds_csv(samples, 3);
    const std::size_t at = text.find("I2_1,L2,x,2");
    ASSERT_NE(at, std::string::npos);
    text.replace(at, 11, "I2_1,L2,x,0");
    write_file_atomically(folder / "split.csv", text);
    EXPECT_TRUE(is_line_with(error_of([&] { (void)make_fold_split(samples, 1, folder / "split.csv", 0, 1); }),
                             "lesion 'L2'", "test", "--split leaky"));
    const Split split = make_fold_split(samples, 1, folder / "split.csv", 0, 1, true);
    EXPECT_TRUE(split.leaky);
    EXPECT_TRUE(is_line_with(split.description, "LEAKY, fold 0", "val by image"));
    std::set<std::string> trained;
    for (const int i : split.train) {
        trained.insert(samples[static_cast<std::size_t>(i)].lesion_id);
    }
    EXPECT_TRUE(std::any_of(split.val.begin(), split.val.end(),
                            [&](int i) { return trained.count(samples[static_cast<std::size_t>(i)].lesion_id) == 1; }));
    (void)parts_by_image(split, samples);
}

TEST(FoldSplit, RefusesFilesThatDoNotFit) {
    TempDir folder;
    const std::vector<Sample> samples = make_samples({6});
    const auto error_with = [&](const std::string& text, int fold = 0) {
        write_file_atomically(folder / "split.csv", text);
        return error_of([&] { (void)make_fold_split(samples, 1, folder / "split.csv", fold, 1); });
    };
    const std::string good = folds_csv(samples, 3);
    EXPECT_EQ(error_with(good), "(no error)");
    EXPECT_TRUE(is_line_with(error_with(good, 7), "split.csv", "fold 7", "its folds: 0, 1, 2", "--fold"));
    EXPECT_TRUE(is_line_with(error_with(good.substr(0, good.find("I3_"))), "split.csv", "6 of 12 images",
                             "the first is 'I3_0'"));
    EXPECT_TRUE(is_line_with(error_with(good + "I0_0,L0,x,1\n"), "split.csv:14: the image id 'I0_0'", "earlier row"));
    EXPECT_TRUE(is_line_with(error_with(good + "new,L0,x,one\n"), "split.csv:14: fold 'one' is no whole number"));
    EXPECT_TRUE(is_line_with(error_with(good + "new,L0,x,\n"), "split.csv:14: fold '' is no whole number"));
    EXPECT_TRUE(is_line_with(error_with(good + "new,L0,x,1.5\n"), "fold '1.5' is no whole number"));
    EXPECT_TRUE(is_line_with(error_with("image_id,part\n"), "no column 'fold'"));
    EXPECT_TRUE(is_line_with(error_with("id,fold\n"), "no column 'image_id'"));
    EXPECT_TRUE(is_line_with(error_with(folds_csv(samples, 1)), "all images are in fold 0"));
}

TEST(FoldSplit, AcceptsImagesThatTheDataSetLacksAndFileNames) {
    TempDir folder;
    const std::vector<Sample> samples = make_samples({6});
    std::string text = "image,fold\nleft_out,0\n";
    for (const Sample& sample : samples) {
        text += sample.image_id + ".jpg," + std::to_string(std::stoi(sample.lesion_id.substr(1)) % 2) + "\n";
    }
    write_file_atomically(folder / "split.csv", text);
    const Split split = make_fold_split(samples, 1, folder / "split.csv", 1, 1);
    EXPECT_EQ(lesions_of(split.test, samples, 1), std::vector<int>{3});
    ASSERT_EQ(split.notices.size(), 1u);
    EXPECT_TRUE(is_line_with(split.notices[0], "1 of its 13 images are not in the data set"));
}

TEST(DealFolds, GivesEveryFoldAsManyLesionsOfEveryClass) {
    const std::vector<Sample> samples = make_samples(kCounts);
    std::vector<std::string> notices;
    const std::vector<int> fold_of = deal_folds(samples, 4, 5, 7, false, notices);
    ASSERT_EQ(fold_of.size(), samples.size());
    std::map<std::string, int> of_lesion;
    std::vector<int> all(5, 0);
    std::map<std::pair<int, int>, int> counts;  // class, fold
    for (std::size_t i = 0; i < samples.size(); ++i) {
        const auto [at, fresh] = of_lesion.emplace(samples[i].lesion_id, fold_of[i]);
        EXPECT_EQ(at->second, fold_of[i]) << samples[i].lesion_id << " is in two folds";
        if (fresh) {
            ++all[static_cast<std::size_t>(fold_of[i])];
            ++counts[{samples[i].label, fold_of[i]}];
        }
    }
    EXPECT_EQ(all, (std::vector<int>(5, 30)));
    for (int c = 0; c < 4; ++c) {
        for (int f = 0; f < 5; ++f) {
            EXPECT_NEAR((counts[{c, f}]), kCounts[static_cast<std::size_t>(c)] / 5.0, 0.999) << c << " " << f;
        }
    }
    ASSERT_EQ(notices.size(), 1u) << "three lesions for five folds";
    EXPECT_TRUE(is_line_with(notices[0], "class number 3", "3 lesions", "5 folds"));

    EXPECT_NE(deal_folds(samples, 4, 5, 8, false, notices), fold_of);
    // The order of the samples decides nothing.
    std::vector<Sample> reversed(samples.rbegin(), samples.rend());
    std::vector<int> again = deal_folds(reversed, 4, 5, 7, false, notices);
    std::reverse(again.begin(), again.end());
    EXPECT_EQ(again, fold_of);

    EXPECT_TRUE(is_line_with(error_of([&] { deal_folds(samples, 4, 1, 0, false, notices); }), "folds: 1"));
    EXPECT_TRUE(
        is_line_with(error_of([&] { deal_folds(samples, 4, 151, 0, false, notices); }), "150 lesions", "151 folds"));
}

TEST(Splits, RefuseLabelsOutsideTheClasses) {
    std::vector<Sample> samples = make_samples({3, 3});
    EXPECT_TRUE(is_line_with(error_of([&] { (void)make_honest_split(samples, 1, 1); }),
                             "has label 1, but there are 1 classes"));
    samples[0].label = -1;
    EXPECT_TRUE(is_line_with(error_of([&] { (void)make_leaky_split(samples, 2, 1); }), "'I0_0' has label -1"));
    EXPECT_TRUE(is_line_with(error_of([&] { (void)make_honest_split({}, 2, 1); }), "no images"));
}

TEST(Splits, HoldOnAllOfHam10000) {
    const char* folder = std::getenv("HAM10000");
    if (folder == nullptr) {
        GTEST_SKIP() << "set HAM10000 to the folder of HAM10000_metadata.csv to run this";
    }
    const Labels labels = read_labels(std::filesystem::path(folder) / "HAM10000_metadata.csv");
    const Split split = make_honest_split(labels.samples, 7, 1);
    const auto share = [&](const std::vector<int>& part) { return static_cast<double>(part.size()) / 10015.0; };
    EXPECT_NEAR(share(split.train), 0.7, 0.01);
    EXPECT_NEAR(share(split.val), 0.1, 0.01);
    EXPECT_NEAR(share(split.test), 0.2, 0.01);
    EXPECT_TRUE(split.notices.empty());
}

}  // namespace
}  // namespace cutis
