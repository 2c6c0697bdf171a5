#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace cutis {

/// Standard output and standard error of the program, with at most one status line at the bottom of a terminal that
/// lines written meanwhile do not tear. All members may be called from any thread.
///
/// Write errors do not throw: a reader that has left (a broken pipe) must not cost a training run. They are remembered,
/// and `main` asks for them at the end.
class Console {
  public:
    /// What it is connected to; tests connect strings.
    struct Wiring {
        std::function<void(std::string_view)> out, err;
        bool terminal = false;            ///< whether `out` understands carriage returns
        std::function<int()> columns;     ///< of the terminal
        std::function<double()> seconds;  ///< a clock that never goes back
    };
    explicit Console(Wiring wiring) : wiring_(std::move(wiring)) {}

    /// Writes `text` and a line end to standard output.
    void say(std::string_view text);
    /// Writes "cutis: warning: <text>" to standard error.
    void warn(std::string_view text);
    /// Draws `text`, cut to the terminal's width, as the status line; "" removes it. Nothing without a terminal.
    void status(std::string_view text);

    bool terminal() const { return wiring_.terminal; }
    double seconds() const { return wiring_.seconds(); }

  private:
    void erase_status();
    void draw_status();

    Wiring wiring_;
    std::mutex mutex_;
    std::string status_;
};

/// The process's own.
Console& console();

/// The error number of the first write to standard output that failed, 0 if none did; flushes it first.
int standard_output_error();

/// `console().say` of a formatted text: results, notices, progress.
template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
    console().say(fmt::format(format, std::forward<Args>(args)...));
}

/// `console().warn` of a formatted text.
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
    console().warn(fmt::format(format, std::forward<Args>(args)...));
}

/// 1234567 as "1,234,567".
std::string grouped_digits(std::int64_t number);
/// Seconds as people read them: "0.8 s", "21.3 s", "4 min 05 s", "2 h 07 min".
std::string duration_text(double seconds);
/// Bytes as people read them: "512 bytes", "4.6 MB" (powers of 1000).
std::string bytes_text(double bytes);

}  // namespace cutis
