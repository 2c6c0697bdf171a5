#include "tools/progress.h"

#include <gtest/gtest.h>

#include <sstream>

namespace cutis {
namespace {

/// A console whose output is a text and whose clock is set by hand.
struct Screen {
    explicit Screen(bool terminal, int columns = 200)
        : console({.out = [this](std::string_view text) { out += text; },
                   .err = [this](std::string_view text) { err += text; },
                   .terminal = terminal,
                   .columns = [columns] { return columns; },
                   .seconds = [this] { return now; }}) {}

    /// What was written since the last call.
    std::string take() { return std::exchange(out, {}); }

    std::string out, err;
    double now = 100;
    Console console;
};

constexpr const char* kErase = "\r\x1b[K";

TEST(Console, WritesLinesAndWarnings) {
    Screen screen(false);
    screen.console.say("a line");
    screen.console.warn("look out");
    screen.console.status("not on a file");
    EXPECT_EQ(screen.out, "a line\n");
    EXPECT_EQ(screen.err, "cutis: warning: look out\n");
}

TEST(Console, LinesDoNotTearTheStatusLine) {
    Screen screen(true);
    screen.console.status("half done");
    EXPECT_EQ(screen.take(), std::string(kErase) + "half done");
    screen.console.say("a line");
    EXPECT_EQ(screen.take(), std::string(kErase) + "a line\n" + kErase + "half done");
    screen.console.warn("look out");
    EXPECT_EQ(screen.take(), std::string(kErase) + kErase + "half done");
    EXPECT_EQ(screen.err, "cutis: warning: look out\n");
    screen.console.status("");
    EXPECT_EQ(screen.take(), kErase);
    screen.console.say("the last");
    EXPECT_EQ(screen.take(), "the last\n");
}

TEST(Console, CutsTheStatusLineBetweenCharacters) {
    Screen screen(true, 5);
    screen.console.status("Rückenfleck");
    EXPECT_EQ(screen.take(), std::string(kErase) + "Rück") << "four of five columns, the two bytes of ü as one";
}

TEST(Console, NumbersReadWell) {
    EXPECT_EQ(grouped_digits(0), "0");
    EXPECT_EQ(grouped_digits(999), "999");
    EXPECT_EQ(grouped_digits(1000), "1,000");
    EXPECT_EQ(grouped_digits(-123456), "-123,456");
    EXPECT_EQ(grouped_digits(1234567), "1,234,567");
    EXPECT_EQ(grouped_digits(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
    EXPECT_EQ(duration_text(0.04), "0.0 s");
    EXPECT_EQ(duration_text(59.9), "59.9 s");
    EXPECT_EQ(duration_text(60), "1 min 00 s");
    EXPECT_EQ(duration_text(3599.7), "1 h 00 min");
    EXPECT_EQ(duration_text(7620), "2 h 07 min");
    EXPECT_EQ(duration_text(-1), "-");
    EXPECT_EQ(duration_text(std::numeric_limits<double>::infinity()), "-");
    EXPECT_EQ(bytes_text(999), "999 bytes");
    EXPECT_EQ(bytes_text(1000), "1.0 kB");
    EXPECT_EQ(bytes_text(999999), "1.0 MB");
    EXPECT_EQ(bytes_text(4676752), "4.7 MB");
}

TEST(Progress, DrawsABarWithRateAndRemainingTime) {
    Screen screen(true);
    Progress progress("epoch 3/16", 2700, "images", 0, screen.console);
    screen.now += 10;
    progress.update(1215, "loss 0.71");
    EXPECT_EQ(screen.take(), std::string(kErase) +
                                 "epoch 3/16 [#########...........]  45 %  1,215/2,700 images  122 images/s  12.2 s "
                                 "left  loss 0.71");
    progress.note("a note");
    EXPECT_EQ(screen.take().find("a note\n"), std::string_view(kErase).size());
    screen.now += 10;
    progress.update(2700);
    EXPECT_EQ(screen.take(),
              std::string(kErase) + "epoch 3/16 [####################] 100 %  2,700/2,700 images  135 images/s");
    progress.finish("done");
    EXPECT_EQ(screen.take(), std::string(kErase) + "done\n");
    progress.finish("done");
    progress.update(2700);
    EXPECT_EQ(screen.take(), "");
}

TEST(Progress, RedrawsNoMoreThanTenTimesASecond) {
    Screen screen(true);
    Progress progress("work", 1000, "images", 0, screen.console);
    int drawn = 0;
    for (int i = 1; i <= 1000; ++i) {
        screen.now += 0.001;
        progress.update(i);
        drawn += screen.take().empty() ? 0 : 1;
    }
    EXPECT_GE(drawn, 8);
    EXPECT_LE(drawn, 10);
}

TEST(Progress, RemovesTheBarWhenWorkFails) {
    Screen screen(true);
    {
        Progress progress("work", 10, "images", 0, screen.console);
        screen.now += 1;
        progress.update(1);
        screen.take();
    }
    EXPECT_EQ(screen.take(), kErase);
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        lines.push_back(line);
    }
    return lines;
}

TEST(Progress, WritesPlainLinesEveryTenthOfFastWork) {
    Screen screen(false);
    Progress progress("prepare", 1000, "images", 0, screen.console);
    for (int i = 1; i <= 1000; ++i) {  // 20 s in all, so a tenth takes 2 s
        screen.now += 0.02;
        progress.update(i);
    }
    const std::vector<std::string> lines = lines_of(screen.out);
    ASSERT_EQ(lines.size(), 10u);
    EXPECT_EQ(lines[0], "prepare  10 %  100/1,000 images  50.0 images/s  18.0 s left");
    EXPECT_EQ(lines[9], "prepare 100 %  1,000/1,000 images  50.0 images/s");
    EXPECT_EQ(screen.out.find('\r'), std::string::npos);
}

TEST(Progress, WritesPlainLinesEveryTenSecondsOfSlowWork) {
    Screen screen(false);
    Progress progress("train", 1000, "images", 0, screen.console);
    for (int i = 1; i <= 60; ++i) {
        screen.now += 1;
        progress.update(i, "loss 2");
    }
    const std::vector<std::string> lines = lines_of(screen.out);
    ASSERT_EQ(lines.size(), 6u);
    EXPECT_EQ(lines[0], "train   1 %  10/1,000 images  1.00 images/s  16 min 30 s left  loss 2");
}

TEST(Progress, WritesNoMoreThanALineASecond) {
    Screen screen(false);
    Progress progress("quick", 10, "images", 0, screen.console);
    for (int i = 1; i <= 10; ++i) {
        screen.now += 0.05;
        progress.update(i);
    }
    EXPECT_EQ(screen.out, "");
    progress.finish("10 images");
    EXPECT_EQ(screen.out, "10 images\n");
}

TEST(Progress, WorkDoneBeforeDoesNotCountForTheRate) {
    Screen screen(false);
    Progress progress("train", 1000, "steps", 500, screen.console);
    screen.now += 10;
    progress.update(510);
    EXPECT_EQ(screen.out, "train  51 %  510/1,000 steps  1.00 steps/s  8 min 10 s left\n");
    EXPECT_EQ(progress.rate(), 1.0);
}

TEST(Progress, AnUnknownTotalShowsWhatIsDone) {
    Screen screen(false);
    Progress progress("read", 0, "files", 0, screen.console);
    screen.now += 20;
    progress.update(50);
    EXPECT_EQ(screen.out, "read  50 files  2.50 files/s\n");
}

}  // namespace
}  // namespace cutis
