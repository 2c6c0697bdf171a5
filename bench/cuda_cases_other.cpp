#include <fmt/format.h>

#include <memory>
#include <span>
#include <vector>

#include "bench/cuda_cases.h"
#include "engine/augment.h"
#include "engine/cuda_device.h"
#include "kernels/augment.h"
#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/lrn.h"
#include "kernels/optimizer.h"
#include "kernels/pool.h"
#include "kernels/softmax_cross_entropy.h"
#include "models/model.h"

namespace cutis::bench {
namespace {

template <class T>
PreparedCall global_pool_forward(int n, int hw, int c) {
    Arrays arrays;
    const Tensor x = arrays.input<T>(std::int64_t{n} * hw * c);
    Tensor y = arrays.output<T>(std::int64_t{n} * c);
    return {arrays.bytes(), 4.0 * n * hw * c, [=, before = NormArrays(c)]() mutable {
                const Normalize normalize = before.normalize();
                cuda::global_average_pool_forward<T>(y.data<T>(), x.data<T>(), &normalize, n, hw, c, stream_of(gpu()));
            }};
}

template <class T>
PreparedCall global_pool_backward(int n, int hw, int c) {
    Arrays arrays;
    const Tensor dy = arrays.input<T>(std::int64_t{n} * c), x = arrays.input<T>(std::int64_t{n} * hw * c);
    Tensor dx = arrays.output<T>(std::int64_t{n} * hw * c);
    return {arrays.bytes(), 6.0 * n * hw * c, [=, before = NormArrays(c)]() mutable {
                const Normalize normalize = before.normalize();
                const NormalizeBackward sums = before.backward();
                cuda::global_average_pool_backward<T>(dx.data<T>(), dy.data<T>(), x.data<T>(), &normalize, &sums, n, hw,
                                                      c, stream_of(gpu()));
            }};
}

template <class T>
PreparedCall max_pool_forward(const PoolShape& s) {
    Arrays arrays;
    const std::int64_t out = std::int64_t{s.n} * s.p() * s.q() * s.c;
    const Tensor x = arrays.input<T>(std::int64_t{s.n} * s.h * s.w * s.c);
    Tensor y = arrays.output<T>(out), marks = Tensor::empty({out}, DType::u8, gpu());
    return {arrays.bytes() + static_cast<double>(out), 9.0 * static_cast<double>(out), [=]() mutable {
                cuda::max_pool_forward<T>(y.data<T>(), marks.data<std::uint8_t>(), x.data<T>(), s, stream_of(gpu()));
            }};
}

template <class T>
PreparedCall max_pool_backward(const PoolShape& s) {
    Arrays arrays;
    const std::int64_t out = std::int64_t{s.n} * s.p() * s.q() * s.c;
    const Tensor dy = arrays.input<T>(out), marks = Tensor::zeros({out}, DType::u8, gpu());
    Tensor dx = arrays.output<T>(std::int64_t{s.n} * s.h * s.w * s.c);
    return {arrays.bytes() + static_cast<double>(out), static_cast<double>(out), [=]() mutable {
                cuda::max_pool_backward<T>(dx.data<T>(), dy.data<T>(), marks.data<std::uint8_t>(), s, stream_of(gpu()));
            }};
}

template <class T>
PreparedCall response_norm(std::int64_t rows, int c, bool backward) {
    Arrays arrays;
    const Tensor x = arrays.input<T>(rows * c), dy = backward ? arrays.input<T>(rows * c) : Tensor();
    Tensor y = arrays.output<T>(rows * c);
    return {arrays.bytes(), (backward ? 25.0 : 15.0) * static_cast<double>(rows * c), [=]() mutable {
                if (backward) {
                    cuda::local_response_norm_backward<T>(y.data<T>(), dy.data<T>(), x.data<T>(), {}, rows, c,
                                                          stream_of(gpu()));
                } else {
                    cuda::local_response_norm_forward<T>(y.data<T>(), x.data<T>(), {}, rows, c, stream_of(gpu()));
                }
            }};
}

template <class T>
PreparedCall relu(std::int64_t n, bool backward) {
    Arrays arrays;
    const Tensor x = arrays.input<T>(n), dy = backward ? arrays.input<T>(n) : Tensor();
    Tensor y = arrays.output<T>(n);
    return {arrays.bytes(), static_cast<double>(n), [=]() mutable {
                if (backward) {
                    cuda::activation_backward<T>(y.data<T>(), dy.data<T>(), x.data<T>(), Activation::relu, n,
                                                 stream_of(gpu()));
                } else {
                    cuda::activation_forward<T>(y.data<T>(), x.data<T>(), Activation::relu, n, stream_of(gpu()));
                }
            }};
}

/// Logits, labels and probabilities of one batch.
template <class T>
PreparedCall loss(int n, int c, bool backward) {
    Arrays arrays;
    const std::int64_t values = std::int64_t{n} * c;
    const Tensor labels = Tensor::from(std::vector<std::int32_t>(static_cast<std::size_t>(n), 1), {n}).to(gpu());
    const double label_bytes = 4.0 * n;
    if (!backward) {
        const Tensor logits = arrays.input<T>(values);
        Tensor mean = arrays.output(1), losses = arrays.output(n), probabilities = arrays.output(values);
        return {arrays.bytes() + label_bytes, 5.0 * static_cast<double>(values), [=]() mutable {
                    cuda::softmax_cross_entropy_forward<T>(mean.data(), losses.data(), probabilities.data(),
                                                           logits.data<T>(), labels.data<std::int32_t>(), {}, n, c,
                                                           stream_of(gpu()));
                }};
    }
    const Tensor probabilities = arrays.input(values);
    Tensor dlogits = arrays.output<T>(values);
    return {arrays.bytes() + label_bytes, 2.0 * static_cast<double>(values), [=]() mutable {
                cuda::softmax_cross_entropy_backward<T>(dlogits.data<T>(), 1.0f, probabilities.data(),
                                                        labels.data<std::int32_t>(), {}, n, c, stream_of(gpu()));
            }};
}

// Plain records in device memory.
template <class Record>
Tensor bytes_on_gpu(const std::vector<Record>& records) {
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(records.data());
    const std::span<const std::uint8_t> all(bytes, records.size() * sizeof(Record));
    return Tensor::from(all, {static_cast<std::int64_t>(all.size())}).to(gpu());
}

template <class T>
PreparedCall dropout(std::int64_t n) {
    Arrays arrays;
    const Tensor x = arrays.input<T>(n);
    Tensor y = arrays.output<T>(n);
    return {arrays.bytes(), static_cast<double>(n),
            [=]() mutable { cuda::dropout_forward<T>(y.data<T>(), x.data<T>(), 0.2f, 1, {}, n, stream_of(gpu())); }};
}

// Images of the size that is wanted, decisions as training draws them.
template <class T>
PreparedCall augment(const char* preset, int n, int size) {
    Arrays arrays;
    const std::int64_t image = std::int64_t{3} * size * size;
    Tensor out = arrays.output<T>(n * image);
    const Tensor images = Tensor::zeros({n * image}, DType::u8, gpu());
    const AugmentOptions options = augment_preset(preset);
    std::vector<AugmentSample> samples;
    for (int i = 0; i < n; ++i) {
        PhiloxStream random(1, RandomPurpose::augment, 0, static_cast<std::uint64_t>(i));
        samples.push_back(
            plan_augmentation(draw_augmentation(options, size, size, size, random), size, size, size).sample);
        samples.back().first = i * image;
    }
    const Tensor records = bytes_on_gpu(samples);
    return {arrays.bytes() + static_cast<double>(images.bytes()), 15.0 * static_cast<double>(n * image), [=]() mutable {
                cuda::augment(out.data<T>(), images.data<std::uint8_t>(),
                              static_cast<const AugmentSample*>(records.raw()), AugmentLook{}, options.contrast > 0.0f,
                              n, size, stream_of(gpu()));
            }};
}

template <class T>
PreparedCall add(std::int64_t n) {
    Arrays arrays;
    const Tensor a = arrays.input<T>(n), b = arrays.input<T>(n);
    Tensor z = arrays.output<T>(n);
    return {arrays.bytes(), static_cast<double>(n),
            [=]() mutable { cuda::add<T>(z.data<T>(), a.data<T>(), b.data<T>(), n, stream_of(gpu())); }};
}

PreparedCall cast_to_bf16(std::int64_t n) {
    Arrays arrays;
    const Tensor x = arrays.input(n);
    Tensor y = arrays.output<BFloat16>(n);
    return {arrays.bytes(), 0.0, [=]() mutable { cuda::cast(y.data<BFloat16>(), x.data(), n, stream_of(gpu())); }};
}

// A plain array of structs in device memory, for the optimisers' tables.
template <class T>
std::shared_ptr<T> on_device(const std::vector<T>& values) {
    const std::size_t bytes = values.size() * sizeof(T);
    auto* const data = static_cast<T*>(detail::cuda_allocate(bytes, gpu()));
    copy_bytes(data, gpu(), values.data(), Device{}, bytes);
    return {data, [](T* pointer) { detail::cuda_free(pointer, gpu()); }};
}

enum class Rule { sgd, rmsprop, adamw, clip, ema };

/// One update of all of a network's parameters.
PreparedCall optimizer(const std::vector<std::int64_t>& sizes, Rule rule) {
    Arrays arrays;
    std::vector<Tensor> kept;
    std::vector<cuda::OptimizerParameter> parameters;
    std::vector<cuda::AveragedTensor> averages;
    std::int64_t all = 0;
    for (const std::int64_t n : sizes) {
        const auto updated = [&](bool wanted) {
            kept.push_back(wanted ? arrays.updated(n) : Tensor());
            return wanted ? kept.back().data() : nullptr;
        };
        const auto read = [&] {
            kept.push_back(arrays.input(n));
            return kept.back().data();
        };
        if (rule == Rule::ema) {
            averages.push_back({.average = updated(true), .w = read(), .n = n});
        } else {
            kept.push_back(Tensor::zeros({1}, DType::f32, gpu()));
            float* const updates = kept.back().data();
            const bool steps = rule != Rule::clip;
            float* const second = updated(rule == Rule::adamw || rule == Rule::rmsprop);
            if (second != nullptr) {
                kept.back().fill(0.5f);  // a mean of squares
            }
            parameters.push_back({.weight = updated(steps),
                                  .gradient = read(),
                                  .first = updated(steps),
                                  .second = second,
                                  .updates = updates,
                                  .n = n});
        }
        all += n;
    }
    const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(sizes);
    const auto chunk_table = on_device(chunks);
    const int chunk_count = static_cast<int>(chunks.size());
    if (rule == Rule::ema) {
        const auto state = on_device(std::vector<StepState>{{.step = 1, .ema_decay = 0.999f}});
        return {arrays.bytes(), 3.0 * static_cast<double>(all),
                [=, kept = std::move(kept), table = on_device(averages)] {
                    cuda::ema_update(table.get(), chunk_table.get(), chunk_count, state.get(), stream_of(gpu()));
                }};
    }
    const auto parameter_table = on_device(parameters);
    const int count = static_cast<int>(parameters.size());
    const auto scale = on_device(std::vector<cuda::GradientScale>(1));
    // A learning rate of next to nothing: the arrays are used again and again and must stay finite. `kept` keeps them.
    return {arrays.bytes(), 10.0 * static_cast<double>(all), [=, kept = std::move(kept)] {
                const cuda::OptimizerTable table{parameter_table.get(), count, chunk_table.get(), chunk_count};
                const Stream stream = stream_of(gpu());
                switch (rule) {
                    case Rule::sgd:
                        cuda::sgd_step(table, {.lr = 1e-9f, .momentum = 0.9f}, nullptr, nullptr, stream);
                        break;
                    case Rule::rmsprop:
                        cuda::rmsprop_step(table, {.lr = 1e-9f, .momentum = 0.9f}, nullptr, nullptr, stream);
                        break;
                    case Rule::adamw:
                        cuda::adamw_step(table, {.lr = 1e-9f}, nullptr, nullptr, stream);
                        break;
                    default:
                        cuda::gradient_scale(scale.get(), table, 1.0f, 1.0f, stream);
                }
            }};
}

template <class T>
void add_cases(std::vector<CudaCase>& cases, const Workload& workload) {
    const std::vector<ConvLayer> layers = conv_layers(workload);
    const int n = workload.batch, c = layers.back().k, hw = layers.back().side_out * layers.back().side_out;
    const auto one = [&](std::string op, std::string shape, auto make) {
        cases.push_back({std::move(op), type_name<T>(), std::move(shape), std::move(make)});
    };
    const std::string pooled = fmt::format("hw{}_c{}", hw, c);
    one("global_average_pool_forward.fused", pooled, [=] { return global_pool_forward<T>(n, hw, c); });
    one("global_average_pool_backward.fused", pooled, [=] { return global_pool_backward<T>(n, hw, c); });
    for (const PoolShape& s : max_pool_shapes(workload)) {
        const std::string shape = fmt::format("{}x{}x{}_window{}_stride{}", s.h, s.w, s.c, s.window, s.stride);
        one("max_pool_forward.plain", shape, [=] { return max_pool_forward<T>(s); });
        one("max_pool_backward.plain", shape, [=] { return max_pool_backward<T>(s); });
    }
    for (const auto& [side, channels] : response_norm_shapes(workload)) {
        const std::string shape = fmt::format("{0}x{0}x{1}", side, channels);
        for (const bool backward : {false, true}) {
            one(backward ? "local_response_norm_backward.plain" : "local_response_norm_forward.plain", shape,
                [=, rows = std::int64_t{n} * side * side, k = channels] {
                    return response_norm<T>(rows, k, backward);
                });
        }
    }
    one("softmax_cross_entropy_forward.plain", "c7", [=] { return loss<T>(n, 7, false); });
    one("softmax_cross_entropy_backward.plain", "c7", [=] { return loss<T>(n, 7, true); });
    for (const char* preset : {"light", "full"}) {
        one(fmt::format("augment.{}", preset), fmt::format("{0}x{0}", workload.size),
            [=, size = workload.size] { return augment<T>(preset, n, size); });
    }
    one("dropout_forward.plain", fmt::format("c{}", c), [=] { return dropout<T>(std::int64_t{n} * c); });
    const ConvLayer& widest = layers[1];
    const std::int64_t values = std::int64_t{n} * widest.side_out * widest.side_out * widest.k;
    const std::string shape = fmt::format("{}x{}x{}", widest.side_out, widest.side_out, widest.k);
    one("add.plain", shape, [=] { return add<T>(values); });
    one("relu_forward.plain", shape, [=] { return relu<T>(values, false); });
    one("relu_backward.plain", shape, [=] { return relu<T>(values, true); });
    if (sizeof(T) == 2) {
        one("cast.to_bf16", shape, [=] { return cast_to_bf16(values); });
    }
}

}  // namespace

std::vector<CudaCase> other_cases(const Workload& workload) {
    std::vector<CudaCase> cases;
    add_cases<float>(cases, workload);
    add_cases<BFloat16>(cases, workload);
    std::vector<std::int64_t> sizes;
    std::int64_t all = 0;
    const std::unique_ptr<Model> model = make_model("mobilenet_v2", {.width = workload.width});
    for (const ParameterRef& parameter : model->parts().parameters) {
        sizes.push_back(parameter.variable.value().elements());
        all += sizes.back();
    }
    const std::string shape = fmt::format("{}_tensors_{}_values", sizes.size(), all);
    const auto one = [&](std::string op, Rule rule) {
        cases.push_back({op, "fp32", shape, [=] { return optimizer(sizes, rule); }});
    };
    one("sgd_step.momentum", Rule::sgd);
    one("rmsprop_step.momentum", Rule::rmsprop);
    one("adamw_step.plain", Rule::adamw);
    one("gradient_scale.norm", Rule::clip);
    one("ema_update.plain", Rule::ema);
    return cases;
}

}  // namespace cutis::bench
