#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/console.h"

namespace cutis {

/// How far a long piece of work has come: on a terminal a bar with rate and remaining time, redrawn in place; elsewhere
/// plain lines, one every 10 s or 10 % (and not more than one a second). One thread updates it.
///
///     epoch 3/16 [######......]  45 %  1,234/2,700 images  88.1 images/s  16 s left  loss 0.71
class Progress {
  public:
    /// @param total  units of work in all; 0: not known
    /// @param unit   plural: "images", "steps"
    /// @param start  units that were done before this process began (a resumed run); they do not count for the rate
    Progress(std::string title, std::int64_t total, std::string unit, std::int64_t start = 0,
             Console& console = cutis::console());
    /// Removes the bar if `finish` was not called.
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// @param done    units done so far, `start` included
    /// @param detail  shown behind the numbers, e.g. "loss 0.71"
    void update(std::int64_t done, std::string_view detail = {});
    /// Removes the bar and writes `closing` as a line; a second call does nothing.
    void finish(std::string_view closing = {});
    /// A line of its own, which the bar does not tear.
    void note(std::string_view line) { console_.say(line); }

    /// Units per second of this process so far; 0 before the first.
    double rate() const;
    /// Seconds since the start.
    double elapsed() const { return console_.seconds() - began_; }

  private:
    std::string text(std::string_view detail, bool bar) const;

    std::string title_, unit_;
    std::int64_t total_, start_, done_;
    Console& console_;
    double began_, shown_at_;
    std::int64_t shown_done_;
    bool finished_ = false;
};

}  // namespace cutis
