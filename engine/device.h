#pragma once

#include <string>

namespace cutis {

enum class DeviceKind { cpu, cuda };

/// Where bytes live and kernels run.
struct Device {
    DeviceKind kind = DeviceKind::cpu;
    int index = 0;
    friend bool operator==(const Device&, const Device&) = default;
};

/// "cpu" or "cuda:<index>".
inline std::string to_string(const Device& device) {
    return device.kind == DeviceKind::cpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

}  // namespace cutis
