#include <algorithm>

#include "kernels/error.h"
#include "kernels/reduction.h"
#include "kernels/vendor/onednn.h"
#include "kernels/vendor/onednn_primitive.h"

// Dense, grouped, pointwise and depthwise convolutions are one primitive with other sizes, and the fully connected
// layer is its inner product. Weights keep our layout in memory and get the library's names for it: a dense filter's k
// r s c is "ohwi", a grouped one's "gohwi", the 9 x c of depthwise convolution "hwigo" with one channel in and out of
// each group.

namespace cutis::onednn {
namespace {

using namespace detail;

struct Convolution {
    Key key;
    memory::desc x, y, w, ours, bias;
    memory::dims strides, padding, padding_behind;
};

Convolution describe_sizes(std::string_view operation, const ConvShape& s, bool has_bias, const memory::desc& ours,
                           const memory::dims& filter) {
    // As much as the last filter reaches beyond the image; pixels that no filter reaches may be left over.
    const auto behind = [&](int in, int out, int taps) {
        return memory::dim{std::max(0, (out - 1) * s.stride + taps - in - s.padding)};
    };
    return {{operation, {s.n, s.h, s.w, s.c, s.k, s.r, s.s, s.stride, s.padding, s.groups, has_bias}},
            layout({s.n, s.c, s.h, s.w}, memory::format_tag::nhwc),
            layout({s.n, s.k, s.p(), s.q()}, memory::format_tag::nhwc),
            any_layout(filter),
            ours,
            layout({s.k}, memory::format_tag::x),
            {s.stride, s.stride},
            {s.padding, s.padding},
            {behind(s.h, s.p(), s.r), behind(s.w, s.q(), s.s)}};
}

Convolution dense(std::string_view operation, const ConvShape& s, bool has_bias) {
    if (s.groups == 1) {
        const memory::dims filter{s.k, s.c, s.r, s.s};
        return describe_sizes(operation, s, has_bias, layout(filter, memory::format_tag::ohwi), filter);
    }
    const memory::dims filter{s.groups, s.k / s.groups, s.c / s.groups, s.r, s.s};
    return describe_sizes(operation, s, has_bias, layout(filter, memory::format_tag::gohwi), filter);
}

Convolution depthwise(std::string_view operation, const DepthwiseShape& s) {
    const memory::dims filter{s.c, 1, 1, 3, 3};
    return describe_sizes(operation, {s.n, s.h, s.w, s.c, s.c, 3, 3, s.stride, 1, s.c}, false,
                          layout(filter, memory::format_tag::hwigo), filter);
}

// A pixel is a row here, and all rows are the pixels of one image.
Convolution pointwise(std::string_view operation, std::int64_t rows, int c, int k) {
    require(rows <= std::int64_t{1} << 30, "oneDNN, {}: {} rows are more than 2^30", operation, rows);
    const memory::dims filter{k, c, 1, 1};
    return describe_sizes(operation, {1, 1, static_cast<int>(rows), c, k, 1, 1, 1, 0}, false,
                          layout(filter, memory::format_tag::ohwi), filter);
}

constexpr auto kTraining = dnnl::prop_kind::forward_training;
constexpr auto kDirect = dnnl::algorithm::convolution_direct;

auto forward_description(const Convolution& conv, bool has_bias) {
    return has_bias ? describe<dnnl::convolution_forward>(kTraining, kDirect, conv.x, conv.w, conv.bias, conv.y,
                                                          conv.strides, conv.padding, conv.padding_behind)()
                    : describe<dnnl::convolution_forward>(kTraining, kDirect, conv.x, conv.w, conv.y, conv.strides,
                                                          conv.padding, conv.padding_behind)();
}

void forward(const Convolution& conv, float* y, const float* x, const float* w, const float* bias) {
    const Handle primitive = prepared(conv.key, [&] {
        const auto description = forward_description(conv, bias != nullptr);
        return prepare<dnnl::convolution_forward>(description, {{DNNL_ARG_SRC, conv.x},
                                                                {DNNL_ARG_WEIGHTS, description.weights_desc()},
                                                                {DNNL_ARG_BIAS, conv.bias},
                                                                {DNNL_ARG_DST, conv.y}});
    });
    const float* const weights = reordered(conv.ours, primitive->layouts.at(DNNL_ARG_WEIGHTS), w, kWeights);
    run(conv.key, *primitive,
        {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, y}});
}

void input_gradient(const Convolution& conv, float* dx, const float* dy, const float* w) {
    const Handle primitive = prepared(conv.key, [&] {
        const auto description =
            describe<dnnl::convolution_backward_data>(kDirect, conv.x, conv.w, conv.y, conv.strides, conv.padding,
                                                      conv.padding_behind)(forward_description(conv, false));
        return prepare<dnnl::convolution_backward_data>(
            description,
            {{DNNL_ARG_DIFF_SRC, conv.x}, {DNNL_ARG_WEIGHTS, description.weights_desc()}, {DNNL_ARG_DIFF_DST, conv.y}});
    });
    const float* const weights = reordered(conv.ours, primitive->layouts.at(DNNL_ARG_WEIGHTS), w, kWeights);
    run(conv.key, *primitive, {{DNNL_ARG_DIFF_SRC, dx}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DIFF_DST, dy}});
}

void weight_gradient(const Convolution& conv, float* dw, const float* dy, const float* x) {
    const Handle primitive = prepared(conv.key, [&] {
        const auto description =
            describe<dnnl::convolution_backward_weights>(kDirect, conv.x, conv.w, conv.y, conv.strides, conv.padding,
                                                         conv.padding_behind)(forward_description(conv, false));
        return prepare<dnnl::convolution_backward_weights>(description,
                                                           {{DNNL_ARG_SRC, conv.x},
                                                            {DNNL_ARG_DIFF_WEIGHTS, description.diff_weights_desc()},
                                                            {DNNL_ARG_DIFF_DST, conv.y}});
    });
    const memory::desc& wanted = primitive->layouts.at(DNNL_ARG_DIFF_WEIGHTS);
    float* const made = place_for(conv.ours, wanted, dw, kWeights);
    run(conv.key, *primitive, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, made}, {DNNL_ARG_DIFF_DST, dy}});
    bring_back(conv.ours, wanted, made, dw);
}

}  // namespace

void conv_forward(float* y, const float* x, const float* w, const float* bias, const ConvShape& s,
                  const BatchStatistics* statistics) {
    require_plain(statistics == nullptr, "convolution");
    if (s.n > 0) {
        forward(dense("convolution", s, bias != nullptr), y, x, w, bias);
    }
}

void conv_backward(float* dx, float* dw, float* db, const float* g, const GradientOnLoad* gradient_on_load,
                   const float* x, const float* w, const ConvShape& s) {
    require_plain(gradient_on_load == nullptr, "convolution's gradient");
    if (dx != nullptr && s.n > 0) {
        input_gradient(dense("convolution, input gradient", s, false), dx, g, w);
    }
    if (dw != nullptr) {
        require(s.n > 0, "convolution's gradient: an empty batch");
        weight_gradient(dense("convolution, weight gradient", s, false), dw, g, x);
    }
    if (db != nullptr) {
        cpu::sum_rows(db, g, std::int64_t{s.n} * s.p() * s.q(), s.k);
    }
}

void pointwise_forward(float* y, const float* x, const float* w, const Normalize* on_load,
                       const BatchStatistics* statistics, std::int64_t rows, int c, int k) {
    require_plain(all_null(on_load, statistics), "pointwise convolution");
    if (rows > 0) {
        forward(pointwise("pointwise convolution", rows, c, k), y, x, w, nullptr);
    }
}

void pointwise_backward(float* dx, float* dw, const float* g, const GradientOnLoad* gradient_on_load, const float* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* dx_add, const float* w,
                        std::int64_t rows, int c, int k) {
    require_plain(all_null(gradient_on_load, on_load, before, dx_add), "pointwise convolution's gradient");
    if (dx != nullptr && rows > 0) {
        input_gradient(pointwise("pointwise convolution, input gradient", rows, c, k), dx, g, w);
    }
    if (dw != nullptr) {
        require(rows > 0, "pointwise convolution's gradient: no rows");
        weight_gradient(pointwise("pointwise convolution, weight gradient", rows, c, k), dw, g, x);
    }
}

void depthwise_forward(float* y, const float* x, const float* w, const Normalize* on_load,
                       const BatchStatistics* statistics, const DepthwiseShape& s) {
    require_plain(all_null(on_load, statistics), "depthwise convolution");
    if (s.n > 0) {
        forward(depthwise("depthwise convolution", s), y, x, w, nullptr);
    }
}

void depthwise_backward(float* dx, float* dw, const float* g, const GradientOnLoad* gradient_on_load, const float* x,
                        const Normalize* on_load, const NormalizeBackward* before, const float* w,
                        const DepthwiseShape& s) {
    require_plain(all_null(gradient_on_load, on_load, before), "depthwise convolution's gradient");
    if (dx != nullptr && s.n > 0) {
        input_gradient(depthwise("depthwise convolution, input gradient", s), dx, g, w);
    }
    if (dw != nullptr) {
        require(s.n > 0, "depthwise convolution's gradient: an empty batch");
        weight_gradient(depthwise("depthwise convolution, weight gradient", s), dw, g, x);
    }
}

// ---- the fully connected layer

namespace {

struct Linear {
    Key key;
    memory::desc x, y, w, ours, bias;
};
Linear linear(std::string_view operation, std::int64_t rows, int c, int k, bool has_bias) {
    return {{operation, {rows, c, k, has_bias}},       layout({rows, c}, memory::format_tag::nc),
            layout({rows, k}, memory::format_tag::nc), any_layout({k, c}),
            layout({k, c}, memory::format_tag::oi),    layout({k}, memory::format_tag::x)};
}
auto forward_description(const Linear& linear, bool has_bias) {
    return has_bias ? describe<dnnl::inner_product_forward>(kTraining, linear.x, linear.w, linear.bias, linear.y)()
                    : describe<dnnl::inner_product_forward>(kTraining, linear.x, linear.w, linear.y)();
}

}  // namespace

void linear_forward(float* y, const float* x, const float* w, const float* bias, std::int64_t rows, int c, int k) {
    if (rows == 0) {
        return;
    }
    const Linear sizes = linear("linear", rows, c, k, bias != nullptr);
    const Handle primitive = prepared(sizes.key, [&] {
        const auto description = forward_description(sizes, bias != nullptr);
        return prepare<dnnl::inner_product_forward>(description, {{DNNL_ARG_SRC, sizes.x},
                                                                  {DNNL_ARG_WEIGHTS, description.weights_desc()},
                                                                  {DNNL_ARG_BIAS, sizes.bias},
                                                                  {DNNL_ARG_DST, sizes.y}});
    });
    const float* const weights = reordered(sizes.ours, primitive->layouts.at(DNNL_ARG_WEIGHTS), w, kWeights);
    run(sizes.key, *primitive,
        {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, y}});
}

void linear_backward(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w,
                     std::int64_t rows, int c, int k) {
    if (dx != nullptr && rows > 0) {
        const Linear sizes = linear("linear, input gradient", rows, c, k, false);
        const Handle primitive = prepared(sizes.key, [&] {
            const auto description = describe<dnnl::inner_product_backward_data>(
                sizes.x, sizes.w, sizes.y)(forward_description(sizes, false));
            return prepare<dnnl::inner_product_backward_data>(description,
                                                              {{DNNL_ARG_DIFF_SRC, sizes.x},
                                                               {DNNL_ARG_WEIGHTS, description.weights_desc()},
                                                               {DNNL_ARG_DIFF_DST, sizes.y}});
        });
        const float* const weights = reordered(sizes.ours, primitive->layouts.at(DNNL_ARG_WEIGHTS), w, kWeights);
        run(sizes.key, *primitive, {{DNNL_ARG_DIFF_SRC, dx}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DIFF_DST, dy}});
    }
    if (dw == nullptr) {
        if (db != nullptr) {
            cpu::sum_rows(db, dy, rows, k);
        }
        return;
    }
    require(rows > 0, "linear's gradient: no rows");
    const Linear sizes = linear("linear, weight gradient", rows, c, k, db != nullptr);
    const Handle primitive = prepared(sizes.key, [&] {
        const auto hint = forward_description(sizes, db != nullptr);
        const auto description =
            db != nullptr ? describe<dnnl::inner_product_backward_weights>(sizes.x, sizes.w, sizes.bias, sizes.y)(hint)
                          : describe<dnnl::inner_product_backward_weights>(sizes.x, sizes.w, sizes.y)(hint);
        return prepare<dnnl::inner_product_backward_weights>(description,
                                                             {{DNNL_ARG_SRC, sizes.x},
                                                              {DNNL_ARG_DIFF_WEIGHTS, description.diff_weights_desc()},
                                                              {DNNL_ARG_DIFF_BIAS, sizes.bias},
                                                              {DNNL_ARG_DIFF_DST, sizes.y}});
    });
    const memory::desc& wanted = primitive->layouts.at(DNNL_ARG_DIFF_WEIGHTS);
    float* const made = place_for(sizes.ours, wanted, dw, kWeights);
    run(sizes.key, *primitive,
        {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, made}, {DNNL_ARG_DIFF_BIAS, db}, {DNNL_ARG_DIFF_DST, dy}});
    bring_back(sizes.ours, wanted, made, dw);
}

}  // namespace cutis::onednn
