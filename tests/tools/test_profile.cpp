#include "tools/profile.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/cuda_device.h"
#include "models/model.h"
#include "tests/tools/program_case.h"
#include "tools/trainer.h"

namespace cutis::testing {
namespace {

using Steps = std::vector<std::vector<ProfiledRange>>;

// Two steps with ranges in ranges, in nanoseconds; the second takes twice as long.
Steps made_up_steps() {
    Steps steps;
    for (const std::int64_t k : {1, 2}) {
        const std::int64_t at = k == 1 ? 1000 : 5000;
        const auto range = [&](const char* name, const char* layer, int parent, std::int64_t begin, std::int64_t end) {
            ProfiledRange r;
            r.name = name;
            r.layer = layer;
            r.parent = parent;
            r.begin_ns = at + k * begin;
            r.end_ns = at + k * end;
            return r;
        };
        steps.push_back({range("step", "", -1, 0, 1000), range("forward", "", 0, 10, 500),
                         range("chain", "a", 1, 20, 400), range("conv2d", "a", 2, 30, 130),
                         range("conv2d", "b", 2, 130, 330), range("backward", "", 0, 500, 900),
                         range("conv2d", "b", 5, 510, 700), range("conv2d", "a", 5, 700, 900),
                         range("optimizer", "", 0, 900, 990)});
        steps.back()[3].flops = 7;
        steps.back()[3].bytes = 70;
        steps.back()[4].flops = 5;
    }
    return steps;
}

TEST(Profile, RowsOfAStepAddUpToIt) {
    Spread accounted;
    const std::vector<ProfileRow> rows = profile_rows(made_up_steps(), true, &accounted);
    struct Expected {
        const char *phase, *layer, *op;
        double nanoseconds;  // of the first step
        int calls;
    };
    const Expected expected[] = {{"step", "", "(rest)", 20, 1},        {"forward", "", "(rest)", 110, 1},
                                 {"forward", "a", "chain", 80, 1},     {"forward", "a", "conv2d", 100, 1},
                                 {"forward", "b", "conv2d", 200, 1},   {"backward", "", "(rest)", 10, 1},
                                 {"backward", "b", "conv2d", 190, 1},  {"backward", "a", "conv2d", 200, 1},
                                 {"optimizer", "", "optimizer", 90, 1}};
    ASSERT_EQ(rows.size(), std::size(expected));
    double sum = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(rows[i].phase, expected[i].phase) << i;
        EXPECT_EQ(rows[i].layer, expected[i].layer) << i;
        EXPECT_EQ(rows[i].op, expected[i].op) << i;
        EXPECT_EQ(rows[i].calls, expected[i].calls) << i;
        EXPECT_NEAR(rows[i].seconds.least, expected[i].nanoseconds * 1e-9, 1e-15) << i;
        EXPECT_NEAR(rows[i].seconds.most, expected[i].nanoseconds * 2e-9, 1e-15) << i;
        EXPECT_NEAR(rows[i].seconds.median, expected[i].nanoseconds * 1.5e-9, 1e-15) << i;
        sum += rows[i].seconds.least;
    }
    EXPECT_NEAR(sum, 1000e-9, 1e-14);
    EXPECT_NEAR(accounted.least, 860e-9, 1e-14);
    EXPECT_EQ(rows[3].flops, 7);
    EXPECT_EQ(rows[3].bytes, 70);

    const std::vector<ProfileRow> by_op = profile_rows(made_up_steps(), false, nullptr);
    ASSERT_EQ(by_op.size(), 7u);
    EXPECT_EQ(by_op[3].op, "conv2d");
    EXPECT_EQ(by_op[3].calls, 2);
    EXPECT_EQ(by_op[3].flops, 12);
    EXPECT_NEAR(by_op[3].seconds.least, 300e-9, 1e-15);
}

TEST(Profile, SpreadIsMedianLeastAndMost) {
    const Spread odd = spread_of({3, 1, 10});
    EXPECT_EQ(odd.median, 3);
    EXPECT_EQ(odd.least, 1);
    EXPECT_EQ(odd.most, 10);
    EXPECT_EQ(spread_of({4, 1, 2, 10}).median, 3);
}

TEST(Profile, TheRooflineIsTheLongerOfMovingAndComputing) {
    const Ceilings ceilings{.bytes_per_second = 100, .flops_per_second = 1000};
    EXPECT_EQ(least_seconds(500, 200, ceilings), 2);
    EXPECT_EQ(least_seconds(5000, 200, ceilings), 5);
}

// That events of one track lie apart or within each other, as viewers want it, and that each track has a name.
void expect_nested(const nlohmann::json& trace, std::size_t count) {
    std::map<int, std::vector<std::pair<std::int64_t, std::int64_t>>> open;
    std::set<int> named, used;
    std::size_t events = 0;
    for (const nlohmann::json& event : trace.at("traceEvents")) {
        const int track = event.at("tid").get<int>();
        EXPECT_EQ(event.at("pid"), 1);
        if (event.at("ph") == "M") {
            if (event.at("name") == "thread_name") {
                named.insert(track);
            }
            continue;
        }
        ASSERT_EQ(event.at("ph"), "X");
        ++events;
        used.insert(track);
        const std::int64_t begin = std::llround(event.at("ts").get<double>() * 1e3),
                           end = begin + std::llround(event.at("dur").get<double>() * 1e3);
        EXPECT_LE(begin, end);
        auto& stack = open[track];
        while (!stack.empty() && stack.back().second <= begin) {
            stack.pop_back();
        }
        if (!stack.empty()) {
            EXPECT_GE(begin, stack.back().first);
            EXPECT_LE(end, stack.back().second) << event.at("name");
        }
        stack.emplace_back(begin, end);
    }
    EXPECT_EQ(events, count);
    EXPECT_EQ(named, used);
}

TEST(Profile, TheTraceIsNestedOnATrackForEachPhase) {
    Profile profile;
    profile.steps = made_up_steps();
    const nlohmann::json trace = nlohmann::json::parse(chrome_trace(profile));
    expect_nested(trace, 18);
    std::map<std::string, int> tracks;
    for (const nlohmann::json& event : trace.at("traceEvents")) {
        if (event.at("name") == "thread_name") {
            tracks[event.at("args").at("name").get<std::string>()] = event.at("tid").get<int>();
        }
    }
    ASSERT_EQ(tracks.size(), 4u);
    int seen = 0;
    for (const nlohmann::json& event : trace.at("traceEvents")) {
        if (event.at("name") == "a conv2d" && event.contains("args")) {
            ++seen;
            EXPECT_EQ(event.at("tid"), tracks.at("forward"));
            EXPECT_DOUBLE_EQ(event.at("args").at("GFLOP").get<double>(), 7e-9);
            EXPECT_DOUBLE_EQ(event.at("ts").get<double>(), seen == 1 ? 1.030 : 5.060);
            EXPECT_DOUBLE_EQ(event.at("dur").get<double>(), seen == 1 ? 0.1 : 0.2);
        }
    }
    EXPECT_EQ(seen, 2);
    std::map<int, int> counts;
    for (const nlohmann::json& event : trace.at("traceEvents")) {
        counts[event.at("tid").get<int>()] += event.at("ph") == "X";
    }
    EXPECT_EQ(counts.at(tracks.at("step")), 2);
    EXPECT_EQ(counts.at(tracks.at("forward")), 2 * 4);
    EXPECT_EQ(counts.at(tracks.at("backward")), 2 * 3);
    EXPECT_EQ(counts.at(tracks.at("optimizer")), 2);
}

ProfileOptions tiny(Device device, bool fused = true) {
    return {.model = "mobilenet_v2",
            .batch = 2,
            .size = 32,
            .classes = 3,
            .width = 0.1f,
            .device = device,
            .fused = fused,
            .steps = 2,
            .warmup = 1};
}

const ProfileRow* find(const Profile& profile, std::string_view phase, const std::string& layer) {
    for (const ProfileRow& row : profile.rows) {
        if (row.phase == phase && row.layer == layer && row.op != "convolution chain") {
            return &row;
        }
    }
    return nullptr;
}

// Every layer of the summary is there, with the multiply-adds that the summary counts.
void expect_all_layers(const Profile& profile) {
    const ProfileOptions& o = profile.options;
    const std::vector<LayerSummary> layers =
        make_model(o.model, {.classes = o.classes, .width = o.width})->summarize(o.size);
    Shape in{o.size, o.size, 3};
    std::size_t products = 0;
    for (const LayerSummary& layer : layers) {
        if (layer.macs == 0) {
            continue;
        }
        const ProfileRow *forward = find(profile, "forward", layer.name), *back = find(profile, "backward", layer.name);
        ASSERT_TRUE(forward != nullptr && back != nullptr) << layer.name;
        const double flops = 2.0 * static_cast<double>(layer.macs) * o.batch;
        EXPECT_EQ(forward->calls, 1) << layer.name;
        EXPECT_EQ(forward->flops, flops) << layer.name;
        EXPECT_EQ(back->flops, products == 0 ? flops : 2 * flops) << layer.name;  // images want no gradient
        const std::int64_t weights = layer.parameters - (layer.kind == "linear" ? o.classes : 0);
        if (layer.kind == "linear") {
            in = {layers[layers.size() - 2].output[-1]};
        }
        EXPECT_EQ(forward->bytes,
                  4.0 * static_cast<double>(o.batch * (in.elements() + layer.output.elements()) + weights))
            << layer.name;
        EXPECT_GE(back->bytes, forward->bytes) << layer.name;
        in = layer.output;
        ++products;
    }
    EXPECT_EQ(products, 53u);  // 52 convolutions and the classifier
    EXPECT_EQ(profile.steps.size(), static_cast<std::size_t>(o.steps));
    EXPECT_GT(profile.ceilings.bytes_per_second, 0);
    EXPECT_GT(profile.ceilings.flops_per_second, 0);
    EXPECT_GT(profile.unwatched.least, 0);
    EXPECT_LE(profile.accounted.least, profile.step.most);
    for (const auto& step : profile.steps) {
        double own = 0;
        for (const ProfileRow& row : profile_rows({step}, true, nullptr)) {
            EXPECT_GE(row.seconds.median, 0) << row.layer << " " << row.op;
            own += row.seconds.median;
        }
        EXPECT_NEAR(own, static_cast<double>(step.front().duration_ns()) * 1e-9, 1e-9);
    }
    std::size_t ranges = 0;
    for (const auto& step : profile.steps) {
        ranges += step.size();
    }
    expect_nested(nlohmann::json::parse(chrome_trace(profile)), ranges);
}

TEST(Profile, HoldsEveryLayerWithTheSummarysWork) {
    expect_all_layers(profile_training(tiny({})));
}

TEST(Profile, HoldsEveryOpOfTheComposition) {
    const Profile profile = profile_training(tiny({}, false));
    expect_all_layers(profile);
    int norms = 0;
    for (const LayerSummary& layer : make_model("mobilenet_v2", {.classes = 3, .width = 0.1f})->summarize(32)) {
        if (layer.kind.starts_with("batchnorm")) {
            ++norms;
            const ProfileRow* const row = find(profile, "forward", layer.name);
            ASSERT_NE(row, nullptr) << layer.name;
            EXPECT_EQ(row->op, "batchnorm");
            EXPECT_GE(row->bytes, 4.0 * 2 * 2 * static_cast<double>(layer.output.elements())) << layer.name;
        }
    }
    EXPECT_EQ(norms, 52);
}

#ifdef CUTIS_WITH_CUDA
TEST(Profile, ReadsAGpusEvents) {
    if (cuda_device_count() == 0) {
        GTEST_SKIP() << "no GPU";
    }
    const Profile profile = profile_training(tiny({DeviceKind::cuda, 0}));
    expect_all_layers(profile);
    EXPECT_NE(std::find_if(profile.rows.begin(), profile.rows.end(),
                           [](const ProfileRow& row) { return row.phase == "copy in"; }),
              profile.rows.end());
}
#endif

// What Nsight Systems shows of `cutis train`.
TEST(Profile, TheTrainingLoopHasRanges) {
    const Pictures pictures(30);  // five batches to train on: one epoch
    ASSERT_TRUE(succeeded(pictures.prepare()));
    std::vector<std::string> devices{"cpu"};
    if (cuda_device_count() > 0) {
        devices.push_back("cuda");
    }
    for (const std::string& device : devices) {
        TrainConfig config;
        config.data = pictures.data.string();
        config.out = (pictures.home / device).string();
        config.device = device;
        config.width = 0.1f;
        config.batch_size = 4;
        config.steps = 3;
        Profiler host({});  // a GPU's graphs are launched, and seen, from here
        EXPECT_EQ(train(config, false), TrainEnd::finished);
        std::map<std::string, std::map<std::string, int>> counts;  // by parent and name
        const std::vector<ProfiledRange> ranges = host.take();
        for (const ProfiledRange& range : ranges) {
            const std::string parent = range.parent < 0 ? "" : ranges[static_cast<std::size_t>(range.parent)].name;
            ++counts[parent][range.name];
        }
        EXPECT_EQ(counts[""]["data wait"], 3) << device;
        EXPECT_EQ(counts[""]["step"], 3) << device;
        EXPECT_GE(counts[""]["evaluation"], 1) << device;
        EXPECT_GE(counts[""]["checkpoint"], 1) << device;
        EXPECT_EQ(counts["step"]["copy in"], device == "cuda" ? 3 : 0);
        EXPECT_GE(counts["step"]["forward"], 1) << device;
        EXPECT_EQ(counts["step"]["forward"], counts["step"]["loss"]) << device;
        EXPECT_EQ(counts["step"]["forward"], counts["step"]["backward"]) << device;
        EXPECT_EQ(counts["step"]["forward"], counts["step"]["optimizer"]) << device;
        EXPECT_GE(counts["forward"]["convolution chain"], 18) << device;
    }
}

std::vector<std::string> tiny_profile(std::vector<std::string> further) {
    std::vector<std::string> arguments{
        "profile", "--model", "mobilenet_v2", "--batch", "2",         "--size", "32", "--width", "0.1",
        "--steps", "3",       "--warmup",     "1",       "--threads", "1"};
    arguments.insert(arguments.end(), further.begin(), further.end());
    return arguments;
}

TEST(ProgramProfile, PrintsTablesAndCeilings) {
    const ProgramResult result = cutis_program(tiny_profile({"--device", "cpu"}));
    ASSERT_TRUE(succeeded(result));
    for (const char* part : {"mobilenet_v2, batch 2, 32 px", "features.0.0", "features.18.0", "classifier.1",
                             "whole step", "in ops", "copy ceiling", "product ceiling", "GB/s", "roof %", "(rest)"}) {
        EXPECT_TRUE(holds(result.out, part)) << part;
    }
}

TEST(ProgramProfile, WritesJsonAndATrace) {
    const TempDir folder;
    std::vector<std::string> devices{"cpu"};
    if (cuda_device_count() > 0) {
        devices.push_back("cuda");
    }
    for (const std::string& device : devices) {
        const std::filesystem::path trace = folder / (device + ".json");
        const ProgramResult result =
            cutis_program(tiny_profile({"--device", device, "--json", "--trace", trace.string(), "--no-fuse"}));
        ASSERT_TRUE(succeeded(result));
        const nlohmann::json profile = nlohmann::json::parse(result.out);
        EXPECT_EQ(profile.at("device"), device == "cpu" ? "cpu" : "cuda:0");
        EXPECT_EQ(profile.at("fused"), false);
        EXPECT_EQ(profile.at("steps"), 3);
        std::set<std::string> layers;
        for (const nlohmann::json& row : profile.at("rows")) {
            layers.insert(row.at("layer").get<std::string>());
            EXPECT_LE(row.at("seconds").at("min").get<double>(), row.at("seconds").at("median").get<double>());
            EXPECT_LE(row.at("seconds").at("median").get<double>(), row.at("seconds").at("max").get<double>());
        }
        EXPECT_EQ(layers.size(), 52 + 52 + 1 + 1u);  // convolutions, batchnorms, classifier, and none
        const nlohmann::json written = nlohmann::json::parse(read_text_file(trace));
        EXPECT_GT(written.at("traceEvents").size(), 3 * 2 * (52 + 52 + 1u));
    }
}

TEST(ProgramProfile, MisuseEndsWithTwoAndFailureWithOne) {
    EXPECT_TRUE(failed_with(2, cutis_program({"profile"}), "--model", "cutis profile --help"));
    EXPECT_TRUE(failed_with(2, cutis_program(tiny_profile({"--batch", "0"})), "--batch is 0"));
    EXPECT_TRUE(failed_with(2, cutis_program(tiny_profile({"--steps", "0"})), "--steps is 0"));
    EXPECT_TRUE(failed_with(2, cutis_program(tiny_profile({"--warmup", "-1"})), "--warmup is -1"));
    EXPECT_TRUE(failed_with(2, cutis_program(tiny_profile({"--precision", "fp8"})), "--precision"));
    EXPECT_TRUE(failed_with(2, cutis_program(tiny_profile({"--device", "tpu"})), "--device"));
    EXPECT_TRUE(failed_with(1, cutis_program(tiny_profile({"--model", "net"})), "'net'", "mobilenet_v2"));
    EXPECT_TRUE(failed_with(1, cutis_program(tiny_profile({"--size", "16"})), "32"));
    EXPECT_TRUE(failed_with(1, cutis_program(tiny_profile({"--device", "cpu", "--precision", "bf16"})), "bf16", "CPU"));
    const TempDir folder;
    EXPECT_TRUE(failed_with(1, cutis_program(tiny_profile({"--trace", (folder / "none/t.json").string()})), "t.json"));
    if (cuda_device_count() == 0) {
        EXPECT_TRUE(failed_with(1, cutis_program(tiny_profile({"--device", "cuda"})), "--device cuda"));
    }
}

}  // namespace
}  // namespace cutis::testing
