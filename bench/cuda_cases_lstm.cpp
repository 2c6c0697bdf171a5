#include <fmt/format.h>

#include "bench/cuda_cases.h"
#include "engine/cuda_device.h"
#include "kernels/lstm.h"
#ifdef CUTIS_WITH_CUDNN
#include "kernels/vendor/cudnn.h"
#endif

namespace cutis::bench {
namespace {

// Everything that one layer's pass reads and writes.
template <class T>
struct Layer {
    explicit Layer(const LstmShape& s)
        : x(arrays.input<T>(std::int64_t{s.n} * s.t * s.c)),
          w_ih(arrays.input<T>(std::int64_t{4} * s.h * s.c)),
          w_hh(arrays.input<T>(std::int64_t{4} * s.h * s.h)),
          bias(arrays.input(4 * s.h)) {}
    LstmWeightsT<T> weights() const { return {w_ih.data<T>(), w_hh.data<T>(), bias.data(), bias.data()}; }

    Arrays arrays;
    Tensor x, w_ih, w_hh, bias;
};

double flops_of(const LstmShape& s) {
    return static_cast<double>(s.n) * s.t * (8.0 * s.h * (s.c + s.h) + 30.0 * s.h);
}

#ifdef CUTIS_WITH_CUDNN
template <class T>
Tensor vendor_workspace(const LstmShape& s, const cuda::LstmOptions& options) {
    return Tensor::empty({cudnn::lstm_workspace_bytes<T>(s, options.precision)}, DType::u8, gpu());
}
#endif

template <class T>
PreparedCall forward(const LstmShape& s, const cuda::LstmOptions& options) {
    Layer<T> layer(s);
    const std::int64_t values = std::int64_t{s.n} * s.t * s.h;
    Tensor y = layer.arrays.template output<T>(values), gates = layer.arrays.template output<T>(4 * values),
           cells = layer.arrays.template output<float>(values);
    PreparedCall call{layer.arrays.bytes(), flops_of(s), [=]() mutable {
                          cuda::lstm_forward<T>(y.data<T>(), {gates.data<T>(), cells.data()},
                                                layer.x.template data<T>(), layer.weights(), {}, s, options,
                                                stream_of(gpu()));
                      }};
#ifdef CUTIS_WITH_CUDNN
    // The workspace on the first call: where the library is missing, that one says so.
    call.run_vendor = [=, workspace = Tensor(), last = Arrays().output(std::int64_t{s.n} * s.h)]() mutable {
        if (!workspace) {
            workspace = vendor_workspace<T>(s, options);
        }
        cudnn::vendor_lstm_forward<T>(y.data<T>(), last.data(), workspace.raw(), layer.x.template data<T>(),
                                      layer.weights(), {}, s, options.precision, stream_of(gpu()));
    };
#endif
    return call;
}

template <class T>
PreparedCall backward(const LstmShape& s, const cuda::LstmOptions& options) {
    Layer<T> layer(s);
    const std::int64_t values = std::int64_t{s.n} * s.t * s.h;
    const Tensor dy = layer.arrays.template input<T>(values), y = layer.arrays.template input<T>(values);
    Tensor gates = layer.arrays.template input<T>(4 * values), cells = layer.arrays.template input<float>(values);
    Tensor dx = layer.arrays.template output<T>(std::int64_t{s.n} * s.t * s.c),
           dw_ih = layer.arrays.template output<float>(std::int64_t{4} * s.h * s.c),
           dw_hh = layer.arrays.template output<float>(std::int64_t{4} * s.h * s.h),
           db = layer.arrays.template output<float>(4 * s.h);
    auto gradients = [=]() mutable {
        return LstmGradientsT<T>{
            .dx = dx.template data<T>(), .dw_ih = dw_ih.data(), .dw_hh = dw_hh.data(), .db = db.data()};
    };
    PreparedCall call{layer.arrays.bytes(), 2.0 * flops_of(s), [=]() mutable {
                          cuda::lstm_backward<T>(gradients(), dy.data<T>(), nullptr, layer.x.template data<T>(),
                                                 y.data<T>(), {gates.data<T>(), cells.data()}, layer.weights(), {}, s,
                                                 options, stream_of(gpu()));
                      }};
#ifdef CUTIS_WITH_CUDNN
    // What its forward pass leaves is read once, and has no meaning in later calls; it takes as long.
    call.run_vendor = [=, workspace = Tensor(), last = Arrays().output(std::int64_t{s.n} * s.h)]() mutable {
        if (!workspace) {
            workspace = vendor_workspace<T>(s, options);
            Tensor output = Arrays().output<T>(values);
            cudnn::vendor_lstm_forward<T>(output.data<T>(), last.data(), workspace.raw(), layer.x.template data<T>(),
                                          layer.weights(), {}, s, options.precision, stream_of(gpu()));
        }
        cudnn::vendor_lstm_backward<T>(gradients(), dy.data<T>(), nullptr, layer.x.template data<T>(), y.data<T>(),
                                       last.data(), workspace.raw(), layer.weights(), {}, s, options.precision,
                                       stream_of(gpu()));
    };
#endif
    return call;
}

template <class T>
void add(std::vector<CudaCase>& cases, const LstmShape& s) {
    const std::string shape = fmt::format("t{}_c{}_h{}", s.t, s.c, s.h);
    const auto form = [&](const char* name, cuda::LstmForm chosen) {
        const cuda::LstmOptions options{.form = chosen};
        cases.push_back(
            {fmt::format("lstm_forward.{}", name), type_name<T>(), shape, [=] { return forward<T>(s, options); }});
        cases.push_back(
            {fmt::format("lstm_backward.{}", name), type_name<T>(), shape, [=] { return backward<T>(s, options); }});
    };
    form("steps", cuda::LstmForm::steps);
    if (cuda::lstm_can_be_resident<T>(s.h)) {
        form("resident", cuda::LstmForm::resident);
    }
}

}  // namespace

// The pixels of MobileNetV2's last feature map as a sequence.
std::vector<CudaCase> lstm_cases(const Workload& workload) {
    std::vector<CudaCase> cases;
    const ConvLayer last = conv_layers(workload).back();
    const bool small = last.side_out == 1;
    const int steps = small ? 3 : last.side_out * last.side_out;
    for (const int h : small ? std::vector<int>{16} : std::vector<int>{64, 128, 256, 512, 1024}) {
        const LstmShape shape{workload.batch, steps, small ? 24 : last.k, h};
        add<float>(cases, shape);
        add<BFloat16>(cases, shape);
    }
    return cases;
}

}  // namespace cutis::bench
