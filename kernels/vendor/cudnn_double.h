#pragma once

#include <array>
#include <cstdint>

#include "kernels/vendor/cudnn_library.h"

/// cuDNN's stand-in in simt builds: functions of the library's names and types that keep descriptors as it does, refuse
/// what it refuses (attributes that a descriptor does not have, of another type or count, missing ones, tensors whose
/// shapes do not fit, misaligned addresses), and compute on the CPU, in the stream's order, what the descriptors say:
/// by their dimensions, strides and addresses alone. So a simt build trains with --backend vendor, and what reaches the
/// library is tested. How fast the library is, what its engines round and which of them exist it cannot show; which
/// graphs have an engine at all is as cuDNN 9.19 says of a GPU of sm_90.

namespace cutis::cudnn_double {

cudnn::Functions functions();

/// The engines, in the order in which they are proposed.
enum Engine {
    refuses,           ///< its plans cannot be finalized
    greedy,            ///< wants 2 GiB of work space
    tensor_core,       ///< multiplies fp32 as tf32
    nondeterministic,  ///< may give other bits
    direct,            ///< wants some work space, and writes it
    plain,             ///< wants none; the last resort, proposed again in fallback mode
    kEngines
};

/// What tests may have otherwise; set it while nothing runs.
struct Behaviour {
    bool starts = true;       ///< cudnnCreate succeeds
    bool has_engines = true;  ///< some engine takes a graph
    int sleeps = -1;          ///< the engine that takes 3 ms more
    int fails = -1;           ///< the engine whose execution is refused
};
Behaviour& behaviour();

struct Counts {
    std::int64_t descriptors = 0;  ///< alive
    std::array<std::int64_t, kEngines> runs{};
};
Counts counts();

}  // namespace cutis::cudnn_double
