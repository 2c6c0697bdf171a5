#include <string>

#include "kernels/bfloat16.h"
#include "kernels/channel_checks.h"
#include "kernels/elementwise.h"
#include "kernels/vendor/cudnn.h"
#include "kernels/vendor/cudnn_graph.h"
#include "kernels/vendor/gpu_calls.h"

// Training's batchnorm. The library has it with relu or relu6 behind it in one kernel; of the gradients, in fp32, with
// the activation's before it. Whether the activation passes is read from z, strictly inside its clamp, by comparisons:
// what the library's own gradient of a clipped relu does where z is the clip itself, as all clipped values are, it does
// not say. Sums of a residual and gradients that have no joint kernel are passes of ours.

namespace cutis::cudnn {
namespace {

Layout layout_of(std::int64_t rows, int c) {
    return channels_last(rows, c, 1, 1);
}

template <class T>
Problem problem_of(const char* op, Activation act, std::int64_t rows, int c, std::span<void* const> all) {
    const char* const behind = act == Activation::relu ? " with relu" : act == Activation::relu6 ? " with relu6" : "";
    return {fmt::format("{}{}", op, behind),
            fmt::format("{} rows of {} channels", rows, c),
            kDataType<T>,
            false,
            alignment_of(all),
            current_device()};
}

template <class T>
bool forward(T* z, const BatchnormSaved& saved, const T* y, const float* gamma, const float* beta, float eps,
             Activation act, std::int64_t rows, int c, Stream stream) {
    std::vector<void*> all{
        const_cast<T*>(y), const_cast<float*>(gamma), const_cast<float*>(beta), saved.mean, saved.inv_std, z};
    const Problem problem = problem_of<T>("batchnorm", act, rows, c, all);
    all.push_back(&eps);
    return try_run(
        problem,
        [&](Graph& graph) {
            const Layout values = layout_of(rows, c), figures = per_channel(c);
            const auto in = graph.tensor(values, kDataType<T>), scale = graph.tensor(figures, CUDNN_DATA_FLOAT),
                       bias = graph.tensor(figures, CUDNN_DATA_FLOAT), mean = graph.tensor(figures, CUDNN_DATA_FLOAT),
                       inv_std = graph.tensor(figures, CUDNN_DATA_FLOAT), out = graph.tensor(values, kDataType<T>),
                       epsilon = graph.number();
            if (act == Activation::identity) {
                graph.batchnorm_forward(out, mean, inv_std, in, scale, bias, epsilon);
                return;
            }
            const auto normalised = graph.passed_on(values);
            graph.batchnorm_forward(normalised, mean, inv_std, in, scale, bias, epsilon);
            PointwiseForm clamp{CUDNN_POINTWISE_RELU_FWD, 0.0};
            if (act == Activation::relu6) {
                clamp.upper = 6.0;
            }
            graph.pointwise(clamp, out, normalised);
        },
        all, y == z, stream);
}

template <class T>
bool backward(T* dy, float* dgamma, float* dbeta, const T* dz, const T* y, const T* z, const BatchnormBatch& batch,
              const float* gamma, Activation act, std::int64_t rows, int c, Stream stream) {
    std::vector<void*> all{const_cast<T*>(dz),
                           const_cast<T*>(y),
                           const_cast<float*>(gamma),
                           const_cast<float*>(batch.mean),
                           const_cast<float*>(batch.inv_std),
                           dy,
                           dgamma,
                           dbeta};
    const bool masks = act != Activation::identity;
    if (masks) {
        all.push_back(const_cast<T*>(z));
    }
    const Problem problem = problem_of<T>("batchnorm gradient", act, rows, c, all);
    float lowest = 0.0f, highest = 6.0f;
    if (masks) {
        all.push_back(&lowest);
    }
    if (act == Activation::relu6) {
        all.push_back(&highest);
    }
    return try_run(
        problem,
        [&](Graph& graph) {
            const Layout values = layout_of(rows, c), figures = per_channel(c);
            auto gradient = graph.tensor(values, kDataType<T>);
            const auto in = graph.tensor(values, kDataType<T>), scale = graph.tensor(figures, CUDNN_DATA_FLOAT),
                       mean = graph.tensor(figures, CUDNN_DATA_FLOAT),
                       inv_std = graph.tensor(figures, CUDNN_DATA_FLOAT), out = graph.tensor(values, kDataType<T>),
                       dscale = graph.tensor(figures, CUDNN_DATA_FLOAT),
                       dbias = graph.tensor(figures, CUDNN_DATA_FLOAT);
            const auto passing = masks ? graph.tensor(values, kDataType<T>) : 0;
            const auto keep_where = [&](cudnnPointwiseMode_t comparison) {
                const auto inside = graph.passed_on(values, CUDNN_DATA_BOOLEAN),
                           kept = graph.passed_on(values, kDataType<T>);
                graph.pointwise({comparison}, inside, passing, graph.number());
                graph.pointwise({CUDNN_POINTWISE_MUL}, kept, gradient, inside);
                gradient = kept;
            };
            if (masks) {
                keep_where(CUDNN_POINTWISE_CMP_GT);
            }
            if (act == Activation::relu6) {
                keep_where(CUDNN_POINTWISE_CMP_LT);
            }
            graph.batchnorm_backward(out, dscale, dbias, gradient, in, mean, inv_std, scale);
        },
        all, dy == dz || dy == y, stream);
}

// Our own kernels, for channels that the library does not take.
template <class T>
void native_forward(T* z, const BatchnormSaved& saved, const T* y, const float* gamma, const float* beta, float eps,
                    Activation act, const T* residual, std::int64_t rows, int c, Stream stream) {
    cuda::batchnorm_statistics(saved.mean, saved.var, y, rows, c, stream);
    cuda::batchnorm_fold(saved.scale, saved.shift, saved.inv_std, gamma, beta, saved.mean, saved.var, eps, c, stream);
    cuda::batchnorm_normalize(z, y, Normalize{saved.scale, saved.shift, act}, residual, rows, c, stream);
}

template <class T>
void native_backward(T* dy, float* dgamma, float* dbeta, const T* g, const T* y, const BatchnormBatch& batch,
                     const float* gamma, std::int64_t rows, int c, Stream stream) {
    const std::size_t bytes = static_cast<std::size_t>(c) * sizeof(float);
    const ScratchBytes first(bytes, stream), second(bytes, stream), third(bytes, stream);
    float* const a = static_cast<float*>(first.data());
    float* const b = static_cast<float*>(second.data());
    float* const d = static_cast<float*>(third.data());
    cuda::batchnorm_reduce<T>(nullptr, NormalizeBackward{batch.mean, batch.inv_std, dgamma, dbeta}, g, y,
                              Normalize{gamma, gamma, Activation::identity}, rows, c, stream);
    cuda::batchnorm_gradient_coefficients(a, b, d, gamma, batch.mean, batch.inv_std, dgamma, dbeta, rows, c, stream);
    cuda::batchnorm_apply_gradient<T>(dy, g, GradientOnLoadT<T>{y, a, b, d}, nullptr, rows, c, stream);
}

}  // namespace

template <class T>
void batchnorm_forward(T* z, const BatchnormSaved& saved, const T* y, const float* gamma, const float* beta, float eps,
                       Activation act, const std::type_identity_t<T>* residual, std::int64_t rows, int c,
                       Stream stream) {
    require(residual == nullptr || act == Activation::identity,
            "batchnorm: cuDNN's has no residual behind an activation; leave one out, or use --backend native");
    cuda::check_batchnorm(rows, c, 1);
    if (!forward(z, saved, y, gamma, beta, eps, act, rows, c, stream)) {
        native_forward<T>(z, saved, y, gamma, beta, eps, act, residual, rows, c, stream);
        return;
    }
    cuda::batchnorm_complete(saved, gamma, beta, eps, c, stream);
    if (residual != nullptr) {
        cuda::add<T>(z, z, residual, rows * c, stream);
    }
}

template <class T>
void batchnorm_backward(std::type_identity_t<T>* dy, float* dgamma, float* dbeta, const T* dz, const T* y,
                        const std::type_identity_t<T>* z, const BatchnormBatch& batch, const float* gamma,
                        Activation act, std::int64_t rows, int c, Stream stream) {
    cuda::check_batchnorm(rows, c, 1);
    const std::size_t bytes = static_cast<std::size_t>(rows * c) * sizeof(T);
    const ScratchBytes unwanted(dy == nullptr ? bytes : 0, stream);  // the library always gives it
    T* const out = dy != nullptr ? dy : static_cast<T*>(unwanted.data());
    if (backward<T>(out, dgamma, dbeta, dz, y, z, batch, gamma, act, rows, c, stream)) {
        return;
    }
    const bool masks = act != Activation::identity;
    const ScratchBytes masked(masks ? bytes : 0, stream);
    const T* g = dz;
    if (masks) {
        T* const behind = static_cast<T*>(masked.data());
        cuda::activation_backward<T>(behind, dz, z, act, rows * c, stream);
        g = behind;
    }
    if (!masks ||
        !backward<T>(out, dgamma, dbeta, g, y, nullptr, batch, gamma, Activation::identity, rows, c, stream)) {
        native_backward<T>(out, dgamma, dbeta, g, y, batch, gamma, rows, c, stream);
    }
}

#define CUTIS_BATCHNORM_OF(T)                                                                                 \
    template void batchnorm_forward(T*, const BatchnormSaved&, const T*, const float*, const float*, float,   \
                                    Activation, const T*, std::int64_t, int, Stream);                         \
    template void batchnorm_backward(T*, float*, float*, const T*, const T*, const T*, const BatchnormBatch&, \
                                     const float*, Activation, std::int64_t, int, Stream);
CUTIS_BATCHNORM_OF(float)
CUTIS_BATCHNORM_OF(BFloat16)
#undef CUTIS_BATCHNORM_OF

}  // namespace cutis::cudnn
