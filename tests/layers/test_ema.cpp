#include "layers/ema.h"

#include <gtest/gtest.h>

#include "layers/conv_bn.h"
#include "tests/support/error_of.h"
#include "tests/support/numeric_gradient.h"

namespace cutis::testing {
namespace {

struct Toy {
    Variable weight{Tensor::full({3}, 1.0f), true};
    Tensor running = Tensor::full({2}, 4.0f);
    Parts parts() const { return {{{"w", weight, WeightLayout::same, true}}, {{"r", running}}}; }
};

TEST(Ema, FollowsTheFormulaWithItsEarlyDecay) {
    Toy toy;
    Ema ema(toy.parts(), 0.5f);
    double weight = 1.0, running = 4.0;
    for (int n = 0; n < 12; ++n) {
        toy.weight.value().fill(static_cast<float>(n) + 2.0f);
        toy.running.fill(-static_cast<float>(n));
        ema.update();
        const double decay = std::min(0.5, (1.0 + n) / (10.0 + n));
        weight = decay * weight + (1.0 - decay) * (n + 2.0);
        running = decay * running - (1.0 - decay) * n;
        EXPECT_TRUE(are_near(ema.state()[0].tensor.values(), Values(3, weight), 1e-6)) << n;
        EXPECT_TRUE(are_near(ema.state()[1].tensor.values(), Values(2, running), 1e-6)) << n;
    }
    EXPECT_EQ(ema.updates(), 12);
}

TEST(Ema, SwapsAndSwapsBack) {
    Toy toy;
    Ema ema(toy.parts(), 0.9f);
    toy.weight.value().fill(11.0f);
    toy.running.fill(0.0f);
    ema.update();  // decay 1/10
    const std::uint64_t version = toy.weight.value().version();
    ema.swap();
    EXPECT_GT(toy.weight.value().version(), version);
    EXPECT_FLOAT_EQ(toy.weight.value().values()[2], 10.0f);
    EXPECT_FLOAT_EQ(toy.running.values()[1], 0.4f);
    EXPECT_FLOAT_EQ(ema.state()[0].tensor.values()[2], 11.0f);
    ema.swap();
    EXPECT_EQ(toy.weight.value().values()[2], 11.0f);
    EXPECT_EQ(toy.running.values()[1], 0.0f);
}

TEST(Ema, ResumesFromItsState) {
    Toy whole, parts;
    Ema uninterrupted(whole.parts(), 0.9f), before(parts.parts(), 0.9f);
    const auto update = [](Toy& toy, Ema& ema, int n) {
        toy.weight.value().fill(static_cast<float>(n) * 0.3f);
        ema.update();
    };
    for (int n = 0; n < 6; ++n) {
        update(whole, uninterrupted, n);
    }
    for (int n = 0; n < 3; ++n) {
        update(parts, before, n);
    }
    Ema after(parts.parts(), 0.9f);
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(after.state()[i].name, before.state()[i].name);
        Tensor(after.state()[i].tensor).copy_from(before.state()[i].tensor);
    }
    after.set_updates(before.updates());
    for (int n = 3; n < 6; ++n) {
        update(parts, after, n);
    }
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(to_values(after.state()[i].tensor), to_values(uninterrupted.state()[i].tensor));
    }
}

TEST(Ema, CoversEveryPartByName) {
    const ConvBn unit({ConvKind::pointwise, 3, 5, 1, 1, Activation::relu6});
    Parts parts;
    unit.visit("conv", "norm", parts);
    std::string names;
    for (const BufferRef& buffer : Ema(parts, 0.99f).state()) {
        names += buffer.name + " ";
    }
    EXPECT_EQ(names, "ema.conv.weight ema.norm.weight ema.norm.bias ema.norm.running_mean ema.norm.running_var ");
}

TEST(Ema, RefusesADecayThatIsNone) {
    const Toy toy;
    EXPECT_TRUE(is_line_with(error_of([&] { Ema(toy.parts(), 1.0f); }), "decay 1"));
    EXPECT_TRUE(is_line_with(error_of([&] { Ema(toy.parts(), 0.0f); }), "decay 0"));
}

}  // namespace
}  // namespace cutis::testing
