#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/profiler.h"
#include "tools/roofline.h"

namespace cutis {

/// What `cutis profile` runs.
struct ProfileOptions {
    std::string model;
    int batch = 32, size = 224, classes = 7;
    float width = 1.0f;
    int lstm_hidden = 128;  ///< of models with an LSTM
    Device device;
    std::string precision = "fp32";  ///< fp32, tf32 or bf16
    std::string backend = "native";  ///< or vendor
    bool fused = true;
    int steps = 10, warmup = 3;
};

/// A figure that was taken once a step.
struct Spread {
    double median = 0, least = 0, most = 0;
};
Spread spread_of(std::vector<double> values);

/// What ranges of one name have in common, per step. The time in a range of other ranges counts once, with them.
struct ProfileRow {
    std::string phase;  ///< "forward", "loss", "backward", "optimizer", on a GPU "copy in", or "step": between those
    std::string layer;  ///< "features.0.0", or empty
    std::string op;     ///< "conv2d"; kRest for what no range of an op accounts for
    int calls = 0;
    Spread seconds{};
    double flops = 0, bytes = 0;
};
inline constexpr std::string_view kRest = "(rest)";

struct Profile {
    ProfileOptions options;
    Ceilings ceilings;
    Spread step;                    ///< seconds of a whole step
    Spread accounted;               ///< of these, those in rows other than kRest
    Spread unwatched;               ///< seconds of a step as `cutis train` runs it, without ranges of ops
    std::vector<ProfileRow> rows;   ///< by phase, layer and op, in the order in which they run
    std::vector<ProfileRow> by_op;  ///< by phase and op, the longest first
    std::vector<std::vector<ProfiledRange>> steps;  ///< what was measured, each beginning with the whole step's range
};

/// Trains the model for some steps on random images (SGD with momentum) and measures them. Throws Error where the
/// model, its input or the device cannot be had, Stopped after SIGINT or SIGTERM.
Profile profile_training(const ProfileOptions& options);

/// The rows of measured steps, each of which begins with the whole step's range. Exact: in each step the rows' times
/// add up to the step's.
/// @param by_layer  or by op alone
/// @param accounted  gets the seconds in rows other than kRest; may be null
std::vector<ProfileRow> profile_rows(const std::vector<std::vector<ProfiledRange>>& steps, bool by_layer,
                                     Spread* accounted);

/// The steps in Chrome's trace format (opens in Perfetto and chrome://tracing): a track for whole steps and one for
/// each phase. The format is that of "Trace Event Format" (complete events, microseconds).
std::string chrome_trace(const Profile& profile);

/// The tables, with all that is needed to judge them.
std::string profile_text(const Profile& profile);
std::string profile_json(const Profile& profile);

}  // namespace cutis
