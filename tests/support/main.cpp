#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>

#include "kernels/isa.h"

namespace {

#if !defined(CUTIS_WITH_CUDA)
constexpr const char* kCudaMode = "off";
#elif defined(CUTIS_WITH_SIMT)
constexpr const char* kCudaMode = "on the CPU (simt)";
#else
constexpr const char* kCudaMode = "on a GPU (nvcc)";
#endif

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
        fmt::print("device cpu, instruction set {}, CUDA {}\n", cutis::isa_name(cutis::active_isa()), kCudaMode);
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return EXIT_FAILURE;
    }
    std::fflush(stdout);
    return RUN_ALL_TESTS();
}
