#include "engine/profiler.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "engine/ops.h"
#include "tests/support/error_of.h"

namespace cutis::testing {
namespace {

// The CPU, and the GPU where there is one (in a simt build there always is).
std::vector<Device> devices() {
    std::vector<Device> all{{}};
    if (cuda_device_count() > 0) {
        all.push_back({DeviceKind::cuda, 0});
    }
    return all;
}

const ProfiledRange& find(const std::vector<ProfiledRange>& ranges, std::string_view name, int skip = 0) {
    for (const ProfiledRange& range : ranges) {
        if (range.name == name && skip-- == 0) {
            return range;
        }
    }
    throw std::runtime_error("no range " + std::string(name));
}

Tensor work(Device device) {
    Tensor tensor = Tensor::full({1000}, 1.0f, device);
    tensor.fill(2.0f);
    return tensor;
}

TEST(Profiler, RangesNestInTimeAndInParents) {
    for (const Device device : devices()) {
        Profiler profiler(device);
        {
            const ProfileRange outer("outer");
            work(device);
            {
                const ProfileRange first("first");
                work(device);
                const ProfileRange inner("inner");
                work(device);
            }
            const ProfileRange second("second");
            work(device);
        }
        { const ProfileRange next("next"); }
        const std::vector<ProfiledRange> ranges = profiler.take();
        ASSERT_EQ(ranges.size(), 5u);
        const char* const names[] = {"outer", "first", "inner", "second", "next"};
        const int parents[] = {-1, 0, 1, 0, -1};
        for (std::size_t i = 0; i < 5; ++i) {
            EXPECT_EQ(ranges[i].name, names[i]);
            EXPECT_EQ(ranges[i].parent, parents[i]) << names[i];
            EXPECT_GE(ranges[i].begin_ns, 0);
            EXPECT_GE(ranges[i].duration_ns(), 0);
            if (ranges[i].parent >= 0) {
                const ProfiledRange& parent = ranges[static_cast<std::size_t>(ranges[i].parent)];
                EXPECT_GE(ranges[i].begin_ns, parent.begin_ns) << names[i];
                EXPECT_LE(ranges[i].end_ns, parent.end_ns) << names[i];
            }
        }
        EXPECT_GT(ranges[0].duration_ns(), 0);
        EXPECT_LE(ranges[1].end_ns, ranges[3].begin_ns);
        EXPECT_LE(ranges[0].end_ns, ranges[4].begin_ns);
        EXPECT_LE(ranges[1].duration_ns() + ranges[3].duration_ns(), ranges[0].duration_ns());
    }
}

TEST(Profiler, GoesOnAfterTaking) {
    for (const Device device : devices()) {
        Profiler profiler(device);
        EXPECT_TRUE(profiler.take().empty());
        std::int64_t last = 0;
        for (int round = 0; round < 3; ++round) {
            for (int i = 0; i <= round; ++i) {
                const ProfileRange range("round");
                work(device);
            }
            const std::vector<ProfiledRange> ranges = profiler.take();
            ASSERT_EQ(ranges.size(), static_cast<std::size_t>(round) + 1);
            EXPECT_GE(ranges.front().begin_ns, last);
            last = ranges.back().end_ns;
            EXPECT_GT(last, ranges.front().begin_ns);
        }
    }
}

TEST(Profiler, NamesTheLayerOfAParameter) {
    Profiler profiler({});
    { const ProfileRange range("conv2d", "features.0.0.weight"); }
    { const ProfileRange range("conv2d", "weight"); }
    { const ProfileRange range("conv2d"); }
    const std::vector<ProfiledRange> ranges = profiler.take();
    EXPECT_EQ(ranges[0].layer, "features.0.0");
    EXPECT_EQ(ranges[1].layer, "weight");
    EXPECT_EQ(ranges[2].layer, "");
}

TEST(Profiler, WorkGoesToTheInnermostRange) {
    const Tensor three = Tensor::zeros({3}), bytes = Tensor::zeros({5}, DType::u8), none;
    profile_work(1, {&three});  // nobody listens
    Profiler profiler({});
    profile_work(1, {&three});  // no range is open
    {
        const ProfileRange outer("outer");
        profile_work(2, {&three});
        {
            const ProfileRange inner("inner");
            profile_work(10, {&three, &three, &bytes, &none, nullptr});
        }
        profile_work(3, {&bytes});
    }
    const std::vector<ProfiledRange> ranges = profiler.take();
    EXPECT_EQ(ranges[0].flops, 5);
    EXPECT_EQ(ranges[0].bytes, 12 + 5);
    EXPECT_EQ(ranges[1].flops, 10);
    EXPECT_EQ(ranges[1].bytes, 12 + 12 + 5);
}

TEST(Profiler, NvtxRangesAreBalanced) {
    if (nvtx_attached()) {
        GTEST_SKIP() << "a tool watches, so that ranges are open without a profiler";
    }
    {
        const ProfileRange range("off");
        EXPECT_EQ(nvtx_depth(), 0) << "without a profiler a range is nothing";
    }
    Profiler profiler({});
    {
        const ProfileRange outer("outer");
        EXPECT_EQ(nvtx_depth(), 1);
        {
            const ProfileRange inner("inner");
            EXPECT_EQ(nvtx_depth(), 2);
        }
        EXPECT_EQ(nvtx_depth(), 1);
    }
    EXPECT_EQ(nvtx_depth(), 0);
    try {
        const ProfileRange outer("outer");
        const ProfileRange inner("inner");
        throw std::runtime_error("an op failed");
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(nvtx_depth(), 0);
    EXPECT_EQ(profiler.take().size(), 4u);
}

TEST(Profiler, ARangeMayOutliveIt) {
    auto profiler = std::make_unique<Profiler>(Device{});
    {
        const ProfileRange range("range");
        profiler.reset();
    }
    EXPECT_EQ(nvtx_depth(), 0);
}

TEST(Profiler, IsOnePerThread) {
    Profiler profiler({});
    EXPECT_TRUE(is_line_with(error_of([] { Profiler second({}); }), "profiler", "one already"));
    std::thread([] {
        const ProfileRange range("elsewhere");
        Profiler other({});
        { const ProfileRange seen("seen"); }
        EXPECT_EQ(other.take().size(), 1u);
    }).join();
    EXPECT_TRUE(profiler.take().empty());
    const ProfileRange open("open");
    EXPECT_TRUE(is_line_with(error_of([&] { profiler.take(); }), "profiler", "'open' is open"));
}

TEST(Profiler, OpsAndTheirBackwardPassesAreRanges) {
    for (const Device device : devices()) {
        const auto parameter = [&](const Shape& shape, const char* name) {
            return Variable(Tensor::full(shape, 0.1f, device), true, name);
        };
        const Variable w1 = parameter({4, 3}, "first.weight"), w2 = parameter({2, 4}, "second.weight"),
                       b2 = parameter({2}, "second.bias");
        const Variable x(Tensor::full({5, 3}, 1.0f, device));
        const Tensor labels = Tensor::from(std::vector<std::int32_t>{0, 1, 0, 1, 0}, {5}).to(device);
        Profiler profiler(device);
        {
            const ProfileRange range("forward");
            Variable loss = cross_entropy(linear(relu(linear(x, w1, Variable())), w2, b2), labels);
            const ProfileRange back("backward");
            loss.backward();
        }
        const std::vector<ProfiledRange> ranges = profiler.take();
        ASSERT_EQ(ranges.size(), 2 + 4 + 4u);
        // Forward: the first layer moves x, w and y.
        const ProfiledRange& first = find(ranges, "linear");
        EXPECT_EQ(first.layer, "first");
        EXPECT_EQ(first.flops, 2 * 5 * 3 * 4);
        EXPECT_EQ(first.bytes, 4 * (15 + 12 + 20));
        EXPECT_EQ(find(ranges, "relu").bytes, 4 * (20 + 20));
        EXPECT_EQ(find(ranges, "linear", 1).layer, "second");
        // Backward, the other way round: dx and dw of the second, dw alone of the first.
        const ProfiledRange &back2 = find(ranges, "linear", 2), &back1 = find(ranges, "linear", 3);
        EXPECT_EQ(back2.layer, "second");
        EXPECT_EQ(back2.flops, 2 * 2 * 5 * 4 * 2);
        EXPECT_EQ(back2.bytes, 4 * (10 + 20 + 8 + 20 + 8));  // dy, x, w, dx, dw
        EXPECT_EQ(back1.layer, "first");
        EXPECT_EQ(back1.flops, 2 * 5 * 3 * 4);
        EXPECT_EQ(back1.bytes, 4 * (20 + 15 + 12));  // dy, x, dw
        EXPECT_EQ(find(ranges, "cross-entropy", 1).parent, back2.parent);
        EXPECT_EQ(ranges[static_cast<std::size_t>(back2.parent)].name, "backward");
    }
}

}  // namespace
}  // namespace cutis::testing
