#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace cutis {

/// Writes `json` to a file that cutis reads again, indented and crash-safe. Throws Error naming the file for text that
/// is not UTF-8, which JSON cannot hold, and where it cannot be written.
void write_json_file(const std::filesystem::path& path, const nlohmann::ordered_json& json);

}  // namespace cutis
