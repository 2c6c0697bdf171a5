#include "models/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <utility>

#include "engine/half.h"
#include "models/mobilenet_v2.h"
#include "tests/support/error_of.h"
#include "tests/support/numeric_gradient.h"
#include "tests/support/temp_dir.h"

namespace cutis::testing {
namespace {

MobileNetV2 network(int classes, std::uint64_t seed, float width = 0.25f) {
    MobileNetV2 model({.classes = classes, .width = width});
    model.init(seed);
    // Statistics that differ by tensor, so that an exchange is seen.
    float value = 0.1f * static_cast<float>(seed);
    for (const BufferRef& buffer : model.parts().buffers) {
        Tensor(buffer.tensor).fill(value += 0.25f);
    }
    return model;
}

void expect_equal(const Model& a, const Model& b, const std::string& except = "nothing") {
    const Parts left = a.parts(), right = b.parts();
    for (std::size_t i = 0; i < left.parameters.size(); ++i) {
        const ParameterRef &x = left.parameters[i], &y = right.parameters[i];
        if (!x.name.starts_with(except)) {
            EXPECT_EQ(to_values(x.variable.value()), to_values(y.variable.value())) << x.name;
        }
    }
    for (std::size_t i = 0; i < left.buffers.size(); ++i) {
        EXPECT_EQ(to_values(left.buffers[i].tensor), to_values(right.buffers[i].tensor)) << left.buffers[i].name;
    }
}

Values classifier_of(const MobileNetV2& model) {
    return to_values(model.classifier.weight.value());
}

// A file with the tensors of another, each behind `change`, which may rename, replace or (by an empty name) drop it.
struct Changed {
    std::string name;
    FileDType dtype = FileDType::f32;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;
};
void rewrite(const std::filesystem::path& from, const std::filesystem::path& to,
             const std::function<void(Changed&)>& change, const std::vector<Changed>& more = {}) {
    const SafetensorsFile file(from);
    std::vector<Changed> tensors = more;
    for (const TensorView& view : file.tensors()) {
        Changed tensor{view.name, view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}};
        change(tensor);
        if (!tensor.name.empty()) {
            tensors.push_back(std::move(tensor));
        }
    }
    std::vector<TensorToWrite> out;
    for (const Changed& tensor : tensors) {
        out.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes});
    }
    write_safetensors(to, out);
}

class Weights : public ::testing::Test {
  protected:
    TempDir dir;
    const std::filesystem::path path = dir / "w.safetensors";
    const std::filesystem::path changed = dir / "changed.safetensors";
    MobileNetV2 model = network(5, 1);
    void SetUp() override { save_weights(path, model.parts(), {}, {}); }
    std::string load_error(bool new_classifier) {
        MobileNetV2 other = network(5, 2);
        return error_of([&] { load_weights(other, SafetensorsFile(changed), new_classifier); });
    }
};

TEST_F(Weights, ComeBackAsTheyWere) {
    MobileNetV2 other = network(5, 2);
    const LoadReport report = load_weights(other, SafetensorsFile(path), false);
    EXPECT_EQ(report.matched, 262);
    EXPECT_EQ(report.notice(), "");
    expect_equal(model, other);
}

TEST_F(Weights, LieInTheFileAsInPyTorch) {
    const SafetensorsFile file(path);
    EXPECT_EQ(file.at("features.0.0.weight").shape, (std::vector<std::int64_t>{8, 3, 3, 3}));
    EXPECT_EQ(file.at("features.1.conv.0.0.weight").shape, (std::vector<std::int64_t>{8, 1, 3, 3}));
    EXPECT_EQ(file.at("features.1.conv.1.weight").shape, (std::vector<std::int64_t>{8, 8, 1, 1}));
    const std::vector<float> stem = file.read_f32(file.at("features.0.0.weight"));
    EXPECT_EQ(stem[(5 * 3 + 2) * 9 + 4], model.stem[0].weight.value().values()[(5 * 9 + 4) * 3 + 2]);
    const std::vector<float> depthwise = file.read_f32(file.at("features.1.conv.0.0.weight"));
    EXPECT_EQ(depthwise[6 * 9 + 7], model.blocks[0].units[0].weight.value().values()[7 * 8 + 6]);
}

TEST_F(Weights, MarkTheModelsTensorsChanged) {
    MobileNetV2 other = network(5, 2);
    const std::uint64_t version = other.classifier.weight.value().version();
    load_weights(other, SafetensorsFile(path), false);
    EXPECT_GT(other.classifier.weight.value().version(), version);
}

TEST_F(Weights, ForAnotherNumberOfClassesLeaveTheClassifierInitialised) {
    MobileNetV2 other = network(3, 2);
    const Values before = classifier_of(other);
    const LoadReport report = load_weights(other, SafetensorsFile(path), true);
    EXPECT_EQ(report.matched, 260);
    EXPECT_EQ(report.reinitialized, (std::vector<std::string>{"classifier.1.weight", "classifier.1.bias"}));
    EXPECT_TRUE(is_line_with(report.notice(), "re-initialised", "classifier.1.weight", "classifier.1.bias"));
    EXPECT_EQ(classifier_of(other), before);
    expect_equal(model, other, "classifier.");
    MobileNetV2 strict = network(3, 2);
    EXPECT_TRUE(is_line_with(error_of([&] { load_weights(strict, SafetensorsFile(path), false); }), "w.safetensors",
                             "classifier.1.weight", "5 x 1280", "3 x 1280", "another model"));
}

TEST_F(Weights, WithoutAClassifierAreFeatures) {
    rewrite(path, changed,
            [](Changed& tensor) { tensor.name = tensor.name.starts_with("classifier") ? "" : tensor.name; });
    MobileNetV2 other = network(5, 2);
    const Values before = classifier_of(other);
    EXPECT_EQ(load_weights(other, SafetensorsFile(changed), true).reinitialized.size(), 2u);
    EXPECT_EQ(classifier_of(other), before);
    expect_equal(model, other, "classifier.");
    EXPECT_TRUE(
        is_line_with(load_error(false), "changed.safetensors", "classifier.1.weight", "missing", "another model"));
}

TEST_F(Weights, OfAnotherModelAreRefusedInOneLine) {
    rewrite(path, changed,
            [](Changed& tensor) { tensor.name = tensor.name == "features.3.conv.0.0.weight" ? "" : tensor.name; });
    for (const bool new_classifier : {false, true}) {
        EXPECT_TRUE(is_line_with(load_error(new_classifier), "features.3.conv.0.0.weight", "missing", "another model"));
    }
    rewrite(path, changed, [](Changed& tensor) {
        if (tensor.name == "features.1.conv.1.weight") {
            tensor.shape = {8, 2, 2, 2};
        }
    });
    EXPECT_TRUE(is_line_with(load_error(true), "features.1.conv.1.weight", "8 x 2 x 2 x 2", "8 x 8 x 1 x 1"));
    rewrite(path, changed, [](Changed& tensor) {
        if (tensor.name == "features.0.1.bias") {
            tensor.shape = {};
            tensor.bytes.resize(4);
        }
    });
    EXPECT_TRUE(is_line_with(load_error(true), "features.0.1.bias", "scalar", "8"));
    MobileNetV2 wider = network(5, 2, 0.5f);
    EXPECT_TRUE(is_line_with(error_of([&] { load_weights(wider, SafetensorsFile(path), true); }), "features.0.0.weight",
                             "8 x 3 x 3 x 3", "16 x 3 x 3 x 3", "another model"));
}

TEST_F(Weights, OfAnElementTypeThatIsNoFloatAreRefused) {
    rewrite(path, changed, [](Changed& tensor) {
        if (tensor.name == "features.0.1.bias") {
            tensor.dtype = FileDType::i32;
        }
    });
    EXPECT_TRUE(is_line_with(load_error(true), "changed.safetensors", "features.0.1.bias", "I32"));
}

TEST_F(Weights, CountersOfBatchesAreIgnoredAndStrangersReported) {
    const std::vector<Changed> more{{"features.0.1.num_batches_tracked", FileDType::i64, {}, std::vector<std::byte>(8)},
                                    {"optimizer.updates", FileDType::f32, {1}, std::vector<std::byte>(4)},
                                    {"ema.classifier.1.bias", FileDType::f32, {1}, std::vector<std::byte>(4)},
                                    {"aux.weight", FileDType::f32, {1}, std::vector<std::byte>(4)}};
    rewrite(
        path, changed, [](Changed&) {}, more);
    MobileNetV2 other = network(5, 2);
    const LoadReport report = load_weights(other, SafetensorsFile(changed), false);
    EXPECT_EQ(report.unused, std::vector<std::string>{"aux.weight"});
    EXPECT_TRUE(is_line_with(report.notice(), "not used: aux.weight"));
    expect_equal(model, other);
}

TEST_F(Weights, ManyStrangersMakeAShortNotice) {
    std::vector<Changed> more;
    for (int i = 0; i < 9; ++i) {
        more.push_back({"extra." + std::to_string(i), FileDType::f32, {1}, std::vector<std::byte>(4)});
    }
    rewrite(
        path, changed, [](Changed&) {}, more);
    MobileNetV2 other = network(5, 2);
    EXPECT_TRUE(is_line_with(load_weights(other, SafetensorsFile(changed), false).notice(), "extra.0", "and 5 more"));
}

TEST_F(Weights, HalvesAreWidened) {
    const auto halve = [](Changed& tensor) {
        if (tensor.shape.size() == 4) {
            std::vector<std::byte> half(tensor.bytes.size() / 2);
            for (std::size_t i = 0; i < half.size() / 2; ++i) {
                float value;
                std::memcpy(&value, tensor.bytes.data() + 4 * i, 4);
                const std::uint16_t bits = value < 0.0f ? 0xb800 : 0x3800;  // -0.5 or 0.5
                std::memcpy(half.data() + 2 * i, &bits, 2);
            }
            tensor.dtype = FileDType::f16;
            tensor.bytes = half;
        }
    };
    rewrite(path, changed, halve);
    MobileNetV2 other = network(5, 2);
    EXPECT_EQ(load_weights(other, SafetensorsFile(changed), false).matched, 262);
    const Tensor stem = model.stem[0].weight.value(), loaded = other.stem[0].weight.value();
    for (std::size_t i = 0; i < stem.values().size(); ++i) {
        EXPECT_EQ(loaded.values()[i], stem.values()[i] < 0.0f ? -0.5f : 0.5f);
    }
    EXPECT_EQ(classifier_of(other), classifier_of(model));
}

TEST_F(Weights, SayHowManyClassesTheyHave) {
    EXPECT_EQ(classes_in_file(SafetensorsFile(path), "classifier."), 5);
    EXPECT_EQ(classes_in_file(SafetensorsFile(path), "fc."), 0);
    const std::filesystem::path embedded =
        std::filesystem::path(CUTIS_SOURCE_DIR) / "tools/sample/weights/mobilenet_v2_imagenet_features.safetensors";
    EXPECT_EQ(classes_in_file(SafetensorsFile(embedded), "classifier."), 0);
    rewrite(path, changed, [](Changed& tensor) {
        if (tensor.name == "classifier.1.weight") {
            tensor.shape = {2000000000, 0};
            tensor.bytes.clear();
        }
    });
    EXPECT_TRUE(is_line_with(error_of([&] { classes_in_file(SafetensorsFile(changed), "classifier."); }),
                             "changed.safetensors", "2000000000 classes"));
}

TEST_F(Weights, CheckpointsHoldMoreThanTheModel) {
    Tensor momentum = to_tensor({1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, {2, 1, 3}), counter = Tensor::full({}, 9.0f);
    save_weights(path, model.parts(), {{"optimizer.a", momentum}, {"optimizer.count", counter}}, {{"epoch", "3"}});
    const SafetensorsFile file(path);
    EXPECT_EQ(file.metadata().at("epoch"), "3");
    MobileNetV2 other = network(5, 2);
    Tensor restored = Tensor::zeros({2, 1, 3}), count = Tensor::zeros({});
    load_checkpoint(file, other.parts(), {{"optimizer.a", restored}, {"optimizer.count", count}});
    expect_equal(model, other);
    EXPECT_EQ(to_values(restored), to_values(momentum));
    EXPECT_EQ(count.values()[0], 9.0f);
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 load_checkpoint(file, other.parts(), {{"optimizer.b", restored}});
                             }),
                             "optimizer.b", "missing"));
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 load_checkpoint(file, other.parts(), {{"optimizer.a", count}});
                             }),
                             "optimizer.a", "2 x 1 x 3", "scalar"));
    MobileNetV2 seven = network(7, 2);
    EXPECT_TRUE(
        is_line_with(error_of([&] { load_checkpoint(file, seven.parts(), {}); }), "classifier.1.weight", "5 x 1280"));
    MobileNetV2 plain = network(5, 2);
    EXPECT_EQ(load_weights(plain, file, false).notice(), "");
}

TEST_F(Weights, TheSameModelGivesTheSameBytes) {
    save_weights(changed, model.parts(), {}, {});
    const MappedFile a(path), b(changed);
    EXPECT_TRUE(std::ranges::equal(a.bytes(), b.bytes()));
}

TEST(EmbeddedWeights, AreFeaturesOfEveryLayer) {
    const std::filesystem::path embedded =
        std::filesystem::path(CUTIS_SOURCE_DIR) / "tools/sample/weights/mobilenet_v2_imagenet_features.safetensors";
    MobileNetV2 model({.classes = 7});
    model.init(1);
    const LoadReport report = load_weights(model, SafetensorsFile(embedded), true);
    EXPECT_EQ(report.matched, 260);
    EXPECT_EQ(report.reinitialized.size(), 2u);
    EXPECT_TRUE(report.unused.empty());
}

// Transfer to another number of classes: what stays initialised depends on it, and everything else is the file's.
TEST(WeightsOfEveryModel, StartOneWithOtherClasses) {
    const TempDir folder;
    for (const ModelEntry& entry : model_table()) {
        const auto made = [&](int classes, std::uint64_t seed) {
            return make_model(entry.name, {.classes = classes, .width = 0.1f, .lstm_hidden = 8, .seed = seed});
        };
        const std::unique_ptr<Model> model = made(3, 1), other = made(5, 2);
        const std::filesystem::path path = folder / (std::string(entry.name) + ".safetensors");
        save_weights(path, model->parts(), {}, {});
        const SafetensorsFile file(path);
        EXPECT_EQ(classes_in_file(file, model->classifier_prefixes().front()), 3) << entry.name;
        const std::vector<std::string> anew = load_weights(*other, file, true).reinitialized;
        EXPECT_GE(anew.size(), 2u) << entry.name;
        const Parts left = model->parts(), right = other->parts();
        for (std::size_t i = 0; i < left.parameters.size(); ++i) {
            const ParameterRef &x = left.parameters[i], &y = right.parameters[i];
            const bool same_shape = x.variable.shape() == y.variable.shape();
            EXPECT_EQ(same_shape, std::find(anew.begin(), anew.end(), x.name) == anew.end()) << x.name;
            if (same_shape) {
                EXPECT_EQ(to_values(x.variable.value()), to_values(y.variable.value())) << entry.name << " " << x.name;
            }
        }
        const NoGrad off;
        const std::int64_t side = other->least_size();
        EXPECT_EQ(other->forward(Variable(Tensor::zeros({1, side, side, 3})), {}).shape(), (Shape{1, 5})) << entry.name;
    }
}

}  // namespace
}  // namespace cutis::testing
