#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/json.h"
#include "tests/fuzz/accepts.h"

using namespace cutis;

/// JSON of configurations, metrics and file headers: what is accepted means the same after it was written out again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    nlohmann::json json;
    if (fuzz::accepts([&] { json = parse_json(text, "fuzz.json"); })) {
        fuzz::insist(parse_json(json.dump(), "again") == json);
    }
    return 0;
}
