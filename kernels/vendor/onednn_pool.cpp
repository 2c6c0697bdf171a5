#include <algorithm>

#include "kernels/error.h"
#include "kernels/vendor/onednn.h"
#include "kernels/vendor/onednn_primitive.h"

namespace cutis::onednn {
namespace {

using namespace detail;

constexpr auto kTraining = dnnl::prop_kind::forward_training;

struct Pooling {
    Key key;
    dnnl::algorithm algorithm;
    memory::desc x, y;
    memory::dims strides, window, dilation, padding, padding_behind;
};

Pooling pooling(std::string_view operation, dnnl::algorithm algorithm, const PoolShape& s) {
    const auto behind = [&](int in, int out) {
        return memory::dim{std::max(0, (out - 1) * s.stride + s.window - in - s.padding)};
    };
    return {{operation, {s.n, s.h, s.w, s.c, s.window, s.stride, s.padding, s.ceil}},
            algorithm,
            layout({s.n, s.c, s.h, s.w}, memory::format_tag::nhwc),
            layout({s.n, s.c, s.p(), s.q()}, memory::format_tag::nhwc),
            {s.stride, s.stride},
            {s.window, s.window},
            {0, 0},
            {s.padding, s.padding},
            {behind(s.h, s.p()), behind(s.w, s.q())}};
}

// All pixels of each image, n x hw x c.
Pooling global(std::string_view operation, int n, int hw, int c) {
    return {{operation, {n, hw, c}},
            dnnl::algorithm::pooling_avg_include_padding,
            layout({n, c, 1, hw}, memory::format_tag::nhwc),
            layout({n, c, 1, 1}, memory::format_tag::nhwc),
            {1, 1},
            {1, hw},
            {0, 0},
            {0, 0},
            {0, 0}};
}

auto forward_description(const Pooling& p) {
    return describe<dnnl::pooling_forward>(kTraining, p.algorithm, p.x, p.y, p.strides, p.window,
                                           CUTIS_ONLY_ONEDNN3(p.dilation, ) p.padding, p.padding_behind)();
}

Handle forward_primitive(const Pooling& p) {
    return prepared(p.key, [&] {
        const auto description = forward_description(p);
        return prepare<dnnl::pooling_forward>(
            description,
            {{DNNL_ARG_SRC, p.x}, {DNNL_ARG_DST, p.y}, {DNNL_ARG_WORKSPACE, description.workspace_desc()}});
    });
}

void forward(const Pooling& p, float* y, void* marks, const float* x) {
    run(p.key, *forward_primitive(p), {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}, {DNNL_ARG_WORKSPACE, marks}});
}

void backward(const Pooling& p, float* dx, const float* dy, const void* marks) {
    const Handle primitive = prepared(p.key, [&] {
        const auto hint = forward_description(p);
        return prepare<dnnl::pooling_backward>(
            describe<dnnl::pooling_backward>(p.algorithm, p.x, p.y, p.strides, p.window,
                                             CUTIS_ONLY_ONEDNN3(p.dilation, ) p.padding, p.padding_behind)(hint),
            {{DNNL_ARG_DIFF_SRC, p.x}, {DNNL_ARG_DIFF_DST, p.y}, {DNNL_ARG_WORKSPACE, hint.workspace_desc()}});
    });
    run(p.key, *primitive, {{DNNL_ARG_DIFF_SRC, dx}, {DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_WORKSPACE, marks}});
}

// The library divides by the window's size; ours by what of it is not beyond the padding.
bool reaches_beyond_padding(const PoolShape& s) {
    const auto beyond = [&](int in, int out) { return (out - 1) * s.stride + s.window > in + 2 * s.padding; };
    return beyond(s.h, s.p()) || beyond(s.w, s.q());
}

}  // namespace

void global_average_pool_forward(float* y, const float* x, const Normalize* on_load, int n, int hw, int c) {
    require_plain(on_load == nullptr, "global average pooling");
    if (n > 0) {
        forward(global("global average pooling", n, hw, c), y, nullptr, x);
    }
}

void global_average_pool_backward(float* dx, const float* dy, const float*, const Normalize* on_load,
                                  const NormalizeBackward* before, int n, int hw, int c) {
    require_plain(all_null(on_load, before), "global average pooling's gradient");
    if (n > 0) {
        backward(global("global average pooling's gradient", n, hw, c), dx, dy, nullptr);
    }
}

std::int64_t max_pool_marks(const PoolShape& shape) {
    check_pool(shape);
    const Handle primitive = forward_primitive(pooling("max pooling", dnnl::algorithm::pooling_max, shape));
    return static_cast<std::int64_t>(primitive->layouts.at(DNNL_ARG_WORKSPACE).get_size());
}

void max_pool_forward(float* y, std::uint8_t* marks, const float* x, const PoolShape& shape) {
    forward(pooling("max pooling", dnnl::algorithm::pooling_max, shape), y, marks, x);
}

void max_pool_backward(float* dx, const float* dy, const std::uint8_t* marks, const PoolShape& shape) {
    backward(pooling("max pooling's gradient", dnnl::algorithm::pooling_max, shape), dx, dy, marks);
}

void average_pool_forward(float* y, const float* x, const PoolShape& shape) {
    if (reaches_beyond_padding(shape)) {
        cpu::average_pool_forward(y, x, shape);
        return;
    }
    forward(pooling("average pooling", dnnl::algorithm::pooling_avg_include_padding, shape), y, nullptr, x);
}

void average_pool_backward(float* dx, const float* dy, const PoolShape& shape) {
    if (reaches_beyond_padding(shape)) {
        cpu::average_pool_backward(dx, dy, shape);
        return;
    }
    backward(pooling("average pooling's gradient", dnnl::algorithm::pooling_avg_include_padding, shape), dx, dy,
             nullptr);
}

}  // namespace cutis::onednn
