#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <sstream>
#include <string>
#include <system_error>

#include "engine/text.h"
#include "tools/build_info.h"
#include "tools/commands.h"
#include "tools/console.h"
#include "tools/signals.h"

namespace {

using namespace cutis;

constexpr int kFailure = 1, kMisuse = 2, kSignalBase = 128;
constexpr std::size_t kLongestMessage = 2000;
constexpr std::size_t kHelpColumn = 34, kHelpWidth = 100;  // where descriptions begin and end

/// Prints the one line that says why the program ends, and returns `status`.
int end_with(std::string_view kind, std::string_view message, int status) {
    console().status("");
    // Not fmt::print, which throws when nobody reads standard error any more.
    std::fputs(fmt::format("cutis: {}{}\n", kind, printable(message, kLongestMessage)).c_str(), stderr);
    return status;
}

/// What was wrong with the command line, and where to read on.
std::string misuse_text(const CLI::App& app, const CLI::ParseError& error) {
    const auto chosen = app.get_subcommands();
    if (!chosen.empty()) {
        return fmt::format("{}: {}; see `cutis {} --help`", chosen.front()->get_name(), error.what(),
                           chosen.front()->get_name());
    }
    std::string known;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        known += (known.empty() ? "" : ", ") + command->get_name();
    }
    return fmt::format("{}; the commands are {}; see `cutis --help`", error.what(), known);
}

/// `text` in lines of at most `width` characters.
std::string wrapped(const std::string& text, std::size_t width) {
    std::istringstream words(text);
    std::string result, word;
    std::size_t column = 0;
    while (words >> word) {
        const bool fits = column + 1 + word.size() <= width;
        result += column == 0 ? "" : fits ? " " : "\n";
        column = (column == 0 || !fits ? 0 : column + 1) + word.size();
        result += word;
    }
    return result;
}

/// What holds for the options of all commands: of an option given twice the last counts, so that scripts can override;
/// and the lines of the help are broken, since CLI11 indents them but does not break them.
void finish_options(CLI::App& app) {
    for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
        for (CLI::Option* option : command->get_options([](CLI::Option*) { return true; })) {
            if (option->get_items_expected_max() <= 1) {
                option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
            }
            option->description(wrapped(option->get_description(), kHelpWidth - kHelpColumn));
        }
    }
}

int run(int argc, char** argv) {
    CLI::App app(
        "Trains and judges image classifiers on dermatoscopic images. Research software, not a medical device.",
        "cutis");
    app.set_version_flag("--version", fmt::format("cutis {} ({})", build_info().version, build_info().git_revision));
    app.require_subcommand(0, 1);
    app.get_formatter()->column_width(kHelpColumn);
    app.footer("`cutis COMMAND --help` explains a command and shows examples.");
    Command chosen;
    add_prepare_command(app, chosen);
    add_train_command(app, chosen);
    add_evaluate_command(app, chosen);
    add_ensemble_command(app, chosen);
    add_compare_command(app, chosen);
    add_predict_command(app, chosen);
    add_report_command(app, chosen);
    add_convert_command(app, chosen);
    add_score_command(app, chosen);
    add_svm_command(app, chosen);
    add_open_set_command(app, chosen);
    add_summary_command(app, chosen);
    add_profile_command(app, chosen);
    add_bench_report_command(app, chosen);
    add_info_command(app, chosen);
    finish_options(app);
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        say("{}", app.help());  // of the subcommand that was named, if one was
        return EXIT_SUCCESS;
    } catch (const CLI::CallForVersion& version) {
        say("{}", version.what());
        return EXIT_SUCCESS;
    } catch (const CLI::ParseError& error) {
        return end_with("error: ", misuse_text(app, error), kMisuse);
    }
    if (!chosen) {
        say("{}", app.help());
        return EXIT_SUCCESS;
    }
    chosen();
    // A signal that came too late to stop anything still ends a shell's loop.
    return stop_signal() == 0 ? EXIT_SUCCESS : kSignalBase + stop_signal();
}

}  // namespace

int main(int argc, char** argv) {
    install_stop_signals();
    int status = kFailure;
    try {
        status = run(argc, argv);
    } catch (const Misuse& error) {
        status = end_with("error: ", error.what(), kMisuse);
    } catch (const Stopped& stopped) {
        status = end_with("", stopped.what(), kSignalBase + stopped.signal());
    } catch (const std::bad_alloc&) {
        status = end_with("error: ", "out of memory; lower --batch-size, --size or --threads, or close other programs",
                          kFailure);
    } catch (const std::exception& error) {
        status = end_with("error: ", error.what(), kFailure);
    }
    // A reader that left early, as in `cutis summary | head`, has what it wanted.
    if (const int code = standard_output_error(); code != 0 && code != EPIPE && status == EXIT_SUCCESS) {
        status = end_with(
            "error: ", fmt::format("cannot write to standard output: {}", std::generic_category().message(code)),
            kFailure);
    }
    return status;
}
