#include "engine/ops.h"
#include "kernels/batchnorm.h"
#include "kernels/error.h"

namespace cutis {

Variable batchnorm(const Variable& y, const Variable& gamma, const Variable& beta, BatchNormState& state, Activation act,
                   const Variable& residual, bool training) {
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

    Tensor scale = Tensor::empty(channels), shift = Tensor::empty(channels), inv_std = Tensor::empty(channels);
    Tensor mean = state.running_mean;
    if (training) {
        Tensor var = Tensor::empty(channels);
        mean = Tensor::empty(channels);
        cpu::batchnorm_statistics(mean.data(), var.data(), y.value().data(), rows, c);
        cpu::batchnorm_update_running(state.running_mean.data(), state.running_var.data(), mean.data(), var.data(), rows,
                                      state.momentum, c);
        state.running_mean.mark_changed();
        state.running_var.mark_changed();
        cpu::batchnorm_fold(scale.data(), shift.data(), inv_std.data(), gamma.value().data(), beta.value().data(),
                            mean.data(), var.data(), state.eps, c);
    } else {
        cpu::batchnorm_fold(scale.data(), shift.data(), inv_std.data(), gamma.value().data(), beta.value().data(),
                            mean.data(), state.running_var.data(), state.eps, c);
    }
    Tensor z = Tensor::empty(ys);
    cpu::batchnorm_normalize(z.data(), y.value().data(), {scale.data(), shift.data(), act},
                             residual ? residual.value().data() : nullptr, rows, c);
    return record("batchnorm", z, {y, gamma, beta, residual},
                  [y, gamma, beta, residual, act, rows, c, channels, training, scale, shift, inv_std,
                   saved_mean = Saved(mean, "batchnorm"), saved_y = Saved(y.value(), "batchnorm"),
                   saved_gamma = Saved(gamma.value(), "batchnorm")](const Tensor& dz) {
                      Tensor dgamma = Tensor::empty(channels), dbeta = Tensor::empty(channels);
                      const Normalize normalize{scale.data(), shift.data(), act};
                      const float* const raw = saved_y.get().data();
                      const float* const center = saved_mean.get().data();
                      cpu::batchnorm_reduce(nullptr, {center, inv_std.data(), dgamma.data(), dbeta.data()}, dz.data(), raw,
                                            normalize, rows, c);
                      if (y.requires_grad()) {
                          Tensor a = scale, b = Tensor::zeros(channels), d = Tensor::zeros(channels);
                          if (training) {
                              a = Tensor::empty(channels);
                              cpu::batchnorm_gradient_coefficients(a.data(), b.data(), d.data(), saved_gamma.get().data(),
                                                                   center, inv_std.data(), dgamma.data(), dbeta.data(),
                                                                   rows, c);
                          }
                          Tensor dy = Tensor::empty(y.shape());
                          cpu::batchnorm_apply_gradient(dy.data(), dz.data(), {raw, a.data(), b.data(), d.data()},
                                                        &normalize, rows, c);
                          y.accumulate(dy);
                      }
                      gamma.accumulate(dgamma);
                      beta.accumulate(dbeta);
                      residual.accumulate(dz);
                  });
}

}  // namespace cutis
