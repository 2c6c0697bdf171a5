#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <variant>

#include "kernels/cublaslt.h"
#include "tests/kernels/op_check.h"
#include "tests/support/device_array.h"

// Every case of the table that has CUDA kernels, on the GPU or, in a simt build, on the CPU's fibers: against the fp64
// definition, gradients against the CPU kernels, in fp32 and with bf16 activations; equal bits when repeated.
// Operations made of matrix products run three times: by the library, by our own product, and as it is chosen where
// nothing is said.

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

// Random inputs, rounded as `type` is, for which rounding inside a kernel leads to no other result.
Buffers random_inputs(const OpCase& op, Type type, std::uint32_t seed) {
    const auto round = [&](Buffers& drawn) { round_activations(op, type, drawn); };
    if (!op.chooses) {
        return draw_away_from_kinks(op, seed, 2e-5, round);
    }
    Buffers inputs = draw_inputs(op, Draw::random, seed);
    round(inputs);
    return inputs;
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
        EXPECT_EQ(std::memcmp(now.data(), inputs[i].data(), now.size() * sizeof(float)), 0) << "changed input " << i;
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

Buffers run_on_cpu(const OpCase& op, const Buffers& inputs) {
    Inputs in;
    for (const auto& input : inputs) {
        in.push_back(input.data());
    }
    Buffers outputs;
    Outputs out;
    for (const Operand& output : op.outputs) {
        outputs.emplace_back(static_cast<std::size_t>(output.size));
    }
    for (auto& output : outputs) {
        out.push_back(output.data());
    }
    op.run(in, out);
    return outputs;
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

struct Variant {
    std::string op;
    cuda::MatrixPath path = cuda::MatrixPath::automatic;
};

class CudaOps : public ::testing::TestWithParam<Variant> {
  protected:
    void SetUp() override {
        if (GetParam().path == cuda::MatrixPath::cublaslt && !cuda::cublaslt_found()) {
            GTEST_SKIP() << "cuBLASLt is not installed";
        }
        cuda::set_matrix_path(GetParam().path);
    }
    void TearDown() override { cuda::set_matrix_path(before_); }

    template <class Body>
    void for_shapes(Body&& body) const {
        for (const OpCase& op : op_cases()) {
            if (op.op == GetParam().op && op.run_cuda) {
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

  private:
    cuda::MatrixPath before_ = cuda::matrix_path();
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
        const Buffers inputs = random_inputs(op, type, 2);
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

// What is not finite in `expected` is not finite in `actual`, and NaN where the input was; elsewhere `actual` is
// finite, but where kernels multiply the zeros of padding: 0 * NaN is NaN, and the CPU's kernels leave such products
// out.
::testing::AssertionResult carried(const std::vector<float>& actual, const Values& expected, float bad,
                                   bool multiplies_padding) {
    for (std::size_t i = 0; i < actual.size(); ++i) {
        const bool good = std::isfinite(expected[i])                   ? multiplies_padding || std::isfinite(actual[i])
                          : std::isnan(bad) && std::isnan(expected[i]) ? std::isnan(actual[i])
                                                                       : !std::isfinite(actual[i]);
        if (!good) {
            return ::testing::AssertionFailure()
                   << "value " << i << " of " << actual.size() << " is " << actual[i] << ", the CPU's " << expected[i];
        }
    }
    return ::testing::AssertionSuccess();
}

// A value that is not finite must not vanish in a clamp, a maximum or a variance, nor spread through tiles.
TEST_P(CudaOps, CarryNanAndInfinityAsTheCpuDoes) {
    for_shapes([](const OpCase& op) {
        if (op.flops > 3e6) {
            return;  // no other code than in the small shapes
        }
        const bool pads = op.op.starts_with("conv") || op.op.starts_with("depthwise");
        for (std::size_t operand = 0; operand < op.inputs.size(); ++operand) {
            if (!op.inputs[operand].activation || op.inputs[operand].parameter) {
                continue;
            }
            for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                                    -std::numeric_limits<float>::infinity()}) {
                Buffers inputs = draw_inputs(op, Draw::random, 9);
                inputs[operand][inputs[operand].size() / 2] = bad;
                // The CPU's dw multiplies padding, too: a NaN of dy comes to taps that have nothing but padding for it.
                const bool defined = op.op == "depthwise_fused_backward";
                const Arrays expected = defined ? op.define(widen(inputs)) : widen(run_on_cpu(op, inputs));
                const Buffers actual = run(op, Type::f32, inputs);
                for (std::size_t i = 0; i < actual.size(); ++i) {
                    EXPECT_TRUE(carried(actual[i], expected[i], bad, pads))
                        << op.outputs[i].name << " with " << bad << " in " << op.inputs[operand].name;
                }
            }
        }
    });
}

TEST_P(CudaGradients, AgreeWithTheCpus) {
    for_shapes_and_types([](const OpCase& op, Type type) {
        if (!op.backward_cuda) {
            return;
        }
        const Buffers inputs = random_inputs(op, type, 7);
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

// Whether matrix_path() has a say.
bool multiplies(const std::string& op) {
    return op.starts_with("pointwise") || op.starts_with("linear") || op.starts_with("lstm");
}

std::vector<Variant> variants(bool only_differentiable) {
    std::vector<Variant> all;
    for (const OpCase& op : op_cases()) {
        const auto is_this = [&](const Variant& variant) { return variant.op == op.op; };
        if (!op.run_cuda || (only_differentiable && !op.backward_cuda) || std::ranges::any_of(all, is_this)) {
            continue;
        }
        all.push_back({op.op});
        if (multiplies(op.op)) {
            all.push_back({op.op, cuda::MatrixPath::cublaslt});
            all.push_back({op.op, cuda::MatrixPath::own});
        }
    }
    return all;
}

const auto name_of_variant = [](const auto& info) {
    const Variant& variant = info.param;
    return variant.op + (variant.path == cuda::MatrixPath::cublaslt ? "_by_cublaslt"
                         : variant.path == cuda::MatrixPath::own    ? "_by_own_product"
                                                                    : "");
};
INSTANTIATE_TEST_SUITE_P(Table, CudaOps, ::testing::ValuesIn(variants(false)), name_of_variant);
INSTANTIATE_TEST_SUITE_P(Table, CudaGradients, ::testing::ValuesIn(variants(true)), name_of_variant);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaGradients);

}  // namespace
}  // namespace cutis::testing
