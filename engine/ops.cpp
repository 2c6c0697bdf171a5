#include "engine/ops.h"

#include "engine/on_device.h"
#include "engine/profiler.h"
#include "kernels/dropout.h"

namespace cutis {
namespace {

Variable clamp_activation(const char* name, const Variable& x, Activation act) {
    const ProfileRange range(name);
    Tensor y = Tensor::empty_like(x.value());
    by_type(y.dtype(), [&]<class T>() {
        on::activation_forward(y.device(), y.data<T>(), x.value().data<T>(), act, y.elements());
    });
    profile_work(0, {&x.value(), &y});
    return record(name, y, {x}, [x, act, saved = Saved(x.value(), name)](const Tensor& dy) {
        Tensor dx = Tensor::empty_like(dy);
        by_type(dy.dtype(), [&]<class T>() {
            on::activation_backward(dy.device(), dx.data<T>(), dy.data<T>(), saved.get().data<T>(), act, dx.elements());
        });
        profile_work(0, {&dy, &saved.get(), &dx});
        x.accumulate(dx);
    });
}

// Forward and backward are one map, with one mask.
void run_dropout(Tensor& out, const Tensor& in, float probability, const DropoutKey& key,
                 [[maybe_unused]] bool backward) {
    const Device device = in.device();
    if (device.kind == DeviceKind::cpu) {
        require(key.state == nullptr, "dropout: a step state is for a GPU");
        cpu::dropout_forward(out.data(), in.data(), probability, key.seed, key.offset, in.elements());
        return;
    }
#ifdef CUTIS_WITH_CUDA
    by_type(in.dtype(), [&]<class T>() {
        const cuda::StepOffset offset{key.state, key.offset, key.stride};
        const auto run = backward ? &cuda::dropout_backward<T> : &cuda::dropout_forward<T>;
        run(out.data<T>(), in.data<T>(), probability, key.seed, offset, in.elements(), stream_of(device));
    });
#endif
}

}  // namespace

Variable relu(const Variable& x) {
    return clamp_activation("relu", x, Activation::relu);
}

Variable relu6(const Variable& x) {
    return clamp_activation("relu6", x, Activation::relu6);
}

Variable add(const Variable& a, const Variable& b) {
    require(a.shape() == b.shape(), "add: {} and {} are not of one shape", to_string(a.shape()), to_string(b.shape()));
    const ProfileRange range("add");
    Tensor sum = Tensor::empty_like(a.value());
    by_type(sum.dtype(), [&]<class T>() {
        on::add(sum.device(), sum.data<T>(), a.value().data<T>(), b.value().data<T>(), sum.elements());
    });
    profile_work(0, {&a.value(), &b.value(), &sum});
    return record("add", sum, {a, b}, [a, b](const Tensor& dy) {
        a.accumulate(dy);
        b.accumulate(dy);
    });
}

Variable scale(const Variable& x, float factor) {
    const ProfileRange range("scale");
    const auto scaled = [factor](const Tensor& values) {
        Tensor result = Tensor::empty_like(values);
        by_type(result.dtype(), [&]<class T>() {
            on::scale(result.device(), result.data<T>(), values.data<T>(), factor, result.elements());
        });
        profile_work(0, {&values, &result});
        return result;
    };
    return record("scale", scaled(x.value()), {x}, [x, scaled](const Tensor& dy) { x.accumulate(scaled(dy)); });
}

Variable reshape(const Variable& x, const Shape& shape) {
    return record("reshape", x.value().reshape(shape), {x},
                  [x](const Tensor& dy) { x.accumulate(dy.reshape(x.shape())); });
}

Variable global_average_pool(const Variable& x) {
    const Shape& xs = x.shape();
    require(xs.rank() == 4 && xs[1] * xs[2] >= 1, "global average pool: the input is {}; n x h x w x c was expected",
            to_string(xs));
    const int n = static_cast<int>(xs[0]), hw = static_cast<int>(xs[1] * xs[2]), c = static_cast<int>(xs[3]);
    const ProfileRange range("global average pool");
    Tensor y = Tensor::empty({xs[0], xs[3]}, x.value().dtype(), x.value().device());
    const Normalize* const plain = nullptr;
    by_type(y.dtype(), [&]<class T>() {
        on::global_average_pool_forward(y.device(), y.data<T>(), x.value().data<T>(), plain, n, hw, c);
    });
    profile_work(0, {&x.value(), &y});
    return record("global average pool", y, {x}, [x, n, hw, c, plain](const Tensor& dy) {
        Tensor dx = Tensor::empty(x.shape(), dy.dtype(), dy.device());
        by_type(dy.dtype(), [&]<class T>() {
            on::global_average_pool_backward(dy.device(), dx.data<T>(), dy.data<T>(), static_cast<const T*>(nullptr),
                                             plain, static_cast<const NormalizeBackward*>(nullptr), n, hw, c);
        });
        profile_work(0, {&dy, &dx});
        x.accumulate(dx);
    });
}

Variable dropout(const Variable& x, float probability, DropoutKey key) {
    require(probability >= 0.0f && probability < 1.0f, "dropout: probability {} is not in [0, 1)", probability);
    if (probability == 0.0f) {
        return x;
    }
    const ProfileRange range("dropout");
    Tensor y = Tensor::empty_like(x.value());
    run_dropout(y, x.value(), probability, key, false);
    profile_work(0, {&x.value(), &y});
    return record("dropout", y, {x}, [x, probability, key](const Tensor& dy) {
        Tensor dx = Tensor::empty_like(dy);
        run_dropout(dx, dy, probability, key, true);
        profile_work(0, {&dy, &dx});
        x.accumulate(dx);
    });
}

Variable cross_entropy(const Variable& logits, const Tensor& labels, const LossOptions& options) {
    const Shape& shape = logits.shape();
    require(shape.rank() == 2 && labels.shape() == Shape{shape[0]}, "cross-entropy: logits {} (n c), labels {} (n)",
            to_string(shape), to_string(labels.shape()));
    require(!options.class_weights || options.class_weights.shape() == Shape{shape[1]},
            "cross-entropy: class weights {} for {} classes", to_string(options.class_weights.shape()), shape[1]);
    const int n = static_cast<int>(shape[0]), c = static_cast<int>(shape[1]);
    require(n >= 1, "cross-entropy: an empty batch has no mean loss");
    const auto kernel_options = [](const LossOptions& from) {
        return CrossEntropyOptions{from.class_weights ? from.class_weights.data() : nullptr, from.label_smoothing,
                                   from.focal_gamma};
    };
    const ProfileRange range("cross-entropy");
    const Device device = logits.value().device();
    Tensor loss = Tensor::empty({}, DType::f32, device), probabilities = Tensor::empty(shape, DType::f32, device);
    by_type(logits.value().dtype(), [&]<class T>() {
        on::softmax_cross_entropy_forward(device, loss.data(), static_cast<float*>(nullptr), probabilities.data(),
                                          logits.value().data<T>(), labels.data<std::int32_t>(),
                                          kernel_options(options), n, c);
    });
    profile_work(0, {&logits.value(), &labels, &probabilities});
    return record("cross-entropy", loss, {logits},
                  [logits, options, kernel_options, n, c, probabilities, saved_labels = Saved(labels, "cross-entropy"),
                   saved_weights = Saved(options.class_weights, "cross-entropy")](const Tensor& dloss) {
                      if (options.class_weights) {
                          saved_weights.get();
                      }
                      Tensor dlogits = Tensor::empty_like(logits.value());
                      const Device on_this = dlogits.device();
                      by_type(dlogits.dtype(), [&]<class T>() {
                          const auto run = [&](auto scale) {
                              on::softmax_cross_entropy_backward(
                                  on_this, dlogits.data<T>(), scale, probabilities.data(),
                                  saved_labels.get().data<std::int32_t>(), kernel_options(options), n, c);
                          };
                          // The gradient from above stays where it is: reading it here would wait for the GPU.
                          if (on_this.kind == DeviceKind::cpu) {
                              run(*dloss.data());
                          } else {
                              run(dloss.data());
                          }
                      });
                      profile_work(0, {&probabilities, &saved_labels.get(), &dlogits});
                      logits.accumulate(dlogits);
                  });
}

Tensor cast(const Tensor& tensor, DType dtype) {
    if (tensor.dtype() == dtype) {
        return tensor;
    }
    Tensor result = Tensor::empty(tensor.shape(), dtype, tensor.device());
    by_type(dtype, [&]<class To>() {
        by_type(tensor.dtype(), [&]<class From>() {
            on::cast(tensor.device(), result.data<To>(), tensor.data<From>(), tensor.elements());
        });
    });
    return result;
}

Tensor softmax(const Tensor& logits) {
    require(logits.shape().rank() == 2, "softmax: logits {}; n x c was expected", to_string(logits.shape()));
    Tensor probabilities = Tensor::empty(logits.shape(), DType::f32, logits.device());
    by_type(logits.dtype(), [&]<class T>() {
        on::softmax(logits.device(), probabilities.data(), logits.data<T>(), static_cast<int>(logits.size(0)),
                    static_cast<int>(logits.size(1)));
    });
    return probabilities;
}

}  // namespace cutis
