#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "engine/augment.h"
#include "engine/cuda_device.h"
#include "engine/ops.h"
#include "engine/packed_dataset.h"
#include "models/mobilenet_v2.h"
#include "tests/support/temp_dir.h"
#include "tools/run_report.h"
#include "tools/trainer.h"

// Training on a GPU (in a simt build: the same kernels and the same host code, on the CPU) against training on the CPU.
//
// A MobileNetV2 that sees 32 pixels normalises its last stages over one value per image, and its gradient multiplies
// every rounding error: with a usual learning rate two runs on the CPU that differ in their number of threads alone are
// 0.1 apart after five steps. So curves are compared at a learning rate that leaves the forward and backward passes
// nearly all of the difference; that the optimisers' own arithmetic is right is shown by the kernels' tests.

namespace cutis {
namespace {

constexpr int kSide = 32;
const Device kGpu{DeviceKind::cuda, 0};

std::filesystem::path pack(const testing::TempDir& folder, int images = 80, int side = kSide) {
    const std::filesystem::path path = folder / "colours.cutis";
    PackedDatasetWriter writer(path, side, {"red", "green", "blue"});
    PhiloxStream random(5, RandomPurpose::test);
    std::vector<std::uint8_t> rgb(static_cast<std::size_t>(side * side) * 3);
    for (int i = 0; i < images; ++i) {
        Sample sample;
        sample.image_id = "image_" + std::to_string(i);
        sample.lesion_id = "lesion_" + std::to_string(i);
        sample.label = i % 3;
        for (std::size_t v = 0; v < rgb.size(); ++v) {
            const std::uint32_t level = v % 3 == static_cast<std::size_t>(sample.label) ? 120 : 60;
            rgb[v] = static_cast<std::uint8_t>(level + random.below(100));
        }
        writer.add(sample, rgb);
    }
    writer.commit();
    return path;
}

TrainConfig run_of(const std::filesystem::path& data, const std::filesystem::path& out, const std::string& device) {
    TrainConfig config;
    config.data = data.string();
    config.out = out.string();
    config.device = device;
    config.width = 0.35f;
    config.batch_size = 16;
    config.optimizer = "adamw";
    config.lr = 1e-6f;
    config.steps = 20;
    config.log_every = 1;
    config.augment = "light";
    config.augmentation = augment_preset("light");
    config.seed = 3;
    return config;
}

std::vector<double> losses(const std::filesystem::path& run) {
    std::vector<double> all;
    for (const TrainingStep& step : read_history(run / "metrics.jsonl").steps) {
        all.push_back(step.loss);
    }
    return all;
}

std::vector<double> train_losses(const TrainConfig& config) {
    EXPECT_EQ(train(config, false), TrainEnd::finished);
    return losses(config.out);
}

TEST(GpuTraining, FollowsTheCpusLosses) {
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder);
    const std::vector<double> cpu = train_losses(run_of(data, folder / "cpu", "cpu"));
    const std::vector<double> gpu = train_losses(run_of(data, folder / "gpu", "cuda"));
    ASSERT_EQ(cpu.size(), 20u);
    ASSERT_EQ(gpu.size(), 20u);
    EXPECT_GT(std::abs(cpu[0] - cpu[19]), 0.01);  // the batches differ, so that a curve says something
    for (std::size_t i = 0; i < 20; ++i) {
        EXPECT_NEAR(cpu[i], gpu[i], i < 5 ? 1e-4 : 1e-3) << "step " << i + 1;
    }
}

TEST(GpuTraining, RepeatsBitForBitWithAndWithoutGraphs) {
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder, 60);
    std::vector<double> expected;
    for (const char* name : {"first", "second", "kernel_by_kernel"}) {
        TrainConfig config = run_of(data, folder / name, "cuda");
        config.steps = 7;  // over an epoch's end, so that the shorter batch has had its own graph
        config.epochs = 2;
        config.lr = 1e-3f;
        config.ema = 0.9f;
        config.clip_grad = 1.0f;
        config.graph = std::string(name) != "kernel_by_kernel";
        const std::vector<double> all = train_losses(config);
        ASSERT_EQ(all.size(), 7u);
        if (expected.empty()) {
            expected = all;
        }
        EXPECT_EQ(all, expected) << name;
    }
}

// Images of 72 pixels are also there as halves and as they are wanted: wherever a sample's bytes come from, they are
// the same.
TEST(GpuTraining, ResidentAndSentImagesAreTheSame) {
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder, 20, 72);
    std::vector<double> expected;
    for (const char* resident : {"on", "off"}) {
        TrainConfig config = run_of(data, folder / resident, "cuda");
        config.size = kSide;
        config.batch_size = 4;
        config.steps = 4;
        config.resident = resident;
        const std::vector<double> all = train_losses(config);
        ASSERT_EQ(all.size(), 4u);
        if (expected.empty()) {
            expected = all;
        }
        EXPECT_EQ(all, expected) << resident;
    }
}

TEST(GpuTraining, Bf16StaysNearFp32) {
    const testing::TempDir folder;
    const std::filesystem::path data = pack(folder, 120);
    TrainConfig config = run_of(data, folder / "fp32", "cuda");
    config.batch_size = 32;
    config.steps = 4;
    config.epochs = 2;
    const std::vector<double> fp32 = train_losses(config);
    config.out = (folder / "bf16").string();
    config.precision = "bf16";
    const std::vector<double> bf16 = train_losses(config);
    ASSERT_EQ(fp32.size(), bf16.size());
    for (std::size_t i = 0; i < fp32.size(); ++i) {
        EXPECT_NEAR(fp32[i], bf16[i], 0.05) << "step " << i + 1;
    }
    EXPECT_NE(fp32, bf16);
}

// A MobileNetV2 that goes from its first bottlenecks straight to the head.
std::unique_ptr<Model> shortened_mobilenet(std::size_t bottlenecks) {
    auto model = std::make_unique<MobileNetV2>(ModelOptions{.classes = 3, .width = 0.35f});
    if (bottlenecks < model->blocks.size()) {
        model->blocks.erase(model->blocks.begin() + static_cast<std::ptrdiff_t>(bottlenecks), model->blocks.end());
        ConvBn::Config head = model->head.front().config;
        head.c_in = model->blocks.back().units.back().config.c_out;
        model->head.clear();
        model->head.emplace_back(head);
    }
    model->init(1);
    return model;
}

constexpr std::size_t kAllBottlenecks = 17;

// All parameters' gradients of one step, one after the other.
std::vector<float> first_gradients(Device device, DType activations, std::size_t bottlenecks) {
    const std::unique_ptr<Model> model = shortened_mobilenet(bottlenecks);
    const Parts parts = model->parts();
    parts.move_to(device);
    constexpr std::int64_t kImages = 32;
    Tensor images = Tensor::empty({kImages, kSide, kSide, 3});
    // Each image has a colour, and one that it fades to along a direction of its own: images that differ, as real ones
    // do.
    PhiloxStream random(9, RandomPurpose::test);
    const auto draw = [&] { return 4.0f * random.uniform() - 2.0f; };
    for (std::int64_t i = 0; i < kImages; ++i) {
        const float angle = 3.0f * draw();
        for (std::int64_t channel = 0; channel < 3; ++channel) {
            const float from = draw(), to = draw();
            for (std::int64_t pixel = 0; pixel < kSide * kSide; ++pixel) {
                const float x = static_cast<float>(pixel % kSide) / kSide - 0.5f,
                            y = static_cast<float>(pixel / kSide) / kSide - 0.5f;
                const float along = 0.5f + 0.5f * std::sin(4.0f * (std::cos(angle) * x + std::sin(angle) * y));
                images.data()[(i * kSide * kSide + pixel) * 3 + channel] = from + (to - from) * along;
            }
        }
    }
    Tensor labels = Tensor::empty({kImages}, DType::i32);
    for (std::int64_t i = 0; i < kImages; ++i) {
        labels.data<std::int32_t>()[i] = static_cast<std::int32_t>(i % 3);
    }
    const Variable logits = model->forward(Variable(cast(images.to(device), activations)), {.training = true});
    cross_entropy(logits, labels.to(device), {}).backward();
    std::vector<float> all;
    for (const ParameterRef& parameter : parts.parameters) {
        const Tensor gradient = std::as_const(parameter.variable).grad().to(Device{});
        all.insert(all.end(), gradient.values().begin(), gradient.values().end());
    }
    return all;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        ab += static_cast<double>(a[i]) * static_cast<double>(b[i]);
        aa += static_cast<double>(a[i]) * static_cast<double>(a[i]);
        bb += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    return ab / std::sqrt(aa * bb);
}

TEST(GpuTraining, FirstGradientsPointTheCpusWay) {
    const std::vector<float> cpu = first_gradients({}, DType::f32, kAllBottlenecks),
                             fp32 = first_gradients(kGpu, DType::f32, kAllBottlenecks);
    ASSERT_EQ(cpu.size(), fp32.size());
    EXPECT_GT(cosine(cpu, fp32), 0.999);
}

// Seventeen bottlenecks with batchnorms multiply a change of their input until nothing is left of the gradient's
// direction: docs/precision.md. Three let the kernels' own rounding be seen.
TEST(GpuTraining, FirstGradientsInBf16PointTheFp32Way) {
    const std::vector<float> fp32 = first_gradients(kGpu, DType::f32, 3), bf16 = first_gradients(kGpu, DType::bf16, 3);
    ASSERT_EQ(fp32.size(), bf16.size());
    EXPECT_GT(cosine(fp32, bf16), 0.99);
    EXPECT_NE(fp32, bf16);
}

}  // namespace
}  // namespace cutis
