#include "bench/turns.h"

#include <algorithm>
#include <chrono>

namespace cutis::bench {
namespace {

double seconds_of(const std::function<void()>& call, int calls) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) {
        call();
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / calls;
}

struct Pace {
    double seconds;  // of one call
    int calls;       // in a round
};
Pace pace_of(const std::function<void()>& call, const TurnOptions& options) {
    for (int i = 0; i < options.warm_up; ++i) {
        call();
    }
    const double once = seconds_of(call, 1);
    return {once, std::max(1, static_cast<int>(options.round_seconds / std::max(once, 1e-8)))};
}

void report(::benchmark::State& state, const std::string& name, const Sorted& figures, double unit) {
    state.counters[name] = unit * figures.median();
    state.counters[name + "_min"] = unit * figures.values.front();
    state.counters[name + "_max"] = unit * figures.values.back();
}

}  // namespace

Turns take_turns(const std::function<void()>& ours, const std::function<void()>& vendor, const TurnOptions& options) {
    Turns turns;
    const Pace our_pace = pace_of(ours, options);
    const Pace vendor_pace = vendor ? pace_of(vendor, options) : Pace{0, 0};
    const double round = our_pace.seconds * our_pace.calls + vendor_pace.seconds * vendor_pace.calls;
    const int rounds = std::clamp(static_cast<int>(options.seconds / round), options.least, options.most);
    for (int i = 0; i < rounds; ++i) {
        if (i % 2 == 0) {
            turns.ours.values.push_back(seconds_of(ours, our_pace.calls));
        }
        if (vendor) {
            turns.vendor.values.push_back(seconds_of(vendor, vendor_pace.calls));
        }
        if (i % 2 == 1) {
            turns.ours.values.push_back(seconds_of(ours, our_pace.calls));
        }
        if (vendor) {
            turns.ratio.values.push_back(turns.vendor.values.back() / turns.ours.values.back());
        }
    }
    for (Sorted* figures : {&turns.ours, &turns.vendor, &turns.ratio}) {
        std::sort(figures->values.begin(), figures->values.end());
    }
    return turns;
}

void report(::benchmark::State& state, const Turns& turns) {
    report(state, "us", turns.ours, 1e6);
    if (!turns.vendor.values.empty()) {
        report(state, "vendor_us", turns.vendor, 1e6);
        report(state, "ratio", turns.ratio, 1.0);
    }
}

}  // namespace cutis::bench
