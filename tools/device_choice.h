#pragma once

#include <string>
#include <string_view>

#include "engine/device.h"
#include "kernels/backend.h"

namespace cutis {

/// "cpu", "cuda" or "auto": the GPU where this build has kernels for one and one is there, else the CPU. CUDA on the
/// CPU (simt) is for tests and study, so "auto" does not choose it. Throws Error where "cuda" cannot be had, saying
/// why.
Device choose_device(std::string_view name);

/// Throws Error where `device` does not compute in `precision` ("fp32", "tf32" or "bf16").
void require_precision(std::string_view precision, Device device);

/// The backend of that name, "native" or "vendor". Throws Error where this build has no vendor's kernels for `device`.
Backend choose_backend(std::string_view name, Device device);

/// The name of a device's processor as the system or the driver gives it; "unknown" where it gives none.
std::string processor_name(Device device);

}  // namespace cutis
