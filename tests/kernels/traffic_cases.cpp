#include "tests/kernels/traffic_cases.h"

#include <fmt/format.h>

#include "kernels/augment.h"
#include "kernels/concat.h"
#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/gather.h"
#include "kernels/lrn.h"
#include "kernels/optimizer.h"
#include "kernels/pool.h"
#include "kernels/softmax_cross_entropy.h"

namespace cutis::testing {
namespace {

using Cases = std::vector<TrafficCase>;

template <class T>
void add_maps(Cases& cases, const char* type, std::int64_t n) {
    const std::string call = fmt::format("{} n {}", type, n);
    const auto add = [&](const char* launcher, const cuda::Traffic& claimed, std::function<void(DeviceMemory&)> run) {
        cases.push_back({launcher, call, claimed, std::move(run)});
    };
    add("fill", cuda::fill_traffic<T>(n), [n](DeviceMemory& m) { cuda::fill(m.zeros<T>(n), 1.0f, n, {}); });
    add("add", cuda::add_traffic<T>(n),
        [n](DeviceMemory& m) { cuda::add<T>(m.zeros<T>(n), m.zeros<T>(n), m.zeros<T>(n), n, {}); });
    add("scale", cuda::scale_traffic<T>(n),
        [n](DeviceMemory& m) { cuda::scale<T>(m.zeros<T>(n), m.zeros<T>(n), 2.0f, n, {}); });
    add("axpy", cuda::axpy_traffic<T>(n),
        [n](DeviceMemory& m) { cuda::axpy<T>(m.zeros<T>(n), 2.0f, m.zeros<T>(n), n, {}); });
    add("activation_forward", cuda::activation_forward_traffic<T>(n),
        [n](DeviceMemory& m) { cuda::activation_forward<T>(m.zeros<T>(n), m.zeros<T>(n), Activation::relu6, n, {}); });
    add("activation_backward", cuda::activation_backward_traffic<T>(n), [n](DeviceMemory& m) {
        cuda::activation_backward<T>(m.zeros<T>(n), m.zeros<T>(n), m.zeros<T>(n), Activation::relu6, n, {});
    });
    add("cast", cuda::cast_traffic<T, float>(n),
        [n](DeviceMemory& m) { cuda::cast<T, float>(m.zeros<T>(n), m.zeros<float>(n), n, {}); });
    add("cast", cuda::cast_traffic<T, BFloat16>(n),
        [n](DeviceMemory& m) { cuda::cast<T, BFloat16>(m.zeros<T>(n), m.zeros<BFloat16>(n), n, {}); });
    for (const bool state : {false, true}) {
        const auto offset = [state](DeviceMemory& m) {
            return cuda::StepOffset{.state = state ? m.zeros<StepState>(1) : nullptr};
        };
        add("dropout_forward", cuda::dropout_forward_traffic<T>(state, n), [=](DeviceMemory& m) {
            cuda::dropout_forward<T>(m.zeros<T>(n), m.zeros<T>(n), 0.2f, 1, offset(m), n, {});
        });
        add("dropout_backward", cuda::dropout_backward_traffic<T>(state, n), [=](DeviceMemory& m) {
            cuda::dropout_backward<T>(m.zeros<T>(n), m.zeros<T>(n), 0.2f, 1, offset(m), n, {});
        });
    }
}

template <class T>
void add_concat(Cases& cases, const char* type, std::int64_t rows, const std::vector<int>& widths) {
    const auto parts = [=]<class Value>(DeviceMemory& m, Value*) {
        std::vector<ChannelPart<Value>> list;
        for (const int c : widths) {
            list.push_back({m.zeros<T>(rows * c), c});
        }
        return list;
    };
    int c = 0;
    for (const int width : widths) {
        c += width;
    }
    const std::string call = fmt::format("{} rows {} c {} in {} parts", type, rows, c, widths.size());
    cases.push_back({"concat_channels", call, cuda::concat_channels_traffic<T>(c, rows), [=](DeviceMemory& m) {
                         const auto list = parts(m, static_cast<const T*>(nullptr));
                         cuda::concat_channels<T>(m.zeros<T>(rows * c), list, rows, {});
                     }});
    cases.push_back({"split_channels", call, cuda::split_channels_traffic<T>(c, rows), [=](DeviceMemory& m) {
                         const auto list = parts(m, static_cast<T*>(nullptr));
                         cuda::split_channels<T>(list, m.zeros<T>(rows * c), rows, {});
                     }});
    cases.push_back({"split_channels", call + " without the first",
                     cuda::split_channels_traffic<T>(c - widths[0], rows), [=](DeviceMemory& m) {
                         auto list = parts(m, static_cast<T*>(nullptr));
                         list[0].data = nullptr;
                         cuda::split_channels<T>(list, m.zeros<T>(rows * c), rows, {});
                     }});
}

// Every other row, and zeros behind each.
template <class T>
void add_gather(Cases& cases, const char* type, std::int64_t taken, int c) {
    std::vector<std::int32_t> index;
    for (std::int32_t row = 0; row < taken; ++row) {
        index.insert(index.end(), {2 * row, -1});
    }
    const auto rows = static_cast<std::int64_t>(index.size());
    cases.push_back({"gather_rows", fmt::format("{} rows {} c {}", type, rows, c),
                     cuda::gather_rows_traffic<T>(taken, rows, c), [=](DeviceMemory& m) {
                         cuda::gather_rows<T>(m.zeros<T>(rows * c), m.zeros<T>(2 * taken * c), m.copy(index), rows, c,
                                              {});
                     }});
}

template <class T>
void add_lrn(Cases& cases, const char* type, std::int64_t rows, int c, int size) {
    const LocalResponseNorm norm{.size = size};
    const std::string call = fmt::format("{} rows {} c {} size {}", type, rows, c, size);
    cases.push_back({"local_response_norm_forward", call, cuda::local_response_norm_forward_traffic<T>(norm, rows, c),
                     [=](DeviceMemory& m) {
                         cuda::local_response_norm_forward<T>(m.zeros<T>(rows * c), m.zeros<T>(rows * c), norm, rows, c,
                                                              {});
                     }});
    cases.push_back({"local_response_norm_backward", call, cuda::local_response_norm_backward_traffic<T>(norm, rows, c),
                     [=](DeviceMemory& m) {
                         cuda::local_response_norm_backward<T>(m.zeros<T>(rows * c), m.zeros<T>(rows * c),
                                                               m.zeros<T>(rows * c), norm, rows, c, {});
                     }});
}

template <class T>
void add_global_pool(Cases& cases, const char* type, int n, int hw, int c) {
    const std::int64_t x = std::int64_t{n} * hw * c, y = std::int64_t{n} * c;
    for (const bool on_load : {false, true}) {
        const std::string call = fmt::format("{} n {} hw {} c {}{}", type, n, hw, c, on_load ? " on load" : "");
        const auto normalize = [c](DeviceMemory& m) {
            return Normalize{m.zeros<float>(c), m.zeros<float>(c), Activation::relu6};
        };
        cases.push_back({"global_average_pool_forward", call,
                         cuda::global_average_pool_forward_traffic<T>(on_load, n, hw, c), [=](DeviceMemory& m) {
                             const Normalize z = normalize(m);
                             cuda::global_average_pool_forward<T>(m.zeros<T>(y), m.zeros<T>(x), on_load ? &z : nullptr,
                                                                  n, hw, c, {});
                         }});
        cases.push_back({"global_average_pool_backward", call,
                         cuda::global_average_pool_backward_traffic<T>(on_load, n, hw, c), [=](DeviceMemory& m) {
                             const Normalize z = normalize(m);
                             const NormalizeBackward before{m.zeros<float>(c), m.zeros<float>(c), m.zeros<float>(c),
                                                            m.zeros<float>(c)};
                             cuda::global_average_pool_backward<T>(m.zeros<T>(x), m.zeros<T>(y), m.zeros<T>(x),
                                                                   on_load ? &z : nullptr, on_load ? &before : nullptr,
                                                                   n, hw, c, {});
                         }});
    }
}

// What max pooling chooses where all values are equal.
std::vector<std::uint8_t> first_marks(const PoolShape& s) {
    std::vector<std::uint8_t> marks;
    for (int image = 0; image < s.n; ++image) {
        for (int p = 0; p < s.p(); ++p) {
            for (int q = 0; q < s.q(); ++q) {
                const int row = s.rows().inputs_of(p).begin - s.rows().origin_of(p);
                const int first = row * s.window + s.columns().inputs_of(q).begin - s.columns().origin_of(q);
                marks.insert(marks.end(), static_cast<std::size_t>(s.c), static_cast<std::uint8_t>(first));
            }
        }
    }
    return marks;
}

template <class T>
void add_pool(Cases& cases, const char* type, const PoolShape& s) {
    const std::int64_t x = std::int64_t{s.n} * s.h * s.w * s.c, y = std::int64_t{s.n} * s.p() * s.q() * s.c;
    const std::string call = fmt::format("{} n {} {}x{} c {} window {} stride {} padding {}", type, s.n, s.h, s.w, s.c,
                                         s.window, s.stride, s.padding);
    cases.push_back({"max_pool_forward", call, cuda::max_pool_forward_traffic<T>(s), [=](DeviceMemory& m) {
                         cuda::max_pool_forward<T>(m.zeros<T>(y), m.zeros<std::uint8_t>(y), m.zeros<T>(x), s, {});
                     }});
    cases.push_back({"max_pool_backward", call, cuda::max_pool_backward_traffic<T>(s), [=](DeviceMemory& m) {
                         cuda::max_pool_backward<T>(m.zeros<T>(x), m.zeros<T>(y), m.copy(first_marks(s)), s, {});
                     }});
    cases.push_back({"average_pool_forward", call, cuda::average_pool_forward_traffic<T>(s),
                     [=](DeviceMemory& m) { cuda::average_pool_forward<T>(m.zeros<T>(y), m.zeros<T>(x), s, {}); }});
    cases.push_back({"average_pool_backward", call, cuda::average_pool_backward_traffic<T>(s),
                     [=](DeviceMemory& m) { cuda::average_pool_backward<T>(m.zeros<T>(x), m.zeros<T>(y), s, {}); }});
}

template <class T>
void add_adaptive_pool(Cases& cases, const char* type, const AdaptivePoolShape& s) {
    const std::int64_t x = std::int64_t{s.n} * s.h * s.w * s.c, y = std::int64_t{s.n} * s.p * s.q * s.c;
    const std::string call = fmt::format("{} n {} {}x{} c {} to {}x{}", type, s.n, s.h, s.w, s.c, s.p, s.q);
    cases.push_back(
        {"adaptive_average_pool_forward", call, cuda::adaptive_average_pool_forward_traffic<T>(s),
         [=](DeviceMemory& m) { cuda::adaptive_average_pool_forward<T>(m.zeros<T>(y), m.zeros<T>(x), s, {}); }});
    cases.push_back(
        {"adaptive_average_pool_backward", call, cuda::adaptive_average_pool_backward_traffic<T>(s),
         [=](DeviceMemory& m) { cuda::adaptive_average_pool_backward<T>(m.zeros<T>(x), m.zeros<T>(y), s, {}); }});
}

template <class T>
void add_cross_entropy(Cases& cases, const char* type, int n, int c) {
    const std::int64_t size = std::int64_t{n} * c;
    std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) {
        labels[static_cast<std::size_t>(i)] = i % c;
    }
    const std::string call = fmt::format("{} n {} c {}", type, n, c);
    cases.push_back({"softmax", call, cuda::softmax_traffic<T>(n, c),
                     [=](DeviceMemory& m) { cuda::softmax<T>(m.zeros<float>(size), m.zeros<T>(size), n, c, {}); }});
    for (const bool weights : {false, true}) {
        for (const int loss : {0, 1, 2}) {
            const bool more = weights, smoothing = loss == 1, focal = loss == 2;  // `more`: what is optional otherwise
            const cuda::CrossEntropyForm form{.losses = more,
                                              .probabilities = true,
                                              .class_weights = weights,
                                              .label_smoothing = smoothing,
                                              .focal_gamma = focal,
                                              .scale_on_device = more};
            const std::string variant = call + (weights ? " weights" : "") +
                                        (smoothing ? " smoothing"
                                         : focal   ? " focal"
                                                   : "");
            const auto options = [=](DeviceMemory& m) {
                return CrossEntropyOptions{
                    weights ? m.copy(std::vector<float>(static_cast<std::size_t>(c), 1.0f)) : nullptr,
                    smoothing ? 0.1f : 0.0f, focal ? 2.0f : 0.0f};
            };
            cases.push_back({"softmax_cross_entropy_forward", variant,
                             cuda::softmax_cross_entropy_forward_traffic<T>(form, n, c), [=](DeviceMemory& m) {
                                 cuda::softmax_cross_entropy_forward<T>(
                                     m.zeros<float>(1), more ? m.zeros<float>(n) : nullptr, m.zeros<float>(size),
                                     m.zeros<T>(size), m.copy(labels), options(m), n, c, {});
                             }});
            cases.push_back({"softmax_cross_entropy_backward", variant,
                             cuda::softmax_cross_entropy_backward_traffic<T>(form, n, c), [=](DeviceMemory& m) {
                                 T* const dlogits = m.zeros<T>(size);
                                 const float* const p =
                                     m.copy(std::vector<float>(static_cast<std::size_t>(size), 0.25f));
                                 const std::int32_t* const t = m.copy(labels);
                                 if (more) {
                                     cuda::softmax_cross_entropy_backward<T>(dlogits, m.zeros<float>(1), p, t,
                                                                             options(m), n, c, {});
                                 } else {
                                     cuda::softmax_cross_entropy_backward<T>(dlogits, 1.0f, p, t, options(m), n, c, {});
                                 }
                             }});
        }
    }
}

using Sizes = std::vector<std::int64_t>;

cuda::OptimizerTable table_of(DeviceMemory& m, const Sizes& sizes, bool narrow) {
    std::vector<cuda::OptimizerParameter> parameters;
    for (const std::int64_t n : sizes) {
        parameters.push_back({.weight = m.zeros<float>(n),
                              .gradient = m.zeros<float>(n),
                              .first = m.zeros<float>(n),
                              .second = m.zeros<float>(n),
                              .narrow_weight = narrow ? m.zeros<BFloat16>(n) : nullptr,
                              .updates = m.zeros<float>(1),
                              .n = n});
    }
    const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(sizes);
    return {m.copy(parameters), static_cast<int>(parameters.size()), m.copy(chunks), static_cast<int>(chunks.size())};
}

void add_optimizers(Cases& cases, const char* name, const Sizes& sizes) {
    for (const bool all : {false, true}) {
        const cuda::OptimizerForm form{.momentum = all, .narrow_weights = all, .state = all, .scale = all};
        const std::string call = fmt::format("{}{}", name, all ? " with everything" : "");
        const float momentum = all ? 0.9f : 0.0f;
        const auto add = [&](const char* launcher, const cuda::Traffic& claimed, auto step, auto options) {
            cases.push_back({launcher, call, claimed, [=](DeviceMemory& m) {
                                 step(table_of(m, sizes, all), options, all ? m.zeros<StepState>(1) : nullptr,
                                      all ? m.zeros<cuda::GradientScale>(1) : nullptr, {});
                             }});
        };
        add("sgd_step", cuda::sgd_step_traffic(sizes, form), &cuda::sgd_step,
            SgdOptions{.lr = 0.1f, .momentum = momentum});
        add("rmsprop_step", cuda::rmsprop_step_traffic(sizes, form), &cuda::rmsprop_step,
            RmspropOptions{.lr = 0.1f, .momentum = momentum});
        add("adamw_step", cuda::adamw_step_traffic(sizes, form), &cuda::adamw_step, AdamwOptions{.lr = 0.1f});
    }
    cases.push_back({"gradient_scale", name, cuda::gradient_scale_traffic(sizes), [=](DeviceMemory& m) {
                         cuda::gradient_scale(m.zeros<cuda::GradientScale>(1), table_of(m, sizes, false), 1.0f, 1.0f,
                                              {});
                     }});
    cases.push_back({"ema_update", name, cuda::ema_update_traffic(sizes), [=](DeviceMemory& m) {
                         std::vector<cuda::AveragedTensor> tensors;
                         for (const std::int64_t n : sizes) {
                             tensors.push_back({m.zeros<float>(n), m.zeros<float>(n), n});
                         }
                         const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(sizes);
                         cuda::ema_update(m.copy(tensors), m.copy(chunks), static_cast<int>(chunks.size()),
                                          m.zeros<StepState>(1), {});
                     }});
}

// Three images of side x side: as it is, a mirrored crop with contrast, a crop with a hole.
template <class T>
void add_augment(Cases& cases, const char* type, int side) {
    std::vector<AugmentSample> samples(3);
    for (std::size_t i = 0; i < samples.size(); ++i) {
        AugmentSample& s = samples[i];
        s.first = static_cast<std::int64_t>(i) * side * side * 3;
        s.height = s.width = side;
        s.sampled = i > 0;
        s.a = i == 1 ? -0.9 : 0.8;
        s.e = 0.75;
        s.c = i == 1 ? 0.95 * (side - 1) : 1.5;
        s.f = 2.25;
        s.coloured = i == 1;
    }
    samples[2].hole_right = samples[2].hole_bottom = side / 4;
    for (const bool contrast : {false, true}) {
        samples[1].contrast = contrast ? 0.2f : 0.0f;
        cases.push_back({"augment", fmt::format("{} side {}{}", type, side, contrast ? " contrast" : ""),
                         cuda::augment_traffic<T>(samples, contrast, side), [=](DeviceMemory& m) {
                             const std::int64_t values = std::int64_t{3} * side * side * 3;
                             cuda::augment(m.zeros<T>(values), m.zeros<std::uint8_t>(values), m.copy(samples),
                                           AugmentLook{}, contrast, 3, side, {});
                         }});
    }
}

}  // namespace

std::vector<TrafficCase> elementwise_traffic() {
    Cases cases;
    for_types([&]<class T>(const char* type) {
        for (const std::int64_t n : {1, 1003, 25088}) {
            add_maps<T>(cases, type, n);
        }
        add_concat<T>(cases, type, 98, {64, 128, 32, 32});
        add_concat<T>(cases, type, 13, {5, 3, 7, 1, 2, 9, 4, 8, 6, 3});
        add_augment<T>(cases, type, 64);
        add_augment<T>(cases, type, 225);
        add_gather<T>(cases, type, 49, 1280);
        add_gather<T>(cases, type, 13, 7);
        add_lrn<T>(cases, type, 50, 64, 5);
        add_lrn<T>(cases, type, 7, 1030, 9);
        add_lrn<T>(cases, type, 33, 13, 4);
        add_global_pool<T>(cases, type, 3, 49, 320);
        add_global_pool<T>(cases, type, 40, 7, 17);
        add_global_pool<T>(cases, type, 1, 1, 1);
        add_pool<T>(cases, type, {2, 28, 28, 64, 3, 2, 1});
        add_pool<T>(cases, type, {1, 13, 11, 5, 2, 3, 0});
        add_pool<T>(cases, type, {2, 14, 14, 16, 3, 2, 0, true});
        add_adaptive_pool<T>(cases, type, {2, 13, 13, 32, 6, 6});
        add_adaptive_pool<T>(cases, type, {1, 3, 5, 3, 7, 4});
    });
    return cases;
}

std::vector<TrafficCase> training_traffic() {
    Cases cases;
    for_types([&]<class T>(const char* type) {
        add_cross_entropy<T>(cases, type, 1, 2);
        add_cross_entropy<T>(cases, type, 33, 7);
        add_cross_entropy<T>(cases, type, 5, 1000);
        add_cross_entropy<T>(cases, type, 3, 1301);
    });
    add_optimizers(cases, "small and large tensors", {864, 32, 32, 288, 512, 70003, 1, 7});
    add_optimizers(cases, "one value", {1});
    return cases;
}

std::vector<TrafficCase> traffic_cases() {
    Cases all;
    for (const auto part : {elementwise_traffic, channel_traffic, matrix_traffic, training_traffic}) {
        for (TrafficCase& one : part()) {
            all.push_back(std::move(one));
        }
    }
    return all;
}

}  // namespace cutis::testing
