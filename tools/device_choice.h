#pragma once

#include <string_view>

#include "engine/device.h"

namespace cutis {

/// "cpu", "cuda" or "auto": the GPU where this build has kernels for one and one is there, else the CPU. CUDA on the
/// CPU (simt) is for tests and study, so "auto" does not choose it. Throws Error where "cuda" cannot be had, saying
/// why.
Device choose_device(std::string_view name);

}  // namespace cutis
