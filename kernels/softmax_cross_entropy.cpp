#include "kernels/softmax_cross_entropy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/error.h"
#if defined(CUTIS_WITH_ONEDNN)
#include "kernels/vendor/onednn.h"
#endif

// n x c is a batch's logits, a few kilobytes to megabytes: rows are taken one after the other, each in fp64, since exp
// and log cost more than the precision does and the loss is the number that people compare. Softmax alone over many
// classes goes to oneDNN where the build has it.

namespace cutis {

void check_cross_entropy(const CrossEntropyOptions& options, int n, int c) {
    require(n >= 1 && c >= 1, "cross entropy: {} samples of {} classes; both are positive", n, c);
    require(options.label_smoothing >= 0.0f && options.label_smoothing <= 1.0f,
            "cross entropy: label smoothing {} is not in [0, 1]", options.label_smoothing);
    require(options.focal_gamma >= 0.0f, "cross entropy: focal gamma {} is negative", options.focal_gamma);
    require(options.label_smoothing == 0.0f || options.focal_gamma == 0.0f,
            "cross entropy: label smoothing {} and focal gamma {} cannot be combined; set one of them to 0",
            options.label_smoothing, options.focal_gamma);
}

namespace cpu {
namespace {

// log(sum of exp(z - largest)) and the largest z of a row.
struct LogSum {
    double largest, log_sum;
};
LogSum log_sum_of(const float* logits, int c) {
    const double largest = static_cast<double>(*std::max_element(logits, logits + c));
    double sum = 0.0;
    for (int j = 0; j < c; ++j) {
        sum += std::exp(static_cast<double>(logits[j]) - largest);
    }
    return {largest, std::log(sum)};
}

double weight_of(const CrossEntropyOptions& options, int label) {
    return options.class_weights != nullptr ? static_cast<double>(options.class_weights[label]) : 1.0;
}

// The sum of the labels' weights, what the mean divides by.
double total_weight(const std::int32_t* labels, const CrossEntropyOptions& options, int n, int c) {
    double total = 0.0;
    for (int i = 0; i < n; ++i) {
        require(labels[i] >= 0 && labels[i] < c, "cross entropy: label {} of sample {} is not in 0..{}", labels[i], i,
                c - 1);
        total += weight_of(options, labels[i]);
    }
    require(total > 0.0,
            "cross entropy: the class weights of the batch's {} labels sum to {}; at least one must be positive", n,
            total);
    return total;
}

// In integers, which compilers make vectors of: an exponent of ones, and no other, carries into the highest bit.
[[maybe_unused]] bool all_finite(const float* values, std::int64_t n) {
    std::uint32_t carried = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        carried |= (std::bit_cast<std::uint32_t>(values[i]) & 0x7FFFFFFFu) + 0x00800000u;
    }
    return carried >> 31 == 0;
}

void softmax_of_row(float* probabilities, const float* logits, int c) {
    const LogSum row = log_sum_of(logits, c);
    for (int j = 0; j < c; ++j) {
        probabilities[j] = static_cast<float>(std::exp(static_cast<double>(logits[j]) - row.largest - row.log_sum));
    }
}

}  // namespace

void softmax(float* probabilities, const float* logits, int n, int c, Stream) {
    require(n >= 0 && c >= 1, "softmax: {} rows of {} classes", n, c);
#if defined(CUTIS_WITH_ONEDNN)
    constexpr int kManyClasses = 64;  // from here on vectors of fp32 are several times as fast
    // What oneDNN makes of NaN and infinity depends on the CPU: zeros, on some.
    if (c >= kManyClasses && all_finite(logits, std::int64_t{n} * c)) {
        onednn::softmax(probabilities, logits, n, c);
        return;
    }
#endif
    for (int i = 0; i < n; ++i, probabilities += c, logits += c) {
        softmax_of_row(probabilities, logits, c);
    }
}

void softmax_cross_entropy_forward(float* loss, float* losses, float* probabilities, const float* logits,
                                   const std::int32_t* labels, const CrossEntropyOptions& options, int n, int c,
                                   Stream) {
    check_cross_entropy(options, n, c);
    const double weight_sum = total_weight(labels, options, n, c);
    const double smoothing = static_cast<double>(options.label_smoothing),
                 gamma = static_cast<double>(options.focal_gamma);
    double sum = 0.0;
    for (int i = 0; i < n; ++i, logits += c) {
        const LogSum row = log_sum_of(logits, c);
        const auto log_probability = [&](int j) { return static_cast<double>(logits[j]) - row.largest - row.log_sum; };
        const int label = labels[i];
        const double log_p = log_probability(label);
        double cost = -weight_of(options, label) * log_p;
        if (gamma > 0.0) {
            cost *= std::pow(-std::expm1(log_p), gamma);
        } else if (smoothing > 0.0) {
            double all = 0.0;
            for (int j = 0; j < c; ++j) {
                all -= weight_of(options, j) * log_probability(j);
            }
            cost = (1.0 - smoothing) * cost + smoothing / c * all;
        }
        sum += cost;
        if (losses != nullptr) {
            losses[i] = static_cast<float>(cost);
        }
        if (probabilities != nullptr) {
            for (int j = 0; j < c; ++j) {
                *probabilities++ = static_cast<float>(std::exp(log_probability(j)));
            }
        }
    }
    *loss = static_cast<float>(sum / weight_sum);
}

void softmax_cross_entropy_backward(float* dlogits, float scale, const float* probabilities, const std::int32_t* labels,
                                    const CrossEntropyOptions& options, int n, int c, Stream) {
    check_cross_entropy(options, n, c);
    const double factor = static_cast<double>(scale) / total_weight(labels, options, n, c);
    const double smoothing = static_cast<double>(options.label_smoothing),
                 gamma = static_cast<double>(options.focal_gamma);
    double all_weights = 0.0;
    for (int j = 0; j < c; ++j) {
        all_weights += weight_of(options, j);
    }
    for (int i = 0; i < n; ++i, probabilities += c, dlogits += c) {
        const int label = labels[i];
        // The loss is -(target . log p) with this weight on the label, and `spread` times its weight on every class.
        double on_label = (1.0 - smoothing) * weight_of(options, label);
        const double spread = smoothing / c;
        if (gamma > 0.0) {
            // d/dlog p of (1 - p)^gamma log p. Its second term goes to 0 at both ends, where its factors are not
            // finite.
            const double p = static_cast<double>(probabilities[label]), rest = 1.0 - p;
            const double slope = p > 0.0 && rest > 0.0 ? gamma * std::pow(rest, gamma - 1.0) * p * std::log(p) : 0.0;
            on_label *= std::pow(rest, gamma) - slope;
        }
        const double total = on_label + spread * all_weights;
        for (int j = 0; j < c; ++j) {
            const double target = (j == label ? on_label : 0.0) + spread * weight_of(options, j);
            dlogits[j] = static_cast<float>(factor * (static_cast<double>(probabilities[j]) * total - target));
        }
    }
}

}  // namespace cpu
}  // namespace cutis
