#include "tools/inference.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <thread>

#include "engine/augment.h"
#include "engine/autograd.h"
#include "engine/packed_dataset.h"
#include "engine/resize.h"
#include "engine/safetensors.h"
#include "kernels/philox.h"
#include "models/mobilenet_v2.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"
#include "tools/read_ahead.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;
using testing::TempDir;

TEST(ReadAhead, DeliversInOrderWhateverTheThreads) {
    for (const int threads : {1, 2, 7}) {
        ReadAhead<int> values(200, threads, 5, [](std::int64_t i) {
            if (i % 3 == 0) {
                std::this_thread::yield();
            }
            return static_cast<int>(i * i);
        });
        for (int i = 0; i < 200; ++i) {
            ASSERT_EQ(values.next(), i * i);
        }
    }
}

TEST(ReadAhead, KeepsNoMoreThanItMay) {
    std::atomic<std::int64_t> made{0};
    std::int64_t taken = 0;
    ReadAhead<int> values(100, 4, 3, [&](std::int64_t) { return static_cast<int>(++made); });
    for (; taken < 100; ++taken) {
        std::this_thread::yield();
        EXPECT_LE(made.load(), taken + 3);
        values.next();
    }
}

TEST(ReadAhead, AnErrorComesInItsValuesPlace) {
    ReadAhead<int> values(20, 4, 8, [](std::int64_t i) {
        require(i != 7 && i != 5, "value {}", i);
        return static_cast<int>(i);
    });
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(values.next(), i);
    }
    EXPECT_EQ(error_of([&] { values.next(); }), "value 5");
    EXPECT_EQ(values.next(), 6);
    EXPECT_EQ(error_of([&] { values.next(); }), "value 7");
}

TEST(ReadAhead, MayBeLeftEarlyAndUnused) {
    ReadAhead<int> none(0, 4, 1, [](std::int64_t) { return 0; });
    ReadAhead<int> some(1000000, 4, 2, [](std::int64_t i) { return static_cast<int>(i); });
    EXPECT_EQ(some.next(), 0);
}

TEST(ParseThree, ReadsThreeNumbersAndNothingElse) {
    EXPECT_EQ(parse_three("0.485,0.456,0.406", "mean"), kImageNetMean);
    EXPECT_EQ(parse_three("-1,2e3,0", "mean"), (std::array<float, 3>{-1, 2000, 0}));
    for (const char* text :
         {"", "1", "1,2", "1,2,3,4", "1,2,3,", "1;2;3", "a,b,c", "1,2,nan", "1,inf,2", " 1,2,3", "1, 2,3", "1,,3"}) {
        EXPECT_TRUE(is_line_with(error_of([&] { parse_three(text, "--mean"); }), "--mean", text)) << text;
    }
}

std::filesystem::path weights_with(const TempDir& folder, const std::map<std::string, std::string>& metadata) {
    const std::vector<float> values{1.0f};
    const TensorToWrite tensor{"x", FileDType::f32, {1}, std::as_bytes(std::span(values))};
    const std::filesystem::path path = folder / "w.safetensors";
    write_safetensors(path, std::span(&tensor, 1), metadata);
    return path;
}

TEST(InputSettings, ComeFromTheWeightsMetadata) {
    const TempDir folder;
    const auto model = build_model("mobilenet_v2", {.width = 0.1f});
    const InputSettings stated = input_settings(
        SafetensorsFile(weights_with(folder, {{"mean", "0.5,0.25,0.125"}, {"std", "1,2,3"}, {"size", "160"}})), *model);
    EXPECT_EQ(stated.mean, (std::array<float, 3>{0.5f, 0.25f, 0.125f}));
    EXPECT_EQ(stated.std, (std::array<float, 3>{1, 2, 3}));
    EXPECT_EQ(stated.size, 160);
    const InputSettings silent = input_settings(SafetensorsFile(weights_with(folder, {})), *model);
    EXPECT_EQ(silent.mean, kImageNetMean);
    EXPECT_EQ(silent.std, kImageNetStd);
    EXPECT_EQ(silent.size, 224);
}

TEST(InputSettings, OfTorchvisionsGoogLeNetAreBehindItsTransformInput) {
    const TempDir folder;
    const auto model = build_model("googlenet", {.width = 0.1f});
    const SafetensorsFile file(weights_with(folder, {}));
    const InputSettings silent = input_settings(file, *model);
    for (std::size_t c = 0; c < 3; ++c) {
        // What torchvision's transform_input makes of a channel that ImageNet's figures normalised.
        const auto transformed = [&](float x) {
            return (x - kImageNetMean[c]) / kImageNetStd[c] * (kImageNetStd[c] / 0.5f) +
                   (kImageNetMean[c] - 0.5f) / 0.5f;
        };
        for (const float x : {0.0f, 0.3f, 1.0f}) {
            EXPECT_NEAR((x - silent.mean[c]) / silent.std[c], transformed(x), 1e-6f);
        }
    }
    EXPECT_EQ(normalisation_text(file, silent),
              "mean 0.5,0.5,0.5, deviation 0.5,0.5,0.5 (as torchvision's weights want; "
              "the file does not say)");
    const SafetensorsFile says(weights_with(folder, {{"mean", "0.1,0.2,0.3"}, {"std", "1,1,1"}}));
    EXPECT_EQ(normalisation_text(says, input_settings(says, *model)), "mean 0.1,0.2,0.3, deviation 1,1,1");
}

TEST(InputSettings, RefuseOtherMetadata) {
    const TempDir folder;
    const auto model = build_model("mobilenet_v2", {.width = 0.1f});
    for (const auto& [key, value] :
         std::map<std::string, std::string>{{"mean", "0.5"}, {"std", "1,0,1"}, {"size", "0"}}) {
        const SafetensorsFile file(weights_with(folder, {{key, value}}));
        EXPECT_TRUE(is_line_with(error_of([&] { input_settings(file, *model); }), "w.safetensors", key, value));
    }
    const SafetensorsFile file(weights_with(folder, {{"size", "224 px"}}));
    EXPECT_TRUE(is_line_with(error_of([&] { input_settings(file, *model); }), "size", "224 px"));
}

TEST(ClassNames, AreFilledUpAndCut) {
    EXPECT_EQ(class_names_for(3, {"a", "b", "c"}), (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_EQ(class_names_for(3, {"a"}), (std::vector<std::string>{"a", "class_1", "class_2"}));
    EXPECT_EQ(class_names_for(1, {"a", "b"}), (std::vector<std::string>{"a"}));
}

constexpr int kSide = 32;

/// A picture of its own for every index.
void fill(std::int64_t index, int side, float* out) {
    PhiloxStream random(1, RandomPurpose::test, static_cast<std::uint32_t>(index));
    for (int i = 0; i < side * side * 3; ++i) {
        out[i] = random.uniform(-1, 1);
    }
}

/// A model that tells images apart. The running statistics of a fresh one let next to nothing through, so it takes
/// those of a batch.
std::unique_ptr<Model> small_model(int classes = 3) {
    auto model = std::make_unique<MobileNetV2>(ModelOptions{.classes = classes, .width = 0.1f});
    model->init(4);
    const auto take_all = [](std::vector<ConvBn>& units) {
        for (ConvBn& unit : units) {
            unit.norm.momentum = 1.0f;
        }
    };
    take_all(model->stem);
    take_all(model->head);
    for (InvertedResidual& block : model->blocks) {
        take_all(block.units);
    }
    Tensor images = Tensor::empty({8, kSide, kSide, 3});
    for (std::int64_t i = 0; i < 8; ++i) {
        fill(i, kSide, images.data() + i * kSide * kSide * 3);
    }
    const NoGrad no_grad;
    model->forward(Variable(images), ForwardContext{.training = true});
    return model;
}

TEST(PredictLogits, DependsOnNeitherBatchSizeNorReaders) {
    const auto model = small_model();
    const auto read = [](std::int64_t index, float* out) { fill(index, kSide, out); };
    const std::vector<float> one_by_one = predict_logits(*model, 7, kSide, 1, read);
    ASSERT_EQ(one_by_one.size(), 21u);
    EXPECT_GT(std::abs(one_by_one[0] - one_by_one[3]), 1e-3f) << "images differ, so must logits";
    for (const auto& [batch, readers] : {std::pair{2, 1}, std::pair{7, 3}, std::pair{1000, 2}}) {
        const std::vector<float> logits = predict_logits(*model, 7, kSide, batch, read, nullptr, readers);
        ASSERT_EQ(logits.size(), one_by_one.size());
        for (std::size_t i = 0; i < logits.size(); ++i) {
            EXPECT_NEAR(logits[i], one_by_one[i], 1e-5f) << batch << " " << i;
        }
    }
    EXPECT_TRUE(predict_logits(*model, 0, kSide, 4, read).empty());
}

TEST(PredictLogits, RefusesWhatItCannotPredict) {
    const auto model = small_model();
    const auto read = [](std::int64_t index, float* out) { fill(index, kSide, out); };
    EXPECT_TRUE(is_line_with(error_of([&] { predict_logits(*model, 1, 31, 1, read); }), "31", "32"));
    EXPECT_TRUE(is_line_with(error_of([&] { predict_logits(*model, 1, kSide, 0, read); }), "batch size 0"));
    const auto failing = [](std::int64_t index, float* out) {
        require(index != 4, "image four is damaged");
        fill(index, kSide, out);
    };
    EXPECT_EQ(error_of([&] { predict_logits(*model, 9, kSide, 2, failing, nullptr, 3); }), "image four is damaged");
    const auto poisoned = [](std::int64_t index, float* out) {
        std::fill_n(out, kSide * kSide * 3, index == 3 ? std::numeric_limits<float>::infinity() : 0.5f);
    };
    EXPECT_TRUE(
        is_line_with(error_of([&] { predict_logits(*model, 5, kSide, 2, poisoned); }), "image 3", "not a finite"));
}

std::filesystem::path pack(const TempDir& folder, int side) {
    const std::filesystem::path path = folder / "data.cutis";
    PackedDatasetWriter writer(path, side, {"a", "b", "c"});
    for (int i = 0; i < 6; ++i) {
        std::vector<std::uint8_t> rgb(static_cast<std::size_t>(side * side * 3));
        for (std::size_t v = 0; v < rgb.size(); ++v) {
            rgb[v] = static_cast<std::uint8_t>(v * 7 + static_cast<std::size_t>(i) * 31);
        }
        Sample sample;
        sample.image_id = "image" + std::to_string(i);
        sample.lesion_id = "lesion" + std::to_string(i / 2);
        sample.label = i % 3;
        writer.add(sample, rgb);
    }
    writer.commit();
    return path;
}

TEST(PredictDataset, GivesTheChosenRowsTheirTruthAndProbabilities) {
    const TempDir folder;
    const PackedDataset data(pack(folder, kSide));
    const auto model = small_model();
    const InputSettings input{kSide, {0.5f, 0.4f, 0.3f}, {0.2f, 0.3f, 0.4f}};
    const std::vector<int> rows{4, 1, 5};
    const Predictions predictions = predict_dataset(*model, data, rows, input, 2);
    validate(predictions, "test");
    EXPECT_EQ(predictions.class_names, data.class_names());
    EXPECT_EQ(predictions.image_ids, (std::vector<std::string>{"image4", "image1", "image5"}));
    EXPECT_EQ(predictions.lesion_ids, (std::vector<std::string>{"lesion2", "lesion0", "lesion2"}));
    EXPECT_EQ(predictions.labels, (std::vector<int>{1, 1, 2}));

    // By hand: normalise, logits, softmax.
    const auto read = [&](std::int64_t i, float* out) {
        to_float(data.image(static_cast<std::size_t>(rows[static_cast<std::size_t>(i)])).data(), kSide, kSide,
                 input.mean.data(), input.std.data(), out);
    };
    const std::vector<float> logits = predict_logits(*model, 3, kSide, 3, read);
    for (std::size_t i = 0; i < 3; ++i) {
        double sum = 0;
        for (std::size_t c = 0; c < 3; ++c) {
            sum += std::exp(static_cast<double>(logits[i * 3 + c]));
        }
        for (std::size_t c = 0; c < 3; ++c) {
            EXPECT_NEAR(predictions.row(i)[c], std::exp(static_cast<double>(logits[i * 3 + c])) / sum, 1e-5);
        }
    }
}

TEST(PredictDataset, ResizesToTheInputAndNamesFurtherClasses) {
    const TempDir folder;
    const PackedDataset data(pack(folder, 50));
    const Predictions predictions =
        predict_dataset(*small_model(5), data, std::vector<int>{0, 1}, {kSide, kImageNetMean, kImageNetStd}, 8);
    EXPECT_EQ(predictions.class_names, (std::vector<std::string>{"a", "b", "c", "class_3", "class_4"}));
    validate(predictions, "test");
}

TEST(PredictDataset, AveragesTheViewsOfEveryNetworkByItself) {
    const TempDir folder;
    const PackedDataset data(pack(folder, 40));
    const auto narrow = small_model(), wide = small_model(5);
    const std::vector<PreparedNetwork> networks{{narrow.get(), {kSide, {0.5f, 0.4f, 0.3f}, {0.2f, 0.3f, 0.4f}}},
                                                {wide.get(), {36, kImageNetMean, kImageNetStd}}};
    const std::vector<int> rows{4, 0, 5};
    for (const char* name : {"flips", "crops:9"}) {
        const Tta tta = parse_tta(name);
        const std::vector<Predictions> predictions = predict_dataset(networks, data, rows, tta, 4);
        ASSERT_EQ(predictions.size(), 2u);
        for (std::size_t m = 0; m < 2; ++m) {
            const PreparedNetwork& network = networks[m];
            const int size = network.input.size, side = square_side(tta, size, 40), views = view_count(tta);
            validate(predictions[m], name);
            for (std::size_t i = 0; i < rows.size(); ++i) {
                // By hand: each view through the network alone, then the mean of the softmax.
                std::vector<std::uint8_t> square(static_cast<std::size_t>(side * side * 3)),
                    view(static_cast<std::size_t>(size * size * 3));
                write_resized(data.image(static_cast<std::size_t>(rows[i])).data(), 40, side, square.data());
                const auto read = [&](std::int64_t v, float* out) {
                    take_view(square.data(), side, tta, static_cast<int>(v), size, view.data());
                    to_float(view.data(), size, size, network.input.mean.data(), network.input.std.data(), out);
                };
                const std::vector<float> logits = predict_logits(*network.model, views, size, 1, read);
                const std::size_t classes = predictions[m].classes();
                std::vector<double> mean(classes, 0.0);
                for (std::size_t v = 0; v < static_cast<std::size_t>(views); ++v) {
                    double sum = 0;
                    for (std::size_t c = 0; c < classes; ++c) {
                        sum += std::exp(static_cast<double>(logits[v * classes + c]));
                    }
                    for (std::size_t c = 0; c < classes; ++c) {
                        mean[c] += std::exp(static_cast<double>(logits[v * classes + c])) / sum / views;
                    }
                }
                for (std::size_t c = 0; c < classes; ++c) {
                    EXPECT_NEAR(predictions[m].row(i)[c], mean[c], 1e-5) << name << " " << m << " " << i;
                }
            }
        }
    }
    // A network's answer does not depend on the others', and another batch changes only rounding.
    const Predictions alone = predict_dataset(*narrow, data, rows, networks[0].input, 100, nullptr, parse_tta("flips"));
    const Predictions beside = predict_dataset(networks, data, rows, parse_tta("flips"), 3).front();
    for (std::size_t i = 0; i < alone.probabilities.size(); ++i) {
        EXPECT_NEAR(alone.probabilities[i], beside.probabilities[i], 1e-6);
    }
    EXPECT_TRUE(is_line_with(error_of([&] { predict_dataset(networks, data, rows, parse_tta("crops:4@36"), 4); }),
                             "36 x 36", "all alike"));
}

TEST(PredictViews, ReadsEveryImageOnceAndNamesThePoisonedOne) {
    const auto model = small_model();
    const std::vector<PreparedNetwork> networks{{model.get(), {kSide, kImageNetMean, kImageNetStd}},
                                                {model.get(), {kSide + 1, kImageNetMean, kImageNetStd}},
                                                {model.get(), {kSide, kImageNetStd, kImageNetStd}}};
    std::vector<std::atomic<int>> reads(11);
    const auto read = [&](std::int64_t index, std::span<const int> sides, std::span<Image> squares) {
        ++reads[static_cast<std::size_t>(index)];
        ASSERT_EQ(std::vector<int>(sides.begin(), sides.end()), (std::vector<int>{kSide, kSide + 1}));
        for (std::size_t s = 0; s < sides.size(); ++s) {
            const auto side = static_cast<std::size_t>(sides[s]);
            squares[s] = {sides[s], sides[s],
                          std::vector<std::uint8_t>(side * side * 3, static_cast<std::uint8_t>(20 * index))};
        }
    };
    const auto probabilities = predict_views(networks, 11, parse_tta("dihedral"), 0, 4, read, nullptr, 3);
    ASSERT_EQ(probabilities.size(), 3u);
    EXPECT_EQ(probabilities[2].size(), 33u);
    for (const std::atomic<int>& count : reads) {
        EXPECT_EQ(count.load(), 1);
    }
    EXPECT_TRUE(predict_views(networks, 0, {}, 0, 4, read)[0].empty());

    // A network without a sane weight: the message counts images, not views.
    Parts parts = model->parts();
    parts.parameters.back().variable.value().fill(std::numeric_limits<float>::infinity());
    EXPECT_TRUE(is_line_with(error_of([&] { predict_views(networks, 11, parse_tta("flips"), 0, 4, read); }), "image 0",
                             "not a finite"));
}

TEST(PredictDataset, RefusesALabelThatTheModelDoesNotHave) {
    const TempDir folder;
    const PackedDataset data(pack(folder, kSide));
    const auto model = small_model(2);
    const InputSettings input{kSide, kImageNetMean, kImageNetStd};
    EXPECT_EQ(predict_dataset(*model, data, std::vector<int>{0, 1}, input, 2).size(), 2u);
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 predict_dataset(*model, data, std::vector<int>{0, 2}, input, 2);
                             }),
                             "data.cutis", "image2", "'c'", "2 classes"));
}

}  // namespace
}  // namespace cutis
