#include "kernels/simt/runtime.h"

#include <cstdlib>
#include <utility>

// The device that the program sees, and the last error.

namespace simt::detail {

State& state() {
    static State* const instance = new State;  // never destroyed: memory may be freed after it would be
    return *instance;
}

cudaError_t failed(cudaError_t error, const std::string& message) {
    return set_error(error, message.c_str());
}

cudaError_t set_error(cudaError_t error, const char* message) {
    const Lock lock(state().mutex);
    state().last_error = error;
    state().messages[error] = message;
    return error;
}

}  // namespace simt::detail

namespace {

using simt::detail::failed;
using simt::detail::Lock;
using simt::detail::state;

// The compute capability that the device states, ten times the major number and the minor one.
int capability() {
    const char* const stated = std::getenv("SIMT_CAPABILITY");  // read again each time: a test may change it
    return stated != nullptr ? std::atoi(stated) : 90;
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    return device == 0 ? cudaSuccess : failed(cudaErrorInvalidDevice, "simt has one device, number 0");
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount:
            *value = 4;  // few, so that grids sized by it stay small
            return cudaSuccess;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
            *value = 227 * 1024;
            return cudaSuccess;
        case cudaDevAttrComputeCapabilityMajor:
            *value = capability() / 10;
            return cudaSuccess;
        case cudaDevAttrComputeCapabilityMinor:
            *value = capability() % 10;
            return cudaSuccess;
        default:
            return failed(cudaErrorInvalidValue, "simt does not know this attribute");
    }
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}
cudaError_t cudaGetLastError() {
    const Lock lock(state().mutex);
    return std::exchange(state().last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
    const Lock lock(state().mutex);
    return state().last_error;
}
const char* cudaGetErrorString(cudaError_t error) {
    const Lock lock(state().mutex);
    const auto found = state().messages.find(error);
    return error == cudaSuccess              ? "no error"
           : found != state().messages.end() ? found->second.c_str()
                                             : "unknown error";
}
const char* cudaGetErrorName(cudaError_t error) {
    return error == cudaSuccess ? "cudaSuccess" : "cudaError";
}

}  // extern "C"
