#include "tools/json_file.h"

#include <nlohmann/json.hpp>
#include <string>

#include "engine/files.h"
#include "kernels/error.h"

namespace cutis {

void write_json_file(const std::filesystem::path& path, const nlohmann::ordered_json& json) {
    std::string text;
    try {
        text = json.dump(2) + "\n";
    } catch (const nlohmann::ordered_json::type_error&) {
        fail("{}: a path or class name is not UTF-8, which JSON cannot hold; rename it", path.string());
    }
    write_file_atomically(path, text);
}

}  // namespace cutis
