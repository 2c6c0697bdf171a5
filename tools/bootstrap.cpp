#include "tools/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"

namespace cutis {
namespace {

double percentile(const std::vector<double>& sorted, double share) {
    const double position = share * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (sorted[above] - sorted[below]) * (position - static_cast<double>(below));
}

void require_possible(const BootstrapOptions& options) {
    require(options.resamples >= 1 && options.resamples <= 100'000, "bootstrap: {} resamples, 1 to 100000 are possible",
            options.resamples);
    require(options.level > 0 && options.level < 1, "bootstrap: level {}, it must lie between 0 and 1", options.level);
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
    require_possible(options);
    const std::size_t lesions = 1 + *std::max_element(lesion_of.begin(), lesion_of.end());
    parallel_for(options.resamples, 1, [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<std::uint32_t> drawn(lesions), weights(lesion_of.size());
        for (std::int64_t b = begin; b < end; ++b) {
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
}

MetricIntervals bootstrap_intervals(const Predictions& predictions, const BootstrapOptions& options) {
    require_possible(options);
    const Scorer scorer(predictions);
    const std::vector<std::uint32_t> lesion_of = lesion_numbers(predictions);
    std::vector<Metrics> resampled(static_cast<std::size_t>(options.resamples));
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
    result.lesions = 1 + *std::max_element(lesion_of.begin(), lesion_of.end());
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

}  // namespace cutis
