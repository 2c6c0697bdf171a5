#pragma once

#include <string>
#include <string_view>

namespace cutis {

/// `text` as it may stand in a one-line message: control characters and bytes that are not UTF-8 become \xNN, and what
/// is longer than `limit` bytes is cut and ends in "...". Names and keys of unknown files go through it.
std::string printable(std::string_view text, std::size_t limit = 120);

/// ASCII letters in lower case, every other byte as it is.
std::string lower_case(std::string_view text);

}  // namespace cutis
