#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "engine/files.h"
#include "kernels/error.h"
#include "tests/support/temp_dir.h"

extern char** environ;

namespace cutis::testing {

/// How a program ended, and what it wrote.
struct ProgramResult {
    int status = 0;  ///< exit status; 1000 + signal if a signal ended it
    std::string out, err;
};

struct ProgramOptions {
    std::string stdout_to{};              ///< a file or device in the place of ProgramResult::out
    int stdout_descriptor = -1;           ///< likewise
    int signal = 0;                       ///< sent once, when
    std::function<bool()> signal_when{};  ///< this is true, asked every few milliseconds
};

/// Runs `arguments`, the first of which is the program's path, with an empty standard input, and waits for its end.
inline ProgramResult run_program(const std::vector<std::string>& arguments, const ProgramOptions& options = {}) {
    const TempDir folder;
    const std::string out = options.stdout_to.empty() ? (folder / "out").string() : options.stdout_to;
    const std::string err = (folder / "err").string();
    std::vector<char*> argv;
    for (const std::string& argument : arguments) {
        argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (options.stdout_descriptor >= 0) {
        posix_spawn_file_actions_adddup2(&actions, options.stdout_descriptor, STDOUT_FILENO);
    } else {
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    }
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    pid_t child = 0;
    const int error = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    require(error == 0, "{}: cannot be started: error {}", arguments[0], error);

    int status = 0;
    bool sent = options.signal == 0;
    while (::waitpid(child, &status, sent ? 0 : WNOHANG) == 0) {
        if (options.signal_when()) {
            ::kill(child, options.signal);
            sent = true;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    const bool has_out = options.stdout_to.empty() && options.stdout_descriptor < 0;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status), has_out ? read_text_file(out) : "",
            read_text_file(err)};
}

}  // namespace cutis::testing
