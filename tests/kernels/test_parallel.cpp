#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <stdexcept>
#include <vector>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "tests/support/error_of.h"

namespace cutis {
namespace {

class Parallel : public ::testing::Test {
  protected:
    void SetUp() override { set_thread_count(4); }
    void TearDown() override { set_thread_count(before_); }
    int before_ = thread_count();
};

TEST_F(Parallel, RegionRunsOncePerThread) {
    std::vector<int> calls(4);
    parallel_region([&](int thread, int threads) {
        EXPECT_EQ(threads, 4);
        ++calls.at(static_cast<std::size_t>(thread));
    });
    EXPECT_EQ(calls, std::vector<int>(4, 1));
}

TEST_F(Parallel, PartsCoverTheRangeInOrderAndDifferByOneAtMost) {
    for (const std::int64_t n : {0, 1, 3, 4, 5, 1000, 1001}) {
        for (const int threads : {1, 2, 3, 7}) {
            std::int64_t next = 0, smallest = n, largest = 0;
            for (int thread = 0; thread < threads; ++thread) {
                const Range part = static_part(n, thread, threads);
                EXPECT_EQ(part.begin, next);
                next = part.end;
                smallest = std::min(smallest, part.end - part.begin);
                largest = std::max(largest, part.end - part.begin);
            }
            EXPECT_EQ(next, n);
            EXPECT_LE(largest - smallest, 1);
        }
    }
}

TEST_F(Parallel, ForVisitsEveryItemOnce) {
    for (const std::int64_t n : {0, 1, 2, 3, 5, 100, 1001}) {
        for (const std::int64_t grain : {1, 10, 5000}) {
            std::vector<std::atomic<int>> visits(static_cast<std::size_t>(n));
            parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
                EXPECT_LT(begin, end);
                EXPECT_GE(thread, 0);
                EXPECT_LT(thread, 4);
                for (std::int64_t i = begin; i < end; ++i) {
                    ++visits[static_cast<std::size_t>(i)];
                }
            });
            for (const auto& count : visits) {
                EXPECT_EQ(count, 1);
            }
        }
    }
}

TEST_F(Parallel, FewItemsStayOnTheCallingThread) {
    int calls = 0;
    parallel_for(10, 10, [&](std::int64_t begin, std::int64_t end, int thread) {
        ++calls;
        EXPECT_EQ(begin, 0);
        EXPECT_EQ(end, 10);
        EXPECT_EQ(thread, 0);
    });
    EXPECT_EQ(calls, 1);
}

TEST_F(Parallel, NestedRegionsRunInPlace) {
    std::atomic<int> inner{0};
    parallel_region([&](int, int) {
        EXPECT_EQ(thread_count(), 1);
        parallel_region([&](int thread, int threads) {
            EXPECT_EQ(thread, 0);
            EXPECT_EQ(threads, 1);
            parallel_for(100, 1,
                         [&](std::int64_t begin, std::int64_t end, int) { inner += static_cast<int>(end - begin); });
        });
    });
    EXPECT_EQ(inner, 400);
    EXPECT_EQ(thread_count(), 4);
}

TEST_F(Parallel, AnExceptionOfAnyThreadComesOut) {
    for (int thrower = 0; thrower < 4; ++thrower) {
        const std::string message = testing::error_of(
            [&] { parallel_region([&](int thread, int) { require(thread != thrower, "thread {} fails", thread); }); });
        EXPECT_EQ(message, fmt::format("thread {} fails", thrower));
        // And the threads go on.
        std::atomic<int> calls{0};
        parallel_region([&](int, int) { ++calls; });
        EXPECT_EQ(calls, 4);
    }
    EXPECT_THROW(parallel_for(1000, 1, [](std::int64_t, std::int64_t, int) { throw std::runtime_error("all"); }),
                 std::runtime_error);
}

TEST_F(Parallel, AnExceptionOfANestedRegionComesOut) {
    const std::string message = testing::error_of([] {
        parallel_region([](int thread, int) { parallel_region([&](int, int) { require(thread != 2, "inner"); }); });
    });
    EXPECT_EQ(message, "inner");
    EXPECT_EQ(thread_count(), 4);
}

TEST_F(Parallel, TheNumberOfThreadsCanChangeBetweenRegions) {
    for (const int threads : {1, 5, 2, 8, 3}) {
        set_thread_count(threads);
        EXPECT_EQ(thread_count(), threads);
        std::mutex mutex;
        std::set<int> seen;
        parallel_region([&](int thread, int count) {
            EXPECT_EQ(count, threads);
            const std::lock_guard lock(mutex);
            seen.insert(thread);
        });
        EXPECT_EQ(static_cast<int>(seen.size()), threads);
    }
}

TEST_F(Parallel, RefusesNumbersOfThreadsThatMakeNoSense) {
    for (const int threads : {0, -1, 100000}) {
        EXPECT_TRUE(
            testing::is_line_with(testing::error_of([&] { set_thread_count(threads); }), std::to_string(threads)));
    }
    EXPECT_EQ(thread_count(), 4);
}

TEST_F(Parallel, ScratchIsAlignedAndEachThreadsAndSlotsOwn) {
    std::mutex mutex;
    std::set<float*> buffers;
    parallel_region([&](int thread, int) {
        for (int slot = 0; slot < kScratchSlots; ++slot) {
            float* const scratch = thread_scratch(slot, 100 + slot);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(scratch) % 64, 0u);
            std::fill_n(scratch, 100 + slot, static_cast<float>(thread * 100 + slot));
            const std::lock_guard lock(mutex);
            buffers.insert(scratch);
        }
        for (int slot = 0; slot < kScratchSlots; ++slot) {
            const float* const scratch = thread_scratch(slot, 10);  // smaller: the same buffer
            EXPECT_EQ(scratch[99], static_cast<float>(thread * 100 + slot));
        }
    });
    EXPECT_EQ(buffers.size(), static_cast<std::size_t>(4 * kScratchSlots));
    float* const large = thread_scratch(0, 3 << 20);
    large[(3 << 20) - 1] = 1.0f;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large) % 64, 0u);
}

}  // namespace
}  // namespace cutis
