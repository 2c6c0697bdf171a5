#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "tests/kernels/op_check.h"
#include "tests/support/guarded.h"

// Every case of the table in every mode: exact on small integers, close on random numbers, gradients against central
// differences, the same bits when repeated, and the same result on any number of threads.

namespace cutis::testing {
namespace {

// Runs `call` on guarded copies of the inputs; checks that it wrote nothing beside its outputs and changed no input.
template <class Call>
Buffers guarded_call(const Buffers& inputs, const std::vector<std::int64_t>& output_sizes, Placement placement,
                     Call&& call) {
    std::vector<Guarded<float>> in, out;
    for (const auto& input : inputs) {
        in.emplace_back(std::span<const float>(input), placement);
    }
    for (const std::int64_t size : output_sizes) {
        out.emplace_back(static_cast<std::size_t>(size), placement);
    }
    Inputs in_pointers;
    Outputs out_pointers;
    for (auto& buffer : in) {
        in_pointers.push_back(buffer.data());
    }
    for (auto& buffer : out) {
        out_pointers.push_back(buffer.data());
    }
    call(in_pointers, out_pointers);
    Buffers outputs;
    for (std::size_t i = 0; i < in.size(); ++i) {
        EXPECT_TRUE(in[i].intact()) << "wrote beside input " << i;
        EXPECT_EQ(std::memcmp(in[i].data(), inputs[i].data(), inputs[i].size() * sizeof(float)), 0)
            << "changed input " << i;
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
        EXPECT_TRUE(out[i].intact()) << "wrote beside output " << i;
        outputs.push_back(out[i].values());
    }
    return outputs;
}

Buffers run(const OpCase& op, const Buffers& inputs, Placement placement = Placement::skewed) {
    std::vector<std::int64_t> sizes;
    for (const Operand& output : op.outputs) {
        sizes.push_back(output.size);
    }
    return guarded_call(inputs, sizes, placement, [&](const Inputs& in, const Outputs& out) { op.run(in, out); });
}

// The gradients of the differentiable inputs. dy stands behind the inputs.
Buffers run_backward(const OpCase& op, Buffers inputs, const std::vector<float>& dy) {
    std::vector<std::int64_t> sizes;
    for (const Operand& input : op.inputs) {
        if (input.differentiable) {
            sizes.push_back(input.size);
        }
    }
    inputs.push_back(dy);
    return guarded_call(inputs, sizes, Placement::skewed, [&](Inputs in, const Outputs& out) {
        const float* const gradient = in.back();
        in.pop_back();
        op.backward(in, gradient, out);
    });
}

class ThreadCount {
  public:
    explicit ThreadCount(int threads) : before_(thread_count()) { set_thread_count(threads); }
    ~ThreadCount() { set_thread_count(before_); }

  private:
    int before_;
};

// A parameter is the name of an operation; a test goes over all its shapes.
class Ops : public ::testing::TestWithParam<std::string> {
  protected:
    template <class Body>
    void for_shapes(Body&& body) const {
        for (const OpCase& op : op_cases()) {
            if (op.op == GetParam()) {
                SCOPED_TRACE(op.op + " " + op.shape);
                body(op);
            }
        }
    }
};
class Gradients : public Ops {};

void expect_exact_on_small_integers(const OpCase& op) {
    const Buffers inputs = draw_inputs(op, Draw::integers, 1);
    const Arrays expected = op.define(widen(inputs));
    for (const Placement placement : {Placement::skewed, Placement::aligned}) {
        const Buffers actual = run(op, inputs, placement);
        for (std::size_t i = 0; i < actual.size(); ++i) {
            const Operand& output = op.outputs[i];
            EXPECT_TRUE(
                agree(actual[i], expected[i], output.exact ? -1.0 : tolerance(op, output.terms, largest(expected[i]))))
                << output.name << (placement == Placement::aligned ? " aligned" : " skewed");
        }
    }
}

TEST_P(Ops, AreExactOnSmallIntegers) {
    for_shapes(expect_exact_on_small_integers);
}

// Tensors that no cache holds are stored past the caches. One mode shows what that could break.
TEST(LargeTensors, AreExactOnSmallIntegers) {
    for (const OpCase& op : large_cases()) {
        SCOPED_TRACE(op.op + " " + op.shape);
        expect_exact_on_small_integers(op);
    }
}

TEST_P(Ops, AreCloseOnRandomNumbers) {
    for_shapes([](const OpCase& op) {
        const Buffers inputs = draw_away_from_kinks(op, 2);
        const Arrays expected = op.define(widen(inputs));
        const Buffers actual = run(op, inputs);
        for (std::size_t i = 0; i < actual.size(); ++i) {
            const Operand& output = op.outputs[i];
            EXPECT_TRUE(agree(actual[i], expected[i], tolerance(op, output.terms, largest(expected[i]))))
                << output.name;
        }
    });
}

TEST_P(Ops, RepeatBitForBit) {
    for_shapes([](const OpCase& op) {
        const ThreadCount threads(3);
        const Buffers inputs = draw_inputs(op, Draw::random, 3);
        const Buffers first = run(op, inputs);
        for (int repeat = 0; repeat < 3; ++repeat) {
            const Buffers again = run(op, inputs);
            for (std::size_t i = 0; i < first.size(); ++i) {
                EXPECT_EQ(std::memcmp(first[i].data(), again[i].data(), first[i].size() * sizeof(float)), 0)
                    << op.outputs[i].name;
            }
        }
    });
}

TEST_P(Ops, AgreeOnAnyNumberOfThreads) {
    for_shapes([](const OpCase& op) {
        const Buffers inputs = draw_away_from_kinks(op, 4);
        const Buffers integers = draw_inputs(op, Draw::integers, 5);
        const Arrays expected = op.define(widen(inputs)), expected_integers = op.define(widen(integers));
        for (const int count : {1, 2, 3, 5}) {
            const ThreadCount threads(count);
            const Buffers actual = run(op, inputs), actual_integers = run(op, integers);
            for (std::size_t i = 0; i < actual.size(); ++i) {
                const Operand& output = op.outputs[i];
                const double allowed = tolerance(op, output.terms, largest(expected[i]));
                EXPECT_TRUE(agree(actual[i], expected[i], allowed)) << output.name << " on " << count << " threads";
                if (output.exact) {
                    EXPECT_TRUE(agree(actual_integers[i], expected_integers[i], -1.0))
                        << output.name << " on " << count << " threads";
                }
            }
        }
    });
}

// d(sum of dy * y) / d(inputs[operand][index]).
double central_difference(const OpCase& op, Arrays& inputs, std::size_t operand, std::size_t index, double step,
                          const std::vector<float>& dy) {
    double& value = inputs[operand][index];
    const double before = value;
    value = before + step;
    const Values above = op.define(inputs)[0];
    value = before - step;
    const Values below = op.define(inputs)[0];
    value = before;
    double difference = 0.0;
    for (std::size_t i = 0; i < above.size(); ++i) {
        difference += static_cast<double>(dy[i]) * (above[i] - below[i]);
    }
    return difference / (2.0 * step);
}

// Compares the kernel's gradients at up to `most` places of each operand, the first and the last among them.
void expect_gradients(const OpCase& op, const Buffers& inputs, Draw kind, double step) {
    PhiloxStream words(6, RandomPurpose::test);
    const std::vector<float> dy = draw(op.outputs[0].size, -2, 2, kind, words);
    const Buffers gradients = run_backward(op, inputs, dy);
    const auto most = static_cast<std::size_t>(std::clamp(2e7 / op.flops, 3.0, 60.0));
    Arrays wide = widen(inputs);
    std::size_t next = 0;
    for (std::size_t operand = 0; operand < op.inputs.size(); ++operand) {
        if (!op.inputs[operand].differentiable) {
            continue;
        }
        const std::vector<float>& gradient = gradients[next++];
        const std::size_t size = gradient.size();
        double scale = 0.0;
        for (const float value : gradient) {
            EXPECT_TRUE(std::isfinite(value)) << op.inputs[operand].name;
            scale = std::max(scale, static_cast<double>(std::abs(value)));
        }
        for (std::size_t i = 0; i < std::min(most, size); ++i) {
            const std::size_t index = size <= most ? i
                                      : i == 0     ? 0
                                      : i == 1     ? size - 1
                                                   : words.below(static_cast<std::uint32_t>(size));
            const double expected = central_difference(op, wide, operand, index, step, dy);
            const auto actual = static_cast<double>(gradient[index]);
            const double allowed =
                op.linear && kind == Draw::integers ? 0.0 : tolerance(op, op.inputs[operand].terms, scale);
            EXPECT_LE(std::abs(actual - expected), allowed)
                << op.inputs[operand].name << "[" << index << "]: " << actual << ", expected " << expected;
        }
    }
}

TEST_P(Gradients, AgreeWithCentralDifferences) {
    for_shapes([](const OpCase& op) {
        // Two values that such a step moves apart stay on their side of every kink.
        expect_gradients(op, draw_away_from_kinks(op, 7), Draw::random, op.linear ? 1.0 : 1e-6);
        if (op.linear) {
            expect_gradients(op, draw_inputs(op, Draw::integers, 8), Draw::integers, 1.0);
        }
    });
}

// The table's operations, each once.
std::vector<std::string> operations(bool only_differentiable) {
    std::vector<std::string> names;
    for (const OpCase& op : op_cases()) {
        if ((op.backward || !only_differentiable) && std::find(names.begin(), names.end(), op.op) == names.end()) {
            names.push_back(op.op);
        }
    }
    return names;
}

const auto name_of_operation = [](const auto& info) { return info.param; };
INSTANTIATE_TEST_SUITE_P(Table, Ops, ::testing::ValuesIn(operations(false)), name_of_operation);
INSTANTIATE_TEST_SUITE_P(Table, Gradients, ::testing::ValuesIn(operations(true)), name_of_operation);

}  // namespace
}  // namespace cutis::testing
