#pragma once

#include "engine/cuda_device.h"
#include "engine/dtype.h"
#include "kernels/augment.h"
#include "kernels/backend.h"
#include "kernels/batchnorm.h"
#include "kernels/concat.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/gather.h"
#include "kernels/linear.h"
#include "kernels/lrn.h"
#include "kernels/lstm.h"
#include "kernels/pointwise.h"
#include "kernels/pool.h"
#include "kernels/precision.h"
#include "kernels/softmax_cross_entropy.h"
#ifdef CUTIS_WITH_ONEDNN
#include "kernels/vendor/onednn.h"
#endif
#ifdef CUTIS_WITH_CUDNN
#include "kernels/vendor/cudnn.h"
#endif

/// One call for all devices and backends: `on::add(device, z, a, b, n)` runs cpu::add or cuda::add on the device's
/// stream, or, by Backend::vendor, onednn::add or cudnn::add where the library has the operation. The kernels' own
/// headers say what each does. A pair of device and type without a kernel (bf16 on the CPU) is an Error.

namespace cutis {

/// What fp32 matrix products on a GPU may do: with fp32 the tensor cores stay idle, with tf32 they round each input to
/// 10 bits of fraction. The CPU always computes in fp32.
MatrixPrecision matrix_precision();
void set_matrix_precision(MatrixPrecision precision);

/// call.operator()<T>() for the C++ type of an activation's dtype: float or BFloat16.
template <class Call>
decltype(auto) by_type(DType dtype, Call&& call) {
    require(dtype == DType::f32 || dtype == DType::bf16, "activations are f32 or bf16, not {}", dtype_name(dtype));
    return dtype == DType::bf16 ? call.template operator()<BFloat16>() : call.template operator()<float>();
}

namespace on {

namespace detail {
class Nobody;
[[noreturn]] inline void no_kernel(const char* name, Device device) {
    fail("{}: no kernel for this type of tensor on {}{}", name, to_string(device),
         device.kind == DeviceKind::cpu ? "; bf16 needs --device cuda" : "");
}
}  // namespace detail

/// Whether this build has a vendor's kernels for `device`.
constexpr bool has_vendor(Device device) {
    switch (device.kind) {
        case DeviceKind::cpu:
#ifdef CUTIS_WITH_ONEDNN
            return true;
#else
            return false;
#endif
        case DeviceKind::cuda:
            break;
    }
#ifdef CUTIS_WITH_CUDNN
    return true;
#else
    return false;
#endif
}
/// Whether they are wanted, too.
inline bool by_vendor(Device device) {
    return has_vendor(device) && backend() == Backend::vendor;
}

#ifdef CUTIS_WITH_ONEDNN
#define CUTIS_RUN_BY_ONEDNN(name)                              \
    if (device.kind == DeviceKind::cpu && by_vendor(device)) { \
        if constexpr (requires { onednn::name(args...); }) {   \
            onednn::name(args...);                             \
            return;                                            \
        }                                                      \
    }
#else
#define CUTIS_RUN_BY_ONEDNN(name)
#endif
#ifdef CUTIS_WITH_CUDNN
#define CUTIS_RUN_BY_CUDNN(name, ...)                                             \
    if (device.kind == DeviceKind::cuda && by_vendor(device)) {                   \
        if constexpr (requires { cudnn::name(args..., __VA_ARGS__ Stream{}); }) { \
            cudnn::name(args..., __VA_ARGS__ stream_of(device));                  \
            return;                                                               \
        }                                                                         \
    }
#else
#define CUTIS_RUN_BY_CUDNN(name, ...)
#endif
#ifdef CUTIS_WITH_CUDA
#define CUTIS_RUN_ON_CUDA(name, ...)                                             \
    if (device.kind == DeviceKind::cuda) {                                       \
        if constexpr (requires { cuda::name(args..., __VA_ARGS__ Stream{}); }) { \
            cuda::name(args..., __VA_ARGS__ stream_of(device));                  \
            return;                                                              \
        }                                                                        \
    }
#else
#define CUTIS_RUN_ON_CUDA(name, ...)
#endif
#define CUTIS_ON_DEVICE(name, ...)                            \
    CUTIS_NAME_IN_ALL(name)                                   \
    namespace on {                                            \
    template <class... Args>                                  \
    void name(Device device, Args... args) {                  \
        CUTIS_RUN_BY_ONEDNN(name)                             \
        CUTIS_RUN_BY_CUDNN(name, __VA_ARGS__)                 \
        CUTIS_RUN_ON_CUDA(name, __VA_ARGS__)                  \
        if (device.kind == DeviceKind::cpu) {                 \
            if constexpr (requires { cpu::name(args...); }) { \
                cpu::name(args...);                           \
                return;                                       \
            }                                                 \
        }                                                     \
        detail::no_kernel(#name, device);                     \
    }                                                         \
    }

// Not every kernel is everywhere. A name must stand in a namespace to be asked for there, so each gets an overload that
// nobody can call and that is defined nowhere.
#define CUTIS_NAME_IN_ALL(name)    \
    namespace cpu {                \
    void name(on::detail::Nobody); \
    }                              \
    namespace cuda {               \
    void name(on::detail::Nobody); \
    }                              \
    namespace onednn {             \
    void name(on::detail::Nobody); \
    }                              \
    namespace cudnn {              \
    void name(on::detail::Nobody); \
    }

}  // namespace on

CUTIS_ON_DEVICE(fill)
CUTIS_ON_DEVICE(add)
CUTIS_ON_DEVICE(cast)
CUTIS_ON_DEVICE(scale)
CUTIS_ON_DEVICE(axpy)
CUTIS_ON_DEVICE(activation_forward)
CUTIS_ON_DEVICE(activation_backward)
CUTIS_ON_DEVICE(batchnorm_statistics)
CUTIS_ON_DEVICE(batchnorm_fold)
CUTIS_ON_DEVICE(batchnorm_update_running)
CUTIS_ON_DEVICE(batchnorm_normalize)
CUTIS_ON_DEVICE(batchnorm_reduce)
CUTIS_ON_DEVICE(batchnorm_gradient_coefficients)
CUTIS_ON_DEVICE(batchnorm_apply_gradient)
CUTIS_ON_DEVICE(depthwise_forward)
CUTIS_ON_DEVICE(depthwise_backward)
CUTIS_ON_DEVICE(global_average_pool_forward)
CUTIS_ON_DEVICE(global_average_pool_backward)
CUTIS_ON_DEVICE(max_pool_forward)
CUTIS_ON_DEVICE(max_pool_backward)
CUTIS_ON_DEVICE(average_pool_forward)
CUTIS_ON_DEVICE(average_pool_backward)
CUTIS_ON_DEVICE(adaptive_average_pool_forward)
CUTIS_ON_DEVICE(adaptive_average_pool_backward)
CUTIS_ON_DEVICE(local_response_norm_forward)
CUTIS_ON_DEVICE(local_response_norm_backward)
CUTIS_ON_DEVICE(concat_channels)
CUTIS_ON_DEVICE(split_channels)
CUTIS_ON_DEVICE(gather_rows)
CUTIS_ON_DEVICE(softmax)
CUTIS_ON_DEVICE(softmax_cross_entropy_forward)
CUTIS_ON_DEVICE(softmax_cross_entropy_backward)
// Matrix products: on a GPU with the precision that is set.
#define CUTIS_COMMA ,
CUTIS_ON_DEVICE(pointwise_forward, matrix_precision() CUTIS_COMMA)
CUTIS_ON_DEVICE(pointwise_backward, matrix_precision() CUTIS_COMMA)
CUTIS_ON_DEVICE(conv_forward, matrix_precision() CUTIS_COMMA)
CUTIS_ON_DEVICE(conv_backward, matrix_precision() CUTIS_COMMA)
CUTIS_ON_DEVICE(linear_forward, matrix_precision() CUTIS_COMMA)
CUTIS_ON_DEVICE(linear_backward, matrix_precision() CUTIS_COMMA)
CUTIS_ON_DEVICE(lstm_forward, cuda::LstmOptions{matrix_precision()} CUTIS_COMMA)
CUTIS_ON_DEVICE(lstm_backward, cuda::LstmOptions{matrix_precision()} CUTIS_COMMA)

CUTIS_ON_DEVICE(vendor_local_response_norm_forward)  // these four with a workspace of a vendor's: by it alone
CUTIS_ON_DEVICE(vendor_local_response_norm_backward)
CUTIS_ON_DEVICE(vendor_lstm_forward, matrix_precision() CUTIS_COMMA)
CUTIS_ON_DEVICE(vendor_lstm_backward, matrix_precision() CUTIS_COMMA)
CUTIS_ON_DEVICE(batchnorm_forward)   // where it fits, or by the vendor
CUTIS_ON_DEVICE(batchnorm_backward)  // by the vendor alone: natively it is made of the parts above

namespace on {

/// Whether batchnorm_forward, which reads y once for statistics and output, takes these sizes: on a GPU, where a slice
/// of channels fits on chip.
template <class T>
bool batchnorm_forward_fits([[maybe_unused]] Device device, [[maybe_unused]] std::int64_t rows,
                            [[maybe_unused]] int c) {
#ifdef CUTIS_WITH_CUDA
    return device.kind == DeviceKind::cuda && cuda::batchnorm_forward_fits<T>(rows, c);
#else
    return false;
#endif
}
/// How many bytes max_pool_forward leaves for max_pool_backward.
inline std::int64_t max_pool_marks([[maybe_unused]] Device device, const PoolShape& shape) {
#ifdef CUTIS_WITH_ONEDNN
    if (device.kind == DeviceKind::cpu && by_vendor(device)) {
        return onednn::max_pool_marks(shape);
    }
#endif
    return std::int64_t{shape.n} * shape.p() * shape.q() * shape.c;
}

/// Whether a vendor normalises so, and the bytes that this leaves for its backward pass.
inline bool vendor_has([[maybe_unused]] Device device, [[maybe_unused]] const LocalResponseNorm& norm) {
#ifdef CUTIS_WITH_ONEDNN
    if (device.kind == DeviceKind::cpu) {
        return by_vendor(device) && onednn::serves(norm);
    }
#endif
    return false;
}
inline std::int64_t local_response_norm_workspace_bytes([[maybe_unused]] Device device,
                                                        [[maybe_unused]] const LocalResponseNorm& norm,
                                                        [[maybe_unused]] std::int64_t rows, [[maybe_unused]] int c) {
#ifdef CUTIS_WITH_ONEDNN
    if (device.kind == DeviceKind::cpu) {
        return onednn::local_response_norm_workspace_bytes(norm, rows, c);
    }
#endif
    return 0;
}

/// Bytes that a vendor's LSTM leaves for its backward pass.
inline std::int64_t lstm_workspace_bytes([[maybe_unused]] Device device, [[maybe_unused]] DType type,
                                         [[maybe_unused]] const LstmShape& shape) {
#ifdef CUTIS_WITH_ONEDNN
    if (device.kind == DeviceKind::cpu) {
        return onednn::lstm_workspace_bytes(shape);
    }
#endif
#ifdef CUTIS_WITH_CUDNN
    if (device.kind == DeviceKind::cuda) {
        return by_type(type, [&]<class T>() { return cudnn::lstm_workspace_bytes<T>(shape, matrix_precision()); });
    }
#endif
    return 0;
}

/// Makes a batch's images from bytes, on a GPU (kernels/augment.h); on the CPU apply_augmentation does.
template <class... Args>
void augment(Device device, [[maybe_unused]] Args... args) {
#ifdef CUTIS_WITH_CUDA
    if (device.kind == DeviceKind::cuda) {
        cuda::augment(args..., stream_of(device));
        return;
    }
#endif
    detail::no_kernel("augment", device);
}

#undef CUTIS_COMMA
#undef CUTIS_ON_DEVICE
#undef CUTIS_RUN_ON_CUDA
#undef CUTIS_RUN_BY_CUDNN
#undef CUTIS_RUN_BY_ONEDNN

}  // namespace on
}  // namespace cutis
