#include "tools/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "tools/signals.h"

namespace cutis {
namespace {

double percentile(const std::vector<double>& sorted, double share) {
    const double position = share * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (sorted[above] - sorted[below]) * (position - static_cast<double>(below));
}

/// Throws Error for options that cannot be.
std::size_t resample_count(const BootstrapOptions& options) {
    require(options.resamples >= 1 && options.resamples <= 100'000, "bootstrap: {} resamples, 1 to 100000 are possible",
            options.resamples);
    require(options.level > 0 && options.level < 1, "bootstrap: level {}, it must lie between 0 and 1", options.level);
    return static_cast<std::size_t>(options.resamples);
}

std::size_t count_of(std::span<const std::uint32_t> lesion_of) {
    return 1 + *std::max_element(lesion_of.begin(), lesion_of.end());
}

}  // namespace

Interval percentile_interval(std::vector<double> values, double level) {
    std::erase_if(values, [](double value) { return std::isnan(value); });
    if (values.empty()) {
        return {};
    }
    std::sort(values.begin(), values.end());
    return {percentile(values, (1 - level) / 2), percentile(values, (1 + level) / 2)};
}

void resample_lesions(std::span<const std::uint32_t> lesion_of, const BootstrapOptions& options,
                      const std::function<void(int b, std::span<const std::uint32_t> weights)>& body) {
    resample_count(options);
    const std::size_t lesions = count_of(lesion_of);
    parallel_for(options.resamples, 1, [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<std::uint32_t> drawn(lesions), weights(lesion_of.size());
        for (std::int64_t b = begin; b < end && stop_signal() == 0; ++b) {
            PhiloxStream random(options.seed, RandomPurpose::bootstrap, static_cast<std::uint32_t>(b));
            std::fill(drawn.begin(), drawn.end(), 0u);
            for (std::size_t draw = 0; draw < lesions; ++draw) {
                ++drawn[random.below(static_cast<std::uint32_t>(lesions))];
            }
            for (std::size_t i = 0; i < weights.size(); ++i) {
                weights[i] = drawn[lesion_of[i]];
            }
            body(static_cast<int>(b), weights);
        }
    });
    throw_if_stopped();
}

MetricIntervals bootstrap_intervals(const Predictions& predictions, const BootstrapOptions& options) {
    const Scorer scorer(predictions);
    const std::vector<std::uint32_t> lesion_of = lesion_numbers(predictions);
    std::vector<Metrics> resampled(resample_count(options));
    resample_lesions(lesion_of, options, [&](int b, std::span<const std::uint32_t> weights) {
        resampled[static_cast<std::size_t>(b)] = scorer.score(weights);
    });

    const auto interval = [&](auto&& figure) {
        std::vector<double> values(resampled.size());
        std::transform(resampled.begin(), resampled.end(), values.begin(), figure);
        return percentile_interval(std::move(values), options.level);
    };
    MetricIntervals result;
    result.options = options;
    result.lesions = count_of(lesion_of);
    result.accuracy = interval([](const Metrics& m) { return m.accuracy; });
    result.balanced_accuracy = interval([](const Metrics& m) { return m.balanced_accuracy; });
    result.macro_f1 = interval([](const Metrics& m) { return m.macro_f1; });
    result.macro_auc = interval([](const Metrics& m) { return m.macro_auc; });
    result.ece = interval([](const Metrics& m) { return m.ece; });
    result.melanoma_sensitivity = interval([](const Metrics& m) { return m.melanoma_sensitivity; });
    result.melanoma_sensitivity_at_90 = interval([](const Metrics& m) { return m.melanoma_sensitivity_at_90; });
    result.melanoma_sensitivity_at_95 = interval([](const Metrics& m) { return m.melanoma_sensitivity_at_95; });
    for (std::size_t k = 0; k < predictions.classes(); ++k) {
        result.classes.push_back({interval([k](const Metrics& m) { return m.classes[k].sensitivity; }),
                                  interval([k](const Metrics& m) { return m.classes[k].specificity; }),
                                  interval([k](const Metrics& m) { return m.classes[k].f1; }),
                                  interval([k](const Metrics& m) { return m.classes[k].auc; })});
    }
    return result;
}

PairedDifferences paired_differences(const Predictions& first, const Predictions& second,
                                     const BootstrapOptions& options) {
    validate(first, "paired differences: the first");
    validate(second, "paired differences: the second");
    require(first.class_names == second.class_names && first.image_ids == second.image_ids &&
                first.lesion_ids == second.lesion_ids && first.labels == second.labels,
            "paired differences: {} and {} images with their classes, lesions and labels are not the same; compare "
            "predictions of one part of one data set",
            first.size(), second.size());
    const Scorer of_first(first), of_second(second);
    const std::vector<std::uint32_t> lesion_of = lesion_numbers(first);
    std::vector<Metrics> firsts(resample_count(options)), seconds(firsts.size());
    resample_lesions(lesion_of, options, [&](int b, std::span<const std::uint32_t> weights) {
        firsts[static_cast<std::size_t>(b)] = of_first.score(weights);
        seconds[static_cast<std::size_t>(b)] = of_second.score(weights);
    });
    const Metrics whole_first = of_first.score(), whole_second = of_second.score();
    const auto difference = [&](double Metrics::*figure) {
        std::vector<double> values(firsts.size());
        for (std::size_t b = 0; b < values.size(); ++b) {
            values[b] = seconds[b].*figure - firsts[b].*figure;
        }
        return Difference{whole_second.*figure - whole_first.*figure,
                          percentile_interval(std::move(values), options.level)};
    };
    return {.options = options,
            .lesions = count_of(lesion_of),
            .accuracy = difference(&Metrics::accuracy),
            .balanced_accuracy = difference(&Metrics::balanced_accuracy),
            .macro_f1 = difference(&Metrics::macro_f1),
            .macro_auc = difference(&Metrics::macro_auc)};
}

}  // namespace cutis
