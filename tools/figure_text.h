#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "tools/bootstrap.h"
#include "tools/evaluation.h"

namespace cutis {

/// How figures are written that may be undefined (NaN): the sensitivity of a class without images, an interval where no
/// resample defines the figure. In texts a dash stands for them, in JSON null.
inline constexpr std::string_view kUndefinedText = "\xE2\x80\x93";

/// "0.742"; with `sign` "+0.031".
std::string figure_text(double value, int digits = 3, bool sign = false);
/// "[0.711, 0.769]".
std::string interval_text(const Interval& interval, bool sign = false);
/// "0.742 [0.711, 0.769]", a dash alone where the figure itself is undefined.
std::string figure_text(double value, const Interval& interval);
/// The same of a difference, with signs.
std::string figure_text(const Difference& difference);
/// "accuracy 0.821, balanced accuracy 0.697 [0.653, 0.741], macro-F1 0.673".
std::string headline_text(const Evaluation& evaluation);

/// {"value", "low", "high"}.
nlohmann::ordered_json figure_json(double value, const Interval& interval);

}  // namespace cutis
