#include "tools/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace cutis {
namespace {

constexpr int kUsualColumns = 80;

int output_error = 0;  // guarded by the console's mutex; the first one stays

void put(std::FILE* file, std::string_view text) {
    errno = 0;
    const bool whole = std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
    if (!whole && file == stdout && output_error == 0) {
        output_error = errno != 0 ? errno : EIO;
    }
}

int terminal_columns() {
    winsize size{};
    return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsualColumns;
}

bool output_is_terminal() {
    const char* kind = std::getenv("TERM");
    return ::isatty(STDOUT_FILENO) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

double steady_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The first `columns` characters; every UTF-8 character counts as one column.
std::string_view first_columns(std::string_view text, int columns) {
    std::size_t end = 0;
    for (int column = 0; end < text.size() && column < columns; ++column) {
        do {
            ++end;
        } while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
    }
    return text.substr(0, end);
}

}  // namespace

void Console::erase_status() {
    if (!status_.empty()) {
        wiring_.out("\r\x1b[K");  // to the line's start, and clear it to its end
    }
}

void Console::draw_status() {
    if (!status_.empty()) {
        // The last column stays free: some terminals wrap as soon as it is written.
        wiring_.out(fmt::format("\r\x1b[K{}", first_columns(status_, wiring_.columns() - 1)));
    }
}

void Console::say(std::string_view text) {
    const std::lock_guard lock(mutex_);
    erase_status();
    wiring_.out(fmt::format("{}\n", text));
    draw_status();
}

void Console::warn(std::string_view text) {
    const std::lock_guard lock(mutex_);
    erase_status();
    wiring_.err(fmt::format("cutis: warning: {}\n", text));
    draw_status();
}

void Console::status(std::string_view text) {
    if (!wiring_.terminal) {
        return;
    }
    const std::lock_guard lock(mutex_);
    if (text.empty()) {
        erase_status();
    }
    status_ = text;
    draw_status();
}

Console& console() {
    static Console instance({.out = [](std::string_view text) { put(stdout, text); },
                             .err = [](std::string_view text) { put(stderr, text); },
                             .terminal = output_is_terminal(),
                             .columns = terminal_columns,
                             .seconds = steady_seconds});
    return instance;
}

int standard_output_error() {
    put(stdout, "");
    return output_error;
}

std::string grouped_digits(std::int64_t number) {
    const std::string digits = std::to_string(number);
    const std::size_t first = number < 0 ? 1 : 0;
    std::string grouped;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > first && (digits.size() - i) % 3 == 0) {
            grouped += ',';
        }
        grouped += digits[i];
    }
    return grouped;
}

std::string duration_text(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0) {
        return "-";
    }
    if (seconds < 60) {
        return fmt::format("{:.1f} s", seconds);
    }
    const auto whole = static_cast<std::int64_t>(std::min(seconds, 1e15) + 0.5);
    if (whole < 3600) {
        return fmt::format("{} min {:02} s", whole / 60, whole % 60);
    }
    return fmt::format("{} h {:02} min", grouped_digits(whole / 3600), whole / 60 % 60);
}

std::string bytes_text(double bytes) {
    constexpr std::string_view kUnits[] = {"kB", "MB", "GB", "TB", "PB"};
    if (bytes < 1000) {
        return fmt::format("{:.0f} bytes", bytes);
    }
    std::size_t unit = 0;
    bytes /= 1000;
    while (bytes >= 999.95 && unit + 1 < std::size(kUnits)) {
        bytes /= 1000;
        ++unit;
    }
    return fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

}  // namespace cutis
