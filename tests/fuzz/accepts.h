#pragma once

#include <cstdlib>
#include <string_view>

#include "kernels/error.h"

namespace cutis::fuzz {

/// Ends the run as a failure that the fuzzer reports, unless `rule` holds.
inline void insist(bool rule) {
    if (!rule) {
        std::abort();
    }
}

/// Whether `action` accepted its input. An input may be refused only by an Error of one line.
template <class Action>
bool accepts(Action action) {
    try {
        action();
        return true;
    } catch (const Error& error) {
        const std::string_view message = error.what();
        insist(!message.empty() && message.find_first_of("\r\n") == std::string_view::npos);
        return false;
    }
}

}  // namespace cutis::fuzz
