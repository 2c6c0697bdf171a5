#include "layers/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/error.h"

namespace cutis {

ScheduleKind schedule_from_name(std::string_view name) {
    if (name == "constant") {
        return ScheduleKind::constant;
    }
    if (name == "cosine") {
        return ScheduleKind::cosine;
    }
    require(name == "step", "schedule '{}' is unknown; use constant, cosine or step", name);
    return ScheduleKind::step;
}

double Schedule::factor(std::int64_t step) const {
    if (step < warmup_steps) {
        return static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
    }
    const std::int64_t after = step - warmup_steps;
    const std::int64_t length = std::max<std::int64_t>(1, total_steps - warmup_steps);
    switch (kind) {
        case ScheduleKind::cosine: {
            const double progress = std::min(1.0, static_cast<double>(after) / static_cast<double>(length));
            return 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
        }
        case ScheduleKind::step: {
            const std::int64_t every = decay_every > 0 ? decay_every : std::max<std::int64_t>(1, (length + 2) / 3);
            return std::pow(static_cast<double>(decay), static_cast<double>(after / every));
        }
        case ScheduleKind::constant:
            break;
    }
    return 1.0;
}

}  // namespace cutis
