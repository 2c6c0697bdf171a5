#include "kernels/vendor/cudnn_library.h"

#include <dlfcn.h>

#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "kernels/vendor/cudnn_graph.h"
#include "kernels/vendor/gpu_calls.h"
#ifdef CUTIS_WITH_SIMT
#include "kernels/vendor/cudnn_double.h"
#endif

namespace cutis::cudnn {
namespace {

struct State {
    std::recursive_mutex mutex;
    std::optional<Functions> found;
    const Functions* chosen = nullptr;
    std::map<int, cudnnHandle_t> handles;  // by device; never destroyed: the driver may be gone before static objects
};
State& state() {
    static auto* const instance = new State;
    return *instance;
}

Functions find_functions() {
#ifdef CUTIS_WITH_SIMT
    return cudnn_double::functions();
#else
    return load_functions(("libcudnn.so." + std::to_string(CUDNN_MAJOR)).c_str());
#endif
}

}  // namespace

Functions load_functions(const char* library) {
    // Never unloaded: it may be in use until the process ends.
    void* const handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    require(handle != nullptr, "cuDNN: {} is not found; install cuDNN {} or use --backend native", library,
            CUDNN_MAJOR);
    Functions functions;
    Functions::for_each(functions, [&](auto& function, const char* symbol) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, symbol));
        require(function != nullptr, "cuDNN: {} has no {}; install cuDNN {} or use --backend native", library, symbol,
                CUDNN_MAJOR);
    });
    return functions;
}

const Functions& functions() {
    State& s = state();
    const std::lock_guard<std::recursive_mutex> lock(s.mutex);
    if (s.chosen != nullptr) {
        return *s.chosen;
    }
    if (!s.found) {
        s.found = find_functions();
    }
    return *s.found;
}

void use_functions(const Functions* table) {
    State& s = state();
    const std::lock_guard<std::recursive_mutex> lock(s.mutex);
    forget_plans();
    s.chosen = table;
    s.handles.clear();
}

void check(cudnnStatus_t status, const std::string& what) {
    if (status == CUDNN_STATUS_SUCCESS) {
        return;
    }
    std::array<char, 512> reason{};
    functions().last_error_string(reason.data(), reason.size());
    std::string line(reason.data());
    if (const std::size_t end = line.find('\n'); end != std::string::npos) {
        line.resize(end);
    }
    fail("{}: cuDNN: {}{}{}", what, functions().error_string(status), line.empty() ? "" : "; ", line);
}

LibraryCall::LibraryCall(Stream stream) : lock_(state().mutex) {
    const Functions& f = functions();
    cudnnHandle_t& handle = state().handles[current_device()];
    if (handle == nullptr) {
        cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
        allowing_allocations([&] { status = f.create(&handle); });
        require(status == CUDNN_STATUS_SUCCESS, "cuDNN does not start: {}", f.error_string(status));
    }
    handle_ = handle;
    check(f.set_stream(handle_, static_cast<cudaStream_t>(stream.handle)), "stream");
}

}  // namespace cutis::cudnn
