#include "kernels/launch.h"

#include "kernels/error.h"

namespace cutis::cuda {

void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) {
        cudaGetLastError();  // taken note of
        fail("{}: {}", what, cudaGetErrorString(error));
    }
}

void detail::launch_failed(const std::string& kernel, const simt::LaunchShape& shape, cudaError_t error) {
    cudaGetLastError();
    fail("kernel {} <<<({}, {}, {}), ({}, {}, {}), {} bytes>>>: {}", kernel, shape.grid.x, shape.grid.y, shape.grid.z,
         shape.block.x, shape.block.y, shape.block.z, shape.shared_bytes, cudaGetErrorString(error));
}

std::string device_name([[maybe_unused]] int index) {
#ifdef CUTIS_WITH_SIMT
    return "simt (CUDA threads as fibers on the CPU)";
#else
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, index), "device");
    return properties.name;
#endif
}

}  // namespace cutis::cuda
