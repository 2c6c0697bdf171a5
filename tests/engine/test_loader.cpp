#include "engine/loader.h"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "kernels/error.h"
#include "tests/support/noise_pack.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

constexpr int kSide = 12;

std::filesystem::path pack(const testing::TempDir& folder, int count) {
    return testing::noise_pack(folder, count, kSide);
}

LoaderOptions options(int threads, int batch_size) {
    LoaderOptions chosen;
    chosen.batch_size = batch_size;
    chosen.size = kSide;
    chosen.mean = {0.5f, 0.4f, 0.3f};
    chosen.std = {0.2f, 0.3f, 0.4f};
    chosen.augment = augment_preset("full");
    chosen.seed = 9;
    chosen.threads = threads;
    chosen.prefetch = 3;
    return chosen;
}

std::vector<int> reversed(int count) {
    std::vector<int> order(static_cast<std::size_t>(count));
    std::iota(order.rbegin(), order.rend(), 0);
    return order;
}

struct Seen {
    std::vector<float> images;
    std::vector<std::int32_t> labels;
    std::vector<int> indices;
    friend bool operator==(const Seen&, const Seen&) = default;
};

Seen read_epoch(Loader& loader, const std::vector<int>& order, std::uint32_t epoch, std::int64_t first = 0) {
    Seen seen;
    loader.start(order, epoch, first);
    while (const auto batch = loader.next()) {
        const auto images = batch->images.values();
        const auto labels = batch->labels.values<std::int32_t>();
        seen.images.insert(seen.images.end(), images.begin(), images.end());
        seen.labels.insert(seen.labels.end(), labels.begin(), labels.end());
        seen.indices.insert(seen.indices.end(), batch->indices.begin(), batch->indices.end());
    }
    return seen;
}

TEST(Loader, ValuesDoNotDependOnTheNumberOfThreads) {
    const testing::TempDir folder;
    const PackedDataset data(pack(folder, 23));
    Loader one(data, options(1, 4));
    const Seen expected = read_epoch(one, reversed(23), 3);
    EXPECT_EQ(expected.indices, reversed(23));
    for (const int threads : {2, 3, 8}) {
        Loader many(data, options(threads, 4));
        EXPECT_EQ(read_epoch(many, reversed(23), 3), expected) << threads << " threads";
    }
}

TEST(Loader, ValuesDoNotDependOnTheBatchSize) {
    const testing::TempDir folder;
    const PackedDataset data(pack(folder, 10));
    Loader fours(data, options(2, 4)), sevens(data, options(2, 7));
    EXPECT_EQ(read_epoch(fours, reversed(10), 0), read_epoch(sevens, reversed(10), 0));
}

TEST(Loader, EpochsDiffer) {
    const testing::TempDir folder;
    const PackedDataset data(pack(folder, 8));
    Loader loader(data, options(2, 4));
    const Seen first = read_epoch(loader, reversed(8), 0);
    EXPECT_NE(read_epoch(loader, reversed(8), 1).images, first.images);
    EXPECT_EQ(read_epoch(loader, reversed(8), 0), first);
}

TEST(Loader, AnEpochCanBeginInItsMiddle) {
    const testing::TempDir folder;
    const PackedDataset data(pack(folder, 11));
    Loader loader(data, options(2, 3));
    const Seen whole = read_epoch(loader, reversed(11), 2);
    const Seen rest = read_epoch(loader, reversed(11), 2, 2);
    EXPECT_EQ(rest.indices, std::vector<int>(whole.indices.begin() + 6, whole.indices.end()));
    EXPECT_EQ(rest.images, std::vector<float>(whole.images.begin() + 6 * kSide * kSide * 3, whole.images.end()));
}

TEST(Loader, LastBatchIsShorterAndThenTheEpochIsOver) {
    const testing::TempDir folder;
    const PackedDataset data(pack(folder, 5));
    Loader loader(data, options(1, 4));
    EXPECT_EQ(loader.batches(5), 2);
    loader.start(reversed(5), 0);
    EXPECT_EQ(loader.next()->images.shape(), Shape({4, kSide, kSide, 3}));
    EXPECT_EQ(loader.next()->images.shape(), Shape({1, kSide, kSide, 3}));
    EXPECT_FALSE(loader.next());
    EXPECT_FALSE(loader.next());
}

TEST(Loader, AnEpochThatStillRunsCanBeDropped) {
    const testing::TempDir folder;
    const PackedDataset data(pack(folder, 64));
    Loader loader(data, options(4, 2));
    for (int round = 0; round < 20; ++round) {
        loader.start(reversed(64), 0);
        for (int i = 0; i < round % 4; ++i) {
            ASSERT_TRUE(loader.next());
        }
    }
    Loader fresh(data, options(1, 2));
    EXPECT_EQ(read_epoch(loader, reversed(64), 7), read_epoch(fresh, reversed(64), 7));
}

TEST(Loader, EmptyEpochAndNoEpochEndAtOnce) {
    const testing::TempDir folder;
    const PackedDataset data(pack(folder, 2));
    Loader loader(data, options(2, 4));
    EXPECT_FALSE(loader.next());
    loader.start({}, 0);
    EXPECT_FALSE(loader.next());
}

TEST(Loader, WithoutAugmentationItOnlyNormalises) {
    const testing::TempDir folder;
    const PackedDataset data(pack(folder, 3));
    LoaderOptions plain = options(1, 3);
    plain.augment = AugmentOptions{};
    Loader loader(data, plain);
    const Seen seen = read_epoch(loader, {2}, 0);
    const auto rgb = data.image(2);
    ASSERT_EQ(seen.images.size(), rgb.size());
    for (std::size_t i = 0; i < rgb.size(); ++i) {
        const float expected = (static_cast<float>(rgb[i]) / 255.0f - plain.mean[i % 3]) / plain.std[i % 3];
        ASSERT_FLOAT_EQ(seen.images[i], expected) << i;
    }
}

TEST(Loader, ADamagedImageIsThrownWhereItWouldCome) {
    const testing::TempDir folder;
    const std::filesystem::path path = pack(folder, 6);
    {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(4096 + 4 * kSide * kSide * 3 + 17);  // in the fifth image
        const int byte = file.peek();
        file.put(static_cast<char>(byte ^ 1));
    }
    const PackedDataset data(path);
    Loader loader(data, options(2, 2));
    loader.start({0, 1, 2, 3, 4, 5}, 0);
    EXPECT_TRUE(loader.next());
    EXPECT_TRUE(loader.next());
    EXPECT_THROW(loader.next(), Error);
}

TEST(Loader, RefusesWhatItCannotLoad) {
    const testing::TempDir folder;
    const PackedDataset data(pack(folder, 2));
    EXPECT_THROW(Loader(data, options(0, 4)), Error);
    EXPECT_THROW(Loader(data, options(1, 0)), Error);
    Loader loader(data, options(1, 4));
    EXPECT_THROW(loader.start({0, 2}, 0), Error);
    EXPECT_THROW(loader.start({-1}, 0), Error);
    EXPECT_THROW(loader.start({0, 1}, 0, 2), Error);
}

}  // namespace
}  // namespace cutis
