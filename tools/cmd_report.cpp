#include <CLI/CLI.hpp>
#include <memory>

#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/run_report.h"

namespace cutis {
namespace {

struct Options {
    std::string run, data;
    int threads = 0;
};

void run(const Options& options) {
    use_threads(options.threads);
    const Run trained = open_run(options.run);
    write_run_report(trained, options.data);
    say("report: {}", trained.file("report.html").string());
}

}  // namespace

void add_report_command(CLI::App& app, Command& chosen) {
    CLI::App* const command =
        app.add_subcommand("report", "Write a run's report: one HTML page with plots, figures and the worst mistakes");
    const auto options = std::make_shared<Options>();
    command->add_option("--run", options->run, "Folder of the run")->required();
    command->add_option(
        "--data", options->data,
        "The run's packed data set, for the images of mistakes; default: where it was when the run began");
    add_threads_option(*command, options->threads);
    command->footer(
        examples({"cutis report --run runs/first", "cutis report --run runs/first --data /elsewhere/ham10000.cutis"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
