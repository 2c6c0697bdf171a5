#include "tools/device_choice.h"

#include <fstream>

#include "engine/cuda_device.h"
#include "engine/on_device.h"
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

void require_precision(std::string_view precision, Device device) {
    require(precision == "fp32" || device.kind == DeviceKind::cuda,
            "--precision {}: the CPU computes in fp32 alone; use --precision fp32", precision);
}

Backend choose_backend(std::string_view name, Device device) {
    if (name == "native") {
        return Backend::native;
    }
    require(name == "vendor", "--backend {}: native and vendor are known", name);
    require(on::has_vendor(device),
            "--backend vendor: this build is without {}; use --backend native, or build it with {}",
            device.kind == DeviceKind::cpu ? "oneDNN" : "cuDNN",
            device.kind == DeviceKind::cpu ? "-DCUTIS_ONEDNN=ON" : "-DCUTIS_CUDNN=ON");
    return Backend::vendor;
}

std::string processor_name(Device device) {
    if (device.kind == DeviceKind::cuda) {
        return cuda_device_info(device.index).name;
    }
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const std::size_t colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos) {
            return line.substr(colon + 2);
        }
    }
    return "unknown";
}

}  // namespace cutis
