#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "engine/on_device.h"
#include "engine/op_support.h"
#include "engine/ops.h"
#include "engine/profiler.h"
#include "engine/trace.h"

namespace cutis {
namespace {

using detail::require_image;

PoolShape pool_shape(const char* op, const Shape& x, const PoolOptions& options) {
    require_image(op, x);
    const auto size = [&](int dimension) { return static_cast<int>(x[dimension]); };
    const int stride = options.stride > 0 ? options.stride : options.window;
    const PoolShape shape{size(0), size(1), size(2), size(3), options.window, stride, options.padding, options.ceil};
    check_pool(shape);
    return shape;
}

Tensor pooled(const Tensor& x, int p, int q, DType dtype) {
    return Tensor::empty({x.size(0), p, q, x.size(3)}, dtype, x.device());
}

}  // namespace

Variable max_pool(const Variable& x, const PoolOptions& options) {
    const PoolShape shape = pool_shape("max pool", x.shape(), options);
    check_max_pool(shape);
    const ProfileRange range("max pool");
    const Device device = x.value().device();
    Tensor y = pooled(x.value(), shape.p(), shape.q(), x.value().dtype());
    Tensor marks = Tensor::empty({on::max_pool_marks(device, shape)}, DType::u8, device);
    by_type(y.dtype(), [&]<class T>() {
        on::max_pool_forward(device, y.data<T>(), marks.data<std::uint8_t>(), x.value().data<T>(), shape);
    });
    profile_work(0, {&x.value(), &y, &marks});
    trace_attributes<PoolOptions>(options);
    return record("max pool", y, {x}, [x, shape, marks = std::as_const(marks)](const Tensor& dy) {
        Tensor dx = Tensor::empty(x.shape(), dy.dtype(), dy.device());
        by_type(dy.dtype(), [&]<class T>() {
            on::max_pool_backward(dy.device(), dx.data<T>(), dy.data<T>(), marks.data<std::uint8_t>(), shape);
        });
        profile_work(0, {&dy, &marks, &dx});
        x.accumulate(dx);
    });
}

Variable average_pool(const Variable& x, const PoolOptions& options) {
    const PoolShape shape = pool_shape("average pool", x.shape(), options);
    const ProfileRange range("average pool");
    Tensor y = pooled(x.value(), shape.p(), shape.q(), x.value().dtype());
    by_type(y.dtype(),
            [&]<class T>() { on::average_pool_forward(y.device(), y.data<T>(), x.value().data<T>(), shape); });
    profile_work(0, {&x.value(), &y});
    trace_attributes<PoolOptions>(options);
    return record("average pool", y, {x}, [x, shape](const Tensor& dy) {
        Tensor dx = Tensor::empty(x.shape(), dy.dtype(), dy.device());
        by_type(dy.dtype(),
                [&]<class T>() { on::average_pool_backward(dy.device(), dx.data<T>(), dy.data<T>(), shape); });
        profile_work(0, {&dy, &dx});
        x.accumulate(dx);
    });
}

Variable adaptive_average_pool(const Variable& x, int p, int q) {
    const Shape& xs = x.shape();
    require_image("adaptive average pool", xs);
    const AdaptivePoolShape shape{
        static_cast<int>(xs[0]), static_cast<int>(xs[1]), static_cast<int>(xs[2]), static_cast<int>(xs[3]), p, q};
    check_pool(shape);
    const ProfileRange range("adaptive average pool");
    Tensor y = pooled(x.value(), p, q, x.value().dtype());
    by_type(y.dtype(),
            [&]<class T>() { on::adaptive_average_pool_forward(y.device(), y.data<T>(), x.value().data<T>(), shape); });
    profile_work(0, {&x.value(), &y});
    trace_attributes<AdaptivePoolAttributes>(p, q);
    return record("adaptive average pool", y, {x}, [x, shape](const Tensor& dy) {
        Tensor dx = Tensor::empty(x.shape(), dy.dtype(), dy.device());
        by_type(dy.dtype(),
                [&]<class T>() { on::adaptive_average_pool_backward(dy.device(), dx.data<T>(), dy.data<T>(), shape); });
        profile_work(0, {&dy, &dx});
        x.accumulate(dx);
    });
}

Variable local_response_norm(const Variable& x, const LocalResponseNorm& norm) {
    const Shape& xs = x.shape();
    require(xs.rank() >= 1, "local response norm: the input has no channels");
    const int c = static_cast<int>(xs[-1]);
    check_local_response_norm(norm, c);
    const std::int64_t rows = c > 0 ? xs.elements() / c : 0;
    const ProfileRange range("local response norm");
    Tensor y = Tensor::empty_like(x.value());
    const Device device = y.device();
    Tensor workspace;
    if (on::vendor_has(device, norm) && rows > 0) {
        workspace = Tensor::empty({on::local_response_norm_workspace_bytes(device, norm, rows, c)}, DType::u8, device);
    }
    by_type(y.dtype(), [&]<class T>() {
        if (workspace) {
            on::vendor_local_response_norm_forward(device, y.data<T>(), workspace.raw(), x.value().data<T>(), norm,
                                                   rows, c);
            return;
        }
        on::local_response_norm_forward(device, y.data<T>(), x.value().data<T>(), norm, rows, c);
    });
    profile_work(0, {&x.value(), &y});
    trace_attributes<LocalResponseNorm>(norm);
    return record("local response norm", y, {x},
                  [x, norm, rows, c, workspace, saved = Saved(x.value(), "local response norm")](const Tensor& dy) {
                      Tensor dx = Tensor::empty_like(dy);
                      by_type(dy.dtype(), [&]<class T>() {
                          if (workspace) {
                              on::vendor_local_response_norm_backward(dy.device(), dx.data<T>(), dy.data<T>(),
                                                                      saved.get().data<T>(), workspace.raw(), norm,
                                                                      rows, c);
                              return;
                          }
                          on::local_response_norm_backward(dy.device(), dx.data<T>(), dy.data<T>(),
                                                           saved.get().data<T>(), norm, rows, c);
                      });
                      profile_work(0, {&dy, &saved.get(), &dx});
                      x.accumulate(dx);
                  });
}

Variable concat_channels(std::span<const Variable> parts) {
    require(!parts.empty(), "concat: no parts");
    const Shape& first = parts.front().shape();
    require(first.rank() >= 1, "concat: a scalar has no channels");
    std::vector<std::int64_t> sizes(first.sizes().begin(), first.sizes().end());
    sizes.back() = 0;
    for (const Variable& part : parts) {
        const std::span<const std::int64_t> others = part.shape().sizes();
        require(std::equal(others.begin(), others.end() - (others.empty() ? 0 : 1), first.sizes().begin(),
                           first.sizes().end() - 1) &&
                    part.value().dtype() == parts.front().value().dtype(),
                "concat: {} and {} differ in more than their channels", to_string(first), to_string(part.shape()));
        sizes.back() += others.back();
    }
    const ProfileRange range("concat");
    Tensor y = Tensor::empty(Shape(sizes), parts.front().value().dtype(), parts.front().value().device());
    const std::int64_t rows = sizes.back() > 0 ? y.elements() / sizes.back() : 0;
    by_type(y.dtype(), [&]<class T>() {
        std::vector<ChannelPart<const T>> list;
        for (const Variable& part : parts) {
            list.push_back({part.value().data<T>(), static_cast<int>(part.shape()[-1])});
        }
        on::concat_channels(y.device(), y.data<T>(), std::span<const ChannelPart<const T>>(list), rows);
    });
    profile_work(0, {&y, &y});
    const std::vector<Variable> inputs(parts.begin(), parts.end());
    return record("concat", y, parts, [inputs, rows](const Tensor& dy) {
        std::vector<Tensor> gradients(inputs.size());
        by_type(dy.dtype(), [&]<class T>() {
            std::vector<ChannelPart<T>> list;
            for (std::size_t i = 0; i < inputs.size(); ++i) {
                const Shape& shape = inputs[i].shape();
                T* data = nullptr;
                if (inputs[i].requires_grad()) {
                    gradients[i] = Tensor::empty(shape, dy.dtype(), dy.device());
                    data = gradients[i].data<T>();
                }
                list.push_back({data, static_cast<int>(shape[-1])});
            }
            on::split_channels(dy.device(), std::span<const ChannelPart<T>>(list), dy.data<T>(), rows);
        });
        profile_work(0, {&dy, &dy});
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            if (gradients[i]) {
                inputs[i].accumulate(gradients[i]);
            }
        }
    });
}

}  // namespace cutis
