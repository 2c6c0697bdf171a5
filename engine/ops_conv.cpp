#include <utility>

#include "engine/on_device.h"
#include "engine/op_support.h"
#include "engine/ops.h"
#include "engine/profiler.h"
#include "engine/trace.h"

namespace cutis {
namespace {

using detail::gradient_for;
using detail::hand_over;
using detail::pointer_or_null;
using detail::require_image;

int as_int(std::int64_t size) {
    return static_cast<int>(size);
}

const float* bias_or_null(const Variable& bias) {
    return bias ? bias.value().data() : nullptr;
}
// Floating-point operations of an output each of whose values is a sum of `terms` products.
double product_flops(const Tensor& y, std::int64_t terms) {
    return 2.0 * static_cast<double>(y.elements() * terms);
}
// What the gradients of such a product of x and w take: as much as the product for each that is wanted.
void profile_backward(double forward_flops, const Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& dx,
                      const Tensor& dw) {
    profile_work(forward_flops * ((dx ? 1 : 0) + (dw ? 1 : 0)), {&dy, dw ? &x : nullptr, dx ? &w : nullptr, &dx, &dw});
}

}  // namespace

Variable conv2d(const Variable& x, const Variable& w, const Variable& bias, int stride, int padding, int groups) {
    const Shape &xs = x.shape(), &ws = w.shape();
    require_image("conv2d", xs);
    require(ws.rank() == 4 && groups >= 1 && xs[3] == ws[3] * groups && ws[0] % groups == 0,
            "conv2d: weights {} (k r s c/groups) do not fit an input {} in {} groups", to_string(ws), to_string(xs),
            groups);
    require(stride >= 1 && padding >= 0 && xs[1] + 2 * padding >= ws[1] && xs[2] + 2 * padding >= ws[2],
            "conv2d: a filter {} x {}, stride {}, padding {} does not fit an image {}", ws[1], ws[2], stride, padding,
            to_string(xs));
    require(!bias || bias.shape() == Shape{ws[0]}, "conv2d: bias {} for {} output channels",
            bias ? to_string(bias.shape()) : "", ws[0]);
    const ConvShape shape{as_int(xs[0]), as_int(xs[1]), as_int(xs[2]), as_int(xs[3]), as_int(ws[0]),
                          as_int(ws[1]), as_int(ws[2]), stride,        padding,       groups};
    const ProfileRange range("conv2d", w.name());
    const Device device = x.value().device();
    Tensor y = Tensor::empty({xs[0], shape.p(), shape.q(), ws[0]}, x.value().dtype(), device);
    const Tensor weights = cast(w.value(), y.dtype());
    by_type(y.dtype(), [&]<class T>() {
        on::conv_forward(device, y.data<T>(), x.value().data<T>(), weights.data<T>(), bias_or_null(bias), shape,
                         static_cast<const BatchStatistics*>(nullptr));
    });
    const double flops = product_flops(y, ws[1] * ws[2] * ws[3]);
    profile_work(flops, {&x.value(), &weights, &y});
    trace_attributes<ConvAttributes>(stride, padding, groups);
    return record("conv2d", y, {x, w, bias},
                  [x, w, bias, shape, flops, saved_x = Saved(x.value(), "conv2d"), saved_w = Saved(w.value(), "conv2d"),
                   weights](const Tensor& dy) {
                      saved_w.get();
                      Tensor dx = gradient_for(x), dw = gradient_for(w), db = gradient_for(bias);
                      by_type(dy.dtype(), [&]<class T>() {
                          on::conv_backward(dy.device(), pointer_or_null<T>(dx), pointer_or_null<float>(dw),
                                            pointer_or_null<float>(db), dy.data<T>(),
                                            static_cast<const GradientOnLoadT<T>*>(nullptr), saved_x.get().data<T>(),
                                            weights.data<T>(), shape);
                      });
                      profile_backward(flops, dy, saved_x.get(), weights, dx, dw);
                      hand_over(x, dx);
                      hand_over(w, dw);
                      hand_over(bias, db);
                  });
}

Variable pointwise_conv(const Variable& x, const Variable& w) {
    const Shape &xs = x.shape(), &ws = w.shape();
    require_image("pointwise convolution", xs);
    require(ws.rank() == 2 && ws[1] == xs[3], "pointwise convolution: weights {} (k c) do not fit an input {}",
            to_string(ws), to_string(xs));
    const std::int64_t rows = xs[0] * xs[1] * xs[2];
    const int c = as_int(ws[1]), k = as_int(ws[0]);
    const ProfileRange range("pointwise convolution", w.name());
    const Device device = x.value().device();
    Tensor y = Tensor::empty({xs[0], xs[1], xs[2], ws[0]}, x.value().dtype(), device);
    const Tensor weights = cast(w.value(), y.dtype());
    const Normalize* const plain = nullptr;
    by_type(y.dtype(), [&]<class T>() {
        on::pointwise_forward(device, y.data<T>(), x.value().data<T>(), weights.data<T>(), plain,
                              static_cast<const BatchStatistics*>(nullptr), rows, c, k);
    });
    const double flops = product_flops(y, ws[1]);
    profile_work(flops, {&x.value(), &weights, &y});
    return record("pointwise convolution", y, {x, w},
                  [x, w, rows, c, k, plain, flops, saved_x = Saved(x.value(), "pointwise convolution"),
                   saved_w = Saved(w.value(), "pointwise convolution"), weights](const Tensor& dy) {
                      saved_w.get();
                      Tensor dx = gradient_for(x), dw = gradient_for(w);
                      by_type(dy.dtype(), [&]<class T>() {
                          on::pointwise_backward(dy.device(), pointer_or_null<T>(dx), pointer_or_null<float>(dw),
                                                 dy.data<T>(), static_cast<const GradientOnLoadT<T>*>(nullptr),
                                                 saved_x.get().data<T>(), plain,
                                                 static_cast<const NormalizeBackward*>(nullptr),
                                                 static_cast<const T*>(nullptr), weights.data<T>(), rows, c, k);
                      });
                      profile_backward(flops, dy, saved_x.get(), weights, dx, dw);
                      hand_over(x, dx);
                      hand_over(w, dw);
                  });
}

Variable depthwise_conv(const Variable& x, const Variable& w, int stride) {
    const Shape &xs = x.shape(), &ws = w.shape();
    require_image("depthwise convolution", xs);
    require(ws == Shape({3, 3, xs[3]}), "depthwise convolution: weights {} (3 x 3 x c) do not fit an input {}",
            to_string(ws), to_string(xs));
    const DepthwiseShape shape{as_int(xs[0]), as_int(xs[1]), as_int(xs[2]), as_int(xs[3]), stride};
    require(stride == 1 || stride == 2, "depthwise convolution: stride {}; 1 and 2 are supported", stride);
    const ProfileRange range("depthwise convolution", w.name());
    const Device device = x.value().device();
    Tensor y = Tensor::empty({xs[0], shape.p(), shape.q(), xs[3]}, x.value().dtype(), device);
    const Normalize* const plain = nullptr;
    by_type(y.dtype(), [&]<class T>() {
        on::depthwise_forward(device, y.data<T>(), x.value().data<T>(), w.value().data(), plain,
                              static_cast<const BatchStatistics*>(nullptr), shape);
    });
    const double flops = product_flops(y, ws[0] * ws[1]);
    profile_work(flops, {&x.value(), &w.value(), &y});
    trace_attributes<ConvAttributes>(stride, 1, shape.c);
    return record("depthwise convolution", y, {x, w},
                  [x, w, shape, plain, flops, saved_x = Saved(x.value(), "depthwise convolution"),
                   saved_w = Saved(w.value(), "depthwise convolution")](const Tensor& dy) {
                      Tensor dx = gradient_for(x), dw = gradient_for(w);
                      by_type(dy.dtype(), [&]<class T>() {
                          on::depthwise_backward(
                              dy.device(), pointer_or_null<T>(dx), pointer_or_null<float>(dw), dy.data<T>(),
                              static_cast<const GradientOnLoadT<T>*>(nullptr), saved_x.get().data<T>(), plain,
                              static_cast<const NormalizeBackward*>(nullptr), saved_w.get().data(), shape);
                      });
                      profile_backward(flops, dy, saved_x.get(), saved_w.get(), dx, dw);
                      hand_over(x, dx);
                      hand_over(w, dw);
                  });
}

Variable linear(const Variable& x, const Variable& w, const Variable& bias) {
    const Shape &xs = x.shape(), &ws = w.shape();
    require(xs.rank() == 2 && ws.rank() == 2 && xs[1] == ws[1], "linear: weights {} (k c) do not fit an input {} (n c)",
            to_string(ws), to_string(xs));
    require(!bias || bias.shape() == Shape{ws[0]}, "linear: bias {} for {} outputs",
            bias ? to_string(bias.shape()) : "", ws[0]);
    const std::int64_t rows = xs[0];
    const int c = as_int(ws[1]), k = as_int(ws[0]);
    const ProfileRange range("linear", w.name());
    const Device device = x.value().device();
    Tensor y = Tensor::empty({rows, ws[0]}, x.value().dtype(), device);
    const Tensor weights = cast(w.value(), y.dtype());
    by_type(y.dtype(), [&]<class T>() {
        on::linear_forward(device, y.data<T>(), x.value().data<T>(), weights.data<T>(), bias_or_null(bias), rows, c, k);
    });
    const double flops = product_flops(y, ws[1]);
    profile_work(flops, {&x.value(), &weights, &y});
    return record("linear", y, {x, w, bias},
                  [x, w, bias, rows, c, k, flops, saved_x = Saved(x.value(), "linear"),
                   saved_w = Saved(w.value(), "linear"), weights](const Tensor& dy) {
                      saved_w.get();
                      Tensor dx = gradient_for(x), dw = gradient_for(w), db = gradient_for(bias);
                      by_type(dy.dtype(), [&]<class T>() {
                          on::linear_backward(dy.device(), pointer_or_null<T>(dx), pointer_or_null<float>(dw),
                                              pointer_or_null<float>(db), dy.data<T>(), saved_x.get().data<T>(),
                                              weights.data<T>(), rows, c, k);
                      });
                      profile_backward(flops, dy, saved_x.get(), weights, dx, dw);
                      hand_over(x, dx);
                      hand_over(w, dw);
                      hand_over(bias, db);
                  });
}

}  // namespace cutis
