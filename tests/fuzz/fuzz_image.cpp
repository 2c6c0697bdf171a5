// libFuzzer entry of the image decoder: any bytes give an image of consistent size or cutis::Error, nothing else.

#include <cstdlib>

#include "engine/image.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const cutis::Image image = cutis::decode_image({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
        const auto bytes = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3;
        if (image.width < 1 || image.height < 1 || image.rgb.size() != bytes) {
            std::abort();
        }
    } catch (const cutis::Error&) {
    }
    return 0;
}
