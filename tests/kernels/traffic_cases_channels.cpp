#include <fmt/format.h>

#include "kernels/batchnorm.h"
#include "kernels/depthwise.h"
#include "kernels/filter_order.h"
#include "tests/kernels/traffic_cases.h"

namespace cutis::testing {
namespace {

using Cases = std::vector<TrafficCase>;

constexpr Activation kAct = Activation::relu6;

Normalize normalize_of(DeviceMemory& m, int c) {
    return {m.zeros<float>(c), m.zeros<float>(c), kAct};
}
NormalizeBackward before_of(DeviceMemory& m, int c) {
    return {m.zeros<float>(c), m.zeros<float>(c), m.zeros<float>(c), m.zeros<float>(c)};
}
template <class T>
GradientOnLoadT<T> gradient_on_load_of(DeviceMemory& m, std::int64_t size, int c) {
    return {m.zeros<T>(size), m.zeros<float>(c), m.zeros<float>(c), m.zeros<float>(c)};
}

template <class T>
void add_depthwise(Cases& cases, const char* type, const DepthwiseShape& s) {
    const std::int64_t x = std::int64_t{s.n} * s.h * s.w * s.c, y = std::int64_t{s.n} * s.p() * s.q() * s.c;
    const std::string shape = fmt::format("{} n {} {}x{} c {} stride {}", type, s.n, s.h, s.w, s.c, s.stride);
    for (const int form : {0, 1, 2, 3}) {
        const bool on_load = form % 2 != 0, statistics = form / 2 != 0;
        cases.push_back({"depthwise_forward", shape + (on_load ? " on load" : "") + (statistics ? " statistics" : ""),
                         cuda::depthwise_forward_traffic<T>(on_load, statistics, s), [=](DeviceMemory& m) {
                             const Normalize z = normalize_of(m, s.c);
                             const BatchStatistics out{m.zeros<float>(s.c), m.zeros<float>(s.c)};
                             cuda::depthwise_forward<T>(m.zeros<T>(y), m.zeros<T>(x), m.zeros<float>(9 * s.c),
                                                        on_load ? &z : nullptr, statistics ? &out : nullptr, s, {});
                         }});
    }
    struct Named {
        const char* name;
        cuda::DepthwiseBackwardForm form;
    };
    const Named forms[] = {{"dx dw", {}},
                           {"dx", {.dw = false}},
                           {"dw", {.dx = false}},
                           {"dw on load", {.dx = false, .gradient_on_load = true, .on_load = true}},
                           {"dx before", {.dw = false, .on_load = true, .before = true}},
                           {"everything", {.gradient_on_load = true, .on_load = true, .before = true}}};
    for (const auto& [name, form] : forms) {
        cases.push_back({"depthwise_backward", shape + " " + name, cuda::depthwise_backward_traffic<T>(form, s),
                         [=, form = form](DeviceMemory& m) {
                             const auto gradient = gradient_on_load_of<T>(m, y, s.c);
                             const Normalize z = normalize_of(m, s.c);
                             const NormalizeBackward before = before_of(m, s.c);
                             cuda::depthwise_backward<T>(form.dx ? m.zeros<T>(x) : nullptr,
                                                         form.dw ? m.zeros<float>(9 * s.c) : nullptr, m.zeros<T>(y),
                                                         form.gradient_on_load ? &gradient : nullptr, m.zeros<T>(x),
                                                         form.on_load ? &z : nullptr, form.before ? &before : nullptr,
                                                         m.zeros<float>(9 * s.c), s, {});
                         }});
    }
}

template <class T>
void add_batchnorm(Cases& cases, const char* type, std::int64_t rows, int c) {
    const std::int64_t size = rows * c;
    const std::string shape = fmt::format("{} rows {} c {}", type, rows, c);
    cases.push_back(
        {"batchnorm_statistics", shape, cuda::batchnorm_statistics_traffic<T>(rows, c), [=](DeviceMemory& m) {
             cuda::batchnorm_statistics<T>(m.zeros<float>(c), m.zeros<float>(c), m.zeros<T>(size), rows, c, {});
         }});
    for (const bool more : {false, true}) {
        cases.push_back({"batchnorm_normalize", shape + (more ? " residual" : ""),
                         cuda::batchnorm_normalize_traffic<T>(more, rows, c), [=](DeviceMemory& m) {
                             cuda::batchnorm_normalize<T>(m.zeros<T>(size), m.zeros<T>(size), normalize_of(m, c),
                                                          more ? m.zeros<T>(size) : nullptr, rows, c, {});
                         }});
        cases.push_back({"batchnorm_reduce", shape + (more ? " g" : ""),
                         cuda::batchnorm_reduce_traffic<T>(more, rows, c), [=](DeviceMemory& m) {
                             cuda::batchnorm_reduce<T>(more ? m.zeros<T>(size) : nullptr, before_of(m, c),
                                                       m.zeros<T>(size), m.zeros<T>(size), normalize_of(m, c), rows, c,
                                                       {});
                         }});
        cases.push_back({"batchnorm_apply_gradient", shape + (more ? " masked" : ""),
                         cuda::batchnorm_apply_gradient_traffic<T>(more, rows, c), [=](DeviceMemory& m) {
                             const Normalize z = normalize_of(m, c);
                             cuda::batchnorm_apply_gradient<T>(m.zeros<T>(size), m.zeros<T>(size),
                                                               gradient_on_load_of<T>(m, size, c), more ? &z : nullptr,
                                                               rows, c, {});
                         }});
        if (cuda::batchnorm_forward_fits<T>(rows, c)) {
            cases.push_back({"batchnorm_forward", shape + (more ? " residual" : ""),
                             cuda::batchnorm_forward_traffic<T>(more, rows, c), [=](DeviceMemory& m) {
                                 const BatchnormSaved saved{m.zeros<float>(c), m.zeros<float>(c), m.zeros<float>(c),
                                                            m.zeros<float>(c), m.zeros<float>(c)};
                                 cuda::batchnorm_forward<T>(m.zeros<T>(size), saved, m.zeros<T>(size),
                                                            m.zeros<float>(c), m.zeros<float>(c), 1e-5f, kAct,
                                                            more ? m.zeros<T>(size) : nullptr, rows, c, {});
                             }});
        }
    }
}

template <class T>
void add_filter_order(Cases& cases, int c) {
    const std::string call = fmt::format("c {} of {} bytes", c, sizeof(T));
    cases.push_back({"filters_from_taps", call, cuda::filters_from_taps_traffic<T>(9, c), [c](DeviceMemory& m) {
                         cuda::filters_from_taps<T>(m.zeros<T>(9 * c), m.zeros<float>(9 * c), 9, c, {});
                     }});
    cases.push_back({"taps_from_filters", call, cuda::taps_from_filters_traffic<T>(9, c), [c](DeviceMemory& m) {
                         cuda::taps_from_filters<T>(m.zeros<float>(9 * c), m.zeros<T>(9 * c), 9, c, {});
                     }});
}

void add_channel_figures(Cases& cases, int c) {
    const std::string call = fmt::format("c {}", c);
    cases.push_back({"batchnorm_fold", call, cuda::batchnorm_fold_traffic(c), [c](DeviceMemory& m) {
                         const auto figures = [&] { return m.zeros<float>(c); };
                         cuda::batchnorm_fold(figures(), figures(), figures(), figures(), figures(), figures(),
                                              figures(), 1e-5f, c, {});
                     }});
    cases.push_back({"batchnorm_complete", call, cuda::batchnorm_complete_traffic(c), [c](DeviceMemory& m) {
                         const auto figures = [&] { return m.zeros<float>(c); };
                         const BatchnormSaved saved{figures(), figures(), figures(), figures(), figures()};
                         cuda::batchnorm_complete(saved, figures(), figures(), 1e-5f, c, {});
                     }});
    cases.push_back({"batchnorm_update_running", call, cuda::batchnorm_update_running_traffic(c), [c](DeviceMemory& m) {
                         const auto figures = [&] { return m.zeros<float>(c); };
                         cuda::batchnorm_update_running(figures(), figures(), figures(), figures(), 100, 0.1f, c, {});
                     }});
    cases.push_back({"batchnorm_gradient_coefficients", call, cuda::batchnorm_gradient_coefficients_traffic(c),
                     [c](DeviceMemory& m) {
                         const auto figures = [&] { return m.zeros<float>(c); };
                         cuda::batchnorm_gradient_coefficients(figures(), figures(), figures(), figures(), figures(),
                                                               figures(), figures(), figures(), 100, c, {});
                     }});
}

}  // namespace

std::vector<TrafficCase> channel_traffic() {
    Cases cases;
    for_types([&]<class T>(const char* type) {
        // MobileNetV2's, small: rows cut into strips; columns into tiles; many images to a block.
        add_depthwise<T>(cases, type, {1, 28, 28, 32, 1});
        add_depthwise<T>(cases, type, {1, 16, 150, 32, 1});
        add_depthwise<T>(cases, type, {2, 29, 27, 24, 2});
        add_depthwise<T>(cases, type, {1, 8, 161, 32, 2});
        add_depthwise<T>(cases, type, {40, 7, 7, 64, 1});
        // Ragged.
        add_depthwise<T>(cases, type, {3, 5, 4, 7, 1});
        add_depthwise<T>(cases, type, {1, 1, 1, 1, 2});
        add_batchnorm<T>(cases, type, 3136, 32);
        add_batchnorm<T>(cases, type, 98, 576);
        add_batchnorm<T>(cases, type, 700, 13);
        add_batchnorm<T>(cases, type, 1, 1);
    });
    add_channel_figures(cases, 1);
    add_channel_figures(cases, 300);
    for (const int c : {1, 300}) {
        add_filter_order<float>(cases, c);
        add_filter_order<BFloat16>(cases, c);
    }
    return cases;
}

}  // namespace cutis::testing
