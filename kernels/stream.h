#pragma once

namespace cutis {

/// The queue that a kernel runs on: a CUDA stream on a GPU, nothing on the CPU, where a kernel has finished when its
/// call returns. Last argument of every kernel, so that one call serves both devices.
struct Stream {
    void* handle = nullptr;
};

}  // namespace cutis
