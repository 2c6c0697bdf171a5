#include "tools/progress.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace cutis {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kLineSeconds = 10;
constexpr double kLeastLineSeconds = 1;
constexpr int kBarWidth = 20;

/// Three significant digits, and no digits behind the point from 100 on.
std::string rate_text(double rate) {
    return rate >= 100 ? grouped_digits(static_cast<std::int64_t>(rate + 0.5))
                       : fmt::format("{:.{}f}", rate, rate >= 10 ? 1 : 2);
}

}  // namespace

Progress::Progress(std::string title, std::int64_t total, std::string unit, std::int64_t start, Console& console)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      start_(start),
      done_(start),
      console_(console),
      began_(console.seconds()),
      shown_at_(began_),
      shown_done_(start) {}

Progress::~Progress() {
    if (!finished_) {
        console_.status("");
    }
}

double Progress::rate() const {
    const double seconds = elapsed();
    return seconds > 0 ? static_cast<double>(done_ - start_) / seconds : 0.0;
}

std::string Progress::text(std::string_view detail, bool bar) const {
    std::string line = title_;
    const double share =
        total_ > 0 ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0) : 0;
    if (bar && total_ > 0) {
        const int full = static_cast<int>(share * kBarWidth);
        line += fmt::format(" [{:#>{}}{:.>{}}]", "", full, "", kBarWidth - full);
    }
    if (total_ > 0) {
        line += fmt::format(" {:3.0f} %  {}/{} {}", std::floor(100 * share), grouped_digits(done_),
                            grouped_digits(total_), unit_);
    } else {
        line += fmt::format("  {} {}", grouped_digits(done_), unit_);
    }
    const double speed = rate();
    if (speed > 0) {
        line += fmt::format("  {} {}/s", rate_text(speed), unit_);
        if (total_ > done_) {
            line += fmt::format("  {} left", duration_text(static_cast<double>(total_ - done_) / speed));
        }
    }
    if (!detail.empty()) {
        line += fmt::format("  {}", detail);
    }
    return line;
}

void Progress::update(std::int64_t done, std::string_view detail) {
    done_ = done;
    const double since = console_.seconds() - shown_at_;
    const bool tenth = total_ > 0 && static_cast<double>(done_ - shown_done_) * 10 >= static_cast<double>(total_);
    const bool due =
        console_.terminal() ? since >= kRedrawSeconds : since >= kLineSeconds || (tenth && since >= kLeastLineSeconds);
    if (finished_ || !due) {
        return;
    }
    shown_at_ = console_.seconds();
    shown_done_ = done_;
    if (console_.terminal()) {
        console_.status(text(detail, true));
    } else {
        console_.say(text(detail, false));
    }
}

void Progress::finish(std::string_view closing) {
    if (std::exchange(finished_, true)) {
        return;
    }
    console_.status("");
    if (!closing.empty()) {
        console_.say(closing);
    }
}

}  // namespace cutis
