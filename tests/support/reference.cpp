#include "tests/support/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace cutis::reference {
namespace {

double g_nearest_kink = std::numeric_limits<double>::infinity();

std::size_t at(std::int64_t i) {
    return static_cast<std::size_t>(i);
}
Values zeros(std::int64_t n) {
    return Values(at(n), 0.0);
}

// body(y, x, w): y[y] is the sum of x[x] * w[w] over all calls with that y. The one definition that forward and both
// gradients are read from.
template <class Body>
void for_conv_terms(const ConvShape& s, Body&& body) {
    const int group_c = s.c / s.groups, group_k = s.k / s.groups;
    std::int64_t y = 0;
    for (std::int64_t n = 0; n < s.n; ++n) {
        for (int p = 0; p < s.p(); ++p) {
            for (int q = 0; q < s.q(); ++q) {
                for (int k = 0; k < s.k; ++k, ++y) {
                    for (int i = 0; i < s.r; ++i) {
                        for (int j = 0; j < s.s; ++j) {
                            const int h = p * s.stride - s.padding + i, w = q * s.stride - s.padding + j;
                            if (h < 0 || h >= s.h || w < 0 || w >= s.w) {
                                continue;
                            }
                            for (int c = 0; c < group_c; ++c) {
                                body(at(y), at(((n * s.h + h) * s.w + w) * s.c + k / group_k * group_c + c),
                                     at(((std::int64_t{k} * s.r + i) * s.s + j) * group_c + c));
                            }
                        }
                    }
                }
            }
        }
    }
}

template <class Body>
void for_depthwise_terms(const DepthwiseShape& s, Body&& body) {
    const ConvShape one_image_channel{s.n, s.h, s.w, 1, 1, 3, 3, s.stride, 1};
    for_conv_terms(one_image_channel, [&](std::size_t y, std::size_t x, std::size_t w) {
        for (std::size_t c = 0; c < at(s.c); ++c) {
            body(y * at(s.c) + c, x * at(s.c) + c, w * at(s.c) + c);
        }
    });
}

// body(y, x, size) for every pixel x of window y, whose size counts padding, but nothing beyond it.
template <class Body>
void for_pool_terms(const PoolShape& s, Body&& body) {
    std::size_t y = 0;
    for (int n = 0; n < s.n; ++n) {
        for (int p = 0; p < s.p(); ++p) {
            for (int q = 0; q < s.q(); ++q) {
                const int top = p * s.stride - s.padding, left = q * s.stride - s.padding;
                const int bottom = std::min(top + s.window, s.h + s.padding);
                const int right = std::min(left + s.window, s.w + s.padding);
                const int size = (bottom - top) * (right - left);
                for (int c = 0; c < s.c; ++c, ++y) {
                    for (int h = std::max(top, 0); h < std::min(bottom, s.h); ++h) {
                        for (int w = std::max(left, 0); w < std::min(right, s.w); ++w) {
                            body(y, at(((std::int64_t{n} * s.h + h) * s.w + w) * s.c + c), size);
                        }
                    }
                }
            }
        }
    }
}

double clamp(double v, Activation act) {
    const Clamp ends = clamp_of(act);
    const auto lo = static_cast<double>(ends.lo), hi = static_cast<double>(ends.hi);
    g_nearest_kink = std::min({g_nearest_kink, std::abs(v - lo), std::abs(v - hi)});
    return std::min(std::max(v, lo), hi);
}

double pass(double g, double v, Activation act) {
    const Clamp ends = clamp_of(act);
    const auto lo = static_cast<double>(ends.lo), hi = static_cast<double>(ends.hi);
    g_nearest_kink = std::min({g_nearest_kink, std::abs(v - lo), std::abs(v - hi)});
    return v > lo && v < hi ? g : 0.0;
}

}  // namespace

double nearest_kink() {
    return g_nearest_kink;
}
void reset_kinks() {
    g_nearest_kink = std::numeric_limits<double>::infinity();
}

ConvShape linear_shape(std::int64_t rows, int c, int k) {
    return {static_cast<int>(rows), 1, 1, c, k, 1, 1, 1, 0};
}

Values conv(const Values& x, const Values& w, const Values& bias, const ConvShape& s) {
    Values y = zeros(std::int64_t{s.n} * s.p() * s.q() * s.k);
    for (std::size_t i = 0; i < y.size() && !bias.empty(); ++i) {
        y[i] = bias[i % bias.size()];
    }
    for_conv_terms(s, [&](std::size_t i, std::size_t j, std::size_t k) { y[i] += x[j] * w[k]; });
    return y;
}

Values conv_input_gradient(const Values& dy, const Values& w, const ConvShape& s) {
    Values dx = zeros(std::int64_t{s.n} * s.h * s.w * s.c);
    for_conv_terms(s, [&](std::size_t i, std::size_t j, std::size_t k) { dx[j] += dy[i] * w[k]; });
    return dx;
}

Values conv_weight_gradient(const Values& dy, const Values& x, const ConvShape& s) {
    Values dw = zeros(std::int64_t{s.k} * s.r * s.s * s.c / s.groups);
    for_conv_terms(s, [&](std::size_t i, std::size_t j, std::size_t k) { dw[k] += dy[i] * x[j]; });
    return dw;
}

Values depthwise(const Values& x, const Values& w, const DepthwiseShape& s) {
    Values y = zeros(std::int64_t{s.n} * s.p() * s.q() * s.c);
    for_depthwise_terms(s, [&](std::size_t i, std::size_t j, std::size_t k) { y[i] += x[j] * w[k]; });
    return y;
}

Values depthwise_input_gradient(const Values& dy, const Values& w, const DepthwiseShape& s) {
    Values dx = zeros(std::int64_t{s.n} * s.h * s.w * s.c);
    for_depthwise_terms(s, [&](std::size_t i, std::size_t j, std::size_t k) { dx[j] += dy[i] * w[k]; });
    return dx;
}

Values depthwise_weight_gradient(const Values& dy, const Values& x, const DepthwiseShape& s) {
    Values dw = zeros(std::int64_t{9} * s.c);
    for_depthwise_terms(s, [&](std::size_t i, std::size_t j, std::size_t k) { dw[k] += dy[i] * x[j]; });
    return dw;
}

Values column_sum(const Values& x, int c) {
    Values sum = zeros(c);
    for (std::size_t i = 0; i < x.size(); ++i) {
        sum[i % at(c)] += x[i];
    }
    return sum;
}

Moments moments(const Values& x, int c) {
    const double rows = static_cast<double>(x.size() / at(c));
    Moments result{column_sum(x, c), zeros(c)};
    for (double& mean : result.mean) {
        mean /= rows;
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double d = x[i] - result.mean[i % at(c)];
        result.var[i % at(c)] += d * d / rows;
    }
    return result;
}

Values normalize(const Values& y, const Values& scale, const Values& shift, Activation act) {
    Values z(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
        z[i] = clamp(scale[i % scale.size()] * y[i] + shift[i % scale.size()], act);
    }
    return z;
}

Values masked(const Values& g, const Values& y, const Values& scale, const Values& shift, Activation act) {
    Values result(g.size());
    for (std::size_t i = 0; i < g.size(); ++i) {
        result[i] = pass(g[i], scale[i % scale.size()] * y[i] + shift[i % scale.size()], act);
    }
    return result;
}

Values gradient_on_load(const Values& g, const Values& y, const Values& a, const Values& b, const Values& d) {
    Values dy(g.size());
    for (std::size_t i = 0; i < g.size(); ++i) {
        const std::size_t c = i % a.size();
        dy[i] = a[c] * g[i] + b[c] * y[i] + d[c];
    }
    return dy;
}

Values gamma_gradient(const Values& g, const Values& y, const Values& mean, const Values& inv_std) {
    Values sum = zeros(static_cast<std::int64_t>(mean.size()));
    for (std::size_t i = 0; i < g.size(); ++i) {
        const std::size_t c = i % mean.size();
        sum[c] += g[i] * (y[i] - mean[c]) * inv_std[c];
    }
    return sum;
}

Values batchnorm(const Values& y, const Values& gamma, const Values& beta, double eps, Activation act) {
    const Moments m = moments(y, static_cast<int>(gamma.size()));
    Values z(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
        const std::size_t c = i % gamma.size();
        z[i] = clamp(gamma[c] * (y[i] - m.mean[c]) / std::sqrt(m.var[c] + eps) + beta[c], act);
    }
    return z;
}

Values add(const Values& a, const Values& b) {
    Values z(a.size());
    std::transform(a.begin(), a.end(), b.begin(), z.begin(), [](double x, double y) { return x + y; });
    return z;
}

Values activation(const Values& x, Activation act) {
    Values y(x.size());
    std::transform(x.begin(), x.end(), y.begin(), [&](double v) { return clamp(v, act); });
    return y;
}

Values activation_gradient(const Values& dy, const Values& x, Activation act) {
    Values dx(x.size());
    std::transform(dy.begin(), dy.end(), x.begin(), dx.begin(), [&](double g, double v) { return pass(g, v, act); });
    return dx;
}

Values dropout(const Values& x, const std::vector<bool>& kept, double probability) {
    Values y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
        y[i] = kept[i] ? x[i] / (1.0 - probability) : 0.0;
    }
    return y;
}

Values max_pool(const Values& x, const PoolShape& s) {
    const std::size_t outputs = at(std::int64_t{s.n} * s.p() * s.q() * s.c);
    constexpr double kNone = -std::numeric_limits<double>::infinity();
    Values y(outputs, kNone), second(outputs, kNone);
    for_pool_terms(s, [&](std::size_t i, std::size_t j, int) {
        second[i] = std::max(second[i], std::min(y[i], x[j]));
        y[i] = std::max(y[i], x[j]);
    });
    for (std::size_t i = 0; i < outputs; ++i) {
        g_nearest_kink = std::min(g_nearest_kink, y[i] - second[i]);
    }
    return y;
}

Values average_pool(const Values& x, const PoolShape& s) {
    Values y = zeros(std::int64_t{s.n} * s.p() * s.q() * s.c);
    std::vector<int> sizes(y.size());
    for_pool_terms(s, [&](std::size_t i, std::size_t j, int size) {
        y[i] += x[j];
        sizes[i] = size;
    });
    for (std::size_t i = 0; i < y.size(); ++i) {
        y[i] /= sizes[i];
    }
    return y;
}

Values adaptive_average_pool(const Values& x, const AdaptivePoolShape& s) {
    Values y = zeros(std::int64_t{s.n} * s.p * s.q * s.c);
    std::size_t i = 0;
    for (int n = 0; n < s.n; ++n) {
        for (int p = 0; p < s.p; ++p) {
            for (int q = 0; q < s.q; ++q) {
                const double top = std::floor(static_cast<double>(p) * s.h / s.p),
                             bottom = std::ceil(static_cast<double>(p + 1) * s.h / s.p);
                const double left = std::floor(static_cast<double>(q) * s.w / s.q),
                             right = std::ceil(static_cast<double>(q + 1) * s.w / s.q);
                for (int c = 0; c < s.c; ++c, ++i) {
                    for (int h = static_cast<int>(top); h < static_cast<int>(bottom); ++h) {
                        for (int w = static_cast<int>(left); w < static_cast<int>(right); ++w) {
                            y[i] += x[at(((std::int64_t{n} * s.h + h) * s.w + w) * s.c + c)];
                        }
                    }
                    y[i] /= (bottom - top) * (right - left);
                }
            }
        }
    }
    return y;
}

Values global_average_pool(const Values& x, int n, int hw, int c) {
    Values y = zeros(std::int64_t{n} * c);
    for (std::size_t i = 0; i < x.size(); ++i) {
        y[i / at(std::int64_t{hw} * c) * at(c) + i % at(c)] += x[i];
    }
    for (double& value : y) {
        value /= hw;
    }
    return y;
}

Values local_response_norm(const Values& x, const LocalResponseNorm& norm, int c) {
    Values y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
        const auto channel = static_cast<int>(i % at(c));
        double sum = 0.0;
        for (int j = channel - norm.size / 2; j <= channel + (norm.size - 1) / 2; ++j) {
            if (j >= 0 && j < c) {
                const double neighbour = x[i - at(channel) + at(j)];
                sum += neighbour * neighbour;
            }
        }
        const double s = static_cast<double>(norm.k) + static_cast<double>(norm.alpha) / norm.size * sum;
        y[i] = x[i] * std::pow(s, -static_cast<double>(norm.beta));
    }
    return y;
}

Values softmax(const Values& logits, int c) {
    Values p(logits.size());
    for (std::size_t row = 0; row < logits.size(); row += at(c)) {
        double largest = logits[row], sum = 0.0;
        for (std::size_t j = row; j < row + at(c); ++j) {
            largest = std::max(largest, logits[j]);
        }
        for (std::size_t j = row; j < row + at(c); ++j) {
            sum += p[j] = std::exp(logits[j] - largest);
        }
        for (std::size_t j = row; j < row + at(c); ++j) {
            p[j] /= sum;
        }
    }
    return p;
}

CrossEntropy cross_entropy(const Values& logits, const std::vector<std::int32_t>& labels,
                           const CrossEntropyOptions& options, int c) {
    const Values p = softmax(logits, c);
    const auto weight = [&](std::size_t j) {
        return options.class_weights != nullptr ? static_cast<double>(options.class_weights[j]) : 1.0;
    };
    const auto smoothing = static_cast<double>(options.label_smoothing),
               gamma = static_cast<double>(options.focal_gamma);
    double sum = 0.0, weights = 0.0;
    CrossEntropy result{0.0, Values(labels.size(), 0.0)};
    for (std::size_t i = 0; i < labels.size(); ++i) {
        const std::size_t label = at(labels[i]);
        const double p_label = p[i * at(c) + label];
        double& loss = result.losses[i];
        loss = -(1.0 - smoothing) * weight(label) * std::pow(1.0 - p_label, gamma) * std::log(p_label);
        for (std::size_t j = 0; j < at(c); ++j) {
            loss -= smoothing / c * weight(j) * std::log(p[i * at(c) + j]);
        }
        sum += loss;
        weights += weight(label);
    }
    result.loss = sum / weights;
    return result;
}

Lstm lstm(const Values& x, const Values& w_ih, const Values& w_hh, const Values& b, const Values& h0, const Values& c0,
          const LstmShape& s) {
    const std::size_t c = at(s.c), h = at(s.h), steps = at(s.t);
    Lstm result{Values(at(s.n) * steps * h), Values(at(s.n) * steps * 4 * h), Values(at(s.n) * steps * h)};
    for (std::size_t n = 0; n < at(s.n); ++n) {
        const double *hidden = h0.data() + n * h, *cell = c0.data() + n * h;
        for (std::size_t row = n * steps; row < (n + 1) * steps; ++row) {
            double *const gates = result.gates.data() + row * 4 * h, *const y = result.y.data() + row * h;
            double* const next = result.cells.data() + row * h;
            for (std::size_t j = 0; j < 4 * h; ++j) {
                double sum = b[j];
                for (std::size_t k = 0; k < c; ++k) {
                    sum += x[row * c + k] * w_ih[j * c + k];
                }
                for (std::size_t k = 0; k < h; ++k) {
                    sum += hidden[k] * w_hh[j * h + k];
                }
                gates[j] = j / h == 2 ? std::tanh(sum) : 1.0 / (1.0 + std::exp(-sum));
            }
            for (std::size_t j = 0; j < h; ++j) {
                next[j] = gates[h + j] * cell[j] + gates[j] * gates[2 * h + j];
                y[j] = gates[3 * h + j] * std::tanh(next[j]);
            }
            hidden = y;
            cell = next;
        }
    }
    return result;
}

void sgd_step(Values& w, Values& first, const Values& g, const SgdOptions& options) {
    const double lr = static_cast<double>(options.lr), momentum = static_cast<double>(options.momentum);
    for (std::size_t i = 0; i < w.size(); ++i) {
        const double d = g[i] + static_cast<double>(options.weight_decay) * w[i];
        first[i] = momentum * first[i] + d;
        w[i] -= lr * (options.nesterov ? d + momentum * first[i] : first[i]);
    }
}

void rmsprop_step(Values& w, Values& second, Values& first, const Values& g, const RmspropOptions& options) {
    const double alpha = static_cast<double>(options.alpha);
    for (std::size_t i = 0; i < w.size(); ++i) {
        const double d = g[i] + static_cast<double>(options.weight_decay) * w[i];
        second[i] = alpha * second[i] + (1.0 - alpha) * d * d;
        first[i] = static_cast<double>(options.momentum) * first[i] +
                   d / (std::sqrt(second[i]) + static_cast<double>(options.eps));
        w[i] -= static_cast<double>(options.lr) * first[i];
    }
}

void adamw_step(Values& w, Values& first, Values& second, const Values& g, const AdamwOptions& options, int step) {
    const double lr = static_cast<double>(options.lr), beta1 = static_cast<double>(options.beta1),
                 beta2 = static_cast<double>(options.beta2);
    for (std::size_t i = 0; i < w.size(); ++i) {
        w[i] -= lr * static_cast<double>(options.weight_decay) * w[i];
        first[i] = beta1 * first[i] + (1.0 - beta1) * g[i];
        second[i] = beta2 * second[i] + (1.0 - beta2) * g[i] * g[i];
        const double m = first[i] / (1.0 - std::pow(beta1, step)), v = second[i] / (1.0 - std::pow(beta2, step));
        w[i] -= lr * m / (std::sqrt(v) + static_cast<double>(options.eps));
    }
}

}  // namespace cutis::reference
