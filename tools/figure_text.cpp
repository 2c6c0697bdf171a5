#include "tools/figure_text.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace cutis {

std::string figure_text(double value, int digits, bool sign) {
    return !std::isfinite(value) ? std::string(kUndefinedText)
           : sign                ? fmt::format("{:+.{}f}", value, digits)
                                 : fmt::format("{:.{}f}", value, digits);
}

std::string interval_text(const Interval& interval, bool sign) {
    return std::isnan(interval.low)
               ? std::string(kUndefinedText)
               : fmt::format("[{}, {}]", figure_text(interval.low, 3, sign), figure_text(interval.high, 3, sign));
}

std::string figure_text(double value, const Interval& interval) {
    return std::isnan(value) ? std::string(kUndefinedText)
                             : fmt::format("{} {}", figure_text(value), interval_text(interval));
}

std::string figure_text(const Difference& difference) {
    return std::isnan(difference.value)
               ? std::string(kUndefinedText)
               : fmt::format("{} {}", figure_text(difference.value, 3, true), interval_text(difference.interval, true));
}

std::string headline_text(const Evaluation& evaluation) {
    const Metrics& m = evaluation.metrics;
    return fmt::format("accuracy {}, balanced accuracy {}, macro-F1 {}", figure_text(m.accuracy),
                       figure_text(m.balanced_accuracy, evaluation.intervals.balanced_accuracy),
                       figure_text(m.macro_f1));
}

nlohmann::ordered_json figure_json(double value, const Interval& interval) {
    // The library writes numbers that are not finite as null.
    return {{"value", value}, {"low", interval.low}, {"high", interval.high}};
}

}  // namespace cutis
