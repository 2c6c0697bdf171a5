#include <utility>

#include "engine/ops.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/error.h"
#include "kernels/linear.h"
#include "kernels/pointwise.h"

namespace cutis {
namespace {

void require_image(const char* op, const Shape& x) {
    require(x.rank() == 4, "{}: the input is {}; n x h x w x c was expected", op, to_string(x));
}

int as_int(std::int64_t size) { return static_cast<int>(size); }

// An uninitialised gradient for `x`, or null where it wants none.
Tensor gradient_for(const Variable& x) { return x.requires_grad() ? Tensor::empty(x.shape()) : Tensor(); }
float* pointer_or_null(Tensor& tensor) { return tensor ? tensor.data() : nullptr; }
void hand_over(const Variable& x, const Tensor& gradient) {
    if (gradient) {
        x.accumulate(gradient);
    }
}

}  // namespace

Variable conv2d(const Variable& x, const Variable& w, const Variable& bias, int stride, int padding, int groups) {
    const Shape &xs = x.shape(), &ws = w.shape();
    require_image("conv2d", xs);
    require(ws.rank() == 4 && groups >= 1 && xs[3] == ws[3] * groups && ws[0] % groups == 0,
            "conv2d: weights {} (k r s c/groups) do not fit an input {} in {} groups", to_string(ws), to_string(xs), groups);
    require(stride >= 1 && padding >= 0 && xs[1] + 2 * padding >= ws[1] && xs[2] + 2 * padding >= ws[2],
            "conv2d: a filter {} x {}, stride {}, padding {} does not fit an image {}", ws[1], ws[2], stride, padding,
            to_string(xs));
    require(!bias || bias.shape() == Shape{ws[0]}, "conv2d: bias {} for {} output channels",
            bias ? to_string(bias.shape()) : "", ws[0]);
    const ConvShape shape{as_int(xs[0]), as_int(xs[1]), as_int(xs[2]), as_int(xs[3]), as_int(ws[0]),
                          as_int(ws[1]), as_int(ws[2]), stride,        padding,       groups};
    Tensor y = Tensor::empty({xs[0], shape.p(), shape.q(), ws[0]});
    cpu::conv_forward(y.data(), x.value().data(), w.value().data(), bias ? bias.value().data() : nullptr, shape, nullptr);
    return record("conv2d", y, {x, w, bias},
                  [x, w, bias, shape, saved_x = Saved(x.value(), "conv2d"),
                   saved_w = Saved(w.value(), "conv2d")](const Tensor& dy) {
                      Tensor dx = gradient_for(x), dw = gradient_for(w), db = gradient_for(bias);
                      cpu::conv_backward(pointer_or_null(dx), pointer_or_null(dw), pointer_or_null(db), dy.data(), nullptr,
                                         saved_x.get().data(), saved_w.get().data(), shape);
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
    Tensor y = Tensor::empty({xs[0], xs[1], xs[2], ws[0]});
    cpu::pointwise_forward(y.data(), x.value().data(), w.value().data(), nullptr, nullptr, rows, c, k);
    return record("pointwise convolution", y, {x, w},
                  [x, w, rows, c, k, saved_x = Saved(x.value(), "pointwise convolution"),
                   saved_w = Saved(w.value(), "pointwise convolution")](const Tensor& dy) {
                      Tensor dx = gradient_for(x), dw = gradient_for(w);
                      cpu::pointwise_backward(pointer_or_null(dx), pointer_or_null(dw), dy.data(), nullptr,
                                              saved_x.get().data(), nullptr, nullptr, nullptr, saved_w.get().data(), rows,
                                              c, k);
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
    Tensor y = Tensor::empty({xs[0], shape.p(), shape.q(), xs[3]});
    cpu::depthwise_forward(y.data(), x.value().data(), w.value().data(), nullptr, nullptr, shape);
    return record("depthwise convolution", y, {x, w},
                  [x, w, shape, saved_x = Saved(x.value(), "depthwise convolution"),
                   saved_w = Saved(w.value(), "depthwise convolution")](const Tensor& dy) {
                      Tensor dx = gradient_for(x), dw = gradient_for(w);
                      cpu::depthwise_backward(pointer_or_null(dx), pointer_or_null(dw), dy.data(), nullptr,
                                              saved_x.get().data(), nullptr, nullptr, saved_w.get().data(), shape);
                      hand_over(x, dx);
                      hand_over(w, dw);
                  });
}

Variable linear(const Variable& x, const Variable& w, const Variable& bias) {
    const Shape &xs = x.shape(), &ws = w.shape();
    require(xs.rank() == 2 && ws.rank() == 2 && xs[1] == ws[1], "linear: weights {} (k c) do not fit an input {} (n c)",
            to_string(ws), to_string(xs));
    require(!bias || bias.shape() == Shape{ws[0]}, "linear: bias {} for {} outputs", bias ? to_string(bias.shape()) : "",
            ws[0]);
    const std::int64_t rows = xs[0];
    const int c = as_int(ws[1]), k = as_int(ws[0]);
    Tensor y = Tensor::empty({rows, ws[0]});
    cpu::linear_forward(y.data(), x.value().data(), w.value().data(), bias ? bias.value().data() : nullptr, rows, c, k);
    return record("linear", y, {x, w, bias},
                  [x, w, bias, rows, c, k, saved_x = Saved(x.value(), "linear"),
                   saved_w = Saved(w.value(), "linear")](const Tensor& dy) {
                      Tensor dx = gradient_for(x), dw = gradient_for(w), db = gradient_for(bias);
                      cpu::linear_backward(pointer_or_null(dx), pointer_or_null(dw), pointer_or_null(db), dy.data(),
                                           saved_x.get().data(), saved_w.get().data(), rows, c, k);
                      hand_over(x, dx);
                      hand_over(w, dw);
                      hand_over(bias, db);
                  });
}

}  // namespace cutis
