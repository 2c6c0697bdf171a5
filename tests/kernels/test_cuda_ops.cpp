#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <variant>

#include "tests/kernels/op_check.h"
#include "tests/support/device_array.h"

// Every case of the table that has CUDA kernels, on the GPU or, in a simt build, on the CPU's fibers: against the fp64
// definition, gradients against the CPU kernels, in fp32 and with bf16 activations; equal bits when repeated.

namespace cutis::testing {
namespace {

enum class Type { f32, bf16 };

using AnyArray = std::variant<DeviceArray<float>, DeviceArray<BFloat16>>;

AnyArray make_array(bool narrow, std::int64_t size) {
    return narrow ? AnyArray(DeviceArray<BFloat16>(size)) : AnyArray(DeviceArray<float>(size));
}
AnyArray make_array(bool narrow, const std::vector<float>& values) {
    return narrow ? AnyArray(DeviceArray<BFloat16>(values)) : AnyArray(DeviceArray<float>(values));
}
void* data_of(const AnyArray& array) {
    return std::visit([](const auto& typed) { return static_cast<void*>(typed.data()); }, array);
}
std::vector<float> values_of(const AnyArray& array) {
    return std::visit([](const auto& typed) { return typed.values(); }, array);
}
bool intact(const AnyArray& array) {
    return std::visit([](const auto& typed) { return typed.intact(); }, array);
}

DeviceArrays pointers_to(const std::vector<AnyArray>& arrays) {
    DeviceArrays pointers;
    for (const AnyArray& array : arrays) {
        pointers.pointers.push_back(data_of(array));
    }
    return pointers;
}

// What the kernel sees of fp32 values when activations are stored as `type`.
void round_activations(const OpCase& op, Type type, Buffers& inputs) {
    for (std::size_t i = 0; i < op.inputs.size() && type == Type::bf16; ++i) {
        if (op.inputs[i].activation) {
            for (float& value : inputs[i]) {
                value = bf16_to_f32(f32_to_bf16(value));
            }
        }
    }
}

std::vector<AnyArray> upload(const OpCase& op, Type type, const Buffers& inputs) {
    std::vector<AnyArray> arrays;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        arrays.push_back(make_array(type == Type::bf16 && op.inputs[i].activation, inputs[i]));
    }
    return arrays;
}

Buffers download(const std::vector<AnyArray>& in, const Buffers& inputs, const std::vector<AnyArray>& out) {
    Buffers outputs;
    for (std::size_t i = 0; i < in.size(); ++i) {
        EXPECT_TRUE(intact(in[i])) << "wrote beside input " << i;
        const std::vector<float> now = values_of(in[i]);
        EXPECT_TRUE(std::equal(now.begin(), now.end(), inputs[i].begin())) << "changed input " << i;
    }
    for (const AnyArray& array : out) {
        EXPECT_TRUE(intact(array)) << "wrote beside output " << outputs.size();
        outputs.push_back(values_of(array));
    }
    return outputs;
}

Buffers run(const OpCase& op, Type type, const Buffers& inputs) {
    const std::vector<AnyArray> in = upload(op, type, inputs);
    std::vector<AnyArray> out;
    for (const Operand& output : op.outputs) {
        out.push_back(make_array(type == Type::bf16 && output.activation, output.size));
    }
    op.run_cuda(type == Type::bf16, pointers_to(in), pointers_to(out));
    return download(in, inputs, out);
}

Buffers run_backward(const OpCase& op, Type type, const Buffers& inputs, const std::vector<float>& dy) {
    const std::vector<AnyArray> in = upload(op, type, inputs);
    const AnyArray gradient = make_array(type == Type::bf16 && op.outputs[0].activation, dy);
    std::vector<AnyArray> out;
    for (const Operand& input : op.inputs) {
        if (input.differentiable) {
            out.push_back(make_array(type == Type::bf16 && input.activation && !input.parameter, input.size));
        }
    }
    op.backward_cuda(type == Type::bf16, pointers_to(in), data_of(gradient), pointers_to(out));
    EXPECT_TRUE(intact(gradient));
    return download(in, inputs, out);
}

Buffers run_backward_on_cpu(const OpCase& op, const Buffers& inputs, const std::vector<float>& dy) {
    Inputs in;
    for (const auto& input : inputs) {
        in.push_back(input.data());
    }
    Buffers gradients;
    Outputs out;
    for (const Operand& input : op.inputs) {
        if (input.differentiable) {
            gradients.emplace_back(static_cast<std::size_t>(input.size));
        }
    }
    for (auto& gradient : gradients) {
        out.push_back(gradient.data());
    }
    op.backward(in, dy.data(), out);
    return gradients;
}

// bf16 keeps 8 bits: an output is rounded by half of 2^-8 of itself, and what a kernel rounds inside (a normalised
// input of a matrix product) moves a sum by no more than the sum's own size times that.
double allowed_error(const OpCase& op, Type type, std::int64_t terms, double scale) {
    const double fp32 = tolerance(op, terms, scale);
    return type == Type::f32 ? fp32 : fp32 + 2.0 * 0x1p-8 * std::max({1.0, op.magnitude, scale});
}

class CudaOps : public ::testing::TestWithParam<std::string> {
  protected:
    template <class Body>
    void for_shapes(Body&& body) const {
        for (const OpCase& op : op_cases()) {
            if (op.op == GetParam() && op.run_cuda) {
                SCOPED_TRACE(op.op + " " + op.shape);
                body(op);
            }
        }
    }
    template <class Body>
    void for_shapes_and_types(Body&& body) const {
        for_shapes([&](const OpCase& op) {
            for (const Type type : {Type::f32, Type::bf16}) {
                SCOPED_TRACE(type == Type::f32 ? "fp32" : "bf16");
                body(op, type);
            }
        });
    }
};
class CudaGradients : public CudaOps {};

TEST_P(CudaOps, AreExactOnSmallIntegers) {
    for_shapes([](const OpCase& op) {
        const Buffers inputs = draw_inputs(op, Draw::integers, 1);
        const Arrays expected = op.define(widen(inputs));
        const Buffers actual = run(op, Type::f32, inputs);
        for (std::size_t i = 0; i < actual.size(); ++i) {
            const Operand& output = op.outputs[i];
            EXPECT_TRUE(
                agree(actual[i], expected[i], output.exact ? -1.0 : tolerance(op, output.terms, largest(expected[i]))))
                << output.name;
        }
    });
}

TEST_P(CudaOps, AreCloseOnRandomNumbers) {
    for_shapes_and_types([](const OpCase& op, Type type) {
        const Buffers inputs =
            draw_away_from_kinks(op, 2, 2e-5, [&](Buffers& drawn) { round_activations(op, type, drawn); });
        const Arrays expected = op.define(widen(inputs));
        const Buffers actual = run(op, type, inputs);
        for (std::size_t i = 0; i < actual.size(); ++i) {
            EXPECT_TRUE(
                agree(actual[i], expected[i], allowed_error(op, type, op.outputs[i].terms, largest(expected[i]))))
                << op.outputs[i].name;
        }
    });
}

TEST_P(CudaOps, RepeatBitForBit) {
    for_shapes_and_types([](const OpCase& op, Type type) {
        Buffers inputs = draw_inputs(op, Draw::random, 3);
        round_activations(op, type, inputs);
        const Buffers first = run(op, type, inputs), again = run(op, type, inputs);
        for (std::size_t i = 0; i < first.size(); ++i) {
            EXPECT_EQ(std::memcmp(first[i].data(), again[i].data(), first[i].size() * sizeof(float)), 0)
                << op.outputs[i].name;
        }
    });
}

TEST_P(CudaGradients, AgreeWithTheCpus) {
    for_shapes_and_types([](const OpCase& op, Type type) {
        if (!op.backward_cuda) {
            return;
        }
        const Buffers inputs =
            draw_away_from_kinks(op, 7, 2e-5, [&](Buffers& drawn) { round_activations(op, type, drawn); });
        PhiloxStream words(6, RandomPurpose::test);
        const std::vector<float> dy = draw(op.outputs[0].size, -2, 2, Draw::integers, words);
        const Buffers expected = run_backward_on_cpu(op, inputs, dy);
        const Buffers actual = run_backward(op, type, inputs, dy);
        std::size_t next = 0;
        for (const Operand& input : op.inputs) {
            if (input.differentiable) {
                const Values wide(expected[next].begin(), expected[next].end());
                EXPECT_TRUE(agree(actual[next], wide, 2.0 * allowed_error(op, type, input.terms, largest(wide))))
                    << input.name;
                ++next;
            }
        }
    });
}

std::vector<std::string> operations(bool only_differentiable) {
    std::vector<std::string> names;
    for (const OpCase& op : op_cases()) {
        if (op.run_cuda && (op.backward_cuda || !only_differentiable) &&
            std::find(names.begin(), names.end(), op.op) == names.end()) {
            names.push_back(op.op);
        }
    }
    return names;
}

const auto name_of_operation = [](const auto& info) { return info.param; };
INSTANTIATE_TEST_SUITE_P(Table, CudaOps, ::testing::ValuesIn(operations(false)), name_of_operation);
INSTANTIATE_TEST_SUITE_P(Table, CudaGradients, ::testing::ValuesIn(operations(true)), name_of_operation);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaGradients);

}  // namespace
}  // namespace cutis::testing
