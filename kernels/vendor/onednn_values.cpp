#include <bit>
#include <utility>
#include <vector>

#include "kernels/error.h"
#include "kernels/vendor/onednn.h"
#include "kernels/vendor/onednn_primitive.h"

// Value by value, and along channels.

namespace cutis::onednn {
namespace {

using namespace detail;

constexpr auto kTraining = dnnl::prop_kind::forward_training;

memory::desc values(std::int64_t n) {
    return layout({n}, memory::format_tag::x);
}
memory::desc matrix(std::int64_t rows, int c) {
    return layout({rows, c}, memory::format_tag::nc);
}

// Both can take their gradient from their output, which may have overwritten their input.
dnnl::algorithm algorithm_of(Activation act, bool from_output) {
    if (act == Activation::relu6) {
        return from_output ? dnnl::algorithm::eltwise_clip_v2_use_dst_for_bwd : dnnl::algorithm::eltwise_clip_v2;
    }
    require(act == Activation::relu, "oneDNN: no activation");
    return from_output ? dnnl::algorithm::eltwise_relu_use_dst_for_bwd : dnnl::algorithm::eltwise_relu;
}
constexpr float kFirst = 0.0f;  // clip's lower bound, or relu's slope below 0
float second(Activation act) {
    return act == Activation::relu6 ? 6.0f : 0.0f;
}

auto forward_description(const memory::desc& x, Activation act, bool from_output) {
    return describe<dnnl::eltwise_forward>(kTraining, algorithm_of(act, from_output), x, CUTIS_ONLY_ONEDNN3(x, ) kFirst,
                                           second(act))();
}

}  // namespace

namespace detail {

void activate(float* y, const float* x, Activation act, bool from_output, std::int64_t n) {
    const Key key{"activation", {n, static_cast<int>(act), from_output}};
    const Handle primitive = prepared(key, [&] {
        const memory::desc x_layout = values(n);
        return prepare<dnnl::eltwise_forward>(forward_description(x_layout, act, from_output),
                                              {{DNNL_ARG_SRC, x_layout}, {DNNL_ARG_DST, x_layout}});
    });
    run(key, *primitive, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}});
}

void activation_gradient(float* dx, const float* dy, const float* x_or_y, Activation act, bool from_output,
                         std::int64_t n) {
    const int known = from_output ? DNNL_ARG_DST : DNNL_ARG_SRC;
    const Key key{"activation's gradient", {n, static_cast<int>(act), from_output}};
    const Handle primitive = prepared(key, [&] {
        const memory::desc x_layout = values(n);
        return prepare<dnnl::eltwise_backward>(
            describe<dnnl::eltwise_backward>(algorithm_of(act, from_output), x_layout,
                                             CUTIS_ONLY_ONEDNN3(x_layout, ) x_layout, kFirst,
                                             second(act))(forward_description(x_layout, act, from_output)),
            {{known, x_layout}, {DNNL_ARG_DIFF_DST, x_layout}, {DNNL_ARG_DIFF_SRC, x_layout}});
    });
    run(key, *primitive, {{known, x_or_y}, {DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_SRC, dx}});
}

}  // namespace detail

void activation_forward(float* y, const float* x, Activation act, std::int64_t n) {
    if (n > 0) {
        activate(y, x, act, false, n);
    }
}

void activation_backward(float* dx, const float* dy, const float* x, Activation act, std::int64_t n) {
    if (n > 0) {
        activation_gradient(dx, dy, x, act, false, n);
    }
}

void add(float* z, const float* a, const float* b, std::int64_t n) {
    if (n == 0) {
        return;
    }
    const Key key{"sum", {n}};
    const Handle primitive = prepared(key, [&] {
        const memory::desc layout = values(n);
        return prepare<dnnl::binary>(describe<dnnl::binary>(dnnl::algorithm::binary_add, layout, layout, layout)(),
                                     {{DNNL_ARG_SRC_0, layout}, {DNNL_ARG_SRC_1, layout}, {DNNL_ARG_DST, layout}});
    });
    run(key, *primitive, {{DNNL_ARG_SRC_0, a}, {DNNL_ARG_SRC_1, b}, {DNNL_ARG_DST, z}});
}

void softmax(float* probabilities, const float* logits, int n, int c) {
    if (n == 0) {
        return;
    }
    const Key key{"softmax", {n, c}};
    const Handle primitive = prepared(key, [&] {
        const memory::desc x = matrix(n, c);
#if DNNL_VERSION_MAJOR >= 3
        const auto inference = dnnl::prop_kind::forward_inference;
#else
        const auto inference = dnnl::prop_kind::forward_scoring;
#endif
        return prepare<dnnl::softmax_forward>(
            describe<dnnl::softmax_forward>(inference, CUTIS_ONLY_ONEDNN3(dnnl::algorithm::softmax_accurate, ) x,
                                            CUTIS_ONLY_ONEDNN3(x, ) 1)(),
            {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, x}});
    });
    run(key, *primitive, {{DNNL_ARG_SRC, logits}, {DNNL_ARG_DST, probabilities}});
}

// ---- local response normalisation

namespace {

memory::desc pixels(std::int64_t rows, int c) {
    return layout({rows, c, 1, 1}, memory::format_tag::nhwc);
}
Key norm_key(std::string_view operation, const LocalResponseNorm& norm, std::int64_t rows, int c) {
    const auto bits = [](float value) { return std::int64_t{std::bit_cast<std::int32_t>(value)}; };
    return {operation, {rows, c, norm.size, bits(norm.alpha), bits(norm.beta), bits(norm.k)}};
}
auto norm_description(const memory::desc& x, const LocalResponseNorm& norm) {
    return describe<dnnl::lrn_forward>(kTraining, dnnl::algorithm::lrn_across_channels, x,
                                       CUTIS_ONLY_ONEDNN3(x, ) norm.size, norm.alpha, norm.beta, norm.k)();
}
Handle norm_forward(const Key& key, const LocalResponseNorm& norm, std::int64_t rows, int c) {
    return prepared(key, [&] {
        const memory::desc x = pixels(rows, c);
        const auto description = norm_description(x, norm);
        return prepare<dnnl::lrn_forward>(
            description, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, x}, {DNNL_ARG_WORKSPACE, description.workspace_desc()}});
    });
}

}  // namespace

bool serves(const LocalResponseNorm& norm) {
    return norm.size % 2 == 1;
}

std::int64_t local_response_norm_workspace_bytes(const LocalResponseNorm& norm, std::int64_t rows, int c) {
    check_local_response_norm(norm, c);
    const Handle primitive = norm_forward(norm_key("local response norm", norm, rows, c), norm, rows, c);
    return static_cast<std::int64_t>(primitive->layouts.at(DNNL_ARG_WORKSPACE).get_size());
}

void vendor_local_response_norm_forward(float* y, void* workspace, const float* x, const LocalResponseNorm& norm,
                                        std::int64_t rows, int c) {
    const Key key = norm_key("local response norm", norm, rows, c);
    const Handle primitive = norm_forward(key, norm, rows, c);
    const bool marks = primitive->layouts.at(DNNL_ARG_WORKSPACE).get_size() > 0;
    run(key, *primitive, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}, {DNNL_ARG_WORKSPACE, marks ? workspace : nullptr}});
}

void vendor_local_response_norm_backward(float* dx, const float* dy, const float* x, const void* workspace,
                                         const LocalResponseNorm& norm, std::int64_t rows, int c) {
    const Key key = norm_key("local response norm's gradient", norm, rows, c);
    const Handle primitive = prepared(key, [&] {
        const memory::desc x_layout = pixels(rows, c);
        const auto hint = norm_description(x_layout, norm);
        return prepare<dnnl::lrn_backward>(
            describe<dnnl::lrn_backward>(dnnl::algorithm::lrn_across_channels, x_layout, x_layout,
                                         CUTIS_ONLY_ONEDNN3(x_layout, ) norm.size, norm.alpha, norm.beta, norm.k)(hint),
            {{DNNL_ARG_SRC, x_layout},
             {DNNL_ARG_DIFF_DST, x_layout},
             {DNNL_ARG_DIFF_SRC, x_layout},
             {DNNL_ARG_WORKSPACE, hint.workspace_desc()}});
    });
    const bool marks = primitive->layouts.at(DNNL_ARG_WORKSPACE).get_size() > 0;
    run(key, *primitive,
        {{DNNL_ARG_SRC, x},
         {DNNL_ARG_DIFF_DST, dy},
         {DNNL_ARG_DIFF_SRC, dx},
         {DNNL_ARG_WORKSPACE, marks ? workspace : nullptr}});
}

// ---- concatenation

void concat_channels(float* y, std::span<const ChannelPart<const float>> parts, std::int64_t rows) {
    Key key{"concatenation", {rows, static_cast<std::int64_t>(parts.size())}};
    if (rows == 0 || parts.size() > key.sizes.size() - 2) {
        cpu::concat_channels(y, parts, rows);
        return;
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
        key.sizes[2 + i] = parts[i].c;
    }
    const Handle primitive = prepared(key, [&] {
        std::vector<memory::desc> sources;
        std::unordered_map<int, memory::desc> layouts;
        int channels = 0;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            sources.push_back(matrix(rows, parts[i].c));
            layouts.emplace(DNNL_ARG_MULTIPLE_SRC + static_cast<int>(i), sources.back());
            channels += parts[i].c;
        }
        layouts.emplace(DNNL_ARG_DST, matrix(rows, channels));
        const dnnl::concat::primitive_desc description(CUTIS_ONLY_ONEDNN3(engine(), ) matrix(rows, channels), 1,
                                                       sources, CUTIS_ONLY_ONEDNN2(engine(), ) attributes());
        return prepare<dnnl::concat>(description, std::move(layouts));
    });
    std::vector<std::pair<int, const void*>> pointers{{DNNL_ARG_DST, y}};
    for (std::size_t i = 0; i < parts.size(); ++i) {
        pointers.emplace_back(DNNL_ARG_MULTIPLE_SRC + static_cast<int>(i), parts[i].data);
    }
    run(key, *primitive, pointers);
}

}  // namespace cutis::onednn
