#include "tools/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>

namespace cutis {
namespace {

// Each case in a process of its own, since what is noted stays noted.

int status_after(int signal) {
    try {
        throw_if_stopped();
    } catch (const Stopped&) {
        return 1;
    }
    std::raise(signal);
    try {
        throw_if_stopped();
    } catch (const Stopped& stopped) {
        return stop_signal() == signal && stopped.signal() == signal ? 0 : 2;
    }
    return 3;
}

TEST(SignalsDeathTest, AreNotedAndThrownWhereAskedFor) {
    for (const int signal : {SIGINT, SIGTERM}) {
        EXPECT_EXIT(
            {
                install_stop_signals();
                std::_Exit(status_after(signal));
            },
            ::testing::ExitedWithCode(0), "");
    }
}

TEST(SignalsDeathTest, WithoutInstallingTheyEndTheProcess) {
    EXPECT_EXIT(std::_Exit(status_after(SIGTERM)), ::testing::KilledBySignal(SIGTERM), "");
}

TEST(SignalsDeathTest, TheSamePressTwiceIsOne) {
    EXPECT_EXIT(
        {
            install_stop_signals();
            std::raise(SIGINT);
            std::raise(SIGINT);
            std::raise(SIGTERM);
            std::_Exit(stop_signal() == SIGINT ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "");
}

TEST(SignalsDeathTest, ASecondPressEndsTheProcess) {
    EXPECT_EXIT(
        {
            install_stop_signals();
            std::raise(SIGINT);
            ::usleep(1'200'000);
            std::raise(SIGINT);
            std::_Exit(0);
        },
        ::testing::KilledBySignal(SIGINT), "");
}

TEST(SignalsDeathTest, FailingWritesEndNothing) {
    EXPECT_EXIT(
        {
            install_stop_signals();
            std::raise(SIGPIPE);
            std::raise(SIGXFSZ);
            std::_Exit(stop_signal());
        },
        ::testing::ExitedWithCode(0), "");
}

TEST(SignalsDeathTest, ReachEveryThread) {
    EXPECT_EXIT(
        {
            install_stop_signals();
            std::thread worker([] { ::kill(::getpid(), SIGTERM); });
            worker.join();
            while (stop_signal() == 0) {
                ::usleep(1000);
            }
            std::_Exit(stop_signal() == SIGTERM ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace cutis
