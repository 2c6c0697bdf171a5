#include <fmt/format.h>

#include <algorithm>

#include "bench/cuda_cases.h"
#include "engine/cuda_device.h"

namespace cutis::bench {
namespace {

constexpr float kEps = 1e-5f;

struct Rows {
    std::int64_t rows;
    int c;
    std::int64_t values() const { return rows * c; }
};

template <class T>
PreparedCall statistics(const Rows& s) {
    Arrays arrays;
    const Tensor y = arrays.input<T>(s.values());
    return {arrays.bytes(), 3.0 * static_cast<double>(s.values()), [=, norm = NormArrays(s.c)]() mutable {
                cuda::batchnorm_statistics<T>(norm.batch_mean.data(), norm.batch_var.data(), y.data<T>(), s.rows, s.c,
                                              stream_of(gpu()));
            }};
}

template <class T>
PreparedCall normalize(const Rows& s, bool residual) {
    Arrays arrays;
    const Tensor y = arrays.input<T>(s.values());
    const Tensor added = residual ? arrays.input<T>(s.values()) : Tensor();
    Tensor z = arrays.output<T>(s.values());
    return {arrays.bytes(), 4.0 * static_cast<double>(s.values()), [=, norm = NormArrays(s.c)]() mutable {
                cuda::batchnorm_normalize<T>(z.data<T>(), y.data<T>(), norm.normalize(),
                                             residual ? added.data<T>() : nullptr, s.rows, s.c, stream_of(gpu()));
            }};
}

template <class T>
PreparedCall reduce(const Rows& s, bool stored) {
    Arrays arrays;
    const Tensor dz = arrays.input<T>(s.values()), y = arrays.input<T>(s.values());
    Tensor g = stored ? arrays.output<T>(s.values()) : Tensor();
    return {arrays.bytes(), 6.0 * static_cast<double>(s.values()), [=, norm = NormArrays(s.c)]() mutable {
                cuda::batchnorm_reduce<T>(stored ? g.data<T>() : nullptr, norm.backward(), dz.data<T>(), y.data<T>(),
                                          norm.normalize(), s.rows, s.c, stream_of(gpu()));
            }};
}

template <class T>
PreparedCall apply_gradient(const Rows& s) {
    Arrays arrays;
    const Tensor dz = arrays.input<T>(s.values()), y = arrays.input<T>(s.values());
    Tensor dy = arrays.output<T>(s.values());
    return {arrays.bytes(), 5.0 * static_cast<double>(s.values()), [=, norm = NormArrays(s.c)]() mutable {
                const GradientOnLoadT<T> on_load = norm.on_load<T>(y);
                const Normalize mask = norm.normalize();
                cuda::batchnorm_apply_gradient<T>(dy.data<T>(), dz.data<T>(), on_load, &mask, s.rows, s.c,
                                                  stream_of(gpu()));
            }};
}

/// The form that reads y once, where a slice of channels fits on chip.
template <class T>
PreparedCall single_read(const Rows& s) {
    Arrays arrays;
    const Tensor y = arrays.input<T>(s.values());
    Tensor z = arrays.output<T>(s.values());
    return {arrays.bytes(), 7.0 * static_cast<double>(s.values()), [=, norm = NormArrays(s.c)]() mutable {
                const BatchnormSaved saved{norm.batch_mean.data(), norm.batch_var.data(), norm.scale.data(),
                                           norm.shift.data(), norm.inv_std.data()};
                cuda::batchnorm_forward<T>(z.data<T>(), saved, y.data<T>(), norm.a.data(), norm.b.data(), kEps,
                                           Activation::relu6, nullptr, s.rows, s.c, stream_of(gpu()));
            }};
}

/// What turns statistics into scale and shift, moves the running ones and forms the gradient's coefficients: one launch
/// each, over c values.
PreparedCall fold(int c) {
    Arrays arrays;
    const Tensor gamma = arrays.input(c), beta = arrays.input(c), mean = arrays.input(c);
    const Tensor var = Tensor::full({c}, 1.0f, gpu());
    Tensor scale = arrays.output(c), shift = arrays.output(c), inv_std = arrays.output(c);
    return {arrays.bytes() + 4.0 * c, 5.0 * c, [=]() mutable {
                cuda::batchnorm_fold(scale.data(), shift.data(), inv_std.data(), gamma.data(), beta.data(), mean.data(),
                                     var.data(), kEps, c, stream_of(gpu()));
            }};
}
PreparedCall update_running(int c, std::int64_t rows) {
    Arrays arrays;
    const Tensor mean = arrays.input(c), var = arrays.input(c);
    Tensor running_mean = arrays.updated(c), running_var = arrays.updated(c);
    return {arrays.bytes(), 6.0 * c, [=]() mutable {
                cuda::batchnorm_update_running(running_mean.data(), running_var.data(), mean.data(), var.data(), rows,
                                               0.1f, c, stream_of(gpu()));
            }};
}
PreparedCall coefficients(int c, std::int64_t rows) {
    Arrays arrays;
    const Tensor gamma = arrays.input(c), mean = arrays.input(c), inv_std = arrays.input(c), dgamma = arrays.input(c),
                 dbeta = arrays.input(c);
    Tensor a = arrays.output(c), b = arrays.output(c), d = arrays.output(c);
    return {arrays.bytes(), 8.0 * c, [=]() mutable {
                cuda::batchnorm_gradient_coefficients(a.data(), b.data(), d.data(), gamma.data(), mean.data(),
                                                      inv_std.data(), dgamma.data(), dbeta.data(), rows, c,
                                                      stream_of(gpu()));
            }};
}

template <class T>
void add(std::vector<CudaCase>& cases, const Rows& s, const std::string& shape) {
    const auto one = [&](const char* op, auto make) { cases.push_back({op, type_name<T>(), shape, std::move(make)}); };
    one("batchnorm_statistics.plain", [s] { return statistics<T>(s); });
    one("batchnorm_normalize.plain", [s] { return normalize<T>(s, false); });
    one("batchnorm_normalize.residual", [s] { return normalize<T>(s, true); });
    one("batchnorm_reduce.sums", [s] { return reduce<T>(s, false); });
    one("batchnorm_reduce.masked", [s] { return reduce<T>(s, true); });
    one("batchnorm_apply_gradient.plain", [s] { return apply_gradient<T>(s); });
    if (cuda::batchnorm_forward_fits<T>(s.rows, s.c)) {
        one("batchnorm_forward.single_read", [s] { return single_read<T>(s); });
    }
}

}  // namespace

std::vector<CudaCase> batchnorm_cases(const Workload& workload) {
    std::vector<CudaCase> cases;
    std::vector<std::string> seen;
    for (const ConvLayer& layer : conv_layers(workload)) {
        const Rows s{std::int64_t{workload.batch} * layer.side_out * layer.side_out, layer.k};
        const std::string shape = fmt::format("{}x{}x{}", layer.side_out, layer.side_out, layer.k);
        if (std::find(seen.begin(), seen.end(), shape) == seen.end()) {
            seen.push_back(shape);
            add<float>(cases, s, shape);
            add<BFloat16>(cases, s, shape);
        }
    }
    const ConvLayer widest = conv_layers(workload).back();
    const int c = widest.k;
    const std::int64_t rows = std::int64_t{workload.batch} * widest.side_out * widest.side_out;
    const std::string shape = fmt::format("c{}", c);
    cases.push_back({"batchnorm_fold.plain", "fp32", shape, [=] { return fold(c); }});
    cases.push_back({"batchnorm_update_running.plain", "fp32", shape, [=] { return update_running(c, rows); }});
    cases.push_back({"batchnorm_gradient_coefficients.plain", "fp32", shape, [=] { return coefficients(c, rows); }});
    return cases;
}

}  // namespace cutis::bench
