#include <algorithm>
#include <vector>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/reduction.h"
#include "kernels/vendor/onednn.h"
#include "kernels/vendor/onednn_primitive.h"

// The library knows one bias, the sum of ours, and takes and gives weights as c x 4h and h x 4h ("ldigo") where ours
// are their transposes ("ldgoi"); its gates have our order. Sequences lie batch first, as ours do. Gradients of weights
// are added to what is there, so they start from zeros.

namespace cutis::onednn {
namespace {

using namespace detail;
using tag = memory::format_tag;

struct Layouts {
    explicit Layouts(const LstmShape& s)
        : x(layout({s.t, s.n, s.c}, tag::ntc)),
          y(layout({s.t, s.n, s.h}, tag::ntc)),
          state(layout({1, 1, s.n, s.h}, tag::ldnc)),
          w_ih(layout({1, 1, s.c, 4, s.h}, tag::ldgoi)),
          w_hh(layout({1, 1, s.h, 4, s.h}, tag::ldgoi)),
          any_w_ih(any_layout({1, 1, s.c, 4, s.h})),
          any_w_hh(any_layout({1, 1, s.h, 4, s.h})),
          bias(layout({1, 1, 4, s.h}, tag::ldgo)) {}
    memory::desc x, y, state, w_ih, w_hh, any_w_ih, any_w_hh, bias;
};

Key key_of(std::string_view operation, const LstmShape& s) {
    return {operation, {s.n, s.t, s.c, s.h}};
}

auto forward_description(const Layouts& l) {
    return describe<dnnl::lstm_forward>(dnnl::prop_kind::forward_training,
                                        dnnl::rnn_direction::unidirectional_left2right, l.x, l.state, l.state,
                                        l.any_w_ih, l.any_w_hh, l.bias, l.y, l.state, l.state)();
}

Handle forward_primitive(const Key& key, const Layouts& l) {
    return prepared(key, [&] {
        const auto description = forward_description(l);
        return prepare<dnnl::lstm_forward>(description, {{DNNL_ARG_SRC_LAYER, l.x},
                                                         {DNNL_ARG_SRC_ITER, l.state},
                                                         {DNNL_ARG_SRC_ITER_C, l.state},
                                                         {DNNL_ARG_WEIGHTS_LAYER, description.weights_layer_desc()},
                                                         {DNNL_ARG_WEIGHTS_ITER, description.weights_iter_desc()},
                                                         {DNNL_ARG_BIAS, l.bias},
                                                         {DNNL_ARG_DST_LAYER, l.y},
                                                         {DNNL_ARG_DST_ITER, l.state},
                                                         {DNNL_ARG_DST_ITER_C, l.state},
                                                         {DNNL_ARG_WORKSPACE, description.workspace_desc()}});
    });
}

Handle backward_primitive(const Key& key, const Layouts& l) {
    return prepared(key, [&] {
        const auto hint = forward_description(l);
        const auto description = describe<dnnl::lstm_backward>(
            dnnl::prop_kind::backward, dnnl::rnn_direction::unidirectional_left2right, l.x, l.state, l.state,
            l.any_w_ih, l.any_w_hh, l.bias, l.y, l.state, l.state, l.x, l.state, l.state, l.any_w_ih, l.any_w_hh,
            l.bias, l.y, l.state, l.state)(hint);
        return prepare<dnnl::lstm_backward>(description,
                                            {{DNNL_ARG_SRC_LAYER, l.x},
                                             {DNNL_ARG_SRC_ITER, l.state},
                                             {DNNL_ARG_SRC_ITER_C, l.state},
                                             {DNNL_ARG_WEIGHTS_LAYER, description.weights_layer_desc()},
                                             {DNNL_ARG_WEIGHTS_ITER, description.weights_iter_desc()},
                                             {DNNL_ARG_BIAS, l.bias},
                                             {DNNL_ARG_DST_LAYER, l.y},
                                             {DNNL_ARG_DST_ITER, l.state},
                                             {DNNL_ARG_DST_ITER_C, l.state},
                                             {DNNL_ARG_DIFF_SRC_LAYER, l.x},
                                             {DNNL_ARG_DIFF_SRC_ITER, l.state},
                                             {DNNL_ARG_DIFF_SRC_ITER_C, l.state},
                                             {DNNL_ARG_DIFF_WEIGHTS_LAYER, description.diff_weights_layer_desc()},
                                             {DNNL_ARG_DIFF_WEIGHTS_ITER, description.diff_weights_iter_desc()},
                                             {DNNL_ARG_DIFF_BIAS, l.bias},
                                             {DNNL_ARG_DIFF_DST_LAYER, l.y},
                                             {DNNL_ARG_DIFF_DST_ITER, l.state},
                                             {DNNL_ARG_DIFF_DST_ITER_C, l.state},
                                             {DNNL_ARG_WORKSPACE, hint.workspace_desc()}});
    });
}

// Small arrays of one call, one after another in a scratch slot.
struct States {
    States(const LstmShape& s, int count) : size(std::int64_t{s.n} * s.h) {
        next = thread_scratch(kStates, count * size);
    }
    float* take() { return std::exchange(next, next + size); }
    float* zeros() {
        float* const state = take();
        std::fill_n(state, size, 0.0f);
        return state;
    }
    std::int64_t size;
    float* next;
};

// A state that is not given is zeros: without any the library (2.6) reads what it never wrote.
struct Start {
    Start(const LstmState& given, States& states)
        : h0(given.h0 != nullptr ? given.h0 : states.zeros()), c0(given.c0 != nullptr ? given.c0 : states.zeros()) {}
    const float *h0, *c0;
};

const float* joint_bias(const LstmWeights& weights, int h, float* sum) {
    for (int i = 0; i < 4 * h; ++i) {
        sum[i] =
            (weights.b_ih != nullptr ? weights.b_ih[i] : 0.0f) + (weights.b_hh != nullptr ? weights.b_hh[i] : 0.0f);
    }
    return sum;
}

}  // namespace

std::int64_t lstm_workspace_bytes(const LstmShape& shape) {
    const Handle primitive = forward_primitive(key_of("lstm", shape), Layouts(shape));
    return static_cast<std::int64_t>(primitive->layouts.at(DNNL_ARG_WORKSPACE).get_size());
}

void vendor_lstm_forward(float* y, float* c_n, void* workspace, const float* x, const LstmWeights& weights,
                         const LstmState& start, const LstmShape& s) {
    const Layouts layouts(s);
    const Key key = key_of("lstm", s);
    const Handle primitive = forward_primitive(key, layouts);
    States states(s, 3);
    float* const h_n = states.take();
    const Start from(start, states);
    const float* const w_ih =
        reordered(layouts.w_ih, primitive->layouts.at(DNNL_ARG_WEIGHTS_LAYER), weights.w_ih, kWeights);
    const float* const w_hh =
        reordered(layouts.w_hh, primitive->layouts.at(DNNL_ARG_WEIGHTS_ITER), weights.w_hh, kWeights2);
    run(key, *primitive,
        {{DNNL_ARG_SRC_LAYER, x},
         {DNNL_ARG_SRC_ITER, from.h0},
         {DNNL_ARG_SRC_ITER_C, from.c0},
         {DNNL_ARG_WEIGHTS_LAYER, w_ih},
         {DNNL_ARG_WEIGHTS_ITER, w_hh},
         {DNNL_ARG_BIAS, joint_bias(weights, s.h, thread_scratch(kSmall, 4 * s.h))},
         {DNNL_ARG_DST_LAYER, y},
         {DNNL_ARG_DST_ITER, h_n},
         {DNNL_ARG_DST_ITER_C, c_n},
         {DNNL_ARG_WORKSPACE, workspace}});
}

void vendor_lstm_backward(const LstmGradients& gradients, const float* dy, const float* dc_n, const float* x,
                          const float* y, const float* c_n, const void* workspace, const LstmWeights& weights,
                          const LstmState& start, const LstmShape& s) {
    const Layouts layouts(s);
    const Key key = key_of("lstm's gradient", s);
    const Handle primitive = backward_primitive(key, layouts);
    States states(s, 7);
    float* const h_n = states.take();
    for (int i = 0; i < s.n; ++i) {
        std::copy_n(y + (std::int64_t{i} * s.t + s.t - 1) * s.h, s.h, h_n + std::int64_t{i} * s.h);
    }
    const Start from(start, states);
    const float* const dh_n = states.zeros();
    const float* const given_dc = dc_n != nullptr ? dc_n : states.zeros();
    float* const dh0 = gradients.dh0 != nullptr ? gradients.dh0 : states.take();
    float* const dc0 = gradients.dc0 != nullptr ? gradients.dc0 : states.take();
    const auto layout_of = [&](int argument) -> const memory::desc& { return primitive->layouts.at(argument); };
    const float* const w_ih = reordered(layouts.w_ih, layout_of(DNNL_ARG_WEIGHTS_LAYER), weights.w_ih, kWeights);
    const float* const w_hh = reordered(layouts.w_hh, layout_of(DNNL_ARG_WEIGHTS_ITER), weights.w_hh, kWeights2);
    float* const small = thread_scratch(kSmall, 8 * s.h);
    const auto zeroed = [&](int argument, Slot slot) {
        const auto floats = static_cast<std::int64_t>(layout_of(argument).get_size() / sizeof(float) + 1);
        float* const place = thread_scratch(slot, floats);
        std::fill_n(place, floats, 0.0f);
        return place;
    };
    float* const dw_ih = zeroed(DNNL_ARG_DIFF_WEIGHTS_LAYER, kGradient);
    float* const dw_hh = zeroed(DNNL_ARG_DIFF_WEIGHTS_ITER, kGradient2);
    float* const db = gradients.db != nullptr ? gradients.db : small + 4 * s.h;
    std::fill_n(db, 4 * s.h, 0.0f);
    float* const dx = gradients.dx != nullptr ? gradients.dx : thread_scratch(kMore, std::int64_t{s.n} * s.t * s.c);
    run(key, *primitive,
        {{DNNL_ARG_SRC_LAYER, x},
         {DNNL_ARG_SRC_ITER, from.h0},
         {DNNL_ARG_SRC_ITER_C, from.c0},
         {DNNL_ARG_WEIGHTS_LAYER, w_ih},
         {DNNL_ARG_WEIGHTS_ITER, w_hh},
         {DNNL_ARG_BIAS, joint_bias(weights, s.h, small)},
         {DNNL_ARG_DST_LAYER, y},
         {DNNL_ARG_DST_ITER, h_n},
         {DNNL_ARG_DST_ITER_C, c_n},
         {DNNL_ARG_DIFF_SRC_LAYER, dx},
         {DNNL_ARG_DIFF_SRC_ITER, dh0},
         {DNNL_ARG_DIFF_SRC_ITER_C, dc0},
         {DNNL_ARG_DIFF_WEIGHTS_LAYER, dw_ih},
         {DNNL_ARG_DIFF_WEIGHTS_ITER, dw_hh},
         {DNNL_ARG_DIFF_BIAS, db},
         {DNNL_ARG_DIFF_DST_LAYER, dy},
         {DNNL_ARG_DIFF_DST_ITER, dh_n},
         {DNNL_ARG_DIFF_DST_ITER_C, given_dc},
         {DNNL_ARG_WORKSPACE, workspace}});
    bring_back(layouts.w_ih, layout_of(DNNL_ARG_DIFF_WEIGHTS_LAYER), dw_ih, gradients.dw_ih);
    bring_back(layouts.w_hh, layout_of(DNNL_ARG_DIFF_WEIGHTS_ITER), dw_hh, gradients.dw_hh);
}

}  // namespace cutis::onednn
