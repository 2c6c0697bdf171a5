#include <fmt/format.h>

#include "bench/cuda_cases.h"
#include "engine/cuda_device.h"
#include "kernels/depthwise.h"
#ifdef CUTIS_WITH_CUDNN
#include "kernels/vendor/cudnn.h"
#endif

namespace cutis::bench {
namespace {

std::int64_t values_in(const DepthwiseShape& s) {
    return std::int64_t{s.n} * s.h * s.w * s.c;
}
std::int64_t values_out(const DepthwiseShape& s) {
    return std::int64_t{s.n} * s.p() * s.q() * s.c;
}
double flops_of(const DepthwiseShape& s) {
    return 18.0 * static_cast<double>(values_out(s));
}

/// fused: the input is normalised when it is loaded, and the output's statistics come along.
template <class T>
PreparedCall forward(const DepthwiseShape& s, bool fused) {
    Arrays arrays;
    const Tensor x = arrays.input<T>(values_in(s)), w = arrays.input(9 * s.c);
    Tensor y = arrays.output<T>(values_out(s));
    PreparedCall call{arrays.bytes(), flops_of(s), [=, before = NormArrays(s.c), after = NormArrays(s.c)]() mutable {
                          const Normalize normalize = before.normalize();
                          const BatchStatistics statistics = after.statistics();
                          cuda::depthwise_forward<T>(y.data<T>(), x.data<T>(), w.data(), fused ? &normalize : nullptr,
                                                     fused ? &statistics : nullptr, s, stream_of(gpu()));
                      }};
#ifdef CUTIS_WITH_CUDNN
    if (!fused) {
        call.run_vendor = [=]() mutable {
            cudnn::depthwise_forward<T>(y.data<T>(), x.data<T>(), w.data(), nullptr, nullptr, s, stream_of(gpu()));
        };
    }
#endif
    return call;
}

/// One of the gradients, or both from one sweep; fused: batchnorm's gradient is made from g and y when it is loaded,
/// the input is normalised again, and the batchnorm before gets its sums.
template <class T>
PreparedCall backward(const DepthwiseShape& s, bool input, bool weight, bool fused) {
    Arrays arrays, uncounted;
    const Tensor x = (weight || fused ? arrays : uncounted).input<T>(values_in(s));
    const Tensor w = arrays.input(9 * s.c), g = arrays.input<T>(values_out(s));
    const Tensor y = fused ? arrays.input<T>(values_out(s)) : Tensor();
    Tensor dx = input ? arrays.output<T>(values_in(s)) : Tensor();
    Tensor dw = weight ? arrays.output(9 * s.c) : Tensor();
    PreparedCall call{arrays.bytes(), flops_of(s) * (input + weight),
                      [=, before = NormArrays(s.c), after = NormArrays(s.c)]() mutable {
                          const Normalize normalize = before.normalize();
                          const NormalizeBackward sums = before.backward();
                          GradientOnLoadT<T> gradient{};
                          if (fused) {
                              gradient = after.on_load<T>(y);
                          }
                          cuda::depthwise_backward<T>(dx ? dx.data<T>() : nullptr, dw ? dw.data() : nullptr,
                                                      g.data<T>(), fused ? &gradient : nullptr, x.data<T>(),
                                                      fused ? &normalize : nullptr, fused && input ? &sums : nullptr,
                                                      w.data(), s, stream_of(gpu()));
                      }};
#ifdef CUTIS_WITH_CUDNN
    if (!fused) {
        call.run_vendor = [=]() mutable {
            cudnn::depthwise_backward<T>(dx ? dx.data<T>() : nullptr, dw ? dw.data() : nullptr, g.data<T>(), nullptr,
                                         x.data<T>(), nullptr, nullptr, w.data(), s, stream_of(gpu()));
        };
    }
#endif
    return call;
}

template <class T>
void add(std::vector<CudaCase>& cases, const DepthwiseShape& s) {
    const std::string shape = fmt::format("{}x{}x{}_stride{}", s.h, s.w, s.c, s.stride);
    const auto one = [&](const char* op, auto make) { cases.push_back({op, type_name<T>(), shape, std::move(make)}); };
    one("depthwise_forward.plain", [s] { return forward<T>(s, false); });
    one("depthwise_forward.fused", [s] { return forward<T>(s, true); });
    one("depthwise_backward.input", [s] { return backward<T>(s, true, false, false); });
    one("depthwise_backward.weight", [s] { return backward<T>(s, false, true, false); });
    one("depthwise_backward.both", [s] { return backward<T>(s, true, true, false); });
    one("depthwise_backward.fused", [s] { return backward<T>(s, true, true, true); });
}

}  // namespace

std::vector<CudaCase> depthwise_cases(const Workload& workload) {
    std::vector<CudaCase> cases;
    for (const ConvLayer& layer : conv_layers(workload)) {
        if (layer.kind == "depthwise") {
            const DepthwiseShape shape{workload.batch, layer.side, layer.side, layer.c,
                                       layer.side_out == layer.side ? 1 : 2};
            add<float>(cases, shape);
            add<BFloat16>(cases, shape);
        }
    }
    return cases;
}

}  // namespace cutis::bench
