#include <CLI/CLI.hpp>
#include <memory>

#include "engine/files.h"
#include "tools/bench_report.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/output_files.h"

namespace cutis {
namespace {

struct Options {
    std::vector<std::string> files;
    bool compare = false, fail_on_slower = false;
    double tolerance = 3;
    std::size_t worst = 12;
    std::string out;
};

void run(const Options& options) {
    if (options.compare && options.files.size() != 2) {
        throw Misuse(
            fmt::format("bench-report --compare: {} files; give two, the earlier results first", options.files.size()));
    }
    if (options.fail_on_slower && !options.compare) {
        throw Misuse("bench-report: --fail-on-slower needs --compare");
    }
    if (!(options.tolerance >= 0 && options.tolerance < 1000)) {
        throw Misuse(fmt::format("--tolerance {}: percent from 0 on are wanted", options.tolerance));
    }
    std::vector<FlaggedFile> read;
    for (const std::string& file : options.files) {
        read.push_back({"the results", file});
    }
    require_distinct_files({{"--out", options.out}}, read);
    std::vector<BenchRun> runs;
    for (const std::string& file : options.files) {
        runs.push_back(read_bench_results(file));
    }
    const auto write = [&](const std::string& page) {
        if (!options.out.empty()) {
            write_file_atomically(options.out, page);
            say("page: {}", options.out);
        }
    };
    if (!options.compare) {
        say("{}", bench_text(runs, options.worst));
        write(bench_page(runs));
        return;
    }
    const BenchComparison comparison = compare_bench_results(runs[0], runs[1], options.tolerance / 100);
    require(!comparison.changes.empty(), "{} and {} have no case in common", options.files[0], options.files[1]);
    say("{}", bench_comparison_text(comparison));
    write(bench_comparison_page(runs[0], runs[1], comparison, options.tolerance / 100));
    const auto slower =
        std::count_if(comparison.changes.begin(), comparison.changes.end(),
                      [](const BenchChange& change) { return change.verdict == BenchChange::Verdict::slower; });
    require(!options.fail_on_slower || slower == 0, "{} cases are slower than in {}", slower, options.files[0]);
}

}  // namespace

void add_bench_report_command(CLI::App& app, Command& chosen) {
    CLI::App* const command = app.add_subcommand(
        "bench-report", "Show results of the benchmarks: a table, the worst first, and a roofline plot per device");
    const auto options = std::make_shared<Options>();
    command->add_option("files", options->files, "Results of Google Benchmark as JSON")->required()->expected(1, -1);
    command->add_option("--out", options->out, "Write the page there (HTML)");
    command->add_flag("--compare", options->compare, "Two files, OLD NEW: what became slower or faster");
    command
        ->add_option("--tolerance", options->tolerance,
                     "With --compare: percent below which a change counts for nothing")
        ->default_str("3");
    command->add_flag("--fail-on-slower", options->fail_on_slower, "With --compare: exit status 1 if a case is slower");
    command->add_option("--worst", options->worst, "Lines shown here for each device")->default_str("12");
    command->footer(examples({"bench_kernels --benchmark_out=new.json --benchmark_out_format=json",
                              "cutis bench-report new.json --out bench.html",
                              "cutis bench-report --compare old.json new.json --out change.html"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
