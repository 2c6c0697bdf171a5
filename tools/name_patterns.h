#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "layers/optimizer.h"

/// Parameters by patterns of their names: which are frozen, and which learn at a rate of their own.

namespace cutis {

/// Whether `name` fits: it begins with a pattern that has no `*`; one that has some must fit as a whole, each `*`
/// standing for any text.
bool matches_pattern(std::string_view pattern, std::string_view name);

/// "a,b": patterns separated by commas. Throws Error naming `flag` for an empty one.
std::vector<std::string> parse_patterns(std::string_view flag, std::string_view text);

struct PatternFactor {
    std::string pattern;
    float factor = 1.0f;
};
/// "a=0.1,b=2": factors above 0 by pattern. Throws Error naming `flag` and the part that is none.
std::vector<PatternFactor> parse_pattern_factors(std::string_view flag, std::string_view text);

/// Throws Error naming `flag`, the pattern and the names that are nearest to it, unless it fits a parameter.
void require_match(std::string_view flag, std::string_view pattern, std::span<const ParameterRef> parameters);

/// The parameters with their learning rates: `lr`, of those that are `in_classifier` by their name `lr_head`, times
/// the factor of the last pattern that fits. The classifier's come last.
std::vector<Optimizer::Group> learning_rate_groups(std::span<const ParameterRef> parameters,
                                                   const std::function<bool(std::string_view)>& in_classifier, float lr,
                                                   float lr_head, std::span<const PatternFactor> scales);

}  // namespace cutis
