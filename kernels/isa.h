#pragma once

#include <string_view>

namespace cutis {

/// Instruction sets that the CPU kernels are compiled for; each is a superset of the one before.
enum class Isa { baseline, avx2, avx512 };

/// "baseline", "avx2" or "avx512".
std::string_view isa_name(Isa isa);

/// Whether this processor and this build can run `isa`.
bool isa_supported(Isa isa);

/// The instruction set in use: the best one supported, or what the environment variable CUTIS_ISA names. Throws Error
/// when that name is unknown or the processor lacks it. Decided once, at the first call.
Isa active_isa();

}  // namespace cutis
