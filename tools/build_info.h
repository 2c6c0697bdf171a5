#pragma once

#include <string_view>

namespace cutis {

struct RunFacts;

/// What this program was made from and with.
struct BuildInfo {
    std::string_view version;         ///< "0.1.0"
    std::string_view git_revision;    ///< of the sources when they were configured, "unknown" outside a git clone
    std::string_view compiler;        ///< "g++ 12.2.0"
    std::string_view build_type;      ///< "Release"
    std::string_view cuda;            ///< mode: "off", "simt" or "nvcc"
    std::string_view onednn;          ///< version, or "off"
    std::string_view kernel_threads;  ///< "OpenMP" or "own"
};

const BuildInfo& build_info();

/// Fills the facts of a run that the build and the processor decide: version, revision, compiler, instruction set.
void fill_build_facts(RunFacts& facts);

}  // namespace cutis
