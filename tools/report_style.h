#pragma once

#include <string_view>

namespace cutis {

/// The style sheet of the report.
extern const std::string_view kReportStyle;

}  // namespace cutis
