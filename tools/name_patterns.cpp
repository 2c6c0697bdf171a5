#include "tools/name_patterns.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <set>

#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

/// Letters to change, add or take away to make `b` of `a` (Levenshtein 1966).
std::size_t edits(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t above = row[j + 1];
            row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1)});
            diagonal = above;
        }
    }
    return row.back();
}

/// Of all layers' and parameters' names the few that are nearest to the pattern.
std::vector<std::string> nearest_names(std::string_view pattern, std::span<const ParameterRef> parameters) {
    constexpr std::size_t kShown = 3, kLongest = 200;
    std::string plain(pattern.substr(0, kLongest));
    std::erase(plain, '*');
    std::set<std::pair<std::size_t, std::string>> by_distance;
    for (const ParameterRef& parameter : parameters) {
        const std::string& name = parameter.name;
        for (std::size_t end = name.find('.'); end != std::string::npos; end = name.find('.', end + 1)) {
            by_distance.emplace(edits(plain, name.substr(0, end)), name.substr(0, end));
        }
        by_distance.emplace(edits(plain, name), name);
    }
    std::vector<std::string> names;
    for (const auto& [distance, name] : by_distance) {
        if (names.size() < kShown) {
            names.push_back(name);
        }
    }
    return names;
}

}  // namespace

bool matches_pattern(std::string_view pattern, std::string_view name) {
    std::size_t star = pattern.find('*');
    if (star == std::string_view::npos) {
        return name.starts_with(pattern);
    }
    // The text before the first star begins the name, that behind the last ends it, and the others follow each other
    // between them: each where it first occurs.
    if (!name.starts_with(pattern.substr(0, star))) {
        return false;
    }
    name.remove_prefix(star);
    pattern.remove_prefix(star + 1);
    while ((star = pattern.find('*')) != std::string_view::npos) {
        const std::size_t at = name.find(pattern.substr(0, star));
        if (at == std::string_view::npos) {
            return false;
        }
        name.remove_prefix(at + star);
        pattern.remove_prefix(star + 1);
    }
    return name.ends_with(pattern);
}

std::vector<std::string> parse_patterns(std::string_view flag, std::string_view text) {
    std::vector<std::string> patterns;
    for (std::size_t begin = 0; !text.empty() && begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        require(end > begin, "{} '{}' has an empty part; separate patterns by one comma", flag, printable(text));
        patterns.emplace_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return patterns;
}

std::vector<PatternFactor> parse_pattern_factors(std::string_view flag, std::string_view text) {
    std::vector<PatternFactor> factors;
    for (const std::string& part : parse_patterns(flag, text)) {
        const std::size_t equals = std::min(part.find('='), part.size());
        PatternFactor factor{part.substr(0, equals), 0.0f};
        const char* const end = part.data() + part.size();
        const auto [rest, error] = std::from_chars(std::min(part.data() + equals + 1, end), end, factor.factor);
        require(
            equals > 0 && error == std::errc() && rest == end && std::isfinite(factor.factor) && factor.factor > 0,
            "{}: '{}' is not a pattern with a factor above 0 like features.0=0.1; what must not learn is for --freeze",
            flag, printable(part));
        factors.push_back(std::move(factor));
    }
    return factors;
}

void require_match(std::string_view flag, std::string_view pattern, std::span<const ParameterRef> parameters) {
    const bool found = std::any_of(parameters.begin(), parameters.end(), [&](const ParameterRef& parameter) {
        return matches_pattern(pattern, parameter.name);
    });
    require(found, "{} {}: no parameter has such a name; near it are: {}", flag, printable(pattern),
            fmt::join(nearest_names(pattern, parameters), ", "));
}

std::vector<Optimizer::Group> learning_rate_groups(std::span<const ParameterRef> parameters,
                                                   const std::function<bool(std::string_view)>& in_classifier, float lr,
                                                   float lr_head, std::span<const PatternFactor> scales) {
    std::vector<Optimizer::Group> groups;
    for (const bool of_classifier : {false, true}) {
        for (const ParameterRef& parameter : parameters) {
            if (in_classifier(parameter.name) != of_classifier) {
                continue;
            }
            const auto scale = std::find_if(scales.rbegin(), scales.rend(), [&](const PatternFactor& candidate) {
                return matches_pattern(candidate.pattern, parameter.name);
            });
            const float rate = (of_classifier ? lr_head : lr) * (scale == scales.rend() ? 1.0f : scale->factor);
            if (groups.empty() || groups.back().lr != rate) {
                groups.push_back({{}, rate});
            }
            groups.back().parameters.push_back(parameter);
        }
    }
    return groups;
}

}  // namespace cutis
