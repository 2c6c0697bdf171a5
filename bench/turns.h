#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>
#include <vector>

/// Ours and the vendor's, measured turn by turn, so that what slows the machine down slows both.

namespace cutis::bench {

/// Figures in the order of their size.
struct Sorted {
    std::vector<double> values;
    double median() const { return values[values.size() / 2]; }
};

struct Turns {
    Sorted ours, vendor;  ///< seconds of one call; no values where there is no vendor
    Sorted ratio;         ///< the vendor's seconds over ours, round by round
};

struct TurnOptions {
    int warm_up = 1;            ///< calls of each before the clock
    int least = 15, most = 15;  ///< rounds
    double seconds = 1;         ///< between these, as many rounds as fit into so many seconds
    double round_seconds = 0;   ///< what one of the two should take of a round at least: that makes the number of calls
};

/// @param vendor  may be empty
Turns take_turns(const std::function<void()>& ours, const std::function<void()>& vendor, const TurnOptions& options);

/// As counters: us, vendor_us, ratio, each with _min and _max.
void report(::benchmark::State& state, const Turns& turns);

}  // namespace cutis::bench
