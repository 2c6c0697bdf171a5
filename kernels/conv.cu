#include "kernels/conv.h"

#include <algorithm>

#include "kernels/column_sums.cuh"
#include "kernels/gemm_traffic.cuh"
#include "kernels/matrix_checks.h"

// Dense and grouped convolution as implicit matrix products (gemm.cuh): the matrix of all filter positions is never
// stored, its chunks are gathered from x when a tile is loaded (gemm_operand.cuh). Per group, in NHWC:
//
//                m              n             k              a                       b
//   forward      n p q          k             r s c          positions of x          w
//   dx           n h w          c             r s k          positions of dy         w seen from the other side
//   dw           k              r s c         n p q          dy, transposed          positions of x
//
//   pixel (p, q)  ->  | x(p, q; tap 0, all c) | x(tap 1) | ... |     a row of positions: r s runs of c values, each run
//                                                                    contiguous in x, zeros beyond the edge
//
// A chunk of 16 bytes lies in one tap where the group's channels are whole chunks. Where they are not (a stem's three
// channels), chunks are put together value by value: 8 loads of 2 bytes in place of one of 16, from rows that are in
// L1.
//
// Bytes: sizeof(T) (n h w c + n p q k) and w in device memory; positions overlap and come r s / stride^2 times through
// L2 and again for each tile of columns. FLOPs: 2 n p q k r s c / groups. In bf16 3x3 layers with 64 or more channels
// are bound by the tensor cores, stems (27 to 363 products a value) by memory and by the loads that put chunks
// together. dx with a stride multiplies by zeros, stride^2 - 1 of stride^2 products. A group's tile is 128 x 64 at
// least: many narrow groups waste it (depthwise.cu is for the narrowest).

namespace cutis::cuda {
namespace {

using namespace matrix;

constexpr Storage kDepth = Storage::depth_contiguous, kWidth = Storage::width_contiguous;

// The sizes of one group's products.
struct Sizes {
    explicit Sizes(const ConvShape& s)
        : c(s.c / s.groups), k(s.k / s.groups), taps(s.r * s.s), inputs(s.n * s.h * s.w), outputs(s.n * s.p() * s.q()) {
        check_product(inputs, outputs, std::int64_t{taps} * s.k);
        check_product(0, 0, std::int64_t{taps} * s.c);
    }
    int c, k, taps, inputs, outputs;
    int columns() const { return taps * c; }
};

// Whether groups of `group` out of `all` channels are whole aligned chunks of a pixel.
template <class T>
bool groups_in_chunks(const T* data, int all, int group) {
    return in_chunks(data, all) && group % kVector<T> == 0;
}

// x is the matrix of its positions already.
bool is_pointwise(const ConvShape& s) {
    return s.r == 1 && s.s == 1 && s.stride == 1 && s.padding == 0 && s.groups == 1;
}

template <class T>
void input_gradient(T* dx, const T* dy, const T* w, const ConvShape& s, MatrixPrecision precision, Stream stream) {
    const Sizes size(s);
    const Operand<FilterGradientView<T>, AsItIs, kDepth> positions{
        FilterGradientView<T>(dy, s), {}, groups_in_chunks(dy, s.k, size.k)};
    const Operand<FilterWeightView<T>, AsItIs, kWidth> weights{
        FilterWeightView<T>(w, s), {}, groups_in_chunks(w, size.c, size.c)};
    const Epilogue<T> epilogue{.out = dx,
                               .ld = s.c,
                               .out_is_float = sizeof(T) == 4,
                               .aligned = groups_in_chunks(dx, s.c, size.c),
                               .group_stride = size.c};
    for_tile<T>(precision, size.c, [&]<class Tile>() {
        multiply<Tile>(positions, weights, epilogue, size.inputs, size.c, size.taps * size.k, s.groups, false, stream);
    });
}

template <class T>
void weight_gradient(float* dw, const T* g, const GradientOnLoadT<T>* on_load, const T* x, const ConvShape& s,
                     MatrixPrecision precision, Stream stream) {
    const Sizes size(s);
    const MatrixView<T> gradients{g, s.k, size.outputs, size.k, size.k};
    bool aligned = groups_in_chunks(g, s.k, size.k);
    const Operand<FilterInputView<T>, AsItIs, kWidth> positions{
        FilterInputView<T>(x, s), {}, groups_in_chunks(x, s.c, size.c)};
    const Epilogue<T> epilogue{.out = dw,
                               .ld = size.columns(),
                               .out_is_float = true,
                               .aligned = in_chunks(dw, size.columns()) && size.columns() % kVector<T> == 0,
                               .group_stride = std::int64_t{size.k} * size.columns()};
    const auto multiply_by_positions = [&]<class Tile>(const auto& left) {
        multiply<Tile>(left, positions, epilogue, size.k, size.columns(), size.outputs, s.groups, true, stream);
    };
    if (on_load == nullptr) {
        const Operand<MatrixView<T>, AsItIs, kWidth> plain{gradients, {}, aligned};
        for_tile<T>(precision, size.columns(),
                    [&]<class Tile>() { multiply_by_positions.template operator()<Tile>(plain); });
    } else {
        const DifferentiateOnLoad<T> differentiate{on_load->y, on_load->a, on_load->b, on_load->d};
        aligned = aligned && is_aligned(differentiate);
        const Operand<MatrixView<T>, DifferentiateOnLoad<T>, kWidth> made{gradients, differentiate, aligned};
        // Only stems come here, whose positions are few values.
        for_tile<T, 64>(precision, size.columns(),
                        [&]<class Tile>() { multiply_by_positions.template operator()<Tile>(made); });
    }
}

}  // namespace

template <class T>
void conv_forward(T* y, const T* x, const T* w, const float* bias, const ConvShape& s,
                  const BatchStatistics* statistics, MatrixPrecision precision, Stream stream) {
    check_convolution(s);
    check_rule(statistics == nullptr || s.n >= 1, "convolution: statistics of no images; at least one is needed");
    const Sizes size(s);
    const Scratch<float> partials(statistics != nullptr ? std::int64_t{2} * tile_parts(size.outputs) * s.k : 0, stream);
    Epilogue<T> epilogue{.out = y,
                         .ld = s.k,
                         .out_is_float = sizeof(T) == 4,
                         .aligned = groups_in_chunks(y, s.k, size.k),
                         .group_stride = size.k,
                         .bias = bias};
    if (statistics != nullptr) {
        epilogue.sums = ColumnSums::statistics;
        epilogue.partials = partials.data();
    }
    if (is_pointwise(s)) {
        gemm_with<T>(Transpose::no, Transpose::yes, size.outputs, s.k, s.c, x, s.c, w, s.c, epilogue, false, precision,
                     stream);
    } else {
        const Operand<FilterInputView<T>, AsItIs, kDepth> positions{
            FilterInputView<T>(x, s), {}, groups_in_chunks(x, s.c, size.c)};
        const Operand<MatrixView<T>, AsItIs, kDepth> weights{
            {w, size.columns(), size.k, size.columns(), std::int64_t{size.k} * size.columns()},
            {},
            groups_in_chunks(w, size.columns(), size.columns())};
        for_tile<T>(precision, size.k, [&]<class Tile>() {
            multiply<Tile>(positions, weights, epilogue, size.outputs, size.k, size.columns(), s.groups, false, stream);
        });
    }
    if (statistics != nullptr) {
        finish_tile_statistics(*statistics, partials.data(), size.outputs, s.k, stream);
    }
}

template <class T>
void conv_backward(T* dx, float* dw, float* db, const T* g, const GradientOnLoadT<T>* gradient_on_load, const T* x,
                   const T* w, const ConvShape& s, MatrixPrecision precision, Stream stream) {
    check_convolution(s);
    const std::int64_t rows = std::int64_t{s.n} * s.p() * s.q();
    // dx reads each gradient r s times: it is made once then.
    const bool stores_dy = dx != nullptr && gradient_on_load != nullptr;
    const Scratch<T> dy(stores_dy ? rows * s.k : 0, stream);
    if (stores_dy) {
        batchnorm_apply_gradient<T>(dy.data(), g, *gradient_on_load, nullptr, rows, s.k, stream);
        g = dy.data();
        gradient_on_load = nullptr;
    }
    if (dx != nullptr) {
        input_gradient(dx, g, w, s, precision, stream);
    }
    if (dw != nullptr) {
        weight_gradient(dw, g, gradient_on_load, x, s, precision, stream);
    }
    if (db != nullptr) {
        sum_columns(db, g, gradient_on_load, rows, s.k, stream);
    }
}

namespace {

// Of one axis: pairs of an output and a tap that fall inside the image, and inputs that have one.
struct AxisTaps {
    std::int64_t pairs = 0, inputs = 0;
};
AxisTaps axis_taps(int size, int outputs, int taps, int stride, int padding) {
    AxisTaps count;
    int end = 0;  // of the inputs so far
    for (int output = 0; output < outputs; ++output) {
        const int first = output * stride - padding;
        const int begin = std::max(first, 0), last = std::min(first + taps, size);
        count.pairs += std::max(0, last - begin);
        count.inputs += std::max(0, last - std::max(begin, end));
        end = std::max(end, last);
    }
    return count;
}

struct Positions {
    std::int64_t pairs, inputs;
    explicit Positions(const ConvShape& s) {
        const AxisTaps rows = axis_taps(s.h, s.p(), s.r, s.stride, s.padding);
        const AxisTaps columns = axis_taps(s.w, s.q(), s.s, s.stride, s.padding);
        pairs = s.n * rows.pairs * columns.pairs;
        inputs = s.n * rows.inputs * columns.inputs;
    }
};

}  // namespace

template <class T>
Traffic conv_forward_traffic(bool bias, bool statistics, const ConvShape& s, MatrixPrecision precision) {
    const Sizes size(s);
    const Positions positions(s);
    const std::int64_t w = std::int64_t{s.k} * size.columns();
    Traffic traffic;
    for_tile<T>(precision, size.k, [&]<class Tile>() {
        traffic = product_traffic<Tile>({size.outputs, size.k, size.columns(), s.groups},
                                        {positions.pairs * s.c, positions.inputs * s.c, kDepth}, {w, w, kDepth},
                                        {.out_is_float = sizeof(T) == 4,
                                         .bias = bias,
                                         .sums = statistics ? ColumnSums::statistics : ColumnSums::none});
    });
    return traffic + (statistics ? finish_tile_statistics_traffic(size.outputs, s.k) : Traffic{});
}

template <class T>
Traffic conv_backward_traffic(const ConvBackwardForm& form, const ConvShape& s, MatrixPrecision precision) {
    const Sizes size(s);
    const Positions positions(s);
    const std::int64_t w = std::int64_t{s.k} * size.columns(), y = std::int64_t{size.outputs} * s.k;
    const bool stores_dy = form.dx && form.gradient_on_load, on_load = form.gradient_on_load && !stores_dy;
    Traffic traffic = stores_dy ? batchnorm_apply_gradient_traffic<T>(false, size.outputs, s.k) : Traffic{};
    if (form.dx) {
        for_tile<T>(precision, size.c, [&]<class Tile>() {
            traffic += product_traffic<Tile>({size.inputs, size.c, std::int64_t{size.taps} * size.k, s.groups},
                                             {positions.pairs * s.k, y, kDepth}, {w, w, kWidth},
                                             {.out_is_float = sizeof(T) == 4});
        });
    }
    if (form.dw) {
        const auto product = [&]<class Tile>() {
            traffic += product_traffic<Tile>(
                {size.k, size.columns(), size.outputs, s.groups, true}, {y, y, kWidth, on_load ? 3 : 0, on_load},
                {positions.pairs * s.c, positions.inputs * s.c, kWidth}, {.out_is_float = true});
        };
        on_load ? for_tile<T, 64>(precision, size.columns(), product) : for_tile<T>(precision, size.columns(), product);
    }
    return traffic + (form.db ? sum_columns_traffic<T>(on_load, size.outputs, s.k) : Traffic{});
}

template Traffic conv_forward_traffic<float>(bool, bool, const ConvShape&, MatrixPrecision);
template Traffic conv_forward_traffic<BFloat16>(bool, bool, const ConvShape&, MatrixPrecision);
template Traffic conv_backward_traffic<float>(const ConvBackwardForm&, const ConvShape&, MatrixPrecision);
template Traffic conv_backward_traffic<BFloat16>(const ConvBackwardForm&, const ConvShape&, MatrixPrecision);
template void conv_forward(float*, const float*, const float*, const float*, const ConvShape&, const BatchStatistics*,
                           MatrixPrecision, Stream);
template void conv_forward(BFloat16*, const BFloat16*, const BFloat16*, const float*, const ConvShape&,
                           const BatchStatistics*, MatrixPrecision, Stream);
template void conv_backward(float*, float*, float*, const float*, const GradientOnLoadT<float>*, const float*,
                            const float*, const ConvShape&, MatrixPrecision, Stream);
template void conv_backward(BFloat16*, float*, float*, const BFloat16*, const GradientOnLoadT<BFloat16>*,
                            const BFloat16*, const BFloat16*, const ConvShape&, MatrixPrecision, Stream);

}  // namespace cutis::cuda
