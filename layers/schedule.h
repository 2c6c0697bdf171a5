#pragma once

#include <cstdint>
#include <string_view>

namespace cutis {

enum class ScheduleKind { constant, cosine, step };

/// "constant", "cosine" or "step"; throws Error naming the three otherwise.
ScheduleKind schedule_from_name(std::string_view name);

/// How the learning rate goes over a run.
struct Schedule {
    ScheduleKind kind = ScheduleKind::cosine;
    std::int64_t total_steps = 1;
    std::int64_t warmup_steps = 0;  ///< linear from 1 / warmup_steps to 1; 0 switches it off
    std::int64_t decay_every = 0;   ///< steps between decays (kind step); 0: a third of the steps behind the warm-up
    float decay = 0.1f;             ///< factor of one decay (kind step)

    /// The factor on the base learning rate for step `step` (from 0): warm-up first, then constant, half a cosine from
    /// 1 to 0 (Loshchilov and Hutter 2017, one cycle), or stairs.
    double factor(std::int64_t step) const;
};

}  // namespace cutis
