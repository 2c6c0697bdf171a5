#include <cstdint>
#include <span>

#include "engine/safetensors.h"
#include "tests/fuzz/accepts.h"

using namespace cutis;

/// Safetensors files: the views of an accepted one lie one behind the other and cover all of the data.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
    SafetensorsContent content;
    if (fuzz::accepts([&] { content = parse_safetensors(file, "fuzz.safetensors"); }) && !content.tensors.empty()) {
        const std::byte* end = content.tensors.front().bytes.data();
        for (const TensorView& tensor : content.tensors) {
            fuzz::insist(tensor.bytes.data() == end);
            end += tensor.bytes.size();
        }
        fuzz::insist(end == file.data() + file.size());
    }
    return 0;
}
