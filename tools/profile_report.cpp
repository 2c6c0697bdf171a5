#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/isa.h"
#include "kernels/parallel.h"
#include "tools/build_info.h"
#include "tools/console.h"
#include "tools/device_choice.h"
#include "tools/profile.h"

// What `cutis profile` shows: tables, JSON, a trace.

namespace cutis {
namespace {

using Json = nlohmann::ordered_json;

std::string milliseconds(double seconds) {
    return fmt::format("{:.3f}", seconds * 1e3);
}

// A rate in units of 1e9 a second; what was not counted has none.
std::string giga(double amount, double seconds) {
    return amount > 0 && seconds > 0 ? fmt::format("{:.1f}", amount / seconds * 1e-9) : "-";
}

std::string amount(double value, double unit) {
    return value > 0 ? fmt::format("{:.3f}", value / unit) : "-";
}

double roofline_percent(const ProfileRow& row, const Ceilings& ceilings) {
    const double seconds = row.seconds.median;
    return seconds > 0 ? 100 * least_seconds(row.flops, row.bytes, ceilings) / seconds : 0;
}

// One line per row; `layer` is left out where no row has one.
std::string table(const std::vector<ProfileRow>& rows, const Profile& profile, bool with_layer) {
    std::size_t layer_width = 5, op_width = 2, phase_width = 5;
    for (const ProfileRow& row : rows) {
        layer_width = std::max(layer_width, row.layer.size());
        op_width = std::max(op_width, row.op.size());
        phase_width = std::max(phase_width, row.phase.size());
    }
    const auto line = [&](std::string_view phase, std::string_view layer, std::string_view op, const auto&... numbers) {
        std::string text = fmt::format("{:<{}}  ", phase, phase_width);
        if (with_layer) {
            text += fmt::format("{:<{}}  ", layer, layer_width);
        }
        text += fmt::format("{:<{}}", op, op_width);
        ((text += fmt::format(" {:>8}", numbers)), ...);
        return text + "\n";
    };
    std::string text = line("phase", "layer", "op", "calls", "ms", "min", "max", "share %", "GFLOP", "MB", "GFLOP/s",
                            "GB/s", "roof %");
    for (const ProfileRow& row : rows) {
        const Spread& t = row.seconds;
        const bool counted = row.flops > 0 || row.bytes > 0;
        text +=
            line(row.phase, row.layer, row.op, row.calls, milliseconds(t.median), milliseconds(t.least),
                 milliseconds(t.most), fmt::format("{:.1f}", 100 * t.median / profile.step.median),
                 amount(row.flops, 1e9), amount(row.bytes, 1e6), giga(row.flops, t.median), giga(row.bytes, t.median),
                 counted ? fmt::format("{:.0f}", roofline_percent(row, profile.ceilings)) : "-");
    }
    return text;
}

std::string machine(const ProfileOptions& options) {
    const std::string processor = processor_name(options.device);
    return options.device.kind == DeviceKind::cuda ? fmt::format("{} ({})", to_string(options.device), processor)
                                                   : fmt::format("{} ({}, {}, {} threads)", to_string(options.device),
                                                                 processor, isa_name(active_isa()), thread_count());
}

Json spread_json(const Spread& spread) {
    return {{"median", spread.median}, {"min", spread.least}, {"max", spread.most}};
}

Json rows_json(const std::vector<ProfileRow>& rows, const Profile& profile, bool with_layer) {
    Json all = Json::array();
    for (const ProfileRow& row : rows) {
        Json one = {{"phase", row.phase}};
        if (with_layer) {
            one["layer"] = row.layer;
        }
        one["op"] = row.op;
        one["calls"] = row.calls;
        one["seconds"] = spread_json(row.seconds);
        one["share"] = row.seconds.median / profile.step.median;
        one["flops"] = row.flops;
        one["bytes"] = row.bytes;
        one["roofline_percent"] = roofline_percent(row, profile.ceilings);
        all.push_back(std::move(one));
    }
    return all;
}

}  // namespace

std::string profile_text(const Profile& profile) {
    const ProfileOptions& o = profile.options;
    const bool gpu = o.device.kind == DeviceKind::cuda;
    std::string text = fmt::format(
        "{}, batch {}, {} px, {} classes, width {}, {}{}{}\non {}\n\n", o.model, o.batch, o.size, o.classes, o.width,
        o.precision, o.backend == "native" ? "" : ", the vendor's kernels", o.fused ? "" : ", not fused", machine(o));
    text += table(profile.rows, profile, true);
    text += "\n" + table(profile.by_op, profile, false) + "\n";
    const auto row = [&](std::string_view name, const std::string& value) {
        text += fmt::format("{:<18}{}\n", name, value);
    };
    const auto with_spread = [](const Spread& s) {
        return fmt::format("{} ms (min {}, max {})", milliseconds(s.median), milliseconds(s.least),
                           milliseconds(s.most));
    };
    row("whole step", fmt::format("{} over {} steps, {:.1f} images/s", with_spread(profile.step), o.steps,
                                  o.batch / profile.step.median));
    row("in ops",
        fmt::format("{}, {:.1f} % of the step; the rest stands in the rows named {}", with_spread(profile.accounted),
                    100 * profile.accounted.median / profile.step.median, kRest));
    row("unwatched step",
        fmt::format("{}, {}", with_spread(profile.unwatched),
                    gpu ? "one CUDA graph, as training runs it; above, kernel by kernel" : "without a profiler"));
    row("copy ceiling", fmt::format("{:.1f} GB/s, read and written, {} MiB", profile.ceilings.bytes_per_second * 1e-9,
                                    profile.ceilings.copied >> 20));
    row("product ceiling", fmt::format("{:.1f} GFLOP/s, a matrix product of side {}",
                                       profile.ceilings.flops_per_second * 1e-9, profile.ceilings.product));
    text +=
        "\nms: median of the steps. GFLOP: of products alone. MB: what must be moved at least, each tensor once. roof "
        "%: "
        "the least time\nunder the two ceilings in percent of the time taken; more than 100 where tensors stay in a "
        "cache.";
    if (gpu && build_info().cuda == "simt") {
        text += "\nThe CUDA kernels ran on the CPU: these times say nothing about a GPU.";
    }
    return text;
}

std::string profile_json(const Profile& profile) {
    const ProfileOptions& o = profile.options;
    const Json json = {{"model", o.model},
                       {"batch", o.batch},
                       {"size", o.size},
                       {"classes", o.classes},
                       {"width", Json::parse(fmt::format("{}", o.width))},
                       {"device", to_string(o.device)},
                       {"processor", processor_name(o.device)},
                       {"cuda", build_info().cuda},
                       {"threads", thread_count()},
                       {"precision", o.precision},
                       {"backend", o.backend},
                       {"fused", o.fused},
                       {"steps", o.steps},
                       {"warmup", o.warmup},
                       {"git_revision", build_info().git_revision},
                       {"ceilings",
                        {{"bytes_per_second", profile.ceilings.bytes_per_second},
                         {"copied_bytes", profile.ceilings.copied},
                         {"flops_per_second", profile.ceilings.flops_per_second},
                         {"product_side", profile.ceilings.product}}},
                       {"step_seconds", spread_json(profile.step)},
                       {"op_seconds", spread_json(profile.accounted)},
                       {"unwatched_step_seconds", spread_json(profile.unwatched)},
                       {"rows", rows_json(profile.rows, profile, true)},
                       {"by_op", rows_json(profile.by_op, profile, false)}};
    return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string chrome_trace(const Profile& profile) {
    constexpr int kProcess = 1, kStepTrack = 0;
    Json events = Json::array();
    const auto name_of = [&](const char* what, int track, const std::string& name) {
        events.push_back({{"name", what}, {"ph", "M"}, {"pid", kProcess}, {"tid", track}, {"args", {{"name", name}}}});
    };
    name_of("process_name", kStepTrack,
            fmt::format("cutis profile {} on {}", profile.options.model, to_string(profile.options.device)));
    name_of("thread_name", kStepTrack, "step");
    std::map<std::string, int> tracks;
    for (const std::vector<ProfiledRange>& ranges : profile.steps) {
        std::vector<int> track(ranges.size(), kStepTrack);
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            const ProfiledRange& range = ranges[i];
            if (range.parent == 0) {
                const auto [found, fresh] = tracks.try_emplace(range.name, static_cast<int>(tracks.size()) + 1);
                track[i] = found->second;
                if (fresh) {
                    name_of("thread_name", track[i], range.name);
                }
            } else if (range.parent > 0) {
                track[i] = track[static_cast<std::size_t>(range.parent)];
            }
            Json event = {{"name", range.layer.empty() ? range.name : range.layer + " " + range.name},
                          {"cat", range.name},
                          {"ph", "X"},
                          {"pid", kProcess},
                          {"tid", track[i]},
                          {"ts", static_cast<double>(range.begin_ns) * 1e-3},
                          {"dur", static_cast<double>(range.duration_ns()) * 1e-3}};
            if (range.flops > 0 || range.bytes > 0) {
                event["args"] = {{"GFLOP", range.flops * 1e-9}, {"MB", range.bytes * 1e-6}};
            }
            events.push_back(std::move(event));
        }
    }
    const Json trace = {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
    return trace.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace cutis
