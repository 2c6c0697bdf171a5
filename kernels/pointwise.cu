#include "kernels/pointwise.h"

#include <optional>

#include "kernels/cublaslt.h"
#include "kernels/gemm_traffic.cuh"
#include "kernels/matrix_checks.h"

// Pointwise convolution on two paths (cublaslt.h): the library's product between passes of its own kind, or everything
// in the products of gemm.cuh. x is rows x c, y is rows x k, s = sizeof(T).
//
//   forward     on load          product           in the epilogue           bytes: s rows times
//     own       x -> act(..)     z * w^T           y; mean, spread           c + k
//     library   z stored         z * w^T           y; read again             (c + c) + (c + k) + k
//
//   backward    g, y -> dy       dy * w            mask by x, reduce; dx     (k + k) + (c + c)
//     own       g, y -> dy; x -> z     dy^T * z    dw, in parts of the rows  (k + k) + c
//     library   dy, z stored     dy * w, dy^T * z  dx; read again            3 k + 2 c + (k + c) + (k + c) + 3 c
//
// w, dw and the parts of dw are small beside them. FLOPs: 2 rows c k for each product; a normalised or differentiated
// value costs two to four more, once per tile of columns. With c and k from 16 to 960 every product here is bound by
// memory, so that the own path's gain is the quotient of the last column, if its products keep up with the memory.
//
// Issued beyond that on the own path, and served by caches: a factor once for each tile of the other side, and the
// figures of on_load by every thread at every depth tile, which in bf16 are as many bytes as the values that they are
// applied to (4 bytes of scale and of shift, 32 threads to a column, for 128 rows of 2 bytes).

namespace cutis::cuda {
namespace {

using namespace matrix;

template <class T>
NormalizeOnLoad on_load_of(const Normalize* normalize) {
    return normalize == nullptr ? NormalizeOnLoad{}
                                : NormalizeOnLoad{normalize->scale, normalize->shift, clamp_of(normalize->act)};
}
template <class T>
DifferentiateOnLoad<T> on_load_of(const GradientOnLoadT<T>* gradient) {
    return gradient == nullptr ? DifferentiateOnLoad<T>{}
                               : DifferentiateOnLoad<T>{gradient->y, gradient->a, gradient->b, gradient->d};
}
// A contiguous matrix.
template <Storage kStorage, class OnLoad, class T>
Operand<MatrixView<T>, OnLoad, kStorage> operand(const T* data, std::int64_t rows, int cols, const OnLoad& on_load) {
    bool whole_chunks = in_chunks(data, cols);
    if constexpr (OnLoad::kGiven) {
        whole_chunks = whole_chunks && is_aligned(on_load);
    }
    return {{data, cols, static_cast<int>(rows), cols}, on_load, whole_chunks};
}

constexpr Storage kDepth = Storage::depth_contiguous, kWidth = Storage::width_contiguous;

template <class T>
void own_forward(T* y, const T* x, const T* w, const Normalize* on_load, const BatchStatistics* statistics,
                 std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream) {
    const Scratch<float> partials(statistics != nullptr ? std::int64_t{2} * tile_parts(rows) * k : 0, stream);
    Epilogue<T> epilogue{.out = y, .ld = k, .out_is_float = sizeof(T) == 4, .aligned = in_chunks(y, k)};
    if (statistics != nullptr) {
        epilogue.sums = ColumnSums::statistics;
        epilogue.partials = partials.data();
    }
    if (on_load == nullptr) {
        gemm_with<T>(Transpose::no, Transpose::yes, rows, k, c, x, c, w, c, epilogue, statistics == nullptr, precision,
                     stream);
    } else {
        for_tile<T>(precision, k, [&]<class Tile>() {
            multiply<Tile>(operand<kDepth>(x, rows, c, on_load_of<T>(on_load)), operand<kDepth>(w, k, c, AsItIs{}),
                           epilogue, static_cast<int>(rows), k, c, 1, false, stream);
        });
    }
    if (statistics != nullptr) {
        finish_tile_statistics(*statistics, partials.data(), rows, k, stream);
    }
}

template <class T>
void own_input_gradient(T* dx, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                        const Normalize* on_load, const NormalizeBackward* before, const T* dx_add, const T* w,
                        std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream) {
    const Scratch<float> partials(before != nullptr ? std::int64_t{2} * tile_parts(rows) * c : 0, stream);
    Epilogue<T> epilogue{.out = dx,
                         .ld = c,
                         .out_is_float = sizeof(T) == 4,
                         .aligned = in_chunks(dx, c) && in_chunks(before != nullptr ? x : dx_add, c),
                         .add = dx_add};
    if (before != nullptr) {
        epilogue.sums = ColumnSums::gradients;
        epilogue.partials = partials.data();
        epilogue.x = x;
        epilogue.scale = on_load->scale;
        epilogue.shift = on_load->shift;
        epilogue.mean = before->mean;
        epilogue.clamp = clamp_of(on_load->act);
    }
    if (gradient_on_load == nullptr) {
        gemm_with<T>(Transpose::no, Transpose::no, rows, c, k, g, k, w, c, epilogue, before == nullptr, precision,
                     stream);
    } else {
        for_tile<T>(precision, c, [&]<class Tile>() {
            multiply<Tile>(operand<kDepth>(g, rows, k, on_load_of<T>(gradient_on_load)),
                           operand<kWidth>(w, k, c, AsItIs{}), epilogue, static_cast<int>(rows), c, k, 1, false,
                           stream);
        });
    }
    if (before != nullptr) {
        finish_tile_gradients(*before, partials.data(), rows, c, stream);
    }
}

template <class T>
void own_weight_gradient(float* dw, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                         const Normalize* on_load, std::int64_t rows, int c, int k, MatrixPrecision precision,
                         Stream stream) {
    const Epilogue<T> epilogue{
        .out = dw, .ld = c, .out_is_float = true, .aligned = in_chunks(dw, c) && c % kVector<T> == 0};
    if (gradient_on_load == nullptr && on_load == nullptr) {
        gemm_with<T>(Transpose::yes, Transpose::no, k, c, rows, g, k, x, c, epilogue, true, precision, stream);
        return;
    }
    for_tile<T>(precision, c, [&]<class Tile>() {
        multiply<Tile>(operand<kWidth>(g, rows, k, on_load_of<T>(gradient_on_load)),
                       operand<kWidth>(x, rows, c, on_load_of<T>(on_load)), epilogue, k, c, static_cast<int>(rows), 1,
                       true, stream);
    });
}

template <class T>
void library_forward(T* y, const T* x, const T* w, const Normalize* on_load, const BatchStatistics* statistics,
                     std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream) {
    std::optional<Scratch<T>> normalized;
    if (on_load != nullptr) {
        normalized.emplace(rows * c, stream);
        batchnorm_normalize(normalized->data(), x, *on_load, nullptr, rows, c, stream);
        x = normalized->data();
    }
    matmul(Transpose::no, Transpose::yes, rows, k, c, x, c, w, c, false, y, k, precision, stream);
    if (statistics != nullptr) {
        batchnorm_statistics(statistics->mean, statistics->var, static_cast<const T*>(y), rows, k, stream);
    }
}

template <class T>
void library_input_gradient(T* dx, const T* dy, const T* x, const Normalize* on_load, const NormalizeBackward* before,
                            const T* dx_add, const T* w, std::int64_t rows, int c, int k, MatrixPrecision precision,
                            Stream stream) {
    if (dx_add != nullptr) {
        check(cudaMemcpyAsync(dx, dx_add, static_cast<std::size_t>(rows * c) * sizeof(T), cudaMemcpyDeviceToDevice,
                              handle(stream)),
              "pointwise convolution");
    }
    matmul(Transpose::no, Transpose::no, rows, c, k, dy, k, w, c, dx_add != nullptr, dx, c, precision, stream);
    if (before != nullptr) {
        batchnorm_reduce(dx, *before, static_cast<const T*>(dx), x, *on_load, rows, c, stream);
    }
}

}  // namespace

template <class T>
void pointwise_forward(T* y, const T* x, const T* w, const Normalize* on_load, const BatchStatistics* statistics,
                       std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream) {
    check_product(rows, k, c);
    check_rule(statistics == nullptr || rows >= 1,
               "pointwise convolution: statistics of no rows; at least one is needed");
    if (by_cublaslt(on_load != nullptr || statistics != nullptr)) {
        library_forward(y, x, w, on_load, statistics, rows, c, k, precision, stream);
    } else {
        own_forward(y, x, w, on_load, statistics, rows, c, k, precision, stream);
    }
}

template <class T>
void pointwise_backward(T* dx, float* dw, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                        const Normalize* on_load, const NormalizeBackward* before, const T* dx_add, const T* w,
                        std::int64_t rows, int c, int k, MatrixPrecision precision, Stream stream) {
    check_product(rows, k, c);
    check_rule(dx_add == nullptr || on_load == nullptr,
               "pointwise convolution: a gradient can be added to dx only where x is loaded as it is");
    check_rule(dx == nullptr || (before == nullptr) == (on_load == nullptr),
               "pointwise convolution: dx behind a normalised x goes with batchnorm gradients, and only that");
    // Of no rows the passes around the library's products have nothing to reduce; ours give zeros.
    const bool library_dx =
        dx != nullptr && rows > 0 && by_cublaslt(gradient_on_load != nullptr || before != nullptr || dx_add != nullptr);
    const bool library_dw = dw != nullptr && rows > 0 && by_cublaslt(gradient_on_load != nullptr || on_load != nullptr);
    std::optional<Scratch<T>> differentiated, normalized;
    const T *dy = g, *z = x;  // of the library's products
    if (gradient_on_load != nullptr && (library_dx || library_dw)) {
        differentiated.emplace(rows * k, stream);
        batchnorm_apply_gradient(differentiated->data(), g, *gradient_on_load, nullptr, rows, k, stream);
        dy = differentiated->data();
    }
    if (on_load != nullptr && library_dw) {
        normalized.emplace(rows * c, stream);
        batchnorm_normalize(normalized->data(), x, *on_load, nullptr, rows, c, stream);
        z = normalized->data();
    }
    if (library_dx) {
        library_input_gradient(dx, dy, x, on_load, before, dx_add, w, rows, c, k, precision, stream);
    } else if (dx != nullptr) {
        own_input_gradient(dx, g, gradient_on_load, x, on_load, before, dx_add, w, rows, c, k, precision, stream);
    }
    if (library_dw) {
        matmul(Transpose::yes, Transpose::no, k, c, rows, dy, k, z, c, false, dw, c, precision, stream);
    } else if (dw != nullptr) {
        own_weight_gradient(dw, g, gradient_on_load, x, on_load, rows, c, k, precision, stream);
    }
}

template <class T>
Traffic pointwise_forward_traffic(bool on_load, bool statistics, std::int64_t rows, int c, int k,
                                  MatrixPrecision precision) {
    Traffic traffic;
    if (by_cublaslt(on_load || statistics)) {
        traffic = gemm_traffic<T, T>(rows, k, c, false, precision);
        traffic += on_load ? batchnorm_normalize_traffic<T>(false, rows, c) : Traffic{};
        return traffic + (statistics ? batchnorm_statistics_traffic<T>(rows, k) : Traffic{});
    }
    const std::int64_t weights = std::int64_t{k} * c;
    for_tile<T>(precision, k, [&]<class Tile>() {
        traffic = product_traffic<Tile>(
            {rows, k, c, 1, !on_load && !statistics}, {rows * c, rows * c, kDepth, on_load ? 2 : 0},
            {weights, weights, kDepth},
            {.out_is_float = sizeof(T) == 4, .sums = statistics ? ColumnSums::statistics : ColumnSums::none});
    });
    return traffic + (statistics ? finish_tile_statistics_traffic(rows, k) : Traffic{});
}

template <class T>
Traffic pointwise_backward_traffic(const PointwiseBackwardForm& form, std::int64_t rows, int c, int k,
                                   MatrixPrecision precision) {
    const bool library_dx = form.dx && rows > 0 && by_cublaslt(form.gradient_on_load || form.before || form.dx_add);
    const bool library_dw = form.dw && rows > 0 && by_cublaslt(form.gradient_on_load || form.on_load);
    const std::int64_t weights = std::int64_t{k} * c;
    const auto gradient = [&](Storage storage) {
        return FactorTraffic{rows * k, rows * k, storage, form.gradient_on_load ? 3 : 0, form.gradient_on_load};
    };
    Traffic traffic;
    if (form.gradient_on_load && (library_dx || library_dw)) {
        traffic += batchnorm_apply_gradient_traffic<T>(false, rows, k);
    }
    if (form.on_load && library_dw) {
        traffic += batchnorm_normalize_traffic<T>(false, rows, c);
    }
    for_tile<T>(precision, c, [&]<class Tile>() {
        if (library_dx) {
            traffic += gemm_traffic<T, T>(rows, c, k, form.dx_add, precision);
            traffic += form.before ? batchnorm_reduce_traffic<T>(true, rows, c) : Traffic{};
        } else if (form.dx) {
            traffic += product_traffic<Tile>({rows, c, k, 1, !form.gradient_on_load && !form.before}, gradient(kDepth),
                                             {weights, weights, kWidth},
                                             {.out_is_float = sizeof(T) == 4,
                                              .add = form.dx_add,
                                              .sums = form.before ? ColumnSums::gradients : ColumnSums::none});
            traffic += form.before ? finish_tile_gradients_traffic(rows, c) : Traffic{};
        }
        if (library_dw) {
            traffic += gemm_traffic<T, float>(k, c, rows, false, precision);
        } else if (form.dw) {
            traffic +=
                product_traffic<Tile>({k, c, rows, 1, true}, gradient(kWidth),
                                      {rows * c, rows * c, kWidth, form.on_load ? 2 : 0}, {.out_is_float = true});
        }
    });
    return traffic;
}

template Traffic pointwise_forward_traffic<float>(bool, bool, std::int64_t, int, int, MatrixPrecision);
template Traffic pointwise_forward_traffic<BFloat16>(bool, bool, std::int64_t, int, int, MatrixPrecision);
template Traffic pointwise_backward_traffic<float>(const PointwiseBackwardForm&, std::int64_t, int, int,
                                                   MatrixPrecision);
template Traffic pointwise_backward_traffic<BFloat16>(const PointwiseBackwardForm&, std::int64_t, int, int,
                                                      MatrixPrecision);
template void pointwise_forward(float*, const float*, const float*, const Normalize*, const BatchStatistics*,
                                std::int64_t, int, int, MatrixPrecision, Stream);
template void pointwise_forward(BFloat16*, const BFloat16*, const BFloat16*, const Normalize*, const BatchStatistics*,
                                std::int64_t, int, int, MatrixPrecision, Stream);
template void pointwise_backward(float*, float*, const float*, const GradientOnLoadT<float>*, const float*,
                                 const Normalize*, const NormalizeBackward*, const float*, const float*, std::int64_t,
                                 int, int, MatrixPrecision, Stream);
template void pointwise_backward(BFloat16*, float*, const BFloat16*, const GradientOnLoadT<BFloat16>*, const BFloat16*,
                                 const Normalize*, const NormalizeBackward*, const BFloat16*, const BFloat16*,
                                 std::int64_t, int, int, MatrixPrecision, Stream);

}  // namespace cutis::cuda
