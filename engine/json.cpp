#include "engine/json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

constexpr int kDeepestNesting = 64;

/// "line 3, column 14" of the byte at `offset`; columns count bytes from 1.
std::string place_of(std::string_view text, std::size_t offset) {
    const std::string_view before = text.substr(0, offset);
    std::size_t line = 1;
    std::size_t line_start = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
        if (before[i] == '\n') {
            ++line;
            line_start = i + 1;
        }
    }
    return fmt::format("line {}, column {}", line, before.size() - line_start + 1);
}

/// The library's message without its own error number and place.
std::string_view explanation(std::string_view message) {
    for (const std::string_view start : {"syntax error", "attempting to parse", "number overflow"}) {
        if (const std::size_t at = message.find(start); at != std::string_view::npos) {
            return message.substr(at);
        }
    }
    return message;
}

}  // namespace

nlohmann::json parse_json(std::string_view text, std::string_view name) {
    using Event = nlohmann::json::parse_event_t;
    std::vector<std::set<std::string>> keys_of_open_objects;
    const auto check = [&](int depth, Event event, nlohmann::json& parsed) {
        if (event == Event::object_start || event == Event::array_start) {
            require(depth < kDeepestNesting, "{}: JSON nested deeper than {} levels; check that it is the right file",
                    name, kDeepestNesting);
        }
        if (event == Event::object_start) {
            keys_of_open_objects.emplace_back();
        } else if (event == Event::object_end) {
            keys_of_open_objects.pop_back();
        } else if (event == Event::key) {
            const auto& key = parsed.get_ref<const std::string&>();
            require(keys_of_open_objects.back().insert(key).second,
                    "{}: the JSON key '{}' stands twice in one object; remove one", name, printable(key));
        }
        return true;
    };
    try {
        return nlohmann::json::parse(text.begin(), text.end(), check);
    } catch (const nlohmann::json::parse_error& error) {
        const std::size_t offset = error.byte > 0 ? error.byte - 1 : 0;
        fail("{}: not valid JSON at {}: {}; mend or replace the file", name, place_of(text, offset),
             printable(explanation(error.what()), 200));
    } catch (const nlohmann::json::exception& error) {
        fail("{}: not usable as JSON: {}; mend or replace the file", name, printable(explanation(error.what()), 200));
    }
}

}  // namespace cutis
