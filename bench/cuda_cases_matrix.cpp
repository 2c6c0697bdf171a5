#include <fmt/format.h>

#include "bench/cuda_cases.h"
#include "engine/cuda_device.h"
#include "kernels/conv.h"
#include "kernels/cublaslt.h"
#include "kernels/linear.h"
#include "kernels/pointwise.h"
#ifdef CUTIS_WITH_CUDNN
#include "kernels/vendor/cudnn.h"
#endif

namespace cutis::bench {
namespace {

using cuda::MatrixPath;

// How a matrix is multiplied, and what stands in a case's name for it.
struct Way {
    MatrixPath path;
    const char* name;
};
constexpr Way kWays[] = {{MatrixPath::own, "own"}, {MatrixPath::cublaslt, "cublaslt"}};

// A path is chosen for the whole process: for one call, and put back.
class ChosenPath {
  public:
    explicit ChosenPath(MatrixPath path) : before_(cuda::matrix_path()) { cuda::set_matrix_path(path); }
    ~ChosenPath() { cuda::set_matrix_path(before_); }
    ChosenPath(const ChosenPath&) = delete;
    ChosenPath& operator=(const ChosenPath&) = delete;

  private:
    MatrixPath before_;
};

struct Product {
    std::int64_t rows;
    int c, k;
    double flops() const { return 2.0 * static_cast<double>(rows) * c * k; }
};

/// A layer that narrows stands behind a depthwise convolution, whose batchnorm it applies when it loads; one that
/// widens stands at a block's start.
bool follows_batchnorm(const Product& p) {
    return p.k < p.c;
}

/// fused: as the schedule calls it, with the batchnorms on both sides; else the product alone.
template <class T>
PreparedCall pointwise_forward(const Product& p, bool fused, MatrixPath path, MatrixPrecision precision) {
    Arrays arrays;
    const Tensor x = arrays.input<T>(p.rows * p.c), w = arrays.input<T>(std::int64_t{p.c} * p.k);
    Tensor y = arrays.output<T>(p.rows * p.k);
    PreparedCall call{arrays.bytes(), p.flops(), [=, before = NormArrays(p.c), after = NormArrays(p.k)]() mutable {
                          const ChosenPath chosen(path);
                          const Normalize normalize = before.normalize();
                          const BatchStatistics statistics = after.statistics();
                          cuda::pointwise_forward<T>(y.data<T>(), x.data<T>(), w.data<T>(),
                                                     fused && follows_batchnorm(p) ? &normalize : nullptr,
                                                     fused ? &statistics : nullptr, p.rows, p.c, p.k, precision,
                                                     stream_of(gpu()));
                      }};
#ifdef CUTIS_WITH_CUDNN
    if (!fused) {
        call.run_vendor = [=]() mutable {
            cudnn::pointwise_forward<T>(y.data<T>(), x.data<T>(), w.data<T>(), nullptr, nullptr, p.rows, p.c, p.k,
                                        precision, stream_of(gpu()));
        };
    }
#endif
    return call;
}

template <class T>
PreparedCall pointwise_backward(const Product& p, bool fused, MatrixPath path, MatrixPrecision precision) {
    Arrays arrays;
    const bool behind = fused && follows_batchnorm(p);
    const Tensor x = arrays.input<T>(p.rows * p.c), w = arrays.input<T>(std::int64_t{p.c} * p.k),
                 g = arrays.input<T>(p.rows * p.k), y = fused ? arrays.input<T>(p.rows * p.k) : Tensor();
    Tensor dx = arrays.output<T>(p.rows * p.c), dw = arrays.output(std::int64_t{p.c} * p.k);
    PreparedCall call{
        arrays.bytes(), 2.0 * p.flops(), [=, before = NormArrays(p.c), after = NormArrays(p.k)]() mutable {
            const ChosenPath chosen(path);
            const Normalize normalize = before.normalize();
            const NormalizeBackward sums = before.backward();
            GradientOnLoadT<T> gradient{};
            if (fused) {
                gradient = after.on_load<T>(y);
            }
            cuda::pointwise_backward<T>(dx.data<T>(), dw.data(), g.data<T>(), fused ? &gradient : nullptr, x.data<T>(),
                                        behind ? &normalize : nullptr, behind ? &sums : nullptr, nullptr, w.data<T>(),
                                        p.rows, p.c, p.k, precision, stream_of(gpu()));
        }};
#ifdef CUTIS_WITH_CUDNN
    if (!fused) {
        call.run_vendor = [=]() mutable {
            cudnn::pointwise_backward<T>(dx.data<T>(), dw.data(), g.data<T>(), nullptr, x.data<T>(), nullptr, nullptr,
                                         nullptr, w.data<T>(), p.rows, p.c, p.k, precision, stream_of(gpu()));
        };
    }
#endif
    return call;
}

std::int64_t values_in(const ConvShape& s) {
    return std::int64_t{s.n} * s.h * s.w * s.c;
}
std::int64_t values_out(const ConvShape& s) {
    return std::int64_t{s.n} * s.p() * s.q() * s.k;
}
std::int64_t filter_values(const ConvShape& s) {
    return std::int64_t{s.k} * s.r * s.s * s.c / s.groups;
}
double flops_of(const ConvShape& s) {
    return 2.0 * static_cast<double>(values_out(s)) * s.r * s.s * s.c / s.groups;
}

/// fused: with the batchnorm behind it.
template <class T>
PreparedCall conv_forward(const ConvShape& s, bool fused, MatrixPrecision precision) {
    Arrays arrays;
    const Tensor x = arrays.input<T>(values_in(s)), w = arrays.input<T>(filter_values(s));
    Tensor y = arrays.output<T>(values_out(s));
    PreparedCall call{arrays.bytes(), flops_of(s), [=, after = NormArrays(s.k)]() mutable {
                          const BatchStatistics statistics = after.statistics();
                          cuda::conv_forward<T>(y.data<T>(), x.data<T>(), w.data<T>(), nullptr, s,
                                                fused ? &statistics : nullptr, precision, stream_of(gpu()));
                      }};
#ifdef CUTIS_WITH_CUDNN
    if (!fused) {
        call.run_vendor = [=]() mutable {
            cudnn::conv_forward<T>(y.data<T>(), x.data<T>(), w.data<T>(), nullptr, s, nullptr, precision,
                                   stream_of(gpu()));
        };
    }
#endif
    return call;
}

/// An image gets no gradient.
template <class T>
PreparedCall conv_backward(const ConvShape& s, bool fused, MatrixPrecision precision) {
    Arrays arrays;
    const bool image = s.c == 3;
    const Tensor x = arrays.input<T>(values_in(s)), w = arrays.input<T>(filter_values(s)),
                 g = arrays.input<T>(values_out(s)), y = fused ? arrays.input<T>(values_out(s)) : Tensor();
    Tensor dw = arrays.output(filter_values(s)), dx = image ? Tensor() : arrays.output<T>(values_in(s));
    PreparedCall call{arrays.bytes(), flops_of(s) * (image ? 1.0 : 2.0), [=, after = NormArrays(s.k)]() mutable {
                          GradientOnLoadT<T> gradient{};
                          if (fused) {
                              gradient = after.on_load<T>(y);
                          }
                          cuda::conv_backward<T>(image ? nullptr : dx.data<T>(), dw.data(), nullptr, g.data<T>(),
                                                 fused ? &gradient : nullptr, x.data<T>(), w.data<T>(), s, precision,
                                                 stream_of(gpu()));
                      }};
#ifdef CUTIS_WITH_CUDNN
    if (!fused) {
        call.run_vendor = [=]() mutable {
            cudnn::conv_backward<T>(image ? nullptr : dx.data<T>(), dw.data(), nullptr, g.data<T>(), nullptr,
                                    x.data<T>(), w.data<T>(), s, precision, stream_of(gpu()));
        };
    }
#endif
    return call;
}

/// By our own product; the vendor's is cuBLASLt's between the same kernels.
template <class T>
PreparedCall linear(const Product& p, bool backward, MatrixPrecision precision) {
    Arrays arrays;
    const Tensor x = arrays.input<T>(p.rows * p.c), w = arrays.input<T>(std::int64_t{p.c} * p.k);
    const Tensor bias = backward ? Tensor() : arrays.input(p.k),
                 dy = backward ? arrays.input<T>(p.rows * p.k) : Tensor();
    Tensor y = backward ? Tensor() : arrays.output<T>(p.rows * p.k);
    Tensor dx = backward ? arrays.output<T>(p.rows * p.c) : Tensor();
    Tensor dw = backward ? arrays.output(std::int64_t{p.c} * p.k) : Tensor();
    Tensor db = backward ? arrays.output(p.k) : Tensor();
    const auto by = [=](MatrixPath path) {
        return [=]() mutable {
            const ChosenPath chosen(path);
            if (backward) {
                cuda::linear_backward<T>(dx.template data<T>(), dw.data(), db.data(), dy.template data<T>(),
                                         x.template data<T>(), w.template data<T>(), p.rows, p.c, p.k, precision,
                                         stream_of(gpu()));
            } else {
                cuda::linear_forward<T>(y.template data<T>(), x.template data<T>(), w.template data<T>(), bias.data(),
                                        p.rows, p.c, p.k, precision, stream_of(gpu()));
            }
        };
    };
    return {arrays.bytes(), p.flops() * (backward ? 2.0 : 1.0), by(MatrixPath::own), by(MatrixPath::cublaslt)};
}

template <class T>
void add(std::vector<CudaCase>& cases, const Workload& workload, MatrixPrecision precision) {
    const char* const type = precision == MatrixPrecision::tf32 ? "tf32" : type_name<T>();
    const auto conv = [&](const ConvShape& s, std::initializer_list<bool> forms) {
        const std::string shape = fmt::format("{}x{}x{}_k{}_r{}_stride{}{}", s.h, s.w, s.c, s.k, s.r, s.stride,
                                              s.groups > 1 ? fmt::format("_groups{}", s.groups) : "");
        for (const bool fused : forms) {
            const char* const form = fused ? "fused" : "plain";
            cases.push_back({fmt::format("conv_forward.{}", form), type, shape,
                             [=] { return conv_forward<T>(s, fused, precision); }});
            cases.push_back({fmt::format("conv_backward.{}", form), type, shape,
                             [=] { return conv_backward<T>(s, fused, precision); }});
        }
    };
    for (const ConvLayer& layer : conv_layers(workload)) {
        if (layer.kind == "conv") {
            const ConvShape s{workload.batch, layer.side, layer.side, layer.c, layer.k, 3, 3, 2, 1};
            conv(s, {true, false});
        }
        if (layer.kind != "pointwise") {
            continue;
        }
        const Product p{std::int64_t{workload.batch} * layer.side * layer.side, layer.c, layer.k};
        const std::string shape = fmt::format("{}x{}x{}_k{}", layer.side, layer.side, p.c, p.k);
        for (const Way& way : kWays) {
            const MatrixPath path = way.path;
            cases.push_back({fmt::format("pointwise_forward.plain_{}", way.name), type, shape,
                             [=] { return pointwise_forward<T>(p, false, path, precision); }});
            cases.push_back({fmt::format("pointwise_forward.fused_{}", way.name), type, shape,
                             [=] { return pointwise_forward<T>(p, true, path, precision); }});
            cases.push_back({fmt::format("pointwise_backward.plain_{}", way.name), type, shape,
                             [=] { return pointwise_backward<T>(p, false, path, precision); }});
            cases.push_back({fmt::format("pointwise_backward.fused_{}", way.name), type, shape,
                             [=] { return pointwise_backward<T>(p, true, path, precision); }});
        }
    }
    for (const ConvShape& s : dense_shapes(workload)) {
        conv(s, {false});
    }
    for (const auto& [c, k] : linear_shapes(workload)) {
        const Product p{workload.batch, c, k};
        const std::string shape = fmt::format("{}_k{}", c, k);
        cases.push_back({"linear_forward.own", type, shape, [=] { return linear<T>(p, false, precision); }});
        cases.push_back({"linear_backward.own", type, shape, [=] { return linear<T>(p, true, precision); }});
    }
}

}  // namespace

std::vector<CudaCase> matrix_cases(const Workload& workload) {
    std::vector<CudaCase> cases;
    add<float>(cases, workload, MatrixPrecision::fp32);
    add<float>(cases, workload, MatrixPrecision::tf32);
    add<BFloat16>(cases, workload, MatrixPrecision::fp32);
    return cases;
}

}  // namespace cutis::bench
