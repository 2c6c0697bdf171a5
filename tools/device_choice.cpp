#include "tools/device_choice.h"

#include "engine/cuda_device.h"
#include "kernels/error.h"

namespace cutis {

Device choose_device(std::string_view name) {
    const Device gpu{DeviceKind::cuda, 0};
    const std::string_view mode = cuda_mode();
    if (name == "cuda") {
        require(mode != "off", "--device cuda: this build has no CUDA kernels (cutis info); use --device cpu");
        require(cuda_device_count() > 0,
                "--device cuda: no GPU was found (is its driver installed?); use --device cpu");
        return gpu;
    }
    require(name == "cpu" || name == "auto", "--device {}: auto, cpu and cuda are known", name);
    return name == "auto" && mode == "nvcc" && cuda_device_count() > 0 ? gpu : Device{};
}

}  // namespace cutis
