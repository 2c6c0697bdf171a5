#pragma once

#include <stdexcept>

namespace cutis {

/// From now on SIGINT (Ctrl-C) and SIGTERM are noted instead of ending the process, and SIGPIPE and SIGXFSZ (a reader
/// that left, a file over the shell's limit) are ignored: the write fails instead. A second SIGINT or SIGTERM that
/// comes more than a second after the first ends the process at once, as if none of this were here: whoever presses
/// Ctrl-C again does not want to wait. (Within that second it is taken for the same press, which shells and wrappers
/// may deliver twice.)
void install_stop_signals();

/// The first signal noted, SIGINT or SIGTERM; 0 before. Safe from any thread.
int stop_signal();

/// What unwinds a command that has nothing to save; `main` turns it into the exit status 128 + signal.
class Stopped : public std::runtime_error {
  public:
    explicit Stopped(int signal);
    int signal() const { return signal_; }

  private:
    int signal_;
};

/// Throws Stopped if a signal was noted.
void throw_if_stopped();

}  // namespace cutis
