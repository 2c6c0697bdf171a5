#include <bit>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/vendor/onednn.h"
#include "kernels/vendor/onednn_primitive.h"

// Batchnorm in training. The library can join ReLU on, not ReLU6, and then wants a mask kept; the activation is a
// primitive of its own here, in place, and takes its gradient from its output.

namespace cutis::onednn {
namespace {

using namespace detail;

constexpr auto kTraining = dnnl::prop_kind::forward_training;
const auto kFlags = dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;

Key key_of(std::string_view operation, std::int64_t rows, int c, float eps) {
    return {operation, {rows, c, std::bit_cast<std::int32_t>(eps)}};
}
memory::desc pixels(std::int64_t rows, int c) {
    return layout({1, c, 1, rows}, memory::format_tag::nhwc);
}
auto forward_description(const memory::desc& y, float eps) {
    return describe<dnnl::batch_normalization_forward>(kTraining, y, CUTIS_ONLY_ONEDNN3(y, ) eps, kFlags)();
}

}  // namespace

void batchnorm_forward(float* z, const BatchnormSaved& saved, const float* y, const float* gamma, const float* beta,
                       float eps, Activation act, const float* residual, std::int64_t rows, int c) {
    require(rows > 0 && c > 0, "batchnorm: {} rows of {} channels", rows, c);
    require(residual == nullptr || act == Activation::identity, "oneDNN, batchnorm: a residual behind an activation");
    const Key key = key_of("batchnorm", rows, c, eps);
    const Handle primitive = prepared(key, [&] {
        const memory::desc data = pixels(rows, c), channels = layout({c}, memory::format_tag::x);
        return prepare<dnnl::batch_normalization_forward>(forward_description(data, eps),
                                                          {{DNNL_ARG_SRC, data},
                                                           {DNNL_ARG_DST, data},
                                                           {DNNL_ARG_MEAN, channels},
                                                           {DNNL_ARG_VARIANCE, channels},
                                                           {DNNL_ARG_SCALE, channels},
                                                           {DNNL_ARG_SHIFT, channels}});
    });
    run(key, *primitive,
        {{DNNL_ARG_SRC, y},
         {DNNL_ARG_DST, z},
         {DNNL_ARG_MEAN, saved.mean},
         {DNNL_ARG_VARIANCE, saved.var},
         {DNNL_ARG_SCALE, gamma},
         {DNNL_ARG_SHIFT, beta}});
    cpu::batchnorm_fold(saved.scale, saved.shift, saved.inv_std, gamma, beta, saved.mean, saved.var, eps, c);
    if (act != Activation::identity) {
        activate(z, z, act, true, rows * c);
    }
    if (residual != nullptr) {
        add(z, z, residual, rows * c);
    }
}

void batchnorm_backward(float* dy, float* dgamma, float* dbeta, const float* dz, const float* y, const float* z,
                        const BatchnormBatch& batch, const float* gamma, Activation act, std::int64_t rows, int c) {
    require(rows > 0 && c > 0, "batchnorm's gradient: {} rows of {} channels", rows, c);
    const Key key = key_of("batchnorm's gradient", rows, c, batch.eps);
    const Handle primitive = prepared(key, [&] {
        const memory::desc data = pixels(rows, c), channels = layout({c}, memory::format_tag::x);
        return prepare<dnnl::batch_normalization_backward>(
            describe<dnnl::batch_normalization_backward>(dnnl::prop_kind::backward, data, data,
                                                         CUTIS_ONLY_ONEDNN3(data, ) batch.eps,
                                                         kFlags)(forward_description(data, batch.eps)),
            {{DNNL_ARG_SRC, data},
             {DNNL_ARG_DIFF_SRC, data},
             {DNNL_ARG_DIFF_DST, data},
             {DNNL_ARG_MEAN, channels},
             {DNNL_ARG_VARIANCE, channels},
             {DNNL_ARG_SCALE, channels},
             {DNNL_ARG_SHIFT, channels},
             {DNNL_ARG_DIFF_SCALE, channels},
             {DNNL_ARG_DIFF_SHIFT, channels}});
    });
    float* const into = dy != nullptr ? dy : thread_scratch(kGradient, rows * c);
    if (act != Activation::identity) {
        activation_gradient(into, dz, z, act, true, rows * c);
        dz = into;
    }
    run(key, *primitive,
        {{DNNL_ARG_SRC, y},
         {DNNL_ARG_DIFF_SRC, into},
         {DNNL_ARG_DIFF_DST, dz},
         {DNNL_ARG_MEAN, batch.mean},
         {DNNL_ARG_VARIANCE, batch.var},
         {DNNL_ARG_SCALE, gamma},
         {DNNL_ARG_SHIFT, gamma},  // oneDNN 2 asks for one and does not read it
         {DNNL_ARG_DIFF_SCALE, dgamma},
         {DNNL_ARG_DIFF_SHIFT, dbeta}});
}

}  // namespace cutis::onednn
