#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/tools/program_case.h"
#include "tools/bench_report.h"

namespace cutis::testing {
namespace {

// Two cases with a peer, one without, and one that failed to be fast: as our benchmarks write them.
constexpr std::string_view kCounters = R"({
 "context": {"date": "2026-11-30T10:00:00+00:00", "device": "Test <chip>", "vendor": "Vendor 1.2", "threads": "2",
  "copy_gb_per_s": "10.0", "fp32_gflop_per_s": "100.0"},
 "benchmarks": [
  {"name": "fast/fp32/a/n1", "run_name": "fast/fp32/a/n1", "run_type": "iteration", "real_time": 1.0, "time_unit": "ns",
   "us": 10.0, "us_min": 9.0, "us_max": 12.0, "vendor_us": 20.0, "vendor_us_min": 19.0, "vendor_us_max": 21.0,
   "ratio": 2.0, "ratio_min": 1.7, "ratio_max": 2.2, "bytes": 50000, "flops": 100000},
  {"name": "slow/fp32/b/n1", "run_type": "iteration", "real_time": 1.0, "time_unit": "ns",
   "us": 40.0, "us_min": 38.0, "us_max": 42.0, "vendor_us": 20.0, "vendor_us_min": 19.0, "vendor_us_max": 21.0,
   "bytes": 40000, "flops": 2000000},
  {"name": "alone/bf16/c/n1/iterations:1/manual_time", "run_type": "iteration", "real_time": 5.0, "time_unit": "us", "bytes": 5000}
 ]})";

std::string repetitions(std::string_view name, std::initializer_list<double> microseconds) {
    std::string json = R"({"context": {"num_cpus": 2}, "benchmarks": [)";
    int i = 0;
    for (const double us : microseconds) {
        json += fmt::format(R"({}{{"name": "{}", "run_type": "iteration", "real_time": {}, "time_unit": "us"}})",
                            i++ > 0 ? "," : "", name, us);
    }
    return json + "]}";
}

struct Files {
    std::filesystem::path write(const char* name, std::string_view text) const {
        write_file_atomically(folder / name, text);
        return folder / name;
    }
    TempDir folder;
};

TEST(BenchResults, CountersGiveTimesPeersAndTheRoof) {
    const Files files;
    const BenchRun run = read_bench_results(files.write("a.json", kCounters));
    EXPECT_EQ(run.device, "Test <chip>, 2 threads");
    EXPECT_EQ(run.peer, "Vendor 1.2");
    EXPECT_FALSE(run.meaningless);
    ASSERT_EQ(run.cases.size(), 3u);
    const BenchCase& fast = run.cases[0];
    EXPECT_EQ(fast.operation(), "fast");
    EXPECT_EQ(run.cases[2].name, "alone/bf16/c/n1");  // not how Google Benchmark counted
    EXPECT_EQ(fast.type, "fp32");
    EXPECT_EQ(fast.us.median, 10.0);
    EXPECT_EQ(fast.us.least, 9.0);
    EXPECT_EQ(fast.ratio.most, 2.2);
    // 50 kB at 10 GB/s: 5 us; 100 kFLOP at 100 GFLOP/s: 1 us.
    EXPECT_NEAR(run.least_seconds(fast), 5e-6, 1e-12);
    EXPECT_NEAR(run.roof_percent(fast), 50.0, 1e-9);
    // Computing is the longer here: 20 us of 40. The ratio is not stated, so it follows from the times.
    EXPECT_NEAR(run.roof_percent(run.cases[1]), 50.0, 1e-9);
    EXPECT_EQ(run.cases[1].ratio.median, 0.5);
    EXPECT_NEAR(run.cases[1].ratio.least, 19.0 / 42.0, 1e-12);
    EXPECT_EQ(run.cases[2].us.median, 5.0);
    EXPECT_FALSE(run.cases[2].vendor.known());
    EXPECT_NEAR(run.roof_percent(run.cases[2]), 10.0, 1e-9);  // bytes alone: no product rate of bf16 is known
}

TEST(BenchResults, RepetitionsAndAggregatesGiveASpread) {
    const Files files;
    const BenchRun run = read_bench_results(files.write("r.json", repetitions("op/x", {4, 1, 3, 2})));
    EXPECT_EQ(run.device, "CPU, 2 threads");
    EXPECT_EQ(run.cases.at(0).us.median, 2.5);
    EXPECT_EQ(run.cases.at(0).us.least, 1.0);
    EXPECT_EQ(run.cases.at(0).us.most, 4.0);
    const BenchRun kept =
        read_bench_results(files.write("k.json", R"({"context": {"threads": "1", "smoke": "true"}, "benchmarks": [
     {"name": "s_median", "run_name": "s", "run_type": "aggregate", "aggregate_name": "median", "real_time": 3, "time_unit": "ms"},
     {"name": "s_stddev", "run_name": "s", "run_type": "aggregate", "aggregate_name": "stddev", "real_time": 0.5, "time_unit": "ms"}]})"));
    EXPECT_TRUE(kept.meaningless);
    EXPECT_EQ(kept.cases.at(0).name, "s");
    EXPECT_EQ(kept.cases.at(0).us.median, 3000.0);
    EXPECT_EQ(kept.cases.at(0).us.least, 2500.0);
}

TEST(BenchResults, WhatIsNoResultIsRefused) {
    const Files files;
    const auto refused = [&](std::string_view text) {
        const auto path = files.write("bad.json", text);
        return error_of([&] { read_bench_results(path); });
    };
    EXPECT_TRUE(is_line_with(refused("[]"), "bad.json", "Google Benchmark"));
    EXPECT_TRUE(is_line_with(refused(R"({"context": {}, "benchmarks": []})"), "no benchmark"));
    EXPECT_TRUE(is_line_with(refused(R"({"context": {}, "benchmarks": [{"name": "a"}]})"), "'a'", "real_time"));
    EXPECT_TRUE(
        is_line_with(refused(R"({"context": {}, "benchmarks": [{"name": "a", "real_time": 0, "time_unit": "us"}]})"),
                     "'a'", "above 0"));
    EXPECT_TRUE(is_line_with(
        refused(R"({"context": {}, "benchmarks": [{"name": "a", "error_occurred": true, "error_message": "no GPU"}]})"),
        "'a'", "no GPU"));
    EXPECT_TRUE(is_line_with(refused(R"({"context": {}, "benchmarks": [3]})"), "without a name"));
}

TEST(BenchResults, TheGeometricMeanIsOfWhatIsAboveZero) {
    EXPECT_NEAR(geometric_mean({4.0, 1.0, 0.0, kUndefined}), 2.0, 1e-12);
    EXPECT_TRUE(std::isnan(geometric_mean({})));
}

TEST(BenchResults, AChangeCountsWhereTheRangesLieApart) {
    const auto run = [](std::vector<BenchCase> cases) {
        BenchRun result;
        result.cases = std::move(cases);
        return result;
    };
    const auto timed = [](const char* name, double median, double around) {
        BenchCase one;
        one.name = name;
        one.us = {median, median - around, median + around};
        return one;
    };
    const BenchComparison comparison =
        compare_bench_results(run({timed("wide", 100, 30), timed("slower", 100, 1), timed("faster", 100, 1),
                                   timed("hair", 100, 0), timed("gone", 1, 0)}),
                              run({timed("new", 1, 0), timed("faster", 50, 1), timed("wide", 120, 30),
                                   timed("slower", 120, 1), timed("hair", 101, 0)}),
                              0.03);
    using enum BenchChange::Verdict;
    ASSERT_EQ(comparison.changes.size(), 4u);
    EXPECT_EQ(comparison.changes.back().name, "faster");
    EXPECT_EQ(comparison.changes.back().verdict, faster);
    for (const BenchChange& change : comparison.changes) {
        if (change.name != "faster") {
            EXPECT_EQ(change.verdict, change.name == "slower" ? slower : within_spread) << change.name;
        }
    }
    EXPECT_EQ(comparison.gone, std::vector<std::string>{"gone"});
    EXPECT_EQ(comparison.appeared, std::vector<std::string>{"new"});
}

TEST(BenchReport, ThePageHasTheWorstFirstAndEscapesNames) {
    const Files files;
    const BenchRun runs[] = {read_bench_results(files.write("a.json", kCounters))};
    const std::string page = bench_page(runs);
    EXPECT_TRUE(holds(page, "Test &lt;chip&gt;, 2 threads against Vendor 1.2"));
    EXPECT_FALSE(holds(page, "<chip>"));
    EXPECT_FALSE(holds(page, "Dry run"));
    const std::string rows = page.substr(page.find("Every case"));
    EXPECT_LT(rows.find("slow/fp32/b/n1"), rows.find("fast/fp32/a/n1"));
    EXPECT_LT(rows.find("fast/fp32/a/n1"), rows.find("alone/bf16/c/n1"));
    // One line for each operation that has a peer, the worst first.
    const std::string operations = page.substr(page.find("By operation"), page.find("Every case"));
    EXPECT_LT(operations.find("<td>slow</td>"), operations.find("<td>fast</td>"));
    EXPECT_FALSE(holds(operations, "<td>alone</td>"));
    EXPECT_TRUE(holds(page, "1.00 ×"));  // 2 and 1/2
    EXPECT_TRUE(holds(page, "1 / 1"));   // one ahead, one behind
    // The roofline has a dot for ours and one for the peer's of each case that computes.
    std::size_t dots = 0;
    for (std::size_t at = 0; (at = page.find("<circle", at)) != std::string::npos; ++at) {
        ++dots;
    }
    EXPECT_EQ(dots, 4u);
    EXPECT_TRUE(holds(bench_text(runs, 1), "slow/fp32/b/n1"));
    EXPECT_FALSE(holds(bench_text(runs, 1), "fast/fp32/a/n1"));
    EXPECT_TRUE(holds(bench_text(runs, 1), "and 2 more"));
}

TEST(BenchReport, TheProgramWritesPagesAndSaysWhatBecameSlower) {
    const Files files;
    const std::string before = files.write("before.json", repetitions("op/x", {10, 10.2, 10.4})).string();
    const std::string after = files.write("after.json", repetitions("op/x", {20, 20.2, 20.4})).string();
    const std::string page = (files.folder / "Vergleich ä.html").string();
    const ProgramResult shown = cutis_program({"bench-report", before, "--out", page});
    EXPECT_TRUE(succeeded(shown));
    EXPECT_TRUE(holds(shown.out, "op/x"));
    EXPECT_TRUE(holds(read_text_file(page), "op/x"));
    const ProgramResult compared = cutis_program({"bench-report", "--compare", before, after, "--out", page});
    EXPECT_TRUE(succeeded(compared));
    EXPECT_TRUE(holds(compared.out, "1 slower, 0 faster"));
    EXPECT_TRUE(holds(read_text_file(page), "class=\"slower\""));
    EXPECT_TRUE(failed_with(1, cutis_program({"bench-report", "--compare", "--fail-on-slower", before, after}),
                            "1 cases are slower"));
    EXPECT_TRUE(succeeded(cutis_program({"bench-report", "--compare", "--fail-on-slower", after, before})));
    EXPECT_TRUE(failed_with(2, cutis_program({"bench-report", "--compare", before}), "two"));
    EXPECT_TRUE(failed_with(2, cutis_program({"bench-report", "--fail-on-slower", before}), "--compare"));
    EXPECT_TRUE(failed_with(2, cutis_program({"bench-report"}), "files"));
    EXPECT_TRUE(failed_with(1, cutis_program({"bench-report", (files.folder / "none.json").string()}), "none.json"));
}

}  // namespace
}  // namespace cutis::testing
