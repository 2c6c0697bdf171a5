#include "tools/train_config.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "engine/cuda_device.h"
#include "engine/json.h"
#include "tests/support/error_of.h"
#include "tools/train_rules.h"

namespace cutis {
namespace {

using nlohmann::json;
using testing::error_of;
using testing::is_line_with;

/// Every member different from its default.
TrainConfig unusual() {
    TrainConfig c;
    c.data = "Ordner/ä.cutis";
    c.split = "leaky";
    c.split_file = "split.csv";
    c.fold = 3;
    c.split_seed = 11;
    c.order = "balanced";
    c.augment = "full";
    c.augmentation = {.horizontal_flip = 0.1f,
                      .vertical_flip = 0.2f,
                      .rotation_degrees = 12.5f,
                      .crop_scale_min = 0.3f,
                      .crop_scale_max = 0.9f,
                      .crop_aspect = 1.7f,
                      .brightness = 0.11f,
                      .contrast = 0.12f,
                      .saturation = 0.13f,
                      .hue = 0.014f,
                      .cutout = 17,
                      .fill = {1, 200, 255}};
    c.size = 160;
    c.mean = {0.1f, 0.2f, 0.3f};
    c.std = {0.4f, 0.5f, 0.6f};
    c.model = "another";
    c.init = "weights.safetensors";
    c.classes = 9;
    c.width = 0.35f;
    c.dropout = 0.05f;
    c.lstm_hidden = 48;
    c.freeze = "features.0,features.1";
    c.freeze_steps = 5'000'000'000;
    c.epochs = 7;
    c.steps = 123;
    c.batch_size = 5;
    c.accumulate = 4;
    c.optimizer = "rmsprop";
    c.lr = 0.0123f;
    c.lr_head = 0.3f;
    c.lr_scale = "features.*=0.5";
    c.momentum = 0.8f;
    c.nesterov = true;
    c.weight_decay = 3e-5f;
    c.schedule = "step";
    c.warmup = 11;
    c.clip_grad = 2.5f;
    c.ema = 0.999f;
    c.loss = "focal";
    c.focal_gamma = 1.5f;
    c.label_smoothing = 0.07f;
    c.class_weights = "effective";
    c.early_stop = 6;
    c.seed = std::numeric_limits<std::uint64_t>::max();
    c.threads = 3;
    c.loader_threads = 2;
    c.device = "cpu";
    c.hold_out_class = "df";
    c.backend = "vendor";
    c.precision = "bf16";
    c.resident = "off";
    c.fused = false;
    c.graph = false;
    c.log_every = 10;
    c.out = "runs/x";
    return c;
}

TrainConfig read_back(const json& value, TrainConfig config = {}) {
    from_json(value, config, "c.json");
    return config;
}

TEST(TrainConfig, EverySettingGoesThroughJson) {
    const TrainConfig config = unusual();
    const json written = to_json(config);
    const json defaults = to_json(TrainConfig{});
    ASSERT_EQ(written.size(), defaults.size());
    for (const auto& item : written.items()) {
        EXPECT_NE(item.value(), defaults.at(item.key()))
            << item.key() << " was not written, or not changed by this test";
    }
    const TrainConfig back = read_back(parse_json(written.dump(), "c.json"));
    EXPECT_EQ(to_json(back), written);
    EXPECT_EQ(back.seed, config.seed);
    EXPECT_EQ(back.freeze_steps, config.freeze_steps);
    EXPECT_EQ(back.lr, config.lr) << "floats come back bit for bit";
    EXPECT_EQ(back.mean, config.mean);
    EXPECT_EQ(back.augmentation.rotation_degrees, config.augmentation.rotation_degrees);
    EXPECT_EQ(back.augmentation.hue, config.augmentation.hue);
    EXPECT_EQ(back.augmentation.fill, config.augmentation.fill);
    EXPECT_FALSE(back.fused);
}

TEST(TrainConfig, NumbersAreWrittenAsPeopleWriteThem) {
    TrainConfig config;
    config.lr = 0.02f;
    EXPECT_EQ(to_json(config).at("lr").dump(), "0.02");
}

TEST(TrainConfig, WhatIsNotNamedStays) {
    TrainConfig config = unusual();
    from_json(json{{"epochs", 2}, {"augmentation", {{"cutout", 3}}}}, config, "c.json");
    TrainConfig expected = unusual();
    expected.epochs = 2;
    expected.augmentation.cutout = 3;
    EXPECT_EQ(to_json(config), to_json(expected));
}

TEST(TrainConfig, ThePresetComesBeforeSingleSettings) {
    const TrainConfig config = read_back({{"augmentation", {{"cutout", 3}}}, {"augment", "full"}});
    AugmentOptions expected = augment_preset("full");
    ASSERT_NE(expected.cutout, 3);
    expected.cutout = 3;
    EXPECT_EQ(config.augmentation.cutout, 3);
    EXPECT_EQ(config.augmentation.rotation_degrees, expected.rotation_degrees);
    EXPECT_EQ(config.augment, "full");
}

TEST(TrainConfig, RefusesUnknownKeysAndWrongKinds) {
    struct Case {
        json value;
        const char* part;
    };
    const Case cases[] = {
        {{{"learning_rate", 1}}, "'learning_rate'"},
        {{{"augmentation", {{"rotation", 1}}}}, "'augmentation.rotation'"},
        {{{"augmentation", 3}}, "'augmentation'"},
        {{{"augment", "heavy"}}, "heavy"},
        {{{"epochs", "3"}}, "'epochs' is \"3\""},
        {{{"epochs", 2.5}}, "'epochs' is 2.5"},
        {{{"epochs", 3000000000}}, "'epochs'"},
        {{{"epochs", nullptr}}, "'epochs' is null"},
        {{{"seed", -1}}, "'seed' is -1"},
        {{{"lr", "fast"}}, "'lr'"},
        {{{"lr", 1e39}}, "'lr'"},
        {{{"nesterov", 1}}, "'nesterov'"},
        {{{"model", 5}}, "'model'"},
        {{{"mean", {1, 2}}}, "'mean'"},
        {{{"mean", {1, 2, "x"}}}, "'mean'"},
        {{{"augmentation", {{"fill", {0, 0, 256}}}}}, "'augmentation.fill'"},
        {json::array({1}), "no JSON object"},
    };
    for (const Case& c : cases) {
        TrainConfig config = unusual();
        EXPECT_TRUE(is_line_with(error_of([&] { from_json(c.value, config, "c.json"); }), "c.json", c.part));
        EXPECT_EQ(to_json(config), to_json(unusual())) << "a refused file changes nothing";
    }
}

TEST(TrainRules, DefaultsAndPresetsPass) {
    TrainConfig config;
    for (const char* preset : {"none", "light", "full"}) {
        config.augment = preset;
        config.augmentation = augment_preset(preset);
        EXPECT_EQ(error_of([&] {
                      check_train_config(config);
                      check_available(config);
                  }),
                  "(no error)");
    }
}

TEST(TrainRules, NameTheFlagOfABadSetting) {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    struct Case {
        void (*change)(TrainConfig&);
        const char* flag;
    };
    const Case cases[] = {
        {[](TrainConfig& c) { c.split = "random"; }, "--split is 'random'"},
        {[](TrainConfig& c) {
             c.split = "all";
             c.split_file = "f.csv";
         },
         "--split-file"},
        {[](TrainConfig& c) { c.fold = 1; }, "--split-file"},
        {[](TrainConfig& c) { c.split_seed = -2; }, "--split-seed"},
        {[](TrainConfig& c) {
             c.split_file = "f.csv";
             c.fold = -1;
         },
         "--fold"},
        {[](TrainConfig& c) { c.order = "random"; }, "--order"},
        {[](TrainConfig& c) { c.size = 31; }, "--size is 31"},
        {[](TrainConfig& c) { c.size = -1; }, "--size"},
        {[](TrainConfig& c) {
             c.mean = {1, 2};
         },
         "--mean"},
        {[](TrainConfig& c) {
             c.std = {1, 0, 1};
         },
         "--std"},
        {[](TrainConfig& c) { c.augmentation.hue = 0.6f; }, "hue"},
        {[](TrainConfig& c) { c.classes = -1; }, "--classes"},
        {[](TrainConfig& c) { c.width = 0; }, "--width"},
        {[](TrainConfig& c) { c.dropout = 1; }, "--dropout is 1"},
        {[](TrainConfig& c) { c.dropout = kNan; }, "--dropout"},
        {[](TrainConfig& c) { c.freeze_steps = 5; }, "--freeze"},
        {[](TrainConfig& c) { c.freeze = "a,,b"; }, "--freeze 'a,,b'"},
        {[](TrainConfig& c) { c.lr_scale = "a=0"; }, "--lr-scale: 'a=0'"},
        {[](TrainConfig& c) { c.epochs = 0; }, "--epochs is 0"},
        {[](TrainConfig& c) { c.steps = -1; }, "--steps"},
        {[](TrainConfig& c) { c.batch_size = 0; }, "--batch-size"},
        {[](TrainConfig& c) { c.accumulate = 0; }, "--accumulate"},
        {[](TrainConfig& c) { c.optimizer = "adam"; }, "--optimizer is 'adam'; use sgd, rmsprop, adamw"},
        {[](TrainConfig& c) { c.lr = 0; }, "--lr is 0"},
        {[](TrainConfig& c) { c.lr = std::numeric_limits<float>::infinity(); }, "--lr"},
        {[](TrainConfig& c) { c.lr_head = -1; }, "--lr-head"},
        {[](TrainConfig& c) { c.momentum = 1; }, "--momentum"},
        {[](TrainConfig& c) {
             c.nesterov = true;
             c.optimizer = "adamw";
         },
         "--nesterov"},
        {[](TrainConfig& c) {
             c.nesterov = true;
             c.optimizer = "sgd";
             c.momentum = 0;
         },
         "--nesterov"},
        {[](TrainConfig& c) { c.weight_decay = -1; }, "--weight-decay"},
        {[](TrainConfig& c) { c.schedule = "linear"; }, "--schedule"},
        {[](TrainConfig& c) { c.warmup = -1; }, "--warmup"},
        {[](TrainConfig& c) { c.clip_grad = -1; }, "--clip-grad"},
        {[](TrainConfig& c) { c.ema = 1; }, "--ema"},
        {[](TrainConfig& c) { c.loss = "mse"; }, "--loss"},
        {[](TrainConfig& c) { c.focal_gamma = -1; }, "--focal-gamma"},
        {[](TrainConfig& c) { c.label_smoothing = 1; }, "--label-smoothing"},
        {[](TrainConfig& c) { c.class_weights = "balanced"; }, "--class-weights"},
        {[](TrainConfig& c) { c.early_stop = -1; }, "--early-stop"},
        {[](TrainConfig& c) {
             c.early_stop = 3;
             c.split = "all";
         },
         "--early-stop"},
        {[](TrainConfig& c) { c.threads = -1; }, "--threads"},
        {[](TrainConfig& c) { c.loader_threads = 257; }, "--loader-threads"},
        {[](TrainConfig& c) { c.device = "gpu"; }, "--device"},
        {[](TrainConfig& c) { c.backend = "cudnn"; }, "--backend"},
        {[](TrainConfig& c) { c.precision = "fp16"; }, "--precision"},
        {[](TrainConfig& c) { c.resident = "yes"; }, "--resident"},
        {[](TrainConfig& c) { c.lstm_hidden = 0; }, "--lstm-hidden"},
        {[](TrainConfig& c) { c.log_every = 0; }, "--log-every"},
    };
    for (const Case& c : cases) {
        TrainConfig config;
        c.change(config);
        EXPECT_TRUE(is_line_with(error_of([&] { check_train_config(config); }), c.flag));
    }
}

TEST(TrainRules, SayWhatThisBuildLacks) {
    TrainConfig config;
    config.device = "cuda";
    if (cuda_device_count() == 0) {
        EXPECT_TRUE(is_line_with(error_of([&] { check_available(config); }), "--device cuda", "--device cpu"));
    } else {
        EXPECT_NO_THROW(check_available(config));
    }
    config = {};
    config.backend = "vendor";
    config.device = "cpu";
#ifdef CUTIS_WITH_ONEDNN
    EXPECT_NO_THROW(check_available(config));
#else
    EXPECT_TRUE(is_line_with(error_of([&] { check_available(config); }), "--backend vendor", "oneDNN"));
#endif
    config = {};
    config.precision = "bf16";
    config.device = "cpu";
    EXPECT_TRUE(is_line_with(error_of([&] { check_available(config); }), "--precision bf16"));
}

}  // namespace
}  // namespace cutis
