#include "layers/lstm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/cuda_device.h"
#include "tests/support/error_of.h"
#include "tests/support/numeric_gradient.h"

// torch.nn.LSTM's figures, by tests/data/make_networks_golden.py.

namespace cutis::testing {
namespace {

nlohmann::json golden() {
    std::ifstream file(std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/golden/lstm.json");
    return nlohmann::json::parse(file);
}

// The script's draw: normal values by a name.
Tensor drawn(const Shape& shape, std::uint64_t seed, const std::string& name, float deviation = 1.0f) {
    Tensor tensor = Tensor::empty(shape);
    init_normal(tensor, WeightLayout::same, deviation, seed, name);
    return tensor;
}

// Within 1e-5 of the largest value.
void expect_near(const Tensor& tensor, const nlohmann::json& expected, const std::string& what) {
    const auto values = expected.get<std::vector<double>>();
    const Tensor here = tensor.to(Device{});
    ASSERT_EQ(static_cast<std::size_t>(here.elements()), values.size()) << what;
    double largest = 0.0;
    for (const double value : values) {
        largest = std::max(largest, std::abs(value));
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_NEAR(static_cast<double>(here.values()[i]), values[i], 1e-5 * largest) << what << ", value " << i;
    }
}

// The sum of weights times values, on any device: the weights are the gradient.
struct Weighted {
    Variable value;
    Tensor weights;
};
void backward_of_sum(const std::vector<Weighted>& terms) {
    std::vector<Variable> inputs;
    for (const Weighted& term : terms) {
        inputs.push_back(term.value);
    }
    Variable sum =
        record("weighted sum", Tensor::full({}, 0.0f, inputs.front().value().device()), inputs, [terms](const Tensor&) {
            for (const Weighted& term : terms) {
                term.value.accumulate(term.weights);
            }
        });
    sum.backward();
}

// Rows [i n, (i + 1) n) of what torch holds as one tensor of all layers and directions.
std::vector<Variable> states_of(const Tensor& all, Device device) {
    std::vector<Variable> states;
    for (std::int64_t i = 0; i < all.size(0); ++i) {
        states.emplace_back(all.rows(i, i + 1).clone().reshape({all.size(1), all.size(2)}).to(device), true);
    }
    return states;
}
template <class Of>
Tensor together(const std::vector<Variable>& states, Of&& of) {
    std::vector<float> values;
    for (const Variable& state : states) {
        const Tensor part = of(state).to(Device{});
        values.insert(values.end(), part.values().begin(), part.values().end());
    }
    return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}

void compare(const nlohmann::json& expected, Device device) {
    const auto number = [&](const char* key) { return expected.at(key).get<int>(); };
    const int n = number("n"), t = number("t"), c = number("c"), hidden = number("hidden");
    const auto seed = expected.at("seed").get<std::uint64_t>();
    Lstm lstm({.c_in = c,
               .hidden = hidden,
               .layers = number("layers"),
               .bidirectional = expected.at("bidirectional").get<bool>(),
               .bias = expected.at("bias").get<bool>()});
    Parts parts;
    lstm.visit("", parts);
    for (ParameterRef& parameter : parts.parameters) {
        parameter.variable.value().copy_from(drawn(parameter.variable.shape(), seed, parameter.name, 0.5f));
    }
    parts.move_to(device);
    const Shape all_states{number("layers") * lstm.directions(), n, hidden};
    const Variable x(drawn({n, t, c}, seed, "x").to(device), true);
    Lstm::State start;
    if (expected.at("states").get<bool>()) {
        start = {states_of(drawn(all_states, seed, "h0"), device), states_of(drawn(all_states, seed, "c0"), device)};
    }
    const auto lengths = expected.at("lengths").get<std::vector<int>>();
    const Lstm::Output out = lstm.forward(x, {.training = true}, lengths, start);
    const auto value = [](const Variable& state) { return state.value(); };
    expect_near(out.y.value(), expected.at("y"), "y");
    expect_near(together(out.last.h, value), expected.at("h"), "h");
    expect_near(together(out.last.c, value), expected.at("cell"), "cell");

    std::vector<Weighted> terms{{out.y, drawn(out.y.shape(), seed, "dy").to(device)}};
    const std::vector<Variable> dh = states_of(drawn(all_states, seed, "dh"), device);
    const std::vector<Variable> dc = states_of(drawn(all_states, seed, "dc"), device);
    for (std::size_t i = 0; i < dh.size(); ++i) {
        terms.push_back({out.last.h[i], dh[i].value()});
        terms.push_back({out.last.c[i], dc[i].value()});
    }
    backward_of_sum(terms);
    const nlohmann::json& gradients = expected.at("gradients");
    std::size_t seen = 1;
    expect_near(x.grad(), gradients.at("x"), "dx");
    for (const ParameterRef& parameter : parts.parameters) {
        expect_near(parameter.variable.grad(), gradients.at(parameter.name), "gradient of " + parameter.name);
        ++seen;
    }
    if (!start.h.empty()) {
        const auto gradient = [](const Variable& state) { return state.grad(); };
        expect_near(together(start.h, gradient), gradients.at("h0"), "dh0");
        expect_near(together(start.c, gradient), gradients.at("c0"), "dc0");
        seen += 2;
    }
    EXPECT_EQ(seen, gradients.size());
}

class LstmGolden : public ::testing::TestWithParam<std::string> {};
std::vector<std::string> case_names() {
    std::vector<std::string> names;
    const nlohmann::json cases = golden();
    for (const auto& item : cases.items()) {
        names.push_back(item.key());
    }
    return names;
}
INSTANTIATE_TEST_SUITE_P(Cases, LstmGolden, ::testing::ValuesIn(case_names()),
                         [](const auto& tested) { return tested.param; });

TEST_P(LstmGolden, ValuesAndGradientsArePyTorchs) {
    compare(golden().at(GetParam()), Device{});
}

TEST_P(LstmGolden, ValuesAndGradientsArePyTorchsOnCuda) {
    if (cuda_device_count() == 0) {
        GTEST_SKIP() << "no GPU, and this build has no CUDA on the CPU";
    }
    compare(golden().at(GetParam()), {DeviceKind::cuda, 0});
}

// A recorded step may bring nothing from the CPU: maps of rows are made by the first call, and never again.
TEST(LstmCuda, CanBeRecordedAsAGraph) {
    const Device gpu{DeviceKind::cuda, 0};
    if (cuda_device_count() == 0) {
        GTEST_SKIP() << "no GPU, and this build has no CUDA on the CPU";
    }
    Lstm lstm({.c_in = 3, .hidden = 8, .layers = 2, .bidirectional = true});
    lstm.init(1, "");
    Parts parts;
    lstm.visit("", parts);
    parts.move_to(gpu);
    const Variable x(drawn({2, 4, 3}, 1, "x").to(gpu));
    const NoGrad off;
    Tensor y = Tensor::zeros({2, 4, 16}, DType::f32, gpu), last = Tensor::zeros({2, 8}, DType::f32, gpu);
    const auto step = [&] {
        const Lstm::Output out = lstm.forward(x, {});
        y.copy_from(out.y.value());
        last.copy_from(out.last.h.back().value());
    };
    step();
    const Values expected_y = to_values(y.to(Device{})), expected_last = to_values(last.to(Device{}));
    y.fill(0.0f);
    last.fill(0.0f);
    CudaGraph graph(gpu, step);
    graph.launch();
    EXPECT_EQ(to_values(y.to(Device{})), expected_y);
    EXPECT_EQ(to_values(last.to(Device{})), expected_last);
}

TEST(Lstm, HasPyTorchsNames) {
    const Lstm lstm({.c_in = 3, .hidden = 2, .layers = 2, .bidirectional = true});
    Parts parts;
    lstm.visit("rnn.", parts);
    std::vector<std::string> names;
    for (const ParameterRef& parameter : parts.parameters) {
        names.push_back(parameter.name);
        EXPECT_EQ(parameter.decay, parameter.name.find("weight") != std::string::npos) << parameter.name;
    }
    EXPECT_EQ(names, (std::vector<std::string>{"rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0",
                                               "rnn.bias_hh_l0", "rnn.weight_ih_l0_reverse", "rnn.weight_hh_l0_reverse",
                                               "rnn.bias_ih_l0_reverse", "rnn.bias_hh_l0_reverse", "rnn.weight_ih_l1",
                                               "rnn.weight_hh_l1", "rnn.bias_ih_l1", "rnn.bias_hh_l1",
                                               "rnn.weight_ih_l1_reverse", "rnn.weight_hh_l1_reverse",
                                               "rnn.bias_ih_l1_reverse", "rnn.bias_hh_l1_reverse"}));
    EXPECT_EQ(parts.parameters[8].variable.shape(), (Shape{8, 4}));
}

// In training some of the first layer's values are dropped, by step and by place among the model's dropouts; elsewhere
// none.
TEST(Lstm, DropsBetweenLayersInTrainingOnly) {
    const Lstm::Config config{.c_in = 3, .hidden = 16, .layers = 2};
    Lstm plain(config), dropping({.c_in = 3, .hidden = 16, .layers = 2, .dropout = 0.5f});
    plain.init(5, "");
    dropping.init(5, "");
    const Variable x(drawn({2, 4, 3}, 1, "x"));
    const auto run = [&](Lstm& lstm, bool training, std::uint64_t step, std::uint64_t first = 0,
                         std::uint64_t all = 0) {
        return to_values(
            lstm.forward(x, {.training = training, .seed = 3, .step = step}, {}, {}, first, all).y.value());
    };
    EXPECT_EQ(run(dropping, false, 0), run(plain, true, 0));
    EXPECT_NE(run(dropping, true, 0), run(plain, true, 0));
    EXPECT_EQ(run(dropping, true, 0), run(dropping, true, 0));
    EXPECT_NE(run(dropping, true, 0), run(dropping, true, 1));
    EXPECT_NE(run(dropping, true, 0, 0, 2), run(dropping, true, 0, 1, 2));
}

// What x holds behind a sequence's end is never looked at.
TEST(Lstm, WhatIsBehindTheEndHasNoInfluence) {
    Lstm lstm({.c_in = 2, .hidden = 3, .bidirectional = true});
    lstm.init(1, "");
    Tensor one = drawn({2, 4, 2}, 1, "x"), other = one.clone();
    other.data()[4] = 1e9f;           // step 2 of the first sequence
    other.data()[7] = std::nanf("");  // and step 3
    const std::vector<int> lengths{2, 4};
    const auto y = [&](const Tensor& x) { return to_values(lstm.forward(Variable(x), {}, lengths).y.value()); };
    EXPECT_EQ(y(one), y(other));
}

TEST(Lstm, RefusesWhatDoesNotFit) {
    Lstm lstm({.c_in = 2, .hidden = 3});
    const auto forward = [&](const Shape& shape, const std::vector<int>& lengths, const Lstm::State& start = {}) {
        return error_of([&] { lstm.forward(Variable(Tensor::zeros(shape)), {}, lengths, start); });
    };
    EXPECT_NE(forward({2, 4, 3}, {}).find("n x t x 2"), std::string::npos);
    EXPECT_NE(forward({2, 0, 2}, {}).find("n x t x 2"), std::string::npos);
    EXPECT_NE(forward({2, 4, 2}, {3}).find("1 lengths for 2"), std::string::npos);
    EXPECT_NE(forward({2, 4, 2}, {3, 0}).find("1 to 4"), std::string::npos);
    EXPECT_NE(forward({2, 4, 2}, {5, 4}).find("1 to 4"), std::string::npos);
    EXPECT_NE(forward({2, 4, 2}, {}, {{Variable(), Variable()}, {}}).find("2 initial states"), std::string::npos);
    EXPECT_NE(error_of([] { Lstm({.c_in = 0, .hidden = 3}); }).find("0 inputs"), std::string::npos);
}

}  // namespace
}  // namespace cutis::testing
