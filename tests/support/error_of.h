#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "kernels/error.h"

namespace cutis::testing {

/// The message of the Error that `action` throws; "(no error)" where it throws none.
template <class Action>
std::string error_of(Action action) {
    try {
        action();
    } catch (const Error& error) {
        return error.what();
    }
    return "(no error)";
}

/// EXPECT_PRED-style check that `text` is one line and holds every part.
template <class... Parts>
::testing::AssertionResult is_line_with(const std::string& text, const Parts&... parts) {
    if (text.find_first_of("\n\r") != std::string::npos) {
        return ::testing::AssertionFailure() << "more than one line: " << text;
    }
    for (const std::string_view part : {std::string_view(parts)...}) {
        if (text.find(part) == std::string::npos) {
            return ::testing::AssertionFailure() << "'" << part << "' is not in: " << text;
        }
    }
    return ::testing::AssertionSuccess();
}

}  // namespace cutis::testing
