#include "kernels/isa.h"

#include <cstdlib>

#include "kernels/error.h"

namespace cutis {

std::string_view isa_name(Isa isa) {
    switch (isa) {
        case Isa::avx512:
            return "avx512";
        case Isa::avx2:
            return "avx2";
        case Isa::baseline:
            break;
    }
    return "baseline";
}

bool isa_supported(Isa isa) {
#if defined(__x86_64__)
    switch (isa) {
        case Isa::avx512:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
        case Isa::avx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        case Isa::baseline:
            return true;
    }
#endif
    return isa == Isa::baseline;
}

namespace {

Isa choose_isa() {
    if (const char* forced = std::getenv("CUTIS_ISA"); forced != nullptr && *forced != '\0') {
        for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
            if (forced == isa_name(isa)) {
                require(isa_supported(isa), "CUTIS_ISA={}: this processor does not have it; unset CUTIS_ISA", forced);
                return isa;
            }
        }
        fail("CUTIS_ISA={}: unknown instruction set; use baseline, avx2 or avx512", forced);
    }
    for (const Isa isa : {Isa::avx512, Isa::avx2}) {
        if (isa_supported(isa)) {
            return isa;
        }
    }
    return Isa::baseline;
}

}  // namespace

Isa active_isa() {
    static const Isa isa = choose_isa();
    return isa;
}

}  // namespace cutis
