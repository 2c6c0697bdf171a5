#include "layers/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/error_of.h"
#include "tests/support/numeric_gradient.h"

namespace cutis::testing {
namespace {

// What torch.optim makes of two parameters, weight decay on the first alone (tests/data/make_mobilenet_golden.py).
nlohmann::json golden() {
    std::ifstream file(std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/golden/optimizers.json");
    return nlohmann::json::parse(file);
}

ParameterRef parameter(const std::string& name, const nlohmann::json& values, bool decay) {
    const auto list = values.get<std::vector<float>>();
    const Variable variable(Tensor::from(list, {static_cast<std::int64_t>(list.size())}), true, name);
    return {name, variable, WeightLayout::same, decay};
}

std::vector<ParameterRef> start(const nlohmann::json& expected) {
    return {parameter("decayed", expected.at("start")[0], true), parameter("plain", expected.at("start")[1], false)};
}

void set_gradient(Variable variable, const nlohmann::json& values) {
    const auto list = values.get<std::vector<float>>();
    variable.clear_grad();
    variable.accumulate(Tensor::from(list, variable.shape()));
}

Values values_of(const nlohmann::json& values) {
    return values.get<Values>();
}

OptimizerConfig config_of(const std::string& name, const nlohmann::json& options) {
    OptimizerConfig config;
    config.kind = optimizer_from_name(name.substr(0, name.find('_')));
    config.momentum = options.value("momentum", 0.0f);
    config.nesterov = options.value("nesterov", false);
    config.alpha = options.value("alpha", config.alpha);
    config.eps = options.value("eps", config.eps);
    if (options.contains("betas")) {
        config.beta1 = options.at("betas")[0];
        config.beta2 = options.at("betas")[1];
    }
    return config;
}

class OptimizerGolden : public ::testing::TestWithParam<std::string> {};
std::string name_of(const ::testing::TestParamInfo<std::string>& info) {
    return info.param;
}
INSTANTIATE_TEST_SUITE_P(Torch, OptimizerGolden,
                         ::testing::Values("sgd", "sgd_momentum", "sgd_nesterov", "rmsprop", "rmsprop_momentum",
                                           "adamw"),
                         name_of);

TEST_P(OptimizerGolden, StepsAsInPyTorch) {
    const nlohmann::json expected = golden();
    const nlohmann::json& run = expected.at("runs").at(GetParam());
    const std::vector<ParameterRef> parameters = start(expected);
    OptimizerConfig config = config_of(GetParam(), run.at("options"));
    config.weight_decay = expected.at("weight_decay");
    Optimizer optimizer(config, {{parameters, run.at("options").at("lr")}});
    for (std::size_t step = 0; step < expected.at("factors").size(); ++step) {
        for (std::size_t i = 0; i < 2; ++i) {
            set_gradient(parameters[i].variable, expected.at("gradients")[step][i]);
        }
        optimizer.step(expected.at("factors")[step]);
        for (std::size_t i = 0; i < 2; ++i) {
            EXPECT_TRUE(are_near(parameters[i].variable.value().values(), values_of(run.at("after")[step][i]), 2e-6))
                << "step " << step << ", " << parameters[i].name;
        }
    }
    EXPECT_EQ(to_values(optimizer.state().front().tensor), (Values{6.0, 6.0}));
}

// The state is all that a resumed run needs, bit for bit.
TEST_P(OptimizerGolden, ResumesFromItsState) {
    const nlohmann::json expected = golden();
    const nlohmann::json& run = expected.at("runs").at(GetParam());
    OptimizerConfig config = config_of(GetParam(), run.at("options"));
    config.weight_decay = 0.05f;
    const float lr = run.at("options").at("lr");
    const std::vector<ParameterRef> whole = start(expected), parts = start(expected);
    const auto step = [&](Optimizer& optimizer, const std::vector<ParameterRef>& parameters, std::size_t at) {
        for (std::size_t i = 0; i < 2; ++i) {
            set_gradient(parameters[i].variable, expected.at("gradients")[at][i]);
        }
        optimizer.step(1.0);
    };
    Optimizer uninterrupted(config, {{whole, lr}}), before(config, {{parts, lr}});
    for (std::size_t i = 0; i < 6; ++i) {
        step(uninterrupted, whole, i);
    }
    for (std::size_t i = 0; i < 3; ++i) {
        step(before, parts, i);
    }
    Optimizer after(config, {{parts, lr}});
    const std::vector<BufferRef> saved = before.state(), restored = after.state();
    ASSERT_EQ(saved.size(), restored.size());
    for (std::size_t i = 0; i < saved.size(); ++i) {
        EXPECT_EQ(saved[i].name, restored[i].name);
        Tensor(restored[i].tensor).copy_from(saved[i].tensor);
    }
    for (std::size_t i = 3; i < 6; ++i) {
        step(after, parts, i);
    }
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(to_values(whole[i].variable.value()), to_values(parts[i].variable.value()));
    }
}

TEST(Optimizer, NamesItsState) {
    const auto names = [](OptimizerKind kind) {
        OptimizerConfig config;
        config.kind = kind;
        std::string all;
        for (const BufferRef& buffer : Optimizer(config, {{start(golden()), 0.1f}}).state()) {
            all += buffer.name + " ";
        }
        return all;
    };
    EXPECT_EQ(names(OptimizerKind::sgd), "optimizer.updates optimizer.decayed.momentum optimizer.plain.momentum ");
    EXPECT_EQ(names(OptimizerKind::rmsprop),
              "optimizer.updates optimizer.decayed.momentum optimizer.decayed.square optimizer.plain.momentum "
              "optimizer.plain.square ");
    EXPECT_EQ(names(OptimizerKind::adamw),
              "optimizer.updates optimizer.decayed.mean optimizer.decayed.square optimizer.plain.mean "
              "optimizer.plain.square ");
}

TEST(Optimizer, GroupsHaveTheirOwnLearningRate) {
    const std::vector<ParameterRef> parameters = start(golden());
    OptimizerConfig config;
    config.momentum = 0.0f;
    Optimizer optimizer(config, {{{parameters[0]}, 0.5f}, {{parameters[1]}, 0.0f}});
    const Values before = to_values(parameters[0].variable.value()), still = to_values(parameters[1].variable.value());
    for (const ParameterRef& one : parameters) {
        one.variable.accumulate(Tensor::full({7}, 1.0f));
    }
    optimizer.step(0.5);
    Values expected = before;
    for (double& value : expected) {
        value -= 0.25;
    }
    EXPECT_TRUE(are_near(parameters[0].variable.value().values(), expected, 1e-6));
    EXPECT_EQ(to_values(parameters[1].variable.value()), still);
}

TEST(Optimizer, LeavesFrozenParametersOut) {
    std::vector<ParameterRef> parameters = start(golden());
    parameters[0].variable.set_requires_grad(false);
    OptimizerConfig config;
    config.weight_decay = 0.5f;
    Optimizer optimizer(config, {{parameters, 0.1f}});
    const Values frozen = to_values(parameters[0].variable.value()), moving = to_values(parameters[1].variable.value());
    parameters[1].variable.accumulate(Tensor::full({7}, 1.0f));
    optimizer.step(1.0);
    EXPECT_EQ(to_values(parameters[0].variable.value()), frozen);
    EXPECT_NE(to_values(parameters[1].variable.value()), moving);
    parameters[1].variable.set_requires_grad(false);
    EXPECT_TRUE(is_line_with(error_of([&] { Optimizer(config, {{parameters, 0.1f}}); }), "every parameter is frozen"));
}

// AdamW's correction for its moments' start counts a parameter's own updates.
TEST(Optimizer, AThawedParameterStartsLikeANewOne) {
    const nlohmann::json expected = golden();
    const nlohmann::json& run = expected.at("runs").at("adamw");
    std::vector<ParameterRef> parameters = start(expected);
    OptimizerConfig config = config_of("adamw", run.at("options"));
    config.weight_decay = expected.at("weight_decay");
    Optimizer optimizer(config, {{parameters, run.at("options").at("lr")}});
    parameters[0].variable.set_requires_grad(false);
    for (int step = 0; step < 3; ++step) {
        set_gradient(parameters[1].variable, expected.at("gradients")[0][1]);
        optimizer.step(1.0);
    }
    parameters[0].variable.set_requires_grad(true);
    set_gradient(parameters[0].variable, expected.at("gradients")[0][0]);
    optimizer.step(expected.at("factors")[0]);
    EXPECT_TRUE(are_near(parameters[0].variable.value().values(), values_of(run.at("after")[0][0]), 2e-6));
    EXPECT_EQ(to_values(optimizer.state().front().tensor), (Values{1.0, 4.0}));
}

TEST(Optimizer, NamesAParameterWithoutAGradient) {
    const std::vector<ParameterRef> parameters = start(golden());
    Optimizer optimizer({}, {{parameters, 0.1f}});
    parameters[0].variable.accumulate(Tensor::full({7}, 1.0f));
    EXPECT_TRUE(is_line_with(error_of([&] { optimizer.step(1.0); }), "parameter plain", "no gradient"));
    optimizer.clear_gradients();
    EXPECT_FALSE(parameters[0].variable.grad());
}

TEST(Optimizer, TellsThatItChangedTheParameters) {
    const std::vector<ParameterRef> parameters = start(golden());
    Optimizer optimizer({}, {{parameters, 0.1f}});
    const std::uint64_t version = parameters[0].variable.value().version();
    for (const ParameterRef& one : parameters) {
        one.variable.accumulate(Tensor::full({7}, 1.0f));
    }
    optimizer.step(1.0);
    EXPECT_GT(parameters[0].variable.value().version(), version);
}

TEST(GradientClipping, IsPyTorchs) {
    const nlohmann::json expected = golden();
    for (const auto& [limit, clipped] : expected.at("clipped").items()) {
        const std::vector<ParameterRef> parameters = start(expected);
        Optimizer optimizer({}, {{parameters, 0.1f}});
        for (std::size_t i = 0; i < 2; ++i) {
            set_gradient(parameters[i].variable, expected.at("gradients")[0][i]);
        }
        EXPECT_NEAR(optimizer.clip_gradients(std::stod(limit)), clipped.at("norm").get<double>(), 1e-5);
        for (std::size_t i = 0; i < 2; ++i) {
            EXPECT_TRUE(are_near(std::as_const(parameters[i].variable).grad().values(),
                                 values_of(clipped.at("gradients")[i]), 1e-6))
                << "limit " << limit;
        }
    }
}

TEST(GradientClipping, RefusesWhatIsNotFinite) {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        const std::vector<ParameterRef> parameters = start(golden());
        Optimizer optimizer({}, {{parameters, 0.1f}});
        parameters[0].variable.accumulate(Tensor::full({7}, bad));
        EXPECT_TRUE(is_line_with(error_of([&] { optimizer.clip_gradients(1.0); }), "norm", "lower --lr"));
    }
}

// add hands the same tensor to both sides: each must be scaled once.
TEST(GradientScaling, KeepsGradientsThatShareBytesApart) {
    const std::vector<ParameterRef> parameters = start(golden());
    Optimizer optimizer({}, {{parameters, 0.1f}});
    const Tensor shared = Tensor::full({7}, 8.0f);
    for (const ParameterRef& one : parameters) {
        one.variable.accumulate(shared);
    }
    optimizer.scale_gradients(0.5f);
    for (const ParameterRef& one : parameters) {
        EXPECT_EQ(std::as_const(one.variable).grad().values()[6], 4.0f);
    }
    EXPECT_EQ(shared.values()[0], 8.0f);
    optimizer.scale_gradients(0.25f);
    EXPECT_EQ(std::as_const(parameters[1].variable).grad().values()[6], 1.0f);
}

TEST(OptimizerNames, AreKnown) {
    EXPECT_EQ(optimizer_from_name("sgd"), OptimizerKind::sgd);
    EXPECT_EQ(optimizer_from_name("rmsprop"), OptimizerKind::rmsprop);
    EXPECT_EQ(optimizer_from_name("adamw"), OptimizerKind::adamw);
    EXPECT_TRUE(is_line_with(error_of([] { optimizer_from_name("adam"); }), "'adam'", "sgd, rmsprop or adamw"));
}

}  // namespace
}  // namespace cutis::testing
