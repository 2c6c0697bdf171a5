#include "engine/tensor.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "engine/cuda_device.h"
#include "tests/support/error_of.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CUTIS_TEST_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CUTIS_TEST_SANITIZED
#endif

namespace cutis::testing {
namespace {

Tensor counting(const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    std::iota(values.begin(), values.end(), 0.0f);
    return Tensor::from(values, shape);
}
std::vector<float> list(const Tensor& tensor) {
    return {tensor.values().begin(), tensor.values().end()};
}

TEST(Shape, KnowsItsSizes) {
    const Shape shape{2, 3, 4};
    EXPECT_EQ(shape.rank(), 3);
    EXPECT_EQ(shape.elements(), 24);
    EXPECT_EQ(shape[0], 2);
    EXPECT_EQ(shape[-1], 4);
    EXPECT_EQ(shape[-3], 2);
    EXPECT_EQ(to_string(shape), "2 x 3 x 4");
    EXPECT_EQ(to_string(Shape{}), "scalar");
    EXPECT_EQ(Shape{}.elements(), 1);
    EXPECT_EQ((Shape{3, 0, 5}).elements(), 0);
}

TEST(Shape, ComparesSizesAndRank) {
    EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
    EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
    EXPECT_NE((Shape{2}), (Shape{2, 1}));
    EXPECT_NE((Shape{}), (Shape{0}));
}

TEST(Shape, RefusesWhatCannotBe) {
    EXPECT_TRUE(is_line_with(error_of([] { Shape{2, -1}; }), "dimension 1", "-1"));
    EXPECT_TRUE(is_line_with(error_of([] { Shape{1, 1, 1, 1, 1, 1}; }), "6 dimensions", "5"));
    EXPECT_TRUE(is_line_with(error_of([] { Shape{std::int64_t{1} << 31, std::int64_t{1} << 32}; }), "2^62"));
    const std::int64_t most = std::numeric_limits<std::int64_t>::max();
    EXPECT_TRUE(is_line_with(error_of([&] { Shape{most, most}; }), "2^62"));
    EXPECT_EQ((Shape{0, most, most}).elements(), 0);
    EXPECT_TRUE(is_line_with(error_of([] { (Shape{2, 3})[2]; }), "2 x 3", "no dimension 2"));
    EXPECT_TRUE(is_line_with(error_of([] { (Shape{2, 3})[-3]; }), "no dimension -3"));
    EXPECT_TRUE(is_line_with(error_of([] { Shape{}[0]; }), "scalar", "no dimension 0"));
}

TEST(Tensor, IsMadeFilled) {
    EXPECT_EQ(list(Tensor::zeros({2, 2})), (std::vector<float>{0, 0, 0, 0}));
    EXPECT_EQ(list(Tensor::full({3}, 2.5f)), (std::vector<float>{2.5f, 2.5f, 2.5f}));
    EXPECT_EQ(list(Tensor::full({}, 7.0f)), (std::vector<float>{7.0f}));
    Tensor tensor = Tensor::zeros({2});
    tensor.fill(-1.0f);
    EXPECT_EQ(list(tensor), (std::vector<float>{-1, -1}));
    EXPECT_EQ(Tensor::zeros({5}, DType::i64).values<std::int64_t>()[4], 0);
}

TEST(Tensor, HoldsEveryElementType) {
    EXPECT_EQ(Tensor::from(std::vector<std::int32_t>{1, -2}, {2}).values<std::int32_t>()[1], -2);
    EXPECT_EQ(Tensor::from(std::vector<std::int64_t>{std::int64_t{1} << 40}, {1}).values<std::int64_t>()[0],
              std::int64_t{1} << 40);
    EXPECT_EQ(Tensor::from(std::vector<std::uint8_t>{255}, {1}).values<std::uint8_t>()[0], 255);
    EXPECT_EQ(Tensor::from(std::vector<BFloat16>{{0x3f80}}, {1}).values<BFloat16>()[0].bits, 0x3f80);
    EXPECT_EQ(Tensor::zeros({3, 5}, DType::i64).bytes(), 120u);
    EXPECT_EQ(Tensor::zeros({3, 5}, DType::f32).bytes(), 60u);
    EXPECT_EQ(Tensor::zeros({3, 5}, DType::i32).bytes(), 60u);
    EXPECT_EQ(Tensor::zeros({3, 5}, DType::bf16).bytes(), 30u);
    EXPECT_EQ(Tensor::zeros({3, 5}, DType::u8).bytes(), 15u);
    EXPECT_EQ(dtype_name(DType::bf16), "bf16");
}

TEST(Tensor, RefusesAWrongElementTypeOrCount) {
    Tensor labels = Tensor::zeros({4}, DType::i32);
    EXPECT_TRUE(is_line_with(error_of([&] { labels.data(); }), "tensor 4", "holds i32", "read as f32"));
    EXPECT_TRUE(is_line_with(error_of([&] { std::as_const(labels).values<std::uint8_t>(); }), "i32", "u8"));
    EXPECT_TRUE(is_line_with(error_of([&] { labels.fill(1.0f); }), "i32", "f32"));
    EXPECT_TRUE(is_line_with(error_of([] { Tensor::from(std::vector<float>{1, 2, 3}, {2, 2}); }), "2 x 2", "3 values"));
}

TEST(Tensor, AnEmptyHandleIsNoTensor) {
    const Tensor none;
    EXPECT_FALSE(none);
    EXPECT_EQ(none.elements(), 0);
    EXPECT_EQ(none.bytes(), 0u);
    EXPECT_EQ(none.version(), 0u);
    EXPECT_FALSE(none.shares_storage(none));
    EXPECT_TRUE(is_line_with(error_of([&] { none.data(); }), "empty handle"));
    EXPECT_TRUE(is_line_with(error_of([&] { none.device(); }), "empty handle"));
    EXPECT_TRUE(is_line_with(error_of([&] { none.clone(); }), "empty handle"));
    EXPECT_TRUE(is_line_with(error_of([&] { none.reshape({1}); }), "reshape"));
}

TEST(Tensor, WithoutElementsIsATensor) {
    const Tensor nothing = Tensor::zeros({3, 0, 2});
    EXPECT_TRUE(static_cast<bool>(nothing));
    EXPECT_EQ(nothing.elements(), 0);
    EXPECT_TRUE(nothing.values().empty());
    EXPECT_EQ(nothing.rows(1, 3).shape(), (Shape{2, 0, 2}));
    EXPECT_EQ(nothing.clone().shape(), nothing.shape());
    EXPECT_EQ(Tensor::zeros({0, 4}).rows(0, 0).shape(), (Shape{0, 4}));
}

TEST(Tensor, CopiesOfTheHandleShareTheBytes) {
    Tensor a = counting({2, 3});
    EXPECT_TRUE(a.unique());
    Tensor b = a;
    EXPECT_FALSE(a.unique());
    EXPECT_TRUE(a.shares_storage(b));
    b.data()[0] = 9.0f;
    EXPECT_EQ(a.values()[0], 9.0f);
    EXPECT_FALSE(a.shares_storage(counting({2, 3})));
}

TEST(Tensor, ACloneIsIndependent) {
    Tensor a = counting({4, 3});
    Tensor copy = a.rows(1, 3).clone();
    EXPECT_EQ(list(copy), (std::vector<float>{3, 4, 5, 6, 7, 8}));
    EXPECT_TRUE(copy.unique());
    a.fill(0.0f);
    EXPECT_EQ(copy.values()[0], 3.0f);
}

TEST(Tensor, ViewsShareTheBytes) {
    Tensor a = counting({4, 3});
    Tensor flat = a.reshape({12}), middle = a.rows(1, 3), last = middle.rows(1, 2).reshape({3, 1});
    EXPECT_EQ(list(middle), (std::vector<float>{3, 4, 5, 6, 7, 8}));
    EXPECT_EQ(list(last), (std::vector<float>{6, 7, 8}));
    EXPECT_EQ(last.shape(), (Shape{3, 1}));
    last.data()[0] = -1.0f;
    EXPECT_EQ(flat.values()[6], -1.0f);
    EXPECT_EQ(a.rows(4, 4).elements(), 0);
    const std::uint64_t version = a.version();
    middle.fill(0.0f);
    EXPECT_GT(a.version(), version);
    EXPECT_EQ(list(a), (std::vector<float>{0, 1, 2, 0, 0, 0, 0, 0, 0, 9, 10, 11}));
}

TEST(Tensor, RowsOfEveryElementType) {
    const Tensor bytes = Tensor::from(std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5}, {3, 2});
    EXPECT_EQ(bytes.rows(2, 3).values<std::uint8_t>()[0], 4);
    const Tensor wide = Tensor::from(std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}, {3, 2});
    EXPECT_EQ(wide.rows(1, 2).values<std::int64_t>()[1], 3);
}

TEST(Tensor, ViewsStayInBounds) {
    const Tensor a = counting({4, 3});
    EXPECT_TRUE(is_line_with(error_of([&] { a.reshape({5, 2}); }), "4 x 3", "12", "5 x 2", "10"));
    EXPECT_TRUE(is_line_with(error_of([&] { a.rows(-1, 2); }), "[-1, 2)", "4 x 3"));
    EXPECT_TRUE(is_line_with(error_of([&] { a.rows(3, 5); }), "[3, 5)"));
    EXPECT_TRUE(is_line_with(error_of([&] { a.rows(3, 2); }), "[3, 2)"));
    EXPECT_TRUE(is_line_with(error_of([&] { Tensor::full({}, 1.0f).rows(0, 1); }), "scalar"));
}

TEST(Tensor, CopyFromWritesInPlaceAndSaysSo) {
    Tensor a = counting({2, 2}), b = a;
    const std::uint64_t version = a.version();
    a.copy_from(Tensor::full({2, 2}, 5.0f));
    EXPECT_EQ(list(b), (std::vector<float>{5, 5, 5, 5}));
    EXPECT_GT(b.version(), version);
    EXPECT_TRUE(is_line_with(error_of([&] { a.copy_from(Tensor::zeros({4})); }), "4 f32", "2 x 2 f32"));
    EXPECT_TRUE(is_line_with(error_of([&] { a.copy_from(Tensor::zeros({2, 2}, DType::i32)); }), "i32"));
    Tensor rows = counting({4, 1});
    rows.rows(1, 4).copy_from(rows.rows(0, 3));  // overlapping
    EXPECT_EQ(list(rows), (std::vector<float>{0, 0, 1, 2}));
}

TEST(Tensor, LivesOnTheCpuUnlessToldOtherwise) {
    EXPECT_EQ(to_string(counting({1}).device()), "cpu");
    const std::string expected = std::string(cuda_mode()) == "off" ? "this build has no CUDA kernels" : "cuda:1";
    EXPECT_TRUE(is_line_with(error_of([] { Tensor::empty({1}, DType::f32, {DeviceKind::cuda, 1}); }), expected));
}

TEST(Storage, IsAlignedForVectorsAndLargePages) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{65}, std::size_t{3} << 20}) {
        const Storage storage(bytes, {});
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(storage.data()) % 64, 0u);
        EXPECT_GE(storage.bytes(), bytes);
    }
}

TEST(Storage, ReusesFreedBlocksOfAboutTheSize) {
    release_cached_memory();
    const void* first = nullptr;
    {
        const Storage block(100000, {});
        first = block.data();
    }
    {
        const Storage same(100000, {});
        EXPECT_EQ(same.data(), first);
        const Storage other(100000, {});
        EXPECT_NE(other.data(), first);
    }
    release_cached_memory();
    { const Storage block(100000, {}); }
    const std::size_t cached = cpu_memory_use().cached;
    {
        const Storage slightly_smaller(90000, {});
        EXPECT_LT(cpu_memory_use().cached, cached);
        EXPECT_GE(slightly_smaller.bytes(), 100000u);
    }
    {
        const Storage much_smaller(50000, {});
        EXPECT_EQ(cpu_memory_use().cached, cached);
    }
    { const Storage larger(120000, {}); }
    EXPECT_GT(cpu_memory_use().cached, cached);
}

TEST(Storage, CountsWhatIsInUse) {
    release_cached_memory();
    EXPECT_EQ(cpu_memory_use().cached, 0u);
    const MemoryUse before = cpu_memory_use();
    std::optional<Tensor> a = Tensor::empty({1024, 1024}), b = Tensor::empty({1024, 1024});
    EXPECT_EQ(cpu_memory_use().in_use, before.in_use + (std::size_t{8} << 20));
    b.reset();
    EXPECT_EQ(cpu_memory_use().in_use, before.in_use + (std::size_t{4} << 20));
    EXPECT_EQ(cpu_memory_use().cached, std::size_t{4} << 20);
    EXPECT_GE(cpu_memory_use().peak_in_use, before.in_use + (std::size_t{8} << 20));
    b = Tensor::empty({1024, 1024});
    EXPECT_EQ(cpu_memory_use().cached, 0u);
    a.reset();
    b.reset();
    const std::size_t peak = cpu_memory_use().peak_in_use;
    EXPECT_EQ(cpu_memory_use().in_use, before.in_use);
    EXPECT_GE(peak, before.in_use + (std::size_t{8} << 20));
    release_cached_memory();
    EXPECT_EQ(cpu_memory_use().cached, 0u);
}

TEST(Storage, ServesSeveralThreads) {
    const std::size_t before = cpu_memory_use().in_use;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([t] {
            for (int i = 0; i < 300; ++i) {
                Tensor tensor = Tensor::full({1 + (i * 37 + t) % 500}, static_cast<float>(t));
                ASSERT_EQ(tensor.values().back(), static_cast<float>(t));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(cpu_memory_use().in_use, before);
}

TEST(Storage, SizesBeyondEveryMemoryAreOneLine) {
    for (const DType dtype : {DType::f32, DType::i64, DType::u8}) {
        const std::string message = error_of([&] { Tensor::empty({std::int64_t{1} << 62}, dtype); });
        EXPECT_TRUE(is_line_with(message, "out of memory", "MiB", "--batch-size"));
    }
}

#ifndef CUTIS_TEST_SANITIZED
// Lets the process grow by `bytes` more; only in a process of its own.
void limit_growth(std::size_t bytes) {
    std::ifstream statm("/proc/self/statm");
    std::size_t pages = 0;
    statm >> pages;
    const std::size_t now = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const rlimit limit{now + bytes, now + bytes};
    if (setrlimit(RLIMIT_AS, &limit) != 0) {
        std::exit(3);
    }
}

TEST(StorageDeathTest, OutOfMemoryIsOneLine) {
    EXPECT_EXIT(
        {
            limit_growth(std::size_t{64} << 20);
            const std::string message = error_of([] { Tensor::empty({1 << 28}); });
            std::fprintf(stderr, "%s\n", message.c_str());
            std::exit(message.find('\n') == std::string::npos ? 0 : 1);
        },
        ::testing::ExitedWithCode(0),
        "out of memory on cpu: 1024.0 MiB more than the .* in use could not be had; lower");
}

TEST(StorageDeathTest, GivesTheCacheBackBeforeItGivesUp) {
    EXPECT_EXIT(
        {
            limit_growth(std::size_t{320} << 20);
            { const Tensor cached = Tensor::empty({200 << 18}); }
            const std::string message = error_of([] { Tensor::empty({260 << 18}); });
            std::fprintf(stderr, "%s, cached %zu\n", message.c_str(), cpu_memory_use().cached >> 20);
            std::exit(0);
        },
        ::testing::ExitedWithCode(0), "\\(no error\\), cached 260");
}
#endif

}  // namespace
}  // namespace cutis::testing
