#include <utility>

#include "kernels/bfloat16.h"
#include "kernels/channel_checks.h"
#include "kernels/elementwise.h"
#include "kernels/filter_order.h"
#include "kernels/matrix_checks.h"
#include "kernels/vendor/cudnn.h"
#include "kernels/vendor/cudnn_graph.h"
#include "kernels/vendor/gpu_calls.h"

// Dense, grouped, depthwise and pointwise convolutions: one graph each for y, dx and dw. A pointwise one is a
// convolution of an image of one column.

namespace cutis::cudnn {
namespace {

using Addresses = std::vector<void*>;

Addresses addresses(std::initializer_list<const void*> list) {
    Addresses all;
    for (const void* const address : list) {
        all.push_back(const_cast<void*>(address));  // the library's list of inputs and outputs has one type
    }
    return all;
}

void refuse_joint(const char* op, bool joint) {
    require(!joint, "{}: cuDNN joins no batchnorm or sum on; pass null, or use --backend native", op);
}

// One convolution's shape in the library's terms.
struct Form {
    const char* name;
    Layout x, w, y;
    ConvolutionForm conv;
    std::int64_t groups;
};

Form form_of(const ConvShape& s) {
    return {"conv",
            channels_last(s.n, s.c, s.h, s.w),
            channels_last(s.k, s.c / s.groups, s.r, s.s),
            channels_last(s.n, s.k, s.p(), s.q()),
            {s.stride, s.padding},
            s.groups};
}
Form form_of(const DepthwiseShape& s) {
    return {"depthwise",
            channels_last(s.n, s.c, s.h, s.w),
            channels_last(s.c, 1, 3, 3),
            channels_last(s.n, s.c, s.p(), s.q()),
            {s.stride, 1},
            s.c};
}
Form pointwise_form(std::int64_t rows, int c, int k) {
    return {
        "pointwise", channels_last(1, c, rows, 1), channels_last(k, c, 1, 1), channels_last(1, k, rows, 1), {1, 0}, 1};
}

std::string text(const Form& f) {
    return fmt::format("{}x{}x{}x{} by {}x{}x{}x{} stride {} padding {} groups {}", f.x.dims[0], f.x.dims[2],
                       f.x.dims[3], f.x.dims[1], f.w.dims[0], f.w.dims[2], f.w.dims[3], f.w.dims[1], f.conv.stride,
                       f.conv.padding, f.groups);
}

template <class T>
Problem problem_of(const Form& form, const char* what, MatrixPrecision precision, const Addresses& all) {
    return {fmt::format("{} {}", form.name, what),
            text(form),
            kDataType<T>,
            sizeof(T) == 4 && precision == MatrixPrecision::fp32,
            alignment_of(all),
            current_device()};
}

// y = conv(x, w), and + bias in the same kernel where the library has one.
template <class T>
void forward(T* y, const T* x, const T* w, const float* bias, const Form& form, MatrixPrecision precision,
             Stream stream) {
    constexpr cudnnDataType_t type = kDataType<T>;
    if (bias != nullptr) {
        const Addresses all = addresses({x, w, bias, y});
        const bool joined = try_run(
            problem_of<T>(form, "with bias", precision, all),
            [&](Graph& graph) {
                const auto in = graph.tensor(form.x, type), filter = graph.tensor(form.w, type),
                           added = graph.tensor(per_channel(form.w.dims[0]), CUDNN_DATA_FLOAT),
                           out = graph.tensor(form.y, type), sum = graph.passed_on(form.y);
                graph.convolution_forward(sum, in, filter, form.conv);
                graph.pointwise({CUDNN_POINTWISE_ADD}, out, sum, added);
            },
            all, false, stream);
        if (joined) {
            return;
        }
    }
    const Addresses all = addresses({x, w, y});
    run(
        problem_of<T>(form, "forward", precision, all),
        [&](Graph& graph) {
            const auto in = graph.tensor(form.x, type), filter = graph.tensor(form.w, type),
                       out = graph.tensor(form.y, type);
            graph.convolution_forward(out, in, filter, form.conv);
        },
        all, false, stream);
    if (bias != nullptr) {
        const Addresses both = addresses({y, bias, y});
        Problem problem = problem_of<T>(form, "bias", precision, both);
        problem.exact_products = false;  // it has none
        run(
            problem,
            [&](Graph& graph) {
                const auto in = graph.tensor(form.y, type),
                           added = graph.tensor(per_channel(form.w.dims[0]), CUDNN_DATA_FLOAT),
                           out = graph.tensor(form.y, type);
                graph.pointwise({CUDNN_POINTWISE_ADD}, out, in, added);
            },
            both, true, stream);
    }
}

template <class T>
void input_gradient(T* dx, const T* dy, const T* w, const Form& form, MatrixPrecision precision, Stream stream) {
    const Addresses all = addresses({dy, w, dx});
    run(
        problem_of<T>(form, "input gradient", precision, all),
        [&](Graph& graph) {
            const auto gradient = graph.tensor(form.y, kDataType<T>), filter = graph.tensor(form.w, kDataType<T>),
                       out = graph.tensor(form.x, kDataType<T>);
            graph.convolution_backward_data(out, gradient, filter, form.conv);
        },
        all, false, stream);
}

// dw in the type of the activations: the library has no other.
template <class T>
void filter_gradient(T* dw, const T* dy, const T* x, const Form& form, MatrixPrecision precision, Stream stream) {
    const Addresses all = addresses({dy, x, dw});
    run(
        problem_of<T>(form, "filter gradient", precision, all),
        [&](Graph& graph) {
            const auto gradient = graph.tensor(form.y, kDataType<T>), in = graph.tensor(form.x, kDataType<T>),
                       out = graph.tensor(form.w, kDataType<T>);
            graph.convolution_backward_filter(out, gradient, in, form.conv);
        },
        all, false, stream);
}

std::int64_t values(const Layout& layout) {
    return layout.dims[0] * layout.dims[1] * layout.dims[2] * layout.dims[3];
}

template <class T>
void gradients(T* dx, float* dw, const T* dy, const T* x, const T* w, const Form& form, MatrixPrecision precision,
               Stream stream) {
    if (dx != nullptr) {
        input_gradient(dx, dy, w, form, precision, stream);
    }
    if (dw == nullptr) {
        return;
    }
    if constexpr (sizeof(T) == 4) {
        filter_gradient(dw, dy, x, form, precision, stream);
    } else {
        const ScratchBytes narrow(static_cast<std::size_t>(values(form.w)) * sizeof(T), stream);
        filter_gradient(static_cast<T*>(narrow.data()), dy, x, form, precision, stream);
        cuda::cast(dw, static_cast<const T*>(narrow.data()), values(form.w), stream);
    }
}

void zero(float* values_or_null, std::int64_t count, Stream stream) {
    if (values_or_null != nullptr) {
        zero_on_device(values_or_null, static_cast<std::size_t>(count) * sizeof(float), stream);
    }
}

}  // namespace

template <class T>
void conv_forward(T* y, const T* x, const T* w, const float* bias, const ConvShape& shape,
                  const BatchStatistics* statistics, MatrixPrecision precision, Stream stream) {
    refuse_joint("convolution", statistics != nullptr);
    cuda::check_convolution(shape);
    if (shape.n > 0) {
        forward(y, x, w, bias, form_of(shape), precision, stream);
    }
}

template <class T>
void conv_backward(T* dx, float* dw, float* db, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                   const T* w, const ConvShape& shape, MatrixPrecision precision, Stream stream) {
    refuse_joint("convolution", gradient_on_load != nullptr);
    cuda::check_convolution(shape);
    const Form form = form_of(shape);
    if (db != nullptr) {
        column_sums(db, g, std::int64_t{shape.n} * shape.p() * shape.q(), shape.k, stream);
    }
    if (shape.n == 0) {
        zero(dw, values(form.w), stream);
        return;
    }
    gradients(dx, dw, g, x, w, form, precision, stream);
}

template <class T>
void pointwise_forward(T* y, const T* x, const T* w, const Normalize* on_load, const BatchStatistics* statistics,
                       std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream) {
    refuse_joint("pointwise convolution", on_load != nullptr || statistics != nullptr);
    cuda::check_product(rows, k, c);
    if (rows > 0) {
        forward(y, x, w, nullptr, pointwise_form(rows, c, k), precision, stream);
    }
}

template <class T>
void pointwise_backward(T* dx, float* dw, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                        const Normalize* on_load, const NormalizeBackward* before, const T* dx_add, const T* w,
                        std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream) {
    refuse_joint("pointwise convolution",
                 gradient_on_load != nullptr || on_load != nullptr || before != nullptr || dx_add != nullptr);
    cuda::check_product(rows, k, c);
    if (rows == 0) {
        zero(dw, std::int64_t{k} * c, stream);
        return;
    }
    gradients(dx, dw, g, x, w, pointwise_form(rows, c, k), precision, stream);
}

template <class T>
void depthwise_forward(T* y, const T* x, const float* w, const Normalize* on_load, const BatchStatistics* statistics,
                       const DepthwiseShape& shape, Stream stream) {
    refuse_joint("depthwise convolution", on_load != nullptr || statistics != nullptr);
    cuda::check_depthwise(shape, false);
    if (shape.n == 0) {
        return;
    }
    const Form form = form_of(shape);
    const ScratchBytes filters(static_cast<std::size_t>(values(form.w)) * sizeof(T), stream);
    cuda::filters_from_taps(static_cast<T*>(filters.data()), w, 9, shape.c, stream);
    forward(y, x, static_cast<const T*>(filters.data()), nullptr, form, MatrixPrecision::fp32, stream);
}

template <class T>
void depthwise_backward(T* dx, float* dw, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* w,
                        const DepthwiseShape& shape, Stream stream) {
    refuse_joint("depthwise convolution", gradient_on_load != nullptr || on_load != nullptr || before != nullptr);
    cuda::check_depthwise(shape, false);
    const Form form = form_of(shape);
    if (shape.n == 0) {
        zero(dw, values(form.w), stream);
        return;
    }
    const ScratchBytes filters(static_cast<std::size_t>(values(form.w)) * sizeof(T), stream);
    T* const ordered = static_cast<T*>(filters.data());
    if (dx != nullptr) {
        cuda::filters_from_taps(ordered, w, 9, shape.c, stream);
        input_gradient(dx, g, std::as_const(ordered), form, MatrixPrecision::fp32, stream);
    }
    if (dw != nullptr) {
        filter_gradient(ordered, g, x, form, MatrixPrecision::fp32, stream);
        cuda::taps_from_filters(dw, std::as_const(ordered), 9, shape.c, stream);
    }
}

#define CUTIS_CONVOLUTIONS_OF(T)                                                                                    \
    template void conv_forward(T*, const T*, const T*, const float*, const ConvShape&, const BatchStatistics*,      \
                               MatrixPrecision, Stream);                                                            \
    template void conv_backward(T*, float*, float*, const T*, const GradientOnLoadT<T>*, const T*, const T*,        \
                                const ConvShape&, MatrixPrecision, Stream);                                         \
    template void pointwise_forward(T*, const T*, const T*, const Normalize*, const BatchStatistics*, std::int64_t, \
                                    int, int, MatrixPrecision, Stream);                                             \
    template void pointwise_backward(T*, float*, const T*, const GradientOnLoadT<T>*, const T*, const Normalize*,   \
                                     const NormalizeBackward*, const T*, const T*, std::int64_t, int, int,          \
                                     MatrixPrecision, Stream);                                                      \
    template void depthwise_forward(T*, const T*, const float*, const Normalize*, const BatchStatistics*,           \
                                    const DepthwiseShape&, Stream);                                                 \
    template void depthwise_backward(T*, float*, const T*, const GradientOnLoadT<T>*, const T*, const Normalize*,   \
                                     const NormalizeBackward*, const float*, const DepthwiseShape&, Stream);
CUTIS_CONVOLUTIONS_OF(float)
CUTIS_CONVOLUTIONS_OF(BFloat16)
#undef CUTIS_CONVOLUTIONS_OF

}  // namespace cutis::cudnn
