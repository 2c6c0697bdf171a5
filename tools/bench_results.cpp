#include "tools/bench_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/files.h"
#include "engine/json.h"
#include "kernels/error.h"

namespace cutis {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLargestFile = std::size_t{256} << 20;

double number(const Json& object, const std::string& key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number() ? found->get<double>() : kUndefined;
}

std::string text(const Json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// Values of the context are texts, numbers among them.
double number_in_text(const Json& object, const std::string& key) {
    const std::string value = text(object, key.c_str());
    double result = kUndefined;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    return error == std::errc() && end == value.data() + value.size() ? result : number(object, key);
}

// Counters name, name_min and name_max; a single value is its own range.
BenchSpread spread(const Json& object, const std::string& name) {
    BenchSpread result{number(object, name), number(object, name + "_min"), number(object, name + "_max")};
    if (result.known()) {
        result.least = std::isfinite(result.least) ? result.least : result.median;
        result.most = std::isfinite(result.most) ? result.most : result.median;
    }
    return result;
}

BenchSpread spread(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    const double median = values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
    return {median, values.front(), values.back()};
}

double microseconds(const Json& entry, std::string_view file) {
    const std::string unit = text(entry, "time_unit");
    const std::map<std::string, double> factors = {{"ns", 1e-3}, {"us", 1.0}, {"ms", 1e3}, {"s", 1e6}};
    const auto factor = factors.find(unit);
    const double value = number(entry, "real_time");
    require(factor != factors.end() && std::isfinite(value) && value >= 0,
            "{}: benchmark '{}' has no real_time with a time_unit of ns, us, ms or s", file, text(entry, "name"));
    return value * factor->second;
}

// Without what Google Benchmark appends about how it counted: "/iterations:1/manual_time".
std::string case_name(std::string name) {
    for (const std::string_view appended : {"/manual_time", "/real_time", "/process_time"}) {
        if (name.ends_with(appended)) {
            name.resize(name.size() - appended.size());
        }
    }
    const std::size_t last = name.rfind('/');
    if (last != std::string::npos && name.compare(last, 12, "/iterations:") == 0) {
        name.resize(last);
    }
    return name;
}

std::string type_in(std::string_view name) {
    for (const std::string_view type : {"fp32", "tf32", "bf16"}) {
        for (std::size_t at = 0; (at = name.find(type, at)) != std::string_view::npos; ++at) {
            const std::size_t end = at + type.size();
            if ((at == 0 || name[at - 1] == '/') && (end == name.size() || name[end] == '/')) {
                return std::string(type);
            }
        }
    }
    return "";
}

// The lines that the file has for one case: repetitions, aggregates of them, or both.
struct Lines {
    std::vector<double> repetitions;           // microseconds
    std::map<std::string, double> aggregates;  // microseconds by name
    Json last;                                 // for counters: a repetition's, or the median's
};

std::string device_of(const Json& context) {
    const std::string device = text(context, "device"), isa = text(context, "instruction_set"),
                      threads = text(context, "threads");
    if (!device.empty()) {
        return threads.empty() ? device : fmt::format("{}, {} threads", device, threads);
    }
    return fmt::format("CPU, {} threads{}",
                       threads.empty() ? fmt::format("{:.0f}", number(context, "num_cpus")) : threads,
                       isa.empty() ? "" : ", " + isa);
}

}  // namespace

std::string_view BenchCase::operation() const {
    return std::string_view(name).substr(0, name.find('/'));
}

double BenchRun::flops_per_second(std::string_view type) const {
    for (const auto& [name, rate] : flop_ceilings) {
        if (name == (type.empty() ? "fp32" : type)) {
            return rate;
        }
    }
    return kUndefined;
}

double BenchRun::least_seconds(const BenchCase& one) const {
    const double moving = one.bytes / copy_bytes_per_second, computing = one.flops / flops_per_second(one.type);
    double least = 0;
    for (const double seconds : {moving, computing}) {
        least = std::isfinite(seconds) ? std::max(least, seconds) : least;
    }
    return least > 0 ? least : kUndefined;
}

double BenchRun::roof_percent(const BenchCase& one) const {
    return 1e8 * least_seconds(one) / one.us.median;
}

BenchRun read_bench_results(const std::filesystem::path& path) {
    const std::string file = path.string();
    const Json json = parse_json(read_text_file(path, kLargestFile), file);
    require(json.is_object() && json.contains("context") && json["context"].is_object() &&
                json.contains("benchmarks") && json["benchmarks"].is_array(),
            "{}: no results of Google Benchmark (an object with context and benchmarks); write them with "
            "--benchmark_out=FILE --benchmark_out_format=json",
            file);
    const Json& context = json["context"];
    BenchRun run;
    run.file = file;
    run.device = device_of(context);
    run.peer = text(context, "vendor");
    run.date = text(context, "date");
    run.build = text(context, "git_revision");
    run.meaningless = text(context, "smoke") == "true" || text(context, "cuda") == "simt";
    run.copy_bytes_per_second = 1e9 * number_in_text(context, "copy_gb_per_s");
    for (const char* type : {"fp32", "tf32", "bf16"}) {
        const double rate = 1e9 * number_in_text(context, fmt::format("{}_gflop_per_s", type));
        if (std::isfinite(rate)) {
            run.flop_ceilings.emplace_back(type, rate);
        }
    }
    std::vector<std::string> order;
    std::map<std::string, Lines> lines;
    for (const Json& entry : json["benchmarks"]) {
        require(entry.is_object() && entry.contains("name") && entry["name"].is_string(),
                "{}: a benchmark without a name", file);
        if (entry.value("error_occurred", false)) {
            fail("{}: benchmark '{}' failed: {}", file, text(entry, "name"), text(entry, "error_message"));
        }
        std::string name = text(entry, "run_name");
        name = case_name(name.empty() ? text(entry, "name") : name);
        const auto [found, fresh] = lines.try_emplace(name);
        if (fresh) {
            order.push_back(name);
        }
        Lines& own = found->second;
        if (text(entry, "run_type") == "aggregate") {
            const std::string aggregate = text(entry, "aggregate_name");
            if (aggregate == "median" || aggregate == "stddev") {
                own.aggregates[aggregate] = microseconds(entry, file);
            }
            if (aggregate == "median" && own.last.is_null()) {
                own.last = entry;
            }
        } else {
            own.repetitions.push_back(microseconds(entry, file));
            own.last = entry;
        }
    }
    for (const std::string& name : order) {
        const Lines& own = lines[name];
        BenchCase one;
        one.name = name;
        one.type = type_in(name);
        one.us = spread(own.last, "us");
        if (!one.us.known() && !own.repetitions.empty()) {
            one.us = spread(own.repetitions);
        } else if (!one.us.known() && own.aggregates.contains("median")) {
            const double median = own.aggregates.at("median");
            const auto deviation = own.aggregates.find("stddev");
            const double around = deviation == own.aggregates.end() ? 0 : deviation->second;
            one.us = {median, median - around, median + around};
        }
        require(one.us.known() && one.us.median > 0, "{}: benchmark '{}' has no time above 0", file, name);
        one.vendor = spread(own.last, "vendor_us");
        one.ratio = spread(own.last, "ratio");
        if (!one.ratio.known() && one.vendor.known()) {
            one.ratio = {one.vendor.median / one.us.median, one.vendor.least / one.us.most,
                         one.vendor.most / one.us.least};
        }
        one.us_warm = number(own.last, "us_warm");
        const auto counted = [&](const char* key) {
            const double value = number(own.last, key);
            return std::isfinite(value) && value > 0 ? value : 0.0;
        };
        one.bytes = counted("bytes");
        one.flops = counted("flops");
        run.cases.push_back(std::move(one));
    }
    require(!run.cases.empty(), "{}: no benchmark in it; did a --benchmark_filter leave none?", file);
    return run;
}

double geometric_mean(const std::vector<double>& values) {
    double sum = 0;
    std::size_t count = 0;
    for (const double value : values) {
        if (value > 0 && std::isfinite(value)) {
            sum += std::log(value);
            ++count;
        }
    }
    return count > 0 ? std::exp(sum / static_cast<double>(count)) : kUndefined;
}

BenchComparison compare_bench_results(const BenchRun& before, const BenchRun& after, double tolerance) {
    BenchComparison comparison;
    std::map<std::string, const BenchCase*> earlier;
    for (const BenchCase& one : before.cases) {
        earlier[one.name] = &one;
    }
    std::set<std::string> seen;
    for (const BenchCase& one : after.cases) {
        const auto found = earlier.find(one.name);
        if (found == earlier.end()) {
            comparison.appeared.push_back(one.name);
            continue;
        }
        seen.insert(one.name);
        BenchChange change{one.name, found->second->us, one.us, one.us.median / found->second->us.median};
        if (change.after.least > change.before.most && change.factor > 1 + tolerance) {
            change.verdict = BenchChange::Verdict::slower;
        } else if (change.after.most < change.before.least && change.factor < 1 - tolerance) {
            change.verdict = BenchChange::Verdict::faster;
        }
        comparison.changes.push_back(std::move(change));
    }
    for (const BenchCase& one : before.cases) {
        if (!seen.contains(one.name)) {
            comparison.gone.push_back(one.name);
        }
    }
    std::stable_sort(comparison.changes.begin(), comparison.changes.end(),
                     [](const BenchChange& a, const BenchChange& b) { return a.factor > b.factor; });
    return comparison;
}

}  // namespace cutis
