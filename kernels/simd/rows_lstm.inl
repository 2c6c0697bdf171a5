#pragma once

// The row kernels of an LSTM's cell and its gradient. A part of rows.inl.

#include "kernels/simd/rows.h"
#include "kernels/simd/vec.h"

namespace {

using std::int64_t;

// e^x - 1 without cancellation around 0: x = m ln 2 + r with |r| <= ln 2 / 2, e^r - 1 by its series (the first term left out
// is below 2^-25 of the sum), e^x - 1 = 2^m (e^r - 1) + (2^m - 1). Beyond +-87 it stays where it is. NaN stays NaN.
Vec expm1_of(Vec x) {
    const Vec to_integer = broadcast(0x1.8p23f);  // adding it rounds to an integer, which then fills the lower bits
    x = clamp(x, broadcast(-87.0f), broadcast(87.0f));
    const Vec shifted = fma(x, broadcast(0x1.715476p+0f), to_integer), m = sub(shifted, to_integer);
    const Vec r = fma(m, broadcast(-0x1.7f7d1cp-20f), fma(m, broadcast(-0x1.62e4p-1f), x));  // ln 2 in two parts
    Vec series = broadcast(1.0f / 5040.0f);
    series = fma(series, r, broadcast(1.0f / 720.0f));
    series = fma(series, r, broadcast(1.0f / 120.0f));
    series = fma(series, r, broadcast(1.0f / 24.0f));
    series = fma(series, r, broadcast(1.0f / 6.0f));
    series = fma(series, r, broadcast(0.5f));
    series = fma(series, mul(r, r), r);
    const Vec power = power_of_two(shifted);
    return fma(power, series, sub(power, broadcast(1.0f)));
}
Vec sigmoid_of(Vec x) {
    return divide(broadcast(1.0f), add(broadcast(2.0f), expm1_of(sub(zero(), x))));
}
Vec tanh_of(Vec x) {
    const auto is_negative = above(zero(), x);
    const Vec twice = add(x, x), shrunk = expm1_of(choose(is_negative, twice, sub(zero(), twice)));  // in (-1, 0]
    const Vec magnitude = divide(sub(zero(), shrunk), add(shrunk, broadcast(2.0f)));
    return choose(is_negative, sub(zero(), magnitude), magnitude);
}

void lstm_cell(float* y, float* gates, float* cell, const float* recurrent, const float* b_ih, const float* b_hh,
               const float* before, int h) {
    for_channel_blocks(h, [=](int j, auto tag) {
        const auto sum_of = [&](int64_t at) {
            Vec sum = load(gates + at, tag);
            sum = recurrent != nullptr ? add(sum, load(recurrent + at, tag)) : sum;
            sum = b_ih != nullptr ? add(sum, load(b_ih + at, tag)) : sum;
            return b_hh != nullptr ? add(sum, load(b_hh + at, tag)) : sum;
        };
        const int64_t at_i = j, at_f = at_i + h, at_g = at_f + h, at_o = at_g + h;
        const Vec i = sigmoid_of(sum_of(at_i)), f = sigmoid_of(sum_of(at_f)), g = tanh_of(sum_of(at_g)),
                  o = sigmoid_of(sum_of(at_o));
        const Vec c = before != nullptr ? fma(f, load(before + j, tag), mul(i, g)) : mul(i, g);
        store(gates + at_i, i, tag);
        store(gates + at_f, f, tag);
        store(gates + at_g, g, tag);
        store(gates + at_o, o, tag);
        store(cell + j, c, tag);
        store(y + j, mul(o, tanh_of(c)), tag);
    });
}

void lstm_cell_gradient(float* dgates, float* dc, const float* dy, const float* later, const float* gates,
                        const float* cell, const float* before, int h) {
    const Vec one = broadcast(1.0f);
    for_channel_blocks(h, [=](int j, auto tag) {
        const int64_t at_i = j, at_f = at_i + h, at_g = at_f + h, at_o = at_g + h;
        const Vec i = load(gates + at_i, tag), f = load(gates + at_f, tag), g = load(gates + at_g, tag),
                  o = load(gates + at_o, tag), t = tanh_of(load(cell + j, tag));
        const Vec dh = later != nullptr ? add(load(dy + j, tag), load(later + j, tag)) : load(dy + j, tag);
        const Vec d = fma(mul(dh, o), sub(one, mul(t, t)), load(dc + j, tag));
        const Vec df = before != nullptr ? mul(mul(d, load(before + j, tag)), mul(f, sub(one, f))) : zero();
        store(dgates + at_i, mul(mul(d, g), mul(i, sub(one, i))), tag);
        store(dgates + at_f, df, tag);
        store(dgates + at_g, mul(mul(d, i), sub(one, mul(g, g))), tag);
        store(dgates + at_o, mul(mul(dh, t), mul(o, sub(one, o))), tag);
        store(dc + j, mul(d, f), tag);
    });
}

}  // namespace
