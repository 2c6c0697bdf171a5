#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/storage.h"
#include "kernels/parallel.h"
#include "tests/layers/chain_case.h"
#include "tests/support/error_of.h"

// The fused schedule against the composition of plain ops, and both against float64.

namespace cutis::testing {
namespace {

constexpr ForwardContext kFusedTraining{.training = true, .fused = true};
constexpr ForwardContext kPlainTraining{.training = true, .fused = false};
constexpr ForwardContext kFusedInference{.training = false, .fused = true};
constexpr ForwardContext kPlainInference{.training = false, .fused = false};

ConvBn::Config dense(int c_in, int c_out, int stride, Activation act = Activation::relu6) {
    return {ConvKind::dense, c_in, c_out, 3, stride, act};
}
ConvBn::Config pointwise(int c_in, int c_out, Activation act) {
    return {ConvKind::pointwise, c_in, c_out, 1, 1, act};
}
ConvBn::Config depthwise(int c, int stride, Activation act = Activation::relu6) {
    return {ConvKind::depthwise, c, c, 3, stride, act};
}

// Few enough values for central differences by every one of them.
std::vector<ChainCase> small_chains() {
    const Activation id = Activation::identity, relu6 = Activation::relu6, relu = Activation::relu;
    return {
        {"bottleneck_residual", 2, 4, 3, bottleneck(5, 17, 5, 1), true},
        {"bottleneck_residual_batch_1", 1, 3, 5, bottleneck(5, 11, 5, 1), true},
        {"bottleneck", 2, 3, 4, bottleneck(5, 17, 7, 1)},
        {"bottleneck_stride_2_odd", 1, 7, 5, bottleneck(5, 13, 3, 2)},
        {"bottleneck_stride_2_even", 2, 4, 6, bottleneck(3, 13, 5, 2)},
        {"no_expansion", 2, 3, 4, {depthwise(17, 1), pointwise(17, 5, id)}},
        {"no_expansion_residual", 2, 4, 3, {depthwise(7, 1), pointwise(7, 7, id)}, true},
        {"stem_and_first_block", 2, 7, 9, {dense(3, 8, 2), depthwise(8, 1), pointwise(8, 5, id)}},
        {"stem", 1, 9, 5, {dense(3, 5, 2)}},
        {"head", 3, 2, 3, {pointwise(5, 17, relu6)}, false, true},
        {"head_of_one_pixel", 5, 1, 1, {pointwise(5, 9, relu6)}, false, true},
        {"relu", 2, 3, 3, {pointwise(5, 9, relu), depthwise(9, 2, relu), pointwise(9, 4, relu)}},
        {"pointwise_residual", 2, 3, 3, {pointwise(5, 5, id)}, true},
        {"depthwise_residual", 2, 3, 3, {depthwise(5, 1, id)}, true},
        {"dense_residual", 2, 3, 3, {dense(5, 5, 1, id)}, true},
        {"depthwise_pooled", 2, 3, 4, {pointwise(3, 9, relu6), depthwise(9, 2)}, false, true},
        {"one_row_of_pixels", 2, 1, 6, bottleneck(5, 9, 5, 1), true},
    };
}

// Wide and large enough for row blocks, several threads and vector tails of every kind.
std::vector<ChainCase> large_chains() {
    const Activation id = Activation::identity;
    return {
        {"24_channels_residual", 2, 9, 9, bottleneck(24, 144, 24, 1), true},
        {"24_channels_stride_2", 3, 11, 9, bottleneck(24, 144, 32, 2)},
        {"many_rows", 2, 25, 23, bottleneck(16, 96, 24, 2)},
        {"many_rows_residual", 2, 19, 21, bottleneck(17, 102, 17, 1), true},
        {"few_rows_many_channels", 2, 3, 3, bottleneck(40, 240, 40, 1), true},
        {"stem_and_first_block", 2, 33, 31, {dense(3, 32, 2), depthwise(32, 1), pointwise(32, 16, id)}},
        {"wide_dense", 2, 9, 7, {dense(17, 19, 1), depthwise(19, 2), pointwise(19, 8, id)}},
        {"head", 4, 5, 3, {pointwise(40, 161, Activation::relu6)}, false, true},
        {"single_row", 1, 1, 1, bottleneck(8, 48, 8, 1), true},
    };
}

void expect_equal_bits(const Tensor& a, const Tensor& b, const std::string& what) {
    ASSERT_EQ(a.shape(), b.shape()) << what;
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << what;
}

// What a training step reads and writes of a chain.
struct Outcome {
    Tensor out;
    std::vector<Tensor> gradients, statistics;
};
Outcome outcome_of(Chain& chain, const ForwardContext& context) {
    Outcome outcome;
    outcome.out = chain.run(context).value();
    for (const Variable& input : chain.inputs()) {
        outcome.gradients.push_back(input.grad());
    }
    for (const Tensor& tensor : chain.statistics()) {
        outcome.statistics.push_back(tensor.clone());
    }
    return outcome;
}

// The op that complains when unit 0's weight changes between forward and backward: which path the forward pass took.
std::string recorded_op(Chain& chain, const ForwardContext& context) {
    Variable loss = weighted_sum(chain.forward(context), chain.dout);
    chain.units.front().weight.value().mark_changed();
    const std::string message = error_of([&] { loss.backward(); });
    return message.substr(0, message.find(':'));
}

class ConvChain : public ::testing::TestWithParam<ChainCase> {};
class SmallConvChain : public ConvChain {};

std::string name_of(const ::testing::TestParamInfo<ChainCase>& info) {
    return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Small, ConvChain, ::testing::ValuesIn(small_chains()), name_of);
INSTANTIATE_TEST_SUITE_P(Large, ConvChain, ::testing::ValuesIn(large_chains()), name_of);
INSTANTIATE_TEST_SUITE_P(Small, SmallConvChain, ::testing::ValuesIn(small_chains()), name_of);

TEST_P(ConvChain, FusedTrainingEqualsTheComposition) {
    const std::uint64_t seed = smooth_seed(GetParam(), true);
    Chain fused(GetParam(), seed), plain(GetParam(), seed);
    const Outcome a = outcome_of(fused, kFusedTraining), b = outcome_of(plain, kPlainTraining);
    EXPECT_TRUE(are_near(a.out.values(), to_values(b.out), 2e-5));
    EXPECT_TRUE(are_near(a.out.values(), fused.reference(true)(fused.input_values()), 2e-5));
    for (std::size_t i = 0; i < a.gradients.size(); ++i) {
        EXPECT_TRUE(are_near(a.gradients[i].values(), to_values(b.gradients[i]), 1e-4)) << fused.input_names()[i];
    }
    for (std::size_t i = 0; i < a.statistics.size(); ++i) {
        EXPECT_TRUE(are_near(a.statistics[i].values(), to_values(b.statistics[i]), 1e-5)) << "statistics " << i;
    }
}

TEST_P(ConvChain, TakesTheScheduleInTrainingOnly) {
    Chain fused(GetParam(), 1), plain(GetParam(), 1), inference(GetParam(), 1);
    EXPECT_EQ(recorded_op(fused, kFusedTraining), "convolution chain");
    EXPECT_NE(recorded_op(plain, kPlainTraining), "convolution chain");
    EXPECT_NE(recorded_op(inference, kFusedInference), "convolution chain");
}

TEST_P(ConvChain, FusedTrainingRepeatsBitForBit) {
    Chain first(GetParam(), 7), second(GetParam(), 7);
    const Outcome a = outcome_of(first, kFusedTraining), b = outcome_of(second, kFusedTraining);
    expect_equal_bits(a.out, b.out, "out");
    for (std::size_t i = 0; i < a.gradients.size(); ++i) {
        expect_equal_bits(a.gradients[i], b.gradients[i], first.input_names()[i]);
    }
    for (std::size_t i = 0; i < a.statistics.size(); ++i) {
        expect_equal_bits(a.statistics[i], b.statistics[i], "statistics " + std::to_string(i));
    }
}

TEST_P(ConvChain, TheNumberOfThreadsChangesRoundingOnly) {
    const std::uint64_t seed = smooth_seed(GetParam(), true);
    const int before = thread_count();
    Chain one(GetParam(), seed), three(GetParam(), seed);
    set_thread_count(1);
    const Outcome a = outcome_of(one, kFusedTraining);
    set_thread_count(3);
    const Outcome b = outcome_of(three, kFusedTraining);
    set_thread_count(before);
    EXPECT_TRUE(are_near(a.out.values(), to_values(b.out), 2e-5));
    for (std::size_t i = 0; i < a.gradients.size(); ++i) {
        EXPECT_TRUE(are_near(a.gradients[i].values(), to_values(b.gradients[i]), 1e-4)) << one.input_names()[i];
    }
}

TEST_P(ConvChain, AnInputThatWantsNoGradientChangesNoOther) {
    Chain with(GetParam(), 3), without(GetParam(), 3);
    without.x.set_requires_grad(false);
    const Outcome a = outcome_of(with, kFusedTraining), b = outcome_of(without, kFusedTraining);
    expect_equal_bits(a.out, b.out, "out");
    EXPECT_FALSE(without.x.grad());
    for (std::size_t i = 1; i < a.gradients.size(); ++i) {
        EXPECT_TRUE(are_near(b.gradients[i].values(), to_values(a.gradients[i]), 1e-5)) << with.input_names()[i];
    }
}

TEST_P(ConvChain, FusedInferenceEqualsTheComposition) {
    const NoGrad off;
    Chain chain(GetParam(), 5);
    std::vector<Tensor> before;
    for (const Tensor& tensor : chain.statistics()) {
        before.push_back(tensor.clone());
    }
    const Tensor fused = chain.forward(kFusedInference).value(), plain = chain.forward(kPlainInference).value();
    EXPECT_TRUE(are_near(fused.values(), to_values(plain), 2e-5));
    EXPECT_TRUE(are_near(fused.values(), chain.reference(false)(chain.input_values()), 2e-5));
    for (std::size_t i = 0; i < before.size(); ++i) {
        expect_equal_bits(before[i], chain.statistics()[i], "statistics " + std::to_string(i));
    }
}

TEST_P(ConvChain, InferenceKeepsNothingButItsOutput) {
    const NoGrad off;
    Chain chain(GetParam(), 5);
    chain.forward(kFusedInference);
    const std::size_t before = cpu_memory_use().in_use;
    const Variable out = chain.forward(kFusedInference);
    EXPECT_LE(cpu_memory_use().in_use, before + (out.value().bytes() + 63) / 64 * 64 * 5 / 4);
}

TEST_P(ConvChain, TrainingWithoutGradientsMovesTheStatistics) {
    Chain recorded(GetParam(), 2), unrecorded(GetParam(), 2);
    const Tensor expected = recorded.forward(kPlainTraining).value();
    const NoGrad off;
    const Variable out = unrecorded.forward(kFusedTraining);
    EXPECT_FALSE(out.requires_grad());
    EXPECT_TRUE(are_near(out.value().values(), to_values(expected), 2e-5));
    for (std::size_t i = 0; i < recorded.statistics().size(); ++i) {
        EXPECT_TRUE(are_near(unrecorded.statistics()[i].values(), to_values(recorded.statistics()[i]), 1e-5));
    }
}

// Mean and unbiased variance of the first unit's raw output, by its definition.
TEST_P(ConvChain, RunningStatisticsMoveAsInPyTorch) {
    Chain chain(GetParam(), 4);
    ConvBn& unit = chain.units.front();
    unit.gamma.value().fill(1.0f);
    unit.beta.value().fill(0.0f);
    ConvBn::Config linear = unit.config;
    linear.act = Activation::identity;
    const ChainCase one{"one", GetParam().n, GetParam().h, GetParam().w, {linear}};
    Chain raw(one, 1);
    raw.x.value().copy_from(chain.x.value());
    raw.units.front().weight.value().copy_from(unit.weight.value());
    raw.units.front().gamma.value().fill(1.0f);
    raw.units.front().beta.value().fill(0.0f);
    raw.units.front().norm.running_mean.fill(0.0f);
    raw.units.front().norm.running_var.fill(1.0f - 1e-5f);  // then z is y
    const Values y = raw.reference(false)(raw.input_values());

    const int c = linear.c_out;
    const double rows = static_cast<double>(y.size()) / c;
    const reference::Moments batch = reference::moments(y, c);
    Values mean = to_values(unit.norm.running_mean), var = to_values(unit.norm.running_var);
    for (std::size_t i = 0; i < mean.size(); ++i) {
        mean[i] += 0.1 * (batch.mean[i] - mean[i]);
        var[i] += 0.1 * (batch.var[i] * (rows > 1.0 ? rows / (rows - 1.0) : 1.0) - var[i]);
    }
    const std::uint64_t mean_version = unit.norm.running_mean.version(), var_version = unit.norm.running_var.version();
    chain.forward(kFusedTraining);
    EXPECT_GT(unit.norm.running_mean.version(), mean_version);
    EXPECT_GT(unit.norm.running_var.version(), var_version);
    EXPECT_TRUE(are_near(unit.norm.running_mean.values(), mean, 1e-5));
    EXPECT_TRUE(are_near(unit.norm.running_var.values(), var, 1e-5));
}

TEST_P(SmallConvChain, TrainingGradientsAgreeWithCentralDifferences) {
    const std::uint64_t seed = smooth_seed(GetParam(), true);
    Chain fused(GetParam(), seed), plain(GetParam(), seed);
    const std::vector<Values> at = fused.input_values();
    const Definition definition = fused.reference(true);
    fused.run(kFusedTraining);
    plain.run(kPlainTraining);
    for (std::size_t i = 0; i < at.size(); ++i) {
        const Values expected = numeric_gradient(definition, at, i, fused.dout);
        EXPECT_TRUE(are_near(fused.inputs()[i].grad().values(), expected, 2e-4)) << "fused, " << fused.input_names()[i];
        EXPECT_TRUE(are_near(plain.inputs()[i].grad().values(), expected, 2e-4)) << "plain, " << fused.input_names()[i];
    }
}

// Evaluation with gradients: the composition, whichever path was asked for.
TEST_P(SmallConvChain, EvaluationGradientsAgreeWithCentralDifferences) {
    const std::uint64_t seed = smooth_seed(GetParam(), false);
    Chain chain(GetParam(), seed);
    const std::vector<Values> at = chain.input_values();
    chain.run(kFusedInference);
    for (std::size_t i = 0; i < at.size(); ++i) {
        const Values expected = numeric_gradient(chain.reference(false), at, i, chain.dout);
        EXPECT_TRUE(are_near(chain.inputs()[i].grad().values(), expected, 2e-4)) << chain.input_names()[i];
    }
}

const ChainCase kBottleneck{"bottleneck", 2, 5, 4, bottleneck(5, 17, 5, 1), true};

void freeze(ConvBn& unit) {
    for (Variable* parameter : {&unit.weight, &unit.gamma, &unit.beta}) {
        parameter->set_requires_grad(false);
    }
}

TEST(ConvChainFreezing, AFrozenUnitStaysAsInEvaluationWhileTheOthersTrain) {
    Chain fused(kBottleneck, 1), plain(kBottleneck, 1);
    freeze(fused.units[1]);
    freeze(plain.units[1]);
    const Tensor mean = fused.units[1].norm.running_mean.clone(), var = fused.units[1].norm.running_var.clone(),
                 moved = fused.units[0].norm.running_mean.clone();
    const Tensor a = fused.run(kFusedTraining).value(), b = plain.run(kPlainTraining).value();
    expect_equal_bits(a, b, "out");
    for (std::size_t i = 0; i < fused.inputs().size(); ++i) {
        const bool frozen = i >= 4 && i <= 6;
        EXPECT_EQ(static_cast<bool>(fused.inputs()[i].grad()), !frozen) << fused.input_names()[i];
        if (!frozen) {
            expect_equal_bits(fused.inputs()[i].grad(), plain.inputs()[i].grad(), fused.input_names()[i]);
        }
    }
    expect_equal_bits(fused.units[1].norm.running_mean, mean, "frozen running mean");
    expect_equal_bits(fused.units[1].norm.running_var, var, "frozen running variance");
    EXPECT_NE(std::memcmp(fused.units[0].norm.running_mean.raw(), moved.raw(), moved.bytes()), 0);
}

// Units with batch statistics and one with running ones in between, in float64.
TEST(ConvChainFreezing, GradientsOfAMixedChainAgreeWithCentralDifferences) {
    const ChainCase ends{"ends", 2, 4, 3, bottleneck(5, 7, 5, 1), true};
    Chain chain(ends, 1);
    freeze(chain.units[1]);
    const std::vector<Values> at = chain.input_values();
    const Values mean = to_values(chain.units[1].norm.running_mean), var = to_values(chain.units[1].norm.running_var);
    const Definition definition = [&](const std::vector<Values>& in) {
        Values z = reference::batchnorm(reference::conv(in[0], in[1], {}, {2, 4, 3, 5, 7, 1, 1, 1, 0}), in[2], in[3],
                                        1e-5, Activation::relu6);
        Values scale(7), shift(7);
        for (std::size_t c = 0; c < 7; ++c) {
            scale[c] = in[5][c] / std::sqrt(var[c] + 1e-5);
            shift[c] = in[6][c] - mean[c] * scale[c];
        }
        z = reference::normalize(reference::depthwise(z, in[4], {2, 4, 3, 7, 1}), scale, shift, Activation::relu6);
        z = reference::batchnorm(reference::conv(z, in[7], {}, {2, 4, 3, 7, 5, 1, 1, 1, 0}), in[8], in[9], 1e-5,
                                 Activation::identity);
        return reference::add(z, in[0]);
    };
    reference::reset_kinks();
    EXPECT_TRUE(are_near(chain.run(kFusedTraining).value().values(), definition(at), 2e-5));
    ASSERT_GT(reference::nearest_kink(), kFarFromKinks) << "choose another seed";
    for (const std::size_t i : {0u, 1u, 2u, 3u, 7u, 8u, 9u}) {
        EXPECT_TRUE(are_near(chain.inputs()[i].grad().values(), numeric_gradient(definition, at, i, chain.dout), 2e-4))
            << chain.input_names()[i];
    }
}

TEST(ConvChainFreezing, AFrozenConvolutionWeightAloneGetsNoGradient) {
    Chain fused(kBottleneck, 1), plain(kBottleneck, 1);
    fused.units[0].weight.set_requires_grad(false);
    fused.run(kFusedTraining);
    plain.run(kPlainTraining);
    EXPECT_FALSE(fused.units[0].weight.grad());
    for (std::size_t i = 0; i < fused.inputs().size(); ++i) {
        if (i != 1) {
            EXPECT_TRUE(are_near(fused.inputs()[i].grad().values(), to_values(plain.inputs()[i].grad()), 1e-4));
        }
    }
}

TEST(ConvChainFreezing, AnEntirelyFrozenChainPassesTheGradientOn) {
    const std::uint64_t seed = smooth_seed(kBottleneck, false);
    Chain chain(kBottleneck, seed);
    for (ConvBn& unit : chain.units) {
        freeze(unit);
    }
    const std::vector<Values> at = chain.input_values();
    const Definition evaluation = chain.reference(false);
    EXPECT_TRUE(are_near(chain.run(kFusedTraining).value().values(), evaluation(at), 2e-5));
    EXPECT_TRUE(are_near(chain.x.grad().values(), numeric_gradient(evaluation, at, 0, chain.dout), 2e-4));
}

TEST(ConvChainFreezing, AnEntirelyFrozenChainWithoutAWantedInputRecordsNothing) {
    Chain chain(kBottleneck, 1);
    chain.x.set_requires_grad(false);
    for (ConvBn& unit : chain.units) {
        freeze(unit);
    }
    const Tensor mean = chain.units[0].norm.running_mean.clone();
    const Variable out = chain.forward(kFusedTraining);
    EXPECT_FALSE(out.requires_grad());
    EXPECT_TRUE(are_near(out.value().values(), chain.reference(false)(chain.input_values()), 2e-5));
    expect_equal_bits(chain.units[0].norm.running_mean, mean, "running mean");
}

TEST(ConvChainGraph, TwoBackwardPassesAddTheirGradients) {
    Chain once(kBottleneck, 1), twice(kBottleneck, 1);
    once.run(kFusedTraining);
    twice.run(kFusedTraining);
    twice.run(kFusedTraining);
    for (std::size_t i = 0; i < once.inputs().size(); ++i) {
        Values doubled = to_values(once.inputs()[i].grad());
        for (double& value : doubled) {
            value *= 2.0;
        }
        EXPECT_TRUE(are_near(twice.inputs()[i].grad().values(), doubled, 1e-6)) << once.input_names()[i];
    }
}

TEST(ConvChainGraph, ChainsFollowOneAnother) {
    const std::uint64_t seed = smooth_seed(kBottleneck, true);
    Chain fused(kBottleneck, seed), fused_next(kBottleneck, seed + 1), plain(kBottleneck, seed),
        plain_next(kBottleneck, seed + 1);
    const auto run = [](Chain& first, Chain& second, const ForwardContext& context) {
        const Variable x = first.x;
        second.x = first.forward(context);
        weighted_sum(add(second.forward(context), second.x), second.dout).backward();
    };
    run(fused, fused_next, kFusedTraining);
    run(plain, plain_next, kPlainTraining);
    for (std::size_t i = 0; i < fused.inputs().size(); ++i) {
        EXPECT_TRUE(are_near(fused.inputs()[i].grad().values(), to_values(plain.inputs()[i].grad()), 2e-4));
    }
}

TEST(ConvChainGraph, NoticesAChangeOfWhatItSaved) {
    for (std::size_t i = 0; i < 10; ++i) {
        Chain chain(kBottleneck, 1);
        Variable loss = weighted_sum(chain.forward(kFusedTraining), chain.dout);
        const bool saved = i % 3 != 0 || i == 0;  // beta is not read again
        chain.inputs()[i].value().fill(0.25f);
        const std::string message = error_of([&] { loss.backward(); });
        if (saved) {
            EXPECT_TRUE(is_line_with(message, "convolution chain", "changed in place")) << chain.input_names()[i];
        } else {
            EXPECT_EQ(message, "(no error)") << chain.input_names()[i];
        }
    }
}

TEST(ConvChainGraph, RunsBackwardOnlyOnce) {
    Chain chain(kBottleneck, 1);
    Variable loss = weighted_sum(chain.forward(kFusedTraining), chain.dout);
    loss.backward();
    EXPECT_TRUE(is_line_with(error_of([&] { loss.backward(); }), "has been run already"));
}

TEST(ConvChainGraph, FreesWhatItSavedWhenTheGraphIsDropped) {
    Chain chain(kBottleneck, 1);
    const std::size_t before = cpu_memory_use().in_use;
    { const Variable dropped = chain.forward(kFusedTraining); }
    EXPECT_EQ(cpu_memory_use().in_use, before);
    chain.run(kFusedTraining);
    for (Variable& input : chain.inputs()) {
        input.clear_grad();
    }
    EXPECT_EQ(cpu_memory_use().in_use, before);
}

TEST(ConvChainGraph, StoresLessThanTheComposition) {
    Chain chain({"wide", 2, 16, 16, bottleneck(16, 96, 16, 1), true}, 1);
    const auto stored = [&](const ForwardContext& context) {
        const std::size_t before = cpu_memory_use().in_use;
        const Variable out = chain.forward(context);
        return cpu_memory_use().in_use - before;
    };
    EXPECT_LT(stored(kFusedTraining), stored(kPlainTraining) * 6 / 10);
}

TEST(ConvChainGraph, NotANumberGoesThrough) {
    for (const ForwardContext& context : {kFusedTraining, kPlainTraining, kFusedInference, kPlainInference}) {
        Chain chain(kBottleneck, 1);
        chain.x.value().data()[3] = std::numeric_limits<float>::quiet_NaN();
        const Tensor out = chain.forward(context).value();
        EXPECT_TRUE(std::isnan(std::accumulate(out.values().begin(), out.values().end(), 0.0f)));
    }
}

std::string chain_error(const ChainCase& definition, const Shape& x) {
    return error_of([&] {
        std::vector<ConvBn> units;
        std::vector<ConvBn*> pointers;
        for (const ConvBn::Config& config : definition.units) {
            units.emplace_back(config);
        }
        for (ConvBn& unit : units) {
            pointers.push_back(&unit);
        }
        conv_chain(Variable(Tensor::zeros(x)), pointers, definition.residual, definition.pool, kFusedTraining);
    });
}

TEST(ConvChainErrors, NameTheBrokenRule) {
    const auto units = bottleneck(5, 17, 5, 1);
    EXPECT_TRUE(is_line_with(chain_error({"", 0, 0, 0, {}}, {1, 4, 4, 5}), "no units"));
    EXPECT_TRUE(is_line_with(chain_error({"", 0, 0, 0, units}, {1, 4, 4, 6}), "1 x 4 x 4 x 6", "n x h x w x 5"));
    EXPECT_TRUE(is_line_with(chain_error({"", 0, 0, 0, units}, {4, 4, 5}), "4 x 4 x 5", "n x h x w x 5"));
    EXPECT_TRUE(is_line_with(chain_error({"", 0, 0, 0, units, true, true}, {1, 4, 4, 5}), "pooled"));
    EXPECT_TRUE(is_line_with(chain_error({"", 0, 0, 0, bottleneck(5, 17, 5, 2), true}, {1, 4, 4, 5}), "1 x 4 x 4 x 5",
                             "1 x 2 x 2 x 5"));
    EXPECT_TRUE(is_line_with(chain_error({"", 0, 0, 0, {pointwise(5, 5, Activation::relu)}, true}, {1, 4, 4, 5}),
                             "without activation"));
    EXPECT_TRUE(
        is_line_with(chain_error({"", 0, 0, 0, {pointwise(5, 6, Activation::relu), depthwise(7, 1)}}, {1, 4, 4, 5}),
                     "unit 1", "7 channels"));
}

TEST(ConvBnErrors, NameTheBrokenRule) {
    const auto error = [](const ConvBn::Config& config) { return error_of([&] { ConvBn unit(config); }); };
    EXPECT_TRUE(is_line_with(error({ConvKind::dense, 0, 4, 3, 1, {}}), "0 to 4 channels"));
    EXPECT_TRUE(is_line_with(error({ConvKind::dense, 3, 4, 3, 3, {}}), "stride 3"));
    EXPECT_TRUE(is_line_with(error({ConvKind::pointwise, 3, 4, 3, 1, {}}), "pointwise", "kernel 3"));
    EXPECT_TRUE(is_line_with(error({ConvKind::pointwise, 3, 4, 1, 2, {}}), "pointwise", "stride 2"));
    EXPECT_TRUE(is_line_with(error({ConvKind::depthwise, 3, 4, 3, 1, {}}), "depthwise", "3 to 4"));
    EXPECT_TRUE(is_line_with(error({ConvKind::depthwise, 4, 4, 5, 1, {}}), "depthwise", "kernel 5"));
}

}  // namespace
}  // namespace cutis::testing
