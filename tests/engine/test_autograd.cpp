#include "engine/autograd.h"

#include <gtest/gtest.h>

#include <thread>

#include "engine/ops.h"
#include "engine/storage.h"
#include "kernels/error.h"
#include "tests/support/error_of.h"

namespace cutis::testing {
namespace {

Variable scalar(float value, const char* name = "") {
    return Variable(Tensor::full({}, value), true, name);
}
float value_of(const Variable& variable) {
    return variable.value().values()[0];
}
float grad_of(const Variable& variable) {
    return variable.grad().values()[0];
}

// y = a b, the smallest op that saves its inputs.
Variable multiply(const Variable& a, const Variable& b) {
    const Tensor y = Tensor::full({}, value_of(a) * value_of(b));
    return record("multiply", y, {a, b},
                  [a, b, sa = Saved(a.value(), "multiply"), sb = Saved(b.value(), "multiply")](const Tensor& dy) {
                      a.accumulate(Tensor::full({}, dy.values()[0] * sb.get().values()[0]));
                      b.accumulate(Tensor::full({}, dy.values()[0] * sa.get().values()[0]));
                  });
}

TEST(Autograd, FollowsTheChainRule) {
    const Variable a = scalar(3.0f), b = scalar(5.0f);
    Variable y = add(multiply(a, b), multiply(a, a));
    EXPECT_EQ(value_of(y), 24.0f);
    y.backward();
    EXPECT_EQ(grad_of(a), 5.0f + 6.0f);
    EXPECT_EQ(grad_of(b), 3.0f);
    EXPECT_EQ(grad_of(y), 1.0f);
}

TEST(Autograd, SharedInputsAccumulate) {
    const Variable a = scalar(1.0f);
    const Variable twice = add(a, a), four = add(twice, twice);
    Variable five = add(four, a);
    five.backward();
    EXPECT_EQ(grad_of(a), 5.0f);
}

// add hands one gradient tensor to both sides; a sum into it for one of them must not change the other's.
TEST(Autograd, GradientsThatShareBytesStayApart) {
    const Variable a = scalar(1.0f), b = scalar(1.0f), c = scalar(1.0f);
    const Variable ab = add(a, b);
    Variable y = add(add(ab, a), add(c, a));
    y.backward();
    EXPECT_EQ(grad_of(a), 3.0f);
    EXPECT_EQ(grad_of(b), 1.0f);
    EXPECT_EQ(grad_of(c), 1.0f);
    EXPECT_EQ(grad_of(y), 1.0f);
    Variable again = add(add(a, b), a);
    again.backward();
    EXPECT_EQ(grad_of(a), 5.0f);
    EXPECT_EQ(grad_of(b), 2.0f);
    EXPECT_EQ(grad_of(c), 1.0f);
}

TEST(Autograd, AReshapedGradientIsNotChangedThroughItsView) {
    const Variable a(Tensor::full({2, 3}, 1.0f), true), b(Tensor::full({6}, 1.0f), true);
    const Variable flat = reshape(a, {6});
    const Variable sum = add(add(flat, b), flat);
    Variable y = linear(reshape(sum, {1, 6}), Variable(Tensor::full({1, 6}, 2.0f)), Variable());
    y.backward();
    EXPECT_EQ(a.grad().shape(), (Shape{2, 3}));
    for (std::size_t i = 0; i < 6; ++i) {
        EXPECT_EQ(a.grad().values()[i], 4.0f);
        EXPECT_EQ(b.grad().values()[i], 2.0f);
    }
}

TEST(Autograd, GradientsOfSeveralPassesAddUp) {
    Variable a = scalar(2.0f);
    for (int i = 1; i <= 3; ++i) {
        multiply(a, a).backward();
        EXPECT_EQ(grad_of(a), 4.0f * static_cast<float>(i));
    }
    a.clear_grad();
    EXPECT_FALSE(a.grad());
    multiply(a, a).backward();
    EXPECT_EQ(grad_of(a), 4.0f);
}

// Visits in the order of recording: the producer of a value comes after every consumer, however unequal their depths.
TEST(Autograd, WaitsForEveryConsumer) {
    const Variable a = scalar(1.0f);
    const Variable shared = multiply(a, scalar(3.0f));
    Variable deep = shared;
    for (int i = 0; i < 10; ++i) {
        deep = add(deep, scalar(0.0f));
    }
    Variable y = add(shared, deep);
    y.backward();
    EXPECT_EQ(grad_of(a), 6.0f);
}

TEST(Autograd, KeepsGradientsOfLeavesOnly) {
    const Variable a = scalar(2.0f);
    const Variable middle = multiply(a, a);
    Variable y = add(middle, a);
    y.backward();
    EXPECT_TRUE(static_cast<bool>(a.grad()));
    EXPECT_FALSE(middle.grad());
}

TEST(Autograd, FrozenLeavesGetNoGradient) {
    Variable frozen = scalar(2.0f), free = scalar(3.0f);
    frozen.set_requires_grad(false);
    Variable y = multiply(frozen, free);
    y.backward();
    EXPECT_FALSE(frozen.grad());
    EXPECT_EQ(grad_of(free), 2.0f);
    frozen.set_requires_grad(true);
    multiply(frozen, free).backward();
    EXPECT_EQ(grad_of(frozen), 3.0f);
    Variable made = multiply(free, free);
    EXPECT_TRUE(is_line_with(error_of([&] { made.set_requires_grad(false); }), "only a leaf"));
}

TEST(Autograd, RecordsNothingWhereNothingIsWanted) {
    const Variable a(Tensor::full({}, 2.0f));
    Variable y = multiply(a, a);
    EXPECT_FALSE(y.requires_grad());
    EXPECT_TRUE(is_line_with(error_of([&] { y.backward(); }), "nothing was recorded"));
    EXPECT_TRUE(is_line_with(error_of([&] { scalar(1.0f).backward(); }), "nothing was recorded"));
}

TEST(Autograd, NoGradEndsWithItsScope) {
    const Variable a = scalar(2.0f);
    EXPECT_TRUE(grad_enabled());
    {
        const NoGrad outer;
        {
            const NoGrad inner;
            EXPECT_FALSE(grad_enabled());
        }
        EXPECT_FALSE(grad_enabled());
        EXPECT_FALSE(multiply(a, a).requires_grad());
        std::thread([] { EXPECT_TRUE(grad_enabled()); }).join();  // a matter of each thread
    }
    EXPECT_TRUE(grad_enabled());
    EXPECT_TRUE(multiply(a, a).requires_grad());
}

TEST(Autograd, StartsAtAScalar) {
    Variable wide = relu(Variable(Tensor::zeros({2, 3}), true));
    EXPECT_TRUE(is_line_with(error_of([&] { wide.backward(); }), "scalar", "2 x 3"));
    EXPECT_TRUE(is_line_with(error_of([] { Variable().backward(); }), "empty handle"));
    Variable one = relu(Variable(Tensor::full({1, 1}, 2.0f), true));
    one.backward();
}

TEST(Autograd, RunsAGraphOnce) {
    const Variable a = scalar(2.0f);
    Variable y = multiply(a, a);
    y.backward();
    EXPECT_TRUE(is_line_with(error_of([&] { y.backward(); }), "has been run already"));
    EXPECT_EQ(grad_of(a), 4.0f);
}

TEST(Autograd, RefusesToGoOnFromAGraphThatHasRun) {
    const Variable a = scalar(2.0f);
    const Variable shared = multiply(a, a);
    Variable first = add(shared, a), second = add(shared, shared);
    first.backward();
    EXPECT_TRUE(is_line_with(error_of([&] { second.backward(); }), "add", "has been run already"));
    EXPECT_TRUE(is_line_with(error_of([&] { multiply(shared, a); }), "multiply", "run backward already"));
}

TEST(Autograd, NoticesAnInPlaceChangeOfASavedTensor) {
    Variable a = scalar(2.0f), b = scalar(3.0f);
    Variable y = multiply(a, b);
    b.value().fill(9.0f);
    EXPECT_TRUE(is_line_with(error_of([&] { y.backward(); }), "multiply", "changed in place", "version 0, now 1"));
    Variable view_changed = multiply(a, b);
    Tensor view = b.value().reshape({1});
    view.copy_from(Tensor::full({1}, 4.0f));
    EXPECT_TRUE(is_line_with(error_of([&] { view_changed.backward(); }), "changed in place"));
}

TEST(Autograd, NoticesAnOpThatWritesOverItsInput) {
    const Variable a = scalar(2.0f);
    const auto op = [](const Variable& x) { return record("halve", x.value(), {x}, [](const Tensor&) {}); };
    EXPECT_TRUE(is_line_with(error_of([&] { op(a); }), "halve", "recorded twice", "in-place"));
    EXPECT_FALSE(op(Variable(Tensor::full({}, 1.0f))).requires_grad());
}

TEST(Autograd, NoticesAMissingGradient) {
    const Variable a = scalar(2.0f, "weight");
    Variable y = record("forgetful", Tensor::full({}, 1.0f), {a}, [](const Tensor&) {});
    EXPECT_TRUE(is_line_with(error_of([&] { y.backward(); }), "forgetful", "left out", "weight"));
    const Variable made = multiply(a, a);
    Variable z = record("forgetful", Tensor::full({}, 1.0f), {made}, [](const Tensor&) {});
    EXPECT_TRUE(is_line_with(error_of([&] { z.backward(); }), "forgetful", "left out"));
}

TEST(Autograd, NoticesAGradientOfAnotherShape) {
    const Variable a = scalar(2.0f, "weight");
    Variable y = record("wrong", Tensor::full({}, 1.0f), {a}, [a](const Tensor&) { a.accumulate(Tensor::zeros({2})); });
    EXPECT_TRUE(is_line_with(error_of([&] { y.backward(); }), "gradient 2", "scalar", "weight"));
    Variable z = record("none", Tensor::full({}, 1.0f), {a}, [a](const Tensor&) { a.accumulate(Tensor()); });
    EXPECT_TRUE(is_line_with(error_of([&] { z.backward(); }), "weight"));
}

TEST(Autograd, EmptyHandlesAreNoVariables) {
    const Variable none;
    EXPECT_FALSE(none);
    EXPECT_FALSE(none.requires_grad());
    EXPECT_TRUE(is_line_with(error_of([&] { none.value(); }), "empty handle"));
    EXPECT_TRUE(is_line_with(error_of([&] { none.grad(); }), "empty handle"));
    EXPECT_TRUE(is_line_with(error_of([&] { none.name(); }), "empty handle"));
    EXPECT_TRUE(is_line_with(error_of([] { Variable().set_requires_grad(true); }), "only a leaf"));
    none.accumulate(Tensor::full({}, 1.0f));
    Variable().clear_grad();
    const Tensor integers = Tensor::zeros({2}, DType::i32);
    EXPECT_TRUE(is_line_with(error_of([&] { Variable(integers, true, "labels"); }), "labels", "i32"));
    EXPECT_EQ(Variable(integers).value().dtype(), DType::i32);
}

TEST(Autograd, ReleasedSavedTensorsAreNamed) {
    Saved saved(Tensor::full({}, 1.0f), "op");
    EXPECT_EQ(saved.get().values()[0], 1.0f);
    saved.release();
    EXPECT_TRUE(is_line_with(error_of([&] { saved.get(); }), "op", "released"));
}

constexpr int kDeep = 100000;

Variable deep_sum(const Variable& a) {
    Variable y = a;
    for (int i = 0; i < kDeep; ++i) {
        y = add(y, a);
    }
    return y;
}

TEST(AutogradDepth, RunsBackThroughAHundredThousandOps) {
    const Variable a = scalar(1.0f);
    Variable y = deep_sum(a);
    EXPECT_EQ(value_of(y), static_cast<float>(kDeep + 1));
    y.backward();
    EXPECT_EQ(grad_of(a), static_cast<float>(kDeep + 1));
}

TEST(AutogradDepth, DropsAHundredThousandOpsWithoutBackward) {
    const Variable a = scalar(1.0f);
    const std::size_t before = cpu_memory_use().in_use;
    { const Variable y = deep_sum(a); }
    EXPECT_EQ(cpu_memory_use().in_use, before);
}

TEST(AutogradDepth, DropsOneHeldInTheMiddle) {
    const Variable a = scalar(1.0f);
    const std::size_t before = cpu_memory_use().in_use;
    Variable middle;
    {
        middle = deep_sum(a);
        const Variable end = deep_sum(middle);
    }
    middle.backward();
    EXPECT_EQ(grad_of(a), static_cast<float>(kDeep + 1));
    middle = {};
    EXPECT_EQ(cpu_memory_use().in_use, before + 64);  // a's gradient
}

TEST(AutogradDepth, DropsAWideGraph) {
    const std::size_t before = cpu_memory_use().in_use;
    {
        std::vector<Variable> layer(64, scalar(1.0f));
        for (int depth = 0; depth < 200; ++depth) {
            std::vector<Variable> next;
            for (std::size_t i = 0; i < layer.size(); ++i) {
                next.push_back(add(layer[i], layer[(i * 7 + 1) % layer.size()]));
            }
            layer = std::move(next);
        }
    }
    EXPECT_EQ(cpu_memory_use().in_use, before);
}

TEST(AutogradDepth, FreesValuesWhileItWalksBack) {
    const Variable a(Tensor::full({1 << 16}, 1.0f), true);
    const std::size_t before = cpu_memory_use().in_use;
    std::size_t in_use_at_the_start = 0, in_use_at_the_end = 0;
    Variable y = record("first", Tensor::zeros({1 << 16}), {a}, [&, a](const Tensor& dy) {
        in_use_at_the_end = cpu_memory_use().in_use;
        a.accumulate(dy);
    });
    for (int i = 0; i < 20; ++i) {
        y = relu(y);
    }
    Variable loss = record("last", Tensor::full({}, 0.0f), {y}, [&, y](const Tensor&) {
        in_use_at_the_start = cpu_memory_use().in_use;
        y.accumulate(Tensor::full(y.shape(), 1.0f));
    });
    y = {};
    loss.backward();
    const std::size_t tensor = std::size_t{4} << 16;
    EXPECT_GE(in_use_at_the_start, before + 21 * tensor);
    EXPECT_LE(in_use_at_the_end, before + 4 * tensor);
}

TEST(AutogradThreads, AGraphMayBeRecordedInSeveralThreads) {
    const Variable a = scalar(2.0f);
    Variable shared = a;
    for (int i = 0; i < 5; ++i) {
        shared = add(shared, a);
    }
    Variable y;
    std::thread([&] { y = add(multiply(shared, shared), shared); }).join();
    y = add(y, shared);
    y.backward();
    EXPECT_EQ(grad_of(a), 6.0f * (2.0f * 12.0f + 2.0f));
}

}  // namespace
}  // namespace cutis::testing
