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
PreparedCall pointwise_backward(const Product& p, MatrixPath path, MatrixPrecision precision) {
    Arrays arrays;
    const bool behind = follows_batchnorm(p);
    const Tensor x = arrays.input<T>(p.rows * p.c), w = arrays.input<T>(std::int64_t{p.c} * p.k),
                 g = arrays.input<T>(p.rows * p.k), y = arrays.input<T>(p.rows * p.k);
    Tensor dx = arrays.output<T>(p.rows * p.c), dw = arrays.output(std::int64_t{p.c} * p.k);
    return {arrays.bytes(), 2.0 * p.flops(), [=, before = NormArrays(p.c), after = NormArrays(p.k)]() mutable {
                const ChosenPath chosen(path);
                const Normalize normalize = before.normalize();
                const NormalizeBackward sums = before.backward();
                const GradientOnLoadT<T> gradient = after.on_load<T>(y);
                cuda::pointwise_backward<T>(dx.data<T>(), dw.data(), g.data<T>(), &gradient, x.data<T>(),
                                            behind ? &normalize : nullptr, behind ? &sums : nullptr, nullptr,
                                            w.data<T>(), p.rows, p.c, p.k, precision, stream_of(gpu()));
            }};
}

/// The stem: its input is the image, which gets no gradient.
template <class T>
PreparedCall stem_forward(const ConvShape& s, MatrixPrecision precision) {
    Arrays arrays;
    const std::int64_t out = std::int64_t{s.n} * s.p() * s.q() * s.k;
    const Tensor x = arrays.input<T>(std::int64_t{s.n} * s.h * s.w * s.c), w = arrays.input<T>(s.k * s.r * s.s * s.c);
    Tensor y = arrays.output<T>(out);
    return {arrays.bytes(), 2.0 * static_cast<double>(out) * s.r * s.s * s.c, [=, after = NormArrays(s.k)]() mutable {
                const BatchStatistics statistics = after.statistics();
                cuda::conv_forward<T>(y.data<T>(), x.data<T>(), w.data<T>(), nullptr, s, &statistics, precision,
                                      stream_of(gpu()));
            }};
}

template <class T>
PreparedCall stem_backward(const ConvShape& s, MatrixPrecision precision) {
    Arrays arrays;
    const std::int64_t out = std::int64_t{s.n} * s.p() * s.q() * s.k;
    const Tensor x = arrays.input<T>(std::int64_t{s.n} * s.h * s.w * s.c), w = arrays.input<T>(s.k * s.r * s.s * s.c),
                 g = arrays.input<T>(out), y = arrays.input<T>(out);
    Tensor dw = arrays.output(s.k * s.r * s.s * s.c);
    return {arrays.bytes(), 2.0 * static_cast<double>(out) * s.r * s.s * s.c, [=, after = NormArrays(s.k)]() mutable {
                const GradientOnLoadT<T> gradient = after.on_load<T>(y);
                cuda::conv_backward<T>(nullptr, dw.data(), nullptr, g.data<T>(), &gradient, x.data<T>(), w.data<T>(), s,
                                       precision, stream_of(gpu()));
            }};
}

template <class T>
PreparedCall linear(const Product& p, bool backward, MatrixPrecision precision) {
    Arrays arrays;
    const Tensor x = arrays.input<T>(p.rows * p.c), w = arrays.input<T>(std::int64_t{p.c} * p.k);
    if (!backward) {
        const Tensor bias = arrays.input(p.k);
        Tensor y = arrays.output<T>(p.rows * p.k);
        return {arrays.bytes(), p.flops(), [=]() mutable {
                    cuda::linear_forward<T>(y.data<T>(), x.data<T>(), w.data<T>(), bias.data(), p.rows, p.c, p.k,
                                            precision, stream_of(gpu()));
                }};
    }
    const Tensor dy = arrays.input<T>(p.rows * p.k);
    Tensor dx = arrays.output<T>(p.rows * p.c), dw = arrays.output(std::int64_t{p.c} * p.k), db = arrays.output(p.k);
    return {arrays.bytes(), 2.0 * p.flops(), [=]() mutable {
                cuda::linear_backward<T>(dx.data<T>(), dw.data(), db.data(), dy.data<T>(), x.data<T>(), w.data<T>(),
                                         p.rows, p.c, p.k, precision, stream_of(gpu()));
            }};
}

template <class T>
void add(std::vector<CudaCase>& cases, const Workload& workload, MatrixPrecision precision) {
    const char* const type = precision == MatrixPrecision::tf32 ? "tf32" : type_name<T>();
    int features = 0;
    for (const ConvLayer& layer : conv_layers(workload)) {
        features = layer.k;
        if (layer.kind == "conv") {
            const ConvShape s{workload.batch, layer.side, layer.side, layer.c, layer.k, 3, 3, 2, 1};
            const std::string shape = fmt::format("{}x{}x{}_k{}_r3_stride2", s.h, s.w, s.c, s.k);
            cases.push_back({"stem_forward.fused", type, shape, [=] { return stem_forward<T>(s, precision); }});
            cases.push_back({"stem_backward.fused", type, shape, [=] { return stem_backward<T>(s, precision); }});
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
            cases.push_back({fmt::format("pointwise_backward.fused_{}", way.name), type, shape,
                             [=] { return pointwise_backward<T>(p, path, precision); }});
        }
    }
    const Product classifier{workload.batch, features, 7};
    const std::string shape = fmt::format("{}_k{}", classifier.c, classifier.k);
    cases.push_back({"linear_forward.plain", type, shape, [=] { return linear<T>(classifier, false, precision); }});
    cases.push_back({"linear_backward.plain", type, shape, [=] { return linear<T>(classifier, true, precision); }});
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
