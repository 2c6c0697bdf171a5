#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "engine/cuda_device.h"
#include "engine/loader.h"
#include "engine/on_device.h"
#include "engine/resident_images.h"
#include "kernels/error.h"
#include "tests/support/noise_pack.h"
#include "tests/support/temp_dir.h"

// Batches whose images a GPU makes, from bytes that come along or are resident, against those of the CPU.

namespace cutis::testing {
namespace {

const Device kGpu{DeviceKind::cuda, 0};

struct Sizes {
    int packed, out;
    const char* preset;
};

LoaderOptions options_for(const Sizes& sizes) {
    LoaderOptions options;
    options.batch_size = 4;
    options.size = sizes.out;
    options.mean = {0.5f, 0.4f, 0.3f};
    options.std = {0.2f, 0.3f, 0.4f};
    options.augment = augment_preset(sizes.preset);
    options.augment.fill = {9, 90, 190};
    options.seed = 9;
    options.threads = 2;
    return options;
}

// Every second image, last first, some twice.
std::vector<int> order_of(std::size_t images) {
    std::vector<int> order;
    for (int i = static_cast<int>(images) - 1; i >= 0; i -= 2) {
        order.push_back(i);
    }
    order.push_back(order.front());
    return order;
}

std::vector<std::vector<float>> epoch_of(const PackedDataset& data, const LoaderOptions& options) {
    Loader loader(data, options);
    loader.start(order_of(data.size()), 2);
    AugmentLook look;
    std::copy(options.mean.begin(), options.mean.end(), look.mean);
    std::copy(options.std.begin(), options.std.end(), look.std);
    std::copy(options.augment.fill.begin(), options.augment.fill.end(), look.fill);
    std::vector<std::vector<float>> batches;
    while (const auto batch = loader.next()) {
        Tensor images = batch->images;
        if (options.on_gpu) {
            const std::int64_t n = batch->size();
            const auto* const records = reinterpret_cast<const std::uint8_t*>(batch->samples.data());
            const std::vector<std::uint8_t> raw(records, records + n * std::int64_t{sizeof(AugmentSample)});
            const Tensor samples = Tensor::from(raw, {n, sizeof(AugmentSample)}).to(kGpu);
            const Tensor bytes = batch->bytes ? batch->bytes.to(kGpu) : Tensor();
            EXPECT_EQ(static_cast<bool>(bytes), options.resident == nullptr);
            Tensor made = Tensor::empty({n, options.size, options.size, 3}, DType::f32, kGpu);
            on::augment(kGpu, made.data(), bytes ? bytes.data<std::uint8_t>() : options.resident->data(),
                        static_cast<const AugmentSample*>(samples.raw()), look, true, static_cast<int>(n),
                        options.size);
            images = made.to(Device{});
        }
        batches.emplace_back(images.values().begin(), images.values().end());
    }
    return batches;
}

class CudaAugmentedBatches : public ::testing::TestWithParam<Sizes> {};

TEST_P(CudaAugmentedBatches, AreTheCpusImages) {
    const TempDir folder;
    const PackedDataset data(noise_pack(folder, 13, GetParam().packed));
    LoaderOptions options = options_for(GetParam());
    const auto cpu = epoch_of(data, options);
    options.on_gpu = true;
    const auto streamed = epoch_of(data, options);
    const ResidentImages resident(data, order_of(data.size()), GetParam().out, kGpu);
    options.resident = &resident;
    const auto from_memory = epoch_of(data, options);

    EXPECT_EQ(resident.bytes(), ResidentImages::bytes_needed(data, 7, GetParam().out));
    EXPECT_EQ(streamed, from_memory) << "bit for bit";
    ASSERT_EQ(cpu.size(), streamed.size());
    double largest = 0.0;
    for (std::size_t i = 0; i < cpu.size(); ++i) {
        ASSERT_EQ(cpu[i].size(), streamed[i].size());
        for (std::size_t k = 0; k < cpu[i].size(); ++k) {
            largest = std::max(largest, std::abs(double(cpu[i][k]) - double(streamed[i][k])));
        }
    }
    // A tenth of a grey level in units of a standard deviation of 0.2.
    EXPECT_LT(largest, 0.1 / 255.0 / 0.2);
}

INSTANTIATE_TEST_SUITE_P(Sizes, CudaAugmentedBatches,
                         ::testing::Values(Sizes{32, 32, "full"}, Sizes{32, 32, "none"}, Sizes{33, 32, "light"},
                                           Sizes{40, 17, "none"}, Sizes{90, 20, "light"}, Sizes{90, 20, "full"},
                                           Sizes{10, 24, "full"}, Sizes{1, 8, "light"}),
                         [](const auto& tested) {
                             return std::to_string(tested.param.packed) + "_to_" + std::to_string(tested.param.out) + "_" +
                                    tested.param.preset;
                         });

TEST(ResidentImages, RefuseWhatTheyDoNotHold) {
    const TempDir folder;
    const PackedDataset data(noise_pack(folder, 5, 16));
    const std::vector<int> some = {3, 1};
    const ResidentImages resident(data, some, 8, kGpu);
    EXPECT_EQ(resident.bytes(), 2u * 3u * (16 * 16 + 8 * 8));
    EXPECT_EQ(resident.first_byte(3, 16), 0);
    EXPECT_EQ(resident.first_byte(1, 8), 3 * (16 * 16 + 8 * 8 + 16 * 16));
    EXPECT_THROW(resident.first_byte(0, 16), Error);
    EXPECT_THROW(resident.first_byte(3, 15), Error);
}

// More images than two chunks of the copy hold: the first chunk's memory is used again.
TEST(ResidentImages, AreTheDataSetsBytesHoweverMany) {
    const TempDir folder;
    constexpr int kSide = 512;
    const PackedDataset data(noise_pack(folder, 23, kSide));
    std::vector<int> all(data.size());
    std::iota(all.rbegin(), all.rend(), 0);
    const ResidentImages resident(data, all, kSide, kGpu);
    std::vector<std::uint8_t> bytes(resident.bytes());
    copy_bytes(bytes.data(), Device{}, resident.data(), kGpu, bytes.size());
    for (const int index : all) {
        const auto expected = data.image(static_cast<std::size_t>(index));
        const auto* const found = bytes.data() + resident.first_byte(index, kSide);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), found)) << index;
    }
}

}  // namespace
}  // namespace cutis::testing
