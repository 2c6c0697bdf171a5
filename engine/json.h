#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace cutis {

/// Parses one JSON document of an unknown origin. Throws Error with `name`, line, column and what was expected when it
/// is no JSON (RFC 8259), is nested deeper than 64 levels, or states a key of one object twice.
/// @param name  the file, for messages
nlohmann::json parse_json(std::string_view text, std::string_view name);

}  // namespace cutis
