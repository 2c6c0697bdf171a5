#include "tools/signals.h"

#include <time.h>

#include <atomic>
#include <csignal>
#include <cstdint>

namespace cutis {
namespace {

std::atomic<int> noted_signal{0};
std::atomic<std::int64_t> noted_at{0};  // milliseconds
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free,
              "a signal handler may only touch lock-free atomics");

constexpr std::int64_t kSamePressMilliseconds = 1000;

std::int64_t milliseconds() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);  // one of the few functions that handlers may call (POSIX)
    return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

extern "C" void note_signal(int signal) {
    int none = 0;
    if (noted_signal.compare_exchange_strong(none, signal)) {
        noted_at.store(milliseconds());
    } else if (milliseconds() - noted_at.load() > kSamePressMilliseconds) {
        std::signal(signal, SIG_DFL);
        std::raise(signal);
    }
}

}  // namespace

void install_stop_signals() {
    struct sigaction action {};
    action.sa_handler = note_signal;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGTERM, &action, nullptr);
    // Also where SIGINT is ignored, as shells without job control start background jobs: a checkpoint is worth having
    // whoever asks.
    ::sigaction(SIGINT, &action, nullptr);
    // These two would end the process in the midst of a write; ignored, the write fails and says why.
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
}

int stop_signal() {
    return noted_signal.load();
}

Stopped::Stopped(int signal)
    : std::runtime_error(signal == SIGINT ? "stopped by Ctrl-C" : "stopped by SIGTERM"), signal_(signal) {}

void throw_if_stopped() {
    if (const int signal = stop_signal(); signal != 0) {
        throw Stopped(signal);
    }
}

}  // namespace cutis
