#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/lstm.h"
#include "tests/kernels/op_cases.h"
#ifdef CUTIS_WITH_CUDA
#include "kernels/launch.h"
#endif

namespace cutis::testing {
namespace {

using namespace reference;

struct LstmSizes {
    explicit LstmSizes(const LstmShape& s)
        : rows(std::int64_t{s.n} * s.t),
          x(rows * s.c),
          w_ih(std::int64_t{4} * s.h * s.c),
          w_hh(std::int64_t{4} * s.h * s.h),
          b(std::int64_t{4} * s.h),
          state(std::int64_t{s.n} * s.h),
          y(rows * s.h),
          gates(4 * y),
          flops(static_cast<double>(rows) * (2.0 * static_cast<double>(w_ih + w_hh) + 30.0 * s.h)) {}
    std::int64_t rows, x, w_ih, w_hh, b, state, y, gates;
    double flops;
};

std::string shape_of(const LstmShape& s) {
    return fmt::format("n{}_t{}_c{}_h{}", s.n, s.t, s.c, s.h);
}

// A range of weights that leaves the gates' activations unsaturated.
float weight_range(int terms) {
    return std::min(1.0f, 2.0f / std::sqrt(static_cast<float>(terms)));
}

Values sum_of(const Values& a, const Values& b) {
    return add(a, b);
}

// Operands: x, w_ih, w_hh, b_ih, b_hh, h0, c0. Without a state the last three are not there.
template <class T, class Array>
LstmWeightsT<T> weights_of(const Array& array, bool with_state) {
    return {array.template operator()<T>(1), array.template operator()<T>(2), array.template operator()<float>(3),
            with_state ? array.template operator()<float>(4) : nullptr};
}
template <class T, class Array>
LstmStateT<T> state_of(const Array& array, bool with_state) {
    return with_state ? LstmStateT<T>{array.template operator()<T>(5), array.template operator()<float>(6)}
                      : LstmStateT<T>{};
}
auto arrays_of(const Inputs& in) {
    return [&in]<class T>(std::size_t i) { return static_cast<const T*>(in[i]); };
}

#ifdef CUTIS_WITH_CUDA
auto arrays_of(const DeviceArrays& in) {
    return [&in]<class T>(std::size_t i) { return static_cast<const T*>(in.get<T>(i)); };
}

CudaForward lstm_on_gpu(const LstmShape& s, bool with_state) {
    return cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
        const auto array = arrays_of(in);
        cuda::lstm_forward<T>(out.get<T>(0), {out.get<T>(1), out.get(2)}, in.get<T>(0),
                              weights_of<T>(array, with_state), state_of<T>(array, with_state), s, {}, {});
    });
}
CudaBackward lstm_gradients_on_gpu(const LstmShape& s, bool with_state) {
    return cuda_backward([=]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
        const LstmSizes size(s);
        const auto array = arrays_of(in);
        const LstmWeightsT<T> weights = weights_of<T>(array, with_state);
        const LstmStateT<T> start = state_of<T>(array, with_state);
        const cuda::Scratch<T> y(size.y, {}), gates(size.gates, {});
        const cuda::Scratch<float> cells(size.y, {});
        const LstmSavedT<T> saved{gates.data(), cells.data()};
        cuda::lstm_forward<T>(y.data(), saved, in.get<T>(0), weights, start, s, {}, {});
        LstmGradientsT<T> gradients{grad.get<T>(0), grad.get(1), grad.get(2), grad.get(3)};
        if (with_state) {
            gradients.dh0 = grad.get<T>(4);
            gradients.dc0 = grad.get(5);
        }
        cuda::lstm_backward<T>(gradients, dy, nullptr, in.get<T>(0), y.data(), saved, weights, start, s, {}, {});
    });
}

// The last step's rows of cells.
void copy_final_cell(float* c_n, const float* cells, const LstmShape& s) {
    for (std::int64_t n = 0; n < s.n; ++n) {
        const auto bytes = static_cast<std::size_t>(s.h) * sizeof(float);
        cuda::check(
            cudaMemcpyAsync(c_n + n * s.h, cells + (n * s.t + s.t - 1) * s.h, bytes, cudaMemcpyDeviceToDevice, nullptr),
            "final cell state");
    }
}
CudaForward final_cell_on_gpu(const LstmShape& s) {
    return cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
        const LstmSizes size(s);
        const auto array = arrays_of(in);
        const cuda::Scratch<T> y(size.y, {}), gates(size.gates, {});
        const cuda::Scratch<float> cells(size.y, {});
        cuda::lstm_forward<T>(y.data(), {gates.data(), cells.data()}, in.get<T>(0), weights_of<T>(array, true),
                              state_of<T>(array, true), s, {}, {});
        copy_final_cell(out.get(0), cells.data(), s);
    });
}
CudaBackward final_cell_gradients_on_gpu(const LstmShape& s) {
    return [=](bool bf16, const DeviceArrays& in, const void* dc_n, const DeviceArrays& grad) {
        const auto run = [&]<class T>(T) {
            const LstmSizes size(s);
            const auto array = arrays_of(in);
            const LstmWeightsT<T> weights = weights_of<T>(array, true);
            const LstmStateT<T> start = state_of<T>(array, true);
            const cuda::Scratch<T> y(size.y, {}), gates(size.gates, {}), dy(size.y, {});
            const cuda::Scratch<float> cells(size.y, {});
            const LstmSavedT<T> saved{gates.data(), cells.data()};
            cuda::lstm_forward<T>(y.data(), saved, in.get<T>(0), weights, start, s, {}, {});
            cuda::check(cudaMemsetAsync(dy.data(), 0, static_cast<std::size_t>(size.y) * sizeof(T), nullptr), "dy");
            cuda::lstm_backward<T>({grad.get<T>(0), grad.get(1), grad.get(2), grad.get(3), grad.get<T>(4), grad.get(5)},
                                   dy.data(), static_cast<const float*>(dc_n), in.get<T>(0), y.data(), saved, weights,
                                   start, s, {}, {});
        };
        bf16 ? run(BFloat16{}) : run(0.0f);
    };
}

CudaForward cell_on_gpu(const LstmShape& s) {
    return cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
        const auto bytes = static_cast<std::size_t>(LstmSizes(s).gates) * sizeof(T);
        cuda::check(cudaMemcpyAsync(out.get<T>(1), in.get<T>(0), bytes, cudaMemcpyDeviceToDevice, nullptr), "gates");
        cuda::lstm_cell_forward<T>(out.get<T>(0), {out.get<T>(1), out.get(2)}, in.get(1), in.get(2), in.get(3),
                                   in.get(4), s, 0, {});
    });
}
CudaBackward cell_gradients_on_gpu(const LstmShape& s) {
    return cuda_backward([=]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
        const LstmSizes size(s);
        const cuda::Scratch<T> y(size.y, {}), gates(size.gates, {});
        const cuda::Scratch<float> cells(size.y, {});
        const LstmSavedT<T> saved{gates.data(), cells.data()};
        const auto bytes = static_cast<std::size_t>(size.gates) * sizeof(T);
        cuda::check(cudaMemcpyAsync(gates.data(), in.get<T>(0), bytes, cudaMemcpyDeviceToDevice, nullptr), "gates");
        cuda::lstm_cell_forward<T>(y.data(), saved, in.get(1), in.get(2), in.get(3), in.get(4), s, 0, {});
        cuda::check(cudaMemsetAsync(grad.get(1), 0, static_cast<std::size_t>(size.state) * sizeof(float), nullptr),
                    "dc");
        cuda::lstm_cell_backward<T>(grad.get<T>(0), grad.get(1), dy, nullptr, saved, in.get(4), s, 0, {});
    });
}
#else
CudaForward lstm_on_gpu(const LstmShape&, bool) {
    return {};
}
CudaBackward lstm_gradients_on_gpu(const LstmShape&, bool) {
    return {};
}
CudaForward final_cell_on_gpu(const LstmShape&) {
    return {};
}
CudaBackward final_cell_gradients_on_gpu(const LstmShape&) {
    return {};
}
CudaForward cell_on_gpu(const LstmShape&) {
    return {};
}
CudaBackward cell_gradients_on_gpu(const LstmShape&) {
    return {};
}
#endif

OpCase lstm_case(const LstmShape& s, bool with_state) {
    const LstmSizes size(s);
    const std::int64_t forward_terms = (std::int64_t{s.c} + s.h) * s.t, backward_terms = 4 * forward_terms;
    const float range_ih = weight_range(s.c), range_hh = weight_range(s.h);
    const auto definition = [=](const Arrays& in) {
        const Values zeros(static_cast<std::size_t>(size.state), 0.0);
        return lstm(in[0], in[1], in[2], with_state ? sum_of(in[3], in[4]) : in[3], with_state ? in[5] : zeros,
                    with_state ? in[6] : zeros, s);
    };
    OpCase op{
        .op = with_state ? "lstm" : "lstm_from_zero",
        .shape = shape_of(s),
        .inputs = {{.name = "x", .size = size.x, .differentiable = true, .terms = backward_terms, .activation = true},
                   {.name = "w_ih",
                    .size = size.w_ih,
                    .low = -range_ih,
                    .high = range_ih,
                    .differentiable = true,
                    .terms = size.rows + backward_terms,
                    .activation = true,
                    .parameter = true},
                   {.name = "w_hh",
                    .size = size.w_hh,
                    .low = -range_hh,
                    .high = range_hh,
                    .differentiable = true,
                    .terms = size.rows + backward_terms,
                    .activation = true,
                    .parameter = true},
                   {.name = "b_ih",
                    .size = size.b,
                    .low = -1,
                    .high = 1,
                    .differentiable = true,
                    .terms = size.rows + backward_terms,
                    .parameter = true}},
        .outputs = {{"y", size.y, 0, 0, false, forward_terms, false, true},
                    {"gates", size.gates, 0, 0, false, forward_terms, false, true},
                    {"cells", size.y, 0, 0, false, forward_terms, false}},
        .run =
            [=](const Inputs& in, const Outputs& out) {
                const auto array = arrays_of(in);
                cpu::lstm_forward(out[0], {out[1], out[2]}, in[0], weights_of<float>(array, with_state),
                                  state_of<float>(array, with_state), s);
            },
        .define =
            [=](const Arrays& in) {
                Lstm result = definition(in);
                return Arrays{std::move(result.y), std::move(result.gates), std::move(result.cells)};
            },
        .backward =
            [=](const Inputs& in, const float* dy, const Outputs& grad) {
                const auto array = arrays_of(in);
                const LstmWeights weights = weights_of<float>(array, with_state);
                const LstmState start = state_of<float>(array, with_state);
                std::vector<float> y(static_cast<std::size_t>(size.y)), gates(4 * y.size()), cells(y.size());
                const LstmSaved saved{gates.data(), cells.data()};
                cpu::lstm_forward(y.data(), saved, in[0], weights, start, s);
                LstmGradients gradients{grad[0], grad[1], grad[2], grad[3]};
                if (with_state) {
                    gradients.dh0 = grad[4];
                    gradients.dc0 = grad[5];
                }
                cpu::lstm_backward(gradients, dy, nullptr, in[0], y.data(), saved, weights, start, s);
            },
        .run_cuda = lstm_on_gpu(s, with_state),
        .backward_cuda = lstm_gradients_on_gpu(s, with_state),
        .flops = size.flops,
        .magnitude = 2.0};  // of what the gates take
    if (with_state) {
        op.inputs.push_back({.name = "b_hh", .size = size.b, .low = -1, .high = 1, .parameter = true});
        op.inputs.push_back({.name = "h0",
                             .size = size.state,
                             .low = -1,
                             .high = 1,
                             .differentiable = true,
                             .terms = backward_terms,
                             .activation = true});
        op.inputs.push_back({.name = "c0", .size = size.state, .differentiable = true, .terms = backward_terms});
    }
    return op;
}

// The cell state after the last step, and what its gradient gives.
OpCase final_cell_case(const LstmShape& s) {
    const LstmSizes size(s);
    OpCase op = lstm_case(s, true);
    op.op = "lstm_final_cell";
    op.outputs = {{"c_n", size.state, 0, 0, false, op.outputs[2].terms, false}};
    const auto last_rows = [=](const auto& cells) {
        std::remove_cvref_t<decltype(cells)> last;
        for (std::int64_t n = 0; n < s.n; ++n) {
            const auto begin = cells.begin() + (n * s.t + s.t - 1) * s.h;
            last.insert(last.end(), begin, begin + s.h);
        }
        return last;
    };
    op.run = [=](const Inputs& in, const Outputs& out) {
        const auto array = arrays_of(in);
        std::vector<float> y(static_cast<std::size_t>(size.y)), gates(4 * y.size()), cells(y.size());
        cpu::lstm_forward(y.data(), {gates.data(), cells.data()}, in[0], weights_of<float>(array, true),
                          state_of<float>(array, true), s);
        std::ranges::copy(last_rows(cells), out[0]);
    };
    op.define = [=, define = op.define](const Arrays& in) { return Arrays{last_rows(define(in)[2])}; };
    op.backward = [=](const Inputs& in, const float* dc_n, const Outputs& grad) {
        const auto array = arrays_of(in);
        const LstmWeights weights = weights_of<float>(array, true);
        const LstmState start = state_of<float>(array, true);
        std::vector<float> y(static_cast<std::size_t>(size.y)), gates(4 * y.size()), cells(y.size()), dy(y.size());
        const LstmSaved saved{gates.data(), cells.data()};
        cpu::lstm_forward(y.data(), saved, in[0], weights, start, s);
        cpu::lstm_backward({grad[0], grad[1], grad[2], grad[3], grad[4], grad[5]}, dy.data(), dc_n, in[0], y.data(),
                           saved, weights, start, s);
    };
    op.run_cuda = final_cell_on_gpu(s);
    op.backward_cuda = final_cell_gradients_on_gpu(s);
    return op;
}

// One step alone: the sum of projection, recurrent product and biases through the gates.
OpCase cell_case(int n, int h) {
    const LstmShape s{n, 1, 4 * h, h};
    const LstmSizes size(s);
    return {
        .op = "lstm_cell",
        .shape = shape_of(s),
        .inputs = {{.name = "projection", .size = size.gates, .differentiable = true, .terms = 4, .activation = true},
                   {.name = "recurrent", .size = size.gates},
                   {.name = "b_ih", .size = size.b, .low = -1, .high = 1},
                   {.name = "b_hh", .size = size.b, .low = -1, .high = 1},
                   {.name = "c0", .size = size.state, .differentiable = true, .terms = 4}},
        .outputs = {{"y", size.y, 0, 0, false, 4, false, true},
                    {"gates", size.gates, 0, 0, false, 4, false, true},
                    {"cells", size.y, 0, 0, false, 4, false}},
        .run =
            [=](const Inputs& in, const Outputs& out) {
                std::copy_n(in[0], size.gates, out[1]);
                cpu::lstm_cell_forward(out[0], {out[1], out[2]}, in[1], in[2], in[3], in[4], s, 0);
            },
        .define =
            [=](const Arrays& in) {
                Values identity(static_cast<std::size_t>(size.w_ih), 0.0);
                for (std::size_t i = 0; i < identity.size(); i += static_cast<std::size_t>(s.c) + 1) {
                    identity[i] = 1.0;
                }
                const Values none(static_cast<std::size_t>(size.w_hh), 0.0), h0(in[4].size(), 0.0);
                Lstm result = lstm(sum_of(in[0], in[1]), identity, none, sum_of(in[2], in[3]), h0, in[4], s);
                return Arrays{std::move(result.y), std::move(result.gates), std::move(result.cells)};
            },
        .backward =
            [=](const Inputs& in, const float* dy, const Outputs& grad) {
                std::vector<float> y(static_cast<std::size_t>(size.y)), cells(y.size());
                std::vector<float> gates(in[0], in[0] + size.gates);
                const LstmSaved saved{gates.data(), cells.data()};
                cpu::lstm_cell_forward(y.data(), saved, in[1], in[2], in[3], in[4], s, 0);
                std::fill_n(grad[1], size.state, 0.0f);
                cpu::lstm_cell_backward(grad[0], grad[1], dy, nullptr, saved, in[4], s, 0);
            },
        .run_cuda = cell_on_gpu(s),
        .backward_cuda = cell_gradients_on_gpu(s),
        .flops = 30.0 * static_cast<double>(size.y)};
}

}  // namespace

std::vector<OpCase> recurrent_cases() {
    std::vector<OpCase> cases;
    // Hidden sizes on both sides of where a GPU keeps the recurrent weights in one block, in a cluster, or nowhere.
    for (const LstmShape& s :
         {LstmShape{1, 1, 1, 1}, LstmShape{3, 2, 5, 3}, LstmShape{1, 5, 8, 8}, LstmShape{9, 3, 7, 32},
          LstmShape{10, 3, 12, 40}, LstmShape{5, 4, 16, 64}, LstmShape{9, 2, 24, 128}, LstmShape{2, 2, 6, 130}}) {
        cases.push_back(lstm_case(s, true));
        cases.push_back(lstm_case(s, false));
    }
    for (const LstmShape& s :
         {LstmShape{9, 3, 8, 96}, LstmShape{3, 2, 16, 136}, LstmShape{2, 3, 8, 256}, LstmShape{2, 2, 8, 264}}) {
        cases.push_back(lstm_case(s, true));
    }
    for (const LstmShape& s : {LstmShape{3, 4, 2, 5}, LstmShape{3, 4, 2, 24}}) {
        cases.push_back(final_cell_case(s));
    }
    for (const int h : {1, 5, 8, 24}) {
        cases.push_back(cell_case(3, h));
    }
    return cases;
}

}  // namespace cutis::testing
