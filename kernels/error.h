#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace cutis {

/// The one exception of the library. `what()` is a single line that names the operation or file, the broken rule and
/// the actual values, and, where there is one, the remedy.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// Throws Error with a formatted message.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error with a formatted message unless `rule` holds. The arguments are evaluated either way; keep them cheap.
template <class... Args>
void require(bool rule, fmt::format_string<Args...> format, Args&&... args) {
    if (!rule) [[unlikely]] {
        throw Error(fmt::format(format, std::forward<Args>(args)...));
    }
}

}  // namespace cutis
