#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "tests/support/error_of.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;

// 40 images; those that train are the even ones: 12 of class 0, 5 of class 1, 3 of class 3, none of class 2.
struct Images {
    Images() {
        for (int i = 0; i < 40; ++i) {
            labels.push_back(i < 24 ? 0 : i < 34 ? 1 : 3);
            if (i % 2 == 0) {
                train.push_back(i);
            }
        }
    }
    std::vector<int> labels;
    std::vector<int> train;
};

std::vector<int> counts_of(const std::vector<int>& order, const std::vector<int>& labels) {
    std::vector<int> counts(4, 0);
    for (const int i : order) {
        ++counts[static_cast<std::size_t>(labels[static_cast<std::size_t>(i)])];
    }
    return counts;
}

TEST(EpochOrder, SequentialIsAsGiven) {
    const Images images;
    EXPECT_EQ(epoch_order(Order::sequential, images.train, images.labels, 4, 1, 0), images.train);
    EXPECT_EQ(epoch_order(Order::sequential, images.train, images.labels, 4, 2, 7), images.train);
}

TEST(EpochOrder, ShuffledVisitsEachOnceInANewOrderEveryEpoch) {
    const Images images;
    std::set<std::vector<int>> orders;
    for (std::uint32_t epoch = 0; epoch < 20; ++epoch) {
        for (const std::uint64_t seed : {1ull, 2ull, 1ull << 33}) {
            std::vector<int> order = epoch_order(Order::shuffled, images.train, images.labels, 4, seed, epoch);
            EXPECT_EQ(epoch_order(Order::shuffled, images.train, images.labels, 4, seed, epoch), order);
            orders.insert(order);
            std::sort(order.begin(), order.end());
            EXPECT_EQ(order, images.train);
        }
    }
    EXPECT_EQ(orders.size(), 60u);
}

TEST(EpochOrder, ShufflingIsUniform) {
    const std::vector<int> indices{0, 1, 2};
    const std::vector<int> labels{0, 0, 0};
    std::map<std::vector<int>, int> times;
    for (std::uint32_t epoch = 0; epoch < 6000; ++epoch) {
        ++times[epoch_order(Order::shuffled, indices, labels, 1, 1, epoch)];
    }
    ASSERT_EQ(times.size(), 6u);
    for (const auto& [order, count] : times) {
        EXPECT_NEAR(count, 1000, 145);  // five deviations of Binomial(6000, 1/6)
    }
}

TEST(EpochOrder, BalancedDrawsEveryClassEquallyOften) {
    const Images images;
    std::vector<int> sums(4, 0);
    for (std::uint32_t epoch = 0; epoch < 6; ++epoch) {
        const std::vector<int> order = epoch_order(Order::balanced, images.train, images.labels, 4, 1, epoch);
        EXPECT_EQ(order.size(), 20u);
        const std::vector<int> counts = counts_of(order, images.labels);
        for (const std::size_t c : {0u, 1u, 3u}) {
            EXPECT_TRUE(counts[c] == 6 || counts[c] == 7) << counts[c];
            sums[c] += counts[c];
        }
        if (epoch % 3 == 2) {
            EXPECT_EQ(sums, (std::vector<int>{20, 20, 0, 20}));
            sums.assign(4, 0);
        }
    }
}

TEST(EpochOrder, BalancedDrawsWithoutReplacementAcrossEpochs) {
    const Images images;
    for (const auto& [label, members] : std::map<int, std::size_t>{{0, 12}, {1, 5}, {3, 3}}) {
        // Within an epoch the order is shuffled, so look at how often each image came after every epoch: the counts of
        // a class never differ by more than one pass.
        std::map<int, int> seen;
        for (std::uint32_t epoch = 0; epoch < 30; ++epoch) {
            for (const int i : epoch_order(Order::balanced, images.train, images.labels, 4, 5, epoch)) {
                if (images.labels[static_cast<std::size_t>(i)] == label) {
                    ++seen[i];
                }
            }
            int least = 1000;
            int most = 0;
            for (const auto& [image, count] : seen) {
                least = std::min(least, count);
                most = std::max(most, count);
            }
            EXPECT_LE(most, 1 + (seen.size() < members ? 0 : least)) << "class " << label << " epoch " << epoch;
        }
        EXPECT_EQ(seen.size(), members);
    }
}

TEST(EpochOrder, BalancedDrawsEveryPassInANewOrder) {
    // So many other classes that an epoch draws one image of class 0, and its sequence can be seen.
    std::vector<int> labels{0, 0, 0};
    for (int c = 1; c <= 300; ++c) {
        labels.push_back(c);
    }
    std::vector<int> indices(labels.size());
    std::iota(indices.begin(), indices.end(), 0);
    std::vector<int> sequence;
    for (std::uint32_t epoch = 0; epoch < 30; ++epoch) {
        for (const int i : epoch_order(Order::balanced, indices, labels, 301, 1, epoch)) {
            if (labels[static_cast<std::size_t>(i)] == 0) {
                sequence.push_back(i);
            }
        }
    }
    ASSERT_EQ(sequence.size(), 30u);
    std::set<std::vector<int>> passes;
    for (std::size_t pass = 0; pass < 10; ++pass) {
        std::vector<int> order(sequence.begin() + static_cast<std::ptrdiff_t>(3 * pass),
                               sequence.begin() + static_cast<std::ptrdiff_t>(3 * pass + 3));
        passes.insert(order);
        std::sort(order.begin(), order.end());
        EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
    }
    EXPECT_GE(passes.size(), 3u);
}

TEST(EpochOrder, BalancedIsAPureFunctionOfItsArguments) {
    const Images images;
    std::set<std::vector<int>> orders;
    for (std::uint32_t epoch = 0; epoch < 10; ++epoch) {
        const auto order = epoch_order(Order::balanced, images.train, images.labels, 4, 1, epoch);
        EXPECT_EQ(epoch_order(Order::balanced, images.train, images.labels, 4, 1, epoch), order);
        orders.insert(order);
        orders.insert(epoch_order(Order::balanced, images.train, images.labels, 4, 2, epoch));
    }
    EXPECT_EQ(orders.size(), 20u);
    // Far epochs cost no more than the first.
    EXPECT_EQ(epoch_order(Order::balanced, images.train, images.labels, 4, 1, 4'000'000'000u).size(), 20u);
}

TEST(EpochOrder, BalancedMixesTheClasses) {
    const Images images;
    const auto order = epoch_order(Order::balanced, images.train, images.labels, 4, 1, 0);
    std::vector<int> classes;
    for (const int i : order) {
        classes.push_back(images.labels[static_cast<std::size_t>(i)]);
    }
    EXPECT_FALSE(std::is_sorted(classes.begin(), classes.end()));
}

TEST(EpochOrder, NothingToVisit) {
    const Images images;
    for (const Order order : {Order::sequential, Order::shuffled, Order::balanced}) {
        EXPECT_TRUE(epoch_order(order, {}, images.labels, 4, 1, 0).empty());
    }
}

TEST(EpochOrder, RefusesImagesAndLabelsThatDoNotExist) {
    const std::vector<int> labels{0, 1, 2};
    const auto error_for = [&](std::vector<int> indices, int classes) {
        return error_of([&] { (void)epoch_order(Order::shuffled, indices, labels, classes, 1, 0); });
    };
    EXPECT_TRUE(is_line_with(error_for({0, 3}, 3), "image 3 of 3"));
    EXPECT_TRUE(is_line_with(error_for({-1}, 3), "image -1 of 3"));
    EXPECT_TRUE(is_line_with(error_for({2}, 2), "image 2 has label 2, but there are 2 classes"));
}

TEST(OrderNamed, KnowsThree) {
    EXPECT_EQ(order_named("sequential"), Order::sequential);
    EXPECT_EQ(order_named("shuffled"), Order::shuffled);
    EXPECT_EQ(order_named("balanced"), Order::balanced);
    EXPECT_TRUE(
        is_line_with(error_of([] { (void)order_named("random"); }), "'random'", "sequential, shuffled or balanced"));
}

}  // namespace
}  // namespace cutis
