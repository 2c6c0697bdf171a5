#include "tools/build_info.h"

#include "engine/cuda_device.h"
#include "kernels/isa.h"
#include "tools/run_directory.h"

// What only CMake knows comes as compile definitions of this file alone: CUTIS_VERSION, CUTIS_GIT_REVISION,
// CUTIS_BUILD_TYPE, CUTIS_ONEDNN_VERSION, CUTIS_KERNEL_THREADS.

namespace cutis {
namespace {

#if defined(__clang__)
constexpr std::string_view kCompiler = "clang++ " __clang_version__;
#else
constexpr std::string_view kCompiler = "g++ " __VERSION__;
#endif

}  // namespace

const BuildInfo& build_info() {
    static const BuildInfo info{.version = CUTIS_VERSION,
                                .git_revision = CUTIS_GIT_REVISION,
                                .compiler = kCompiler,
                                .build_type = CUTIS_BUILD_TYPE,
                                .cuda = cuda_mode(),
                                .onednn = CUTIS_ONEDNN_VERSION,
                                .kernel_threads = CUTIS_KERNEL_THREADS};
    return info;
}

void fill_build_facts(RunFacts& facts) {
    const BuildInfo& build = build_info();
    facts.version = build.version;
    facts.git_revision = build.git_revision;
    facts.compiler = build.compiler;
    facts.isa = isa_name(active_isa());
}

}  // namespace cutis
