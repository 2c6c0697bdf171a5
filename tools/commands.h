#pragma once

#include <functional>

#include "kernels/error.h"

namespace CLI {
class App;
}

namespace cutis {

/// Wrong use of the command line: exit status 2.
class Misuse : public Error {
  public:
    using Error::Error;
};

/// What runs after the command line has been read. Throws Error (exit status 1), Misuse (2), Stopped (128 + signal).
using Command = std::function<void()>;

/// Each adds a subcommand to `app`; when the command line names it, `chosen` becomes what runs it.
void add_bench_report_command(CLI::App& app, Command& chosen);
void add_convert_command(CLI::App& app, Command& chosen);
void add_compare_command(CLI::App& app, Command& chosen);
void add_ensemble_command(CLI::App& app, Command& chosen);
void add_evaluate_command(CLI::App& app, Command& chosen);
void add_info_command(CLI::App& app, Command& chosen);
void add_open_set_command(CLI::App& app, Command& chosen);
void add_predict_command(CLI::App& app, Command& chosen);
void add_prepare_command(CLI::App& app, Command& chosen);
void add_profile_command(CLI::App& app, Command& chosen);
void add_report_command(CLI::App& app, Command& chosen);
void add_score_command(CLI::App& app, Command& chosen);
void add_summary_command(CLI::App& app, Command& chosen);
void add_svm_command(CLI::App& app, Command& chosen);
void add_train_command(CLI::App& app, Command& chosen);

}  // namespace cutis
