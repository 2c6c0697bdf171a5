#include <fmt/format.h>

#include <array>

#include "kernels/conv.h"
#include "kernels/cublaslt.h"
#include "kernels/gemm.h"
#include "kernels/linear.h"
#include "kernels/lstm.h"
#include "kernels/pointwise.h"
#include "tests/kernels/traffic_cases.h"

namespace cutis::testing {
namespace {

using Cases = std::vector<TrafficCase>;

constexpr MatrixPrecision kPrecision = MatrixPrecision::fp32;

template <class T, class C>
void add_gemm(Cases& cases, const char* type, std::int64_t m, std::int64_t n, std::int64_t k) {
    for (const bool accumulate : {false, true}) {
        const bool transposed = accumulate;  // what is transposed changes nothing
        cases.push_back({"gemm", fmt::format("{} {}x{}x{}{}", type, m, n, k, accumulate ? " accumulate" : ""),
                         cuda::gemm_traffic<T, C>(m, n, k, accumulate, kPrecision), [=](DeviceMemory& memory) {
                             cuda::gemm<T, C>(transposed ? Transpose::yes : Transpose::no,
                                              transposed ? Transpose::yes : Transpose::no, m, n, k,
                                              memory.zeros<T>(m * k), transposed ? m : k, memory.zeros<T>(k * n),
                                              transposed ? k : n, accumulate, memory.zeros<C>(m * n), n, kPrecision,
                                              {});
                         }});
    }
}

void add_tf32(Cases& cases, std::int64_t m, std::int64_t n, std::int64_t k) {
    cases.push_back({"gemm", fmt::format("tf32 {}x{}x{}", m, n, k),
                     cuda::gemm_traffic<float, float>(m, n, k, false, MatrixPrecision::tf32),
                     [=](DeviceMemory& memory) {
                         cuda::gemm<float, float>(Transpose::no, Transpose::yes, m, n, k, memory.zeros<float>(m * k), k,
                                                  memory.zeros<float>(n * k), k, false, memory.zeros<float>(m * n), n,
                                                  MatrixPrecision::tf32, {});
                     }});
}

// On `path` while this lives.
class WithPath {
  public:
    explicit WithPath(cuda::MatrixPath path) : before_(cuda::matrix_path()) { cuda::set_matrix_path(path); }
    ~WithPath() { cuda::set_matrix_path(before_); }
    WithPath(const WithPath&) = delete;
    WithPath& operator=(const WithPath&) = delete;

  private:
    cuda::MatrixPath before_;
};

template <class T>
void add_linear(Cases& cases, const char* type, std::int64_t rows, int c, int k) {
    for (const auto path : {cuda::MatrixPath::own, cuda::MatrixPath::cublaslt}) {
        const WithPath with(path);
        const std::string call = fmt::format("{} rows {} c {} k {}{}", type, rows, c, k,
                                             path == cuda::MatrixPath::own ? "" : ", the library's path");
        for (const bool bias : {false, true}) {
            cases.push_back({"linear_forward", call + (bias ? " bias" : ""),
                             cuda::linear_forward_traffic<T>(bias, rows, c, k, kPrecision), [=](DeviceMemory& m) {
                                 const WithPath chosen(path);
                                 cuda::linear_forward<T>(
                                     m.zeros<T>(rows * k), m.zeros<T>(rows * c), m.zeros<T>(std::int64_t{k} * c),
                                     bias ? m.zeros<float>(k) : nullptr, rows, c, k, kPrecision, {});
                             }});
        }
        cases.push_back({"linear_backward", call,
                         cuda::linear_backward_traffic<T>(true, true, true, rows, c, k, kPrecision),
                         [=](DeviceMemory& m) {
                             const WithPath chosen(path);
                             cuda::linear_backward<T>(m.zeros<T>(rows * c), m.zeros<float>(std::int64_t{k} * c),
                                                      m.zeros<float>(k), m.zeros<T>(rows * k), m.zeros<T>(rows * c),
                                                      m.zeros<T>(std::int64_t{k} * c), rows, c, k, kPrecision, {});
                         }});
    }
}

Normalize normalize_of(DeviceMemory& m, int c) {
    return {m.zeros<float>(c), m.zeros<float>(c), Activation::relu6};
}
template <class T>
GradientOnLoadT<T> gradient_on_load_of(DeviceMemory& m, std::int64_t size, int c) {
    return {m.zeros<T>(size), m.zeros<float>(c), m.zeros<float>(c), m.zeros<float>(c)};
}

template <class T>
void add_pointwise(Cases& cases, const char* type, cuda::MatrixPath path, std::int64_t rows, int c, int k) {
    const WithPath with(path);
    const std::int64_t w = std::int64_t{k} * c;
    const std::string shape = fmt::format("{} rows {} c {} k {}{}", type, rows, c, k,
                                          path == cuda::MatrixPath::own ? "" : ", the library's path");
    for (const int form : {0, 1, 2, 3}) {
        const bool on_load = form % 2 != 0, statistics = form / 2 != 0;
        cases.push_back({"pointwise_forward", shape + (on_load ? " on load" : "") + (statistics ? " statistics" : ""),
                         cuda::pointwise_forward_traffic<T>(on_load, statistics, rows, c, k, kPrecision),
                         [=](DeviceMemory& m) {
                             const WithPath chosen(path);
                             const Normalize z = normalize_of(m, c);
                             const BatchStatistics out{m.zeros<float>(k), m.zeros<float>(k)};
                             cuda::pointwise_forward<T>(m.zeros<T>(rows * k), m.zeros<T>(rows * c), m.zeros<T>(w),
                                                        on_load ? &z : nullptr, statistics ? &out : nullptr, rows, c, k,
                                                        kPrecision, {});
                         }});
    }
    struct Named {
        const char* name;
        cuda::PointwiseBackwardForm form;
    };
    const Named forms[] = {{"dx dw", {}},
                           {"dx added", {.dw = false, .gradient_on_load = true, .dx_add = true}},
                           {"dx before", {.dw = false, .on_load = true, .before = true}},
                           {"dw on load", {.dx = false, .on_load = true}},
                           {"everything", {.gradient_on_load = true, .on_load = true, .before = true}}};
    for (const auto& [name, form] : forms) {
        cases.push_back(
            {"pointwise_backward", shape + " " + name,
             cuda::pointwise_backward_traffic<T>(form, rows, c, k, kPrecision), [=, form = form](DeviceMemory& m) {
                 const WithPath chosen(path);
                 const auto gradient = gradient_on_load_of<T>(m, rows * k, k);
                 const Normalize z = normalize_of(m, c);
                 const NormalizeBackward before{m.zeros<float>(c), m.zeros<float>(c), m.zeros<float>(c),
                                                m.zeros<float>(c)};
                 cuda::pointwise_backward<T>(
                     form.dx ? m.zeros<T>(rows * c) : nullptr, form.dw ? m.zeros<float>(w) : nullptr,
                     m.zeros<T>(rows * k), form.gradient_on_load ? &gradient : nullptr, m.zeros<T>(rows * c),
                     form.on_load ? &z : nullptr, form.before ? &before : nullptr,
                     form.dx_add ? m.zeros<T>(rows * c) : nullptr, m.zeros<T>(w), rows, c, k, kPrecision, {});
             }});
    }
}

template <class T>
void add_conv(Cases& cases, const char* type, const ConvShape& s) {
    const std::int64_t x = std::int64_t{s.n} * s.h * s.w * s.c, y = std::int64_t{s.n} * s.p() * s.q() * s.k;
    const std::int64_t w = std::int64_t{s.k} * s.r * s.s * (s.c / s.groups);
    const std::string shape = fmt::format("{} n {} {}x{} c {} k {} filter {}x{} stride {} padding {} groups {}", type,
                                          s.n, s.h, s.w, s.c, s.k, s.r, s.s, s.stride, s.padding, s.groups);
    for (const bool statistics : {false, true}) {
        const bool bias = !statistics;
        cases.push_back({"conv_forward", shape + (statistics ? " statistics" : " bias"),
                         cuda::conv_forward_traffic<T>(bias, statistics, s, kPrecision), [=](DeviceMemory& m) {
                             const BatchStatistics out{m.zeros<float>(s.k), m.zeros<float>(s.k)};
                             cuda::conv_forward<T>(m.zeros<T>(y), m.zeros<T>(x), m.zeros<T>(w),
                                                   bias ? m.zeros<float>(s.k) : nullptr, s, statistics ? &out : nullptr,
                                                   kPrecision, {});
                         }});
    }
    struct Named {
        const char* name;
        cuda::ConvBackwardForm form;
    };
    const Named forms[] = {{"dx dw db", {}},
                           {"dx on load", {.dw = false, .gradient_on_load = true}},
                           {"dw db on load", {.dx = false, .gradient_on_load = true}}};
    for (const auto& [name, form] : forms) {
        cases.push_back({"conv_backward", shape + " " + name, cuda::conv_backward_traffic<T>(form, s, kPrecision),
                         [=, form = form](DeviceMemory& m) {
                             const auto gradient = gradient_on_load_of<T>(m, y, s.k);
                             cuda::conv_backward<T>(form.dx ? m.zeros<T>(x) : nullptr,
                                                    form.dw ? m.zeros<float>(w) : nullptr,
                                                    form.db ? m.zeros<float>(s.k) : nullptr, m.zeros<T>(y),
                                                    form.gradient_on_load ? &gradient : nullptr, m.zeros<T>(x),
                                                    m.zeros<T>(w), s, kPrecision, {});
                         }});
    }
}

template <class T>
void add_lstm(Cases& cases, const char* type, const LstmShape& s, cuda::LstmForm form) {
    const cuda::LstmOptions options{.form = form};
    const std::int64_t rows = std::int64_t{s.n} * s.t, states = std::int64_t{s.n} * s.h, gates = std::int64_t{4} * s.h;
    const auto weights = [=](DeviceMemory& m, bool bias) {
        return LstmWeightsT<T>{m.zeros<T>(gates * s.c), m.zeros<T>(gates * s.h), bias ? m.zeros<float>(gates) : nullptr,
                               bias ? m.zeros<float>(gates) : nullptr};
    };
    const auto saved = [=](DeviceMemory& m) {
        return LstmSavedT<T>{m.zeros<T>(rows * gates), m.zeros<float>(rows * s.h)};
    };
    const auto start = [=](DeviceMemory& m, bool given) {
        return LstmStateT<T>{given ? m.zeros<T>(states) : nullptr, given ? m.zeros<float>(states) : nullptr};
    };
    for (const bool all : {false, true}) {
        const std::string call =
            fmt::format("{} n {} t {} c {} h {}{}{}", type, s.n, s.t, s.c, s.h,
                        form == cuda::LstmForm::steps ? " in steps" : "", all ? " with everything" : "");
        cases.push_back({"lstm_forward", call,
                         cuda::lstm_forward_traffic<T>({.bias = all, .h0 = all, .c0 = all}, s, options),
                         [=](DeviceMemory& m) {
                             cuda::lstm_forward<T>(m.zeros<T>(rows * s.h), saved(m), m.zeros<T>(rows * s.c),
                                                   weights(m, all), start(m, all), s, options, {});
                         }});
        const cuda::LstmBackwardForm backward{.dh0 = all, .dc0 = all, .h0 = all, .c0 = all, .dc_n = all};
        cases.push_back(
            {"lstm_backward", call, cuda::lstm_backward_traffic<T>(backward, s, options), [=](DeviceMemory& m) {
                 const LstmGradientsT<T> gradients{m.zeros<T>(rows * s.c),
                                                   m.zeros<float>(gates * s.c),
                                                   m.zeros<float>(gates * s.h),
                                                   m.zeros<float>(gates),
                                                   all ? m.zeros<T>(states) : nullptr,
                                                   all ? m.zeros<float>(states) : nullptr};
                 cuda::lstm_backward<T>(gradients, m.zeros<T>(rows * s.h), all ? m.zeros<float>(states) : nullptr,
                                        m.zeros<T>(rows * s.c), m.zeros<T>(rows * s.h), saved(m), weights(m, true),
                                        start(m, all), s, options, {});
             }});
    }
}

template <class T>
void add_lstm_cell(Cases& cases, const char* type, const LstmShape& s) {
    const std::int64_t rows = std::int64_t{s.n} * s.t, states = std::int64_t{s.n} * s.h, gates = std::int64_t{4} * s.h;
    for (const bool all : {false, true}) {
        const int step = all ? 1 : 0;
        const std::string call = fmt::format("{} n {} h {}{}", type, s.n, s.h, all ? " with everything" : "");
        cases.push_back(
            {"lstm_cell_forward", call, cuda::lstm_cell_forward_traffic<T>(all, all, all, s), [=](DeviceMemory& m) {
                 const LstmSavedT<T> saved{m.zeros<T>(rows * gates), m.zeros<float>(rows * s.h)};
                 const auto figures = [&](std::int64_t n) { return all ? m.zeros<float>(n) : nullptr; };
                 cuda::lstm_cell_forward<T>(m.zeros<T>(rows * s.h), saved, figures(s.n * gates), figures(gates),
                                            figures(gates), nullptr, s, step, {});
             }});
        cases.push_back(
            {"lstm_cell_backward", call, cuda::lstm_cell_backward_traffic<T>(all, all, s), [=](DeviceMemory& m) {
                 const LstmSavedT<T> saved{m.zeros<T>(rows * gates), m.zeros<float>(rows * s.h)};
                 cuda::lstm_cell_backward<T>(m.zeros<T>(rows * gates), m.zeros<float>(states), m.zeros<T>(rows * s.h),
                                             all ? m.zeros<float>(states) : nullptr, saved, nullptr, s, step, {});
             }});
    }
}

}  // namespace

std::vector<TrafficCase> matrix_traffic() {
    Cases cases;
    const std::vector<std::array<std::int64_t, 3>> products = {{196, 96, 24}, {130, 65, 7}, {40, 24, 800}, {1, 1, 1}};
    for (const auto& [m, n, k] : products) {
        add_gemm<float, float>(cases, "fp32", m, n, k);
        add_gemm<BFloat16, BFloat16>(cases, "bf16", m, n, k);
        add_gemm<BFloat16, float>(cases, "bf16 to fp32", m, n, k);
        add_tf32(cases, m, n, k);
    }
    for_types([&]<class T>(const char* type) {
        add_linear<T>(cases, type, 32, 320, 7);
        add_linear<T>(cases, type, 3, 17, 80);
        for (const auto path : {cuda::MatrixPath::own, cuda::MatrixPath::cublaslt}) {
            add_pointwise<T>(cases, type, path, 196, 24, 144);
            add_pointwise<T>(cases, type, path, 13, 5, 3);
        }
        add_pointwise<T>(cases, type, cuda::MatrixPath::own, 300, 96, 24);
        add_conv<T>(cases, type, {1, 24, 24, 3, 32, 3, 3, 2, 1});
        add_conv<T>(cases, type, {1, 9, 11, 16, 24, 3, 3, 1, 1});
        add_conv<T>(cases, type, {1, 8, 7, 8, 6, 1, 1, 2, 0, 2});
        add_conv<T>(cases, type, {1, 11, 11, 3, 8, 5, 4, 3, 2});
        add_lstm<T>(cases, type, {10, 5, 24, 32}, cuda::LstmForm::resident);
        add_lstm<T>(cases, type, {3, 4, 16, 40}, cuda::LstmForm::resident);
        add_lstm<T>(cases, type, {4, 3, 20, 120}, cuda::LstmForm::resident);
        add_lstm<T>(cases, type, {5, 3, 24, 32}, cuda::LstmForm::steps);
        add_lstm<T>(cases, type, {2, 3, 7, 13}, cuda::LstmForm::steps);
        add_lstm_cell<T>(cases, type, {6, 2, 1, 64});
        add_lstm_cell<T>(cases, type, {3, 2, 1, 13});
    });
    add_lstm<BFloat16>(cases, "bf16", {9, 2, 16, 200}, cuda::LstmForm::resident);
    // So many rows that their tiles' partials are joined in two stages.
    constexpr std::int64_t kRows = 513 * 128;
    cases.push_back({"pointwise_forward", "fp32 two stages of statistics",
                     cuda::pointwise_forward_traffic<float>(false, true, kRows, 2, 3, kPrecision),
                     [](DeviceMemory& m) {
                         const BatchStatistics out{m.zeros<float>(3), m.zeros<float>(3)};
                         cuda::pointwise_forward<float>(m.zeros<float>(kRows * 3), m.zeros<float>(kRows * 2),
                                                        m.zeros<float>(6), nullptr, &out, kRows, 2, 3, kPrecision, {});
                     }});
    return cases;
}

}  // namespace cutis::testing
