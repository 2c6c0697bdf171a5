#include <utility>

#include "engine/on_device.h"
#include "engine/op_support.h"
#include "engine/ops.h"
#include "engine/profiler.h"
#include "engine/trace.h"
#include "kernels/error.h"

namespace cutis {

using detail::gradient_for;
using detail::hand_over;
using detail::pointer_or_null;

Variable batchnorm(const Variable& y, const Variable& gamma, const Variable& beta, BatchNormState& state,
                   Activation act, const Variable& residual, bool training) {
    const Shape& ys = y.shape();
    require(ys.rank() >= 2, "batchnorm: the input is {}; at least rows x channels was expected", to_string(ys));
    const Shape channels{ys[-1]};
    require(gamma.shape() == channels && beta.shape() == channels && state.running_mean.shape() == channels &&
                state.running_var.shape() == channels,
            "batchnorm: parameters {} do not fit an input {}", to_string(gamma.shape()), to_string(ys));
    require(!residual || residual.shape() == ys, "batchnorm: residual {} for an output {}",
            residual ? to_string(residual.shape()) : "", to_string(ys));
    const int c = static_cast<int>(ys[-1]);
    const std::int64_t rows = c == 0 ? 0 : ys.elements() / c;

    const ProfileRange range("batchnorm", gamma.name());
    const Device device = y.value().device();
    const DType type = y.value().dtype();
    const auto per_channel = [&] { return Tensor::empty(channels, DType::f32, device); };
    Tensor scale = per_channel(), shift = per_channel(), inv_std = per_channel();
    Tensor mean = state.running_mean, var = state.running_var;
    if (training) {
        mean = per_channel();
        var = per_channel();
    }
    Tensor z = Tensor::empty(ys, type, device);
    // A vendor's batchnorm takes its activation's gradient from its output, which a residual would hide.
    const bool by_vendor = training && on::by_vendor(device) && !(residual && act != Activation::identity);
    by_type(type, [&]<class T>() {
        const T* const raw = y.value().data<T>();
        const T* const added = residual ? residual.value().data<T>() : nullptr;
        if (by_vendor || (training && on::batchnorm_forward_fits<T>(device, rows, c))) {
            const BatchnormSaved saved{mean.data(), var.data(), scale.data(), shift.data(), inv_std.data()};
            on::batchnorm_forward(device, z.data<T>(), saved, raw, gamma.value().data(), beta.value().data(), state.eps,
                                  act, added, rows, c);
            return;
        }
        if (training) {
            on::batchnorm_statistics(device, mean.data(), var.data(), raw, rows, c);
        }
        on::batchnorm_fold(device, scale.data(), shift.data(), inv_std.data(), gamma.value().data(),
                           beta.value().data(), mean.data(), var.data(), state.eps, c);
        on::batchnorm_normalize(device, z.data<T>(), raw, Normalize{scale.data(), shift.data(), act}, added, rows, c);
    });
    if (training) {
        on::batchnorm_update_running(device, state.running_mean.data(), state.running_var.data(), mean.data(),
                                     var.data(), rows, state.momentum, c);
        state.running_mean.mark_changed();
        state.running_var.mark_changed();
    }
    profile_work(0, {&y.value(), residual ? &residual.value() : nullptr, &z});
    trace_attributes<BatchNormAttributes>(state.running_mean, state.running_var, state.eps, act, training);
    return record(
        "batchnorm", z, {y, gamma, beta, residual},
        [y, gamma, beta, residual, act, rows, c, channels, training, by_vendor, scale, shift, inv_std,
         var = std::as_const(var), eps = state.eps, saved_mean = Saved(mean, "batchnorm"),
         saved_y = Saved(y.value(), "batchnorm"), saved_gamma = Saved(gamma.value(), "batchnorm"),
         saved_z = by_vendor && act != Activation::identity ? Saved(z, "batchnorm") : Saved()](const Tensor& dz) {
            const Device on_this = dz.device();
            const auto vector = [&] { return Tensor::empty(channels, DType::f32, on_this); };
            Tensor dgamma = vector(), dbeta = vector();
            const Normalize normalize{scale.data(), shift.data(), act};
            const float* const center = saved_mean.get().data();
            by_type(dz.dtype(), [&]<class T>() {
                const T* const raw = saved_y.get().data<T>();
                if (by_vendor) {
                    Tensor dy = gradient_for(y);
                    on::batchnorm_backward(
                        on_this, pointer_or_null<T>(dy), dgamma.data(), dbeta.data(), dz.data<T>(), raw,
                        act != Activation::identity ? std::as_const(saved_z.get()).data<T>() : nullptr,
                        BatchnormBatch{center, var.data(), inv_std.data(), eps}, saved_gamma.get().data(), act, rows,
                        c);
                    profile_work(0, {&dy});
                    hand_over(y, dy);
                    return;
                }
                on::batchnorm_reduce(on_this, static_cast<T*>(nullptr),
                                     NormalizeBackward{center, inv_std.data(), dgamma.data(), dbeta.data()},
                                     dz.data<T>(), raw, normalize, rows, c);
                if (y.requires_grad()) {
                    Tensor a = scale, b, d;
                    if (training) {
                        a = vector();
                        b = vector();
                        d = vector();
                        on::batchnorm_gradient_coefficients(on_this, a.data(), b.data(), d.data(),
                                                            saved_gamma.get().data(), center, inv_std.data(),
                                                            dgamma.data(), dbeta.data(), rows, c);
                    } else {
                        b = Tensor::zeros(channels, DType::f32, on_this);
                        d = Tensor::zeros(channels, DType::f32, on_this);
                    }
                    Tensor dy = Tensor::empty(y.shape(), dz.dtype(), on_this);
                    on::batchnorm_apply_gradient(on_this, dy.data<T>(), dz.data<T>(),
                                                 GradientOnLoadT<T>{raw, a.data(), b.data(), d.data()}, &normalize,
                                                 rows, c);
                    profile_work(0, {&dy});
                    y.accumulate(dy);
                }
            });
            profile_work(0, {&dz, &saved_y.get()});
            gamma.accumulate(dgamma);
            beta.accumulate(dbeta);
            residual.accumulate(dz);
        });
}

}  // namespace cutis
