#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "kernels/isa.h"
#include "kernels/simd/rows.h"
#include "tests/support/error_of.h"

namespace cutis {
namespace {

struct Ended {
    int status;
    std::string output;
};

// Starts this program anew, since the choice is made once per process; no test runs in it.
Ended start_with_isa(const std::string& isa) {
    const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
    const std::string command = "CUTIS_ISA='" + isa + "' '" + program + "' --gtest_filter=-* 2>&1";
    Ended ended{};
    FILE* const pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) {
        ADD_FAILURE() << "cannot start " << command;
        return ended;
    }
    char buffer[256];
    while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) {
        ended.output += buffer;
    }
    ended.status = WEXITSTATUS(pclose(pipe));
    return ended;
}

TEST(Isa, AnUnknownNameIsAnErrorThatNamesTheKnownOnes) {
    const Ended ended = start_with_isa("sse9");
    EXPECT_EQ(ended.status, 1);
    std::string line = ended.output;
    line.erase(line.find_last_not_of('\n') + 1);
    EXPECT_TRUE(testing::is_line_with(line, "CUTIS_ISA=sse9", "unknown", "baseline, avx2 or avx512"));
}

TEST(Isa, ANameChoosesAndNothingMeansTheBest) {
    EXPECT_TRUE(isa_supported(Isa::baseline));
    std::string_view best;
    for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
        const Ended ended = start_with_isa(std::string(isa_name(isa)));
        if (isa_supported(isa)) {
            best = isa_name(isa);
            EXPECT_EQ(ended.status, 0) << ended.output;
            EXPECT_NE(ended.output.find("instruction set " + std::string(best) + ","), std::string::npos)
                << ended.output;
        } else {
            EXPECT_NE(ended.status, 0) << ended.output;
        }
    }
    EXPECT_NE(start_with_isa("").output.find("instruction set " + std::string(best) + ","), std::string::npos);
}

TEST(Isa, TheKernelsInUseAreThoseOfTheActiveSet) {
    const int lanes = simd::row_kernels().lanes;
    switch (active_isa()) {
        case Isa::avx512:
            EXPECT_EQ(lanes, 16);
            break;
        case Isa::avx2:
            EXPECT_EQ(lanes, 8);
            break;
        case Isa::baseline:
            EXPECT_EQ(lanes, 4);
            break;
    }
}

}  // namespace
}  // namespace cutis
