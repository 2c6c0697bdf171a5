#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

#include "kernels/isa.h"
#if defined(CUTIS_WITH_CUDA) && !defined(CUTIS_WITH_SIMT)
#include "kernels/launch.h"
#endif

namespace {

/// Where this build's CUDA kernels run.
std::string cuda_mode() {
#if !defined(CUTIS_WITH_CUDA)
    return "off";
#elif defined(CUTIS_WITH_SIMT)
    return "on the CPU (simt)";
#else
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
        cudaGetLastError();
        return "for a GPU (nvcc), but NO GPU WAS FOUND: every test that runs a CUDA kernel will fail";
    }
    return "on a GPU (nvcc): " + cutis::cuda::device_name(0);
#endif
}

constexpr int kSkippedExit = 77;  // what tests/CMakeLists.txt gives ctest as SKIP_RETURN_CODE

/// Whether CUTIS_ISA names an instruction set that exists but not on this processor.
bool forced_isa_is_missing() {
    const char* forced = std::getenv("CUTIS_ISA");
    for (const cutis::Isa isa : {cutis::Isa::avx2, cutis::Isa::avx512}) {
        if (forced != nullptr && std::string_view(forced) == cutis::isa_name(isa) && !cutis::isa_supported(isa)) {
            return true;
        }
    }
    return false;
}

}  // namespace

/// Every test executable starts here. Its first line says what ran, so that nothing is left out silently.
int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    if (testing::GTEST_FLAG(list_tests)) {
        return RUN_ALL_TESTS();
    }
    if (forced_isa_is_missing()) {
        fmt::print("SKIPPED: this processor does not have instruction set {}\n", std::getenv("CUTIS_ISA"));
        return kSkippedExit;
    }
    try {
        fmt::print("device cpu, instruction set {}, CUDA {}\n", cutis::isa_name(cutis::active_isa()), cuda_mode());
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return EXIT_FAILURE;
    }
    std::fflush(stdout);
    return RUN_ALL_TESTS();
}
