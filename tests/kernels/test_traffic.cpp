#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "kernels/simt/traffic.h"
#include "tests/kernels/traffic_cases.h"
#include "tests/kernels/traffic_probe.h"

// Bytes that the CUDA kernels move, counted (docs/simt.md), against what the headers of kernels/ say of each call.

namespace cutis::testing {
namespace {

constexpr double kAllowed = 0.05;

std::map<std::string, simt::Traffic> count(const TrafficCase& one) {
    DeviceMemory memory;
    simt::TrafficCount counting;
    one.run(memory);
    cuda::check(cudaDeviceSynchronize(), "kernels");
    return counting.stop();
}

struct Counted {
    std::uint64_t issued = 0, distinct = 0;
    std::string kernels;  // a line for each
};

Counted sum_of(const std::map<std::string, simt::Traffic>& by_kernel) {
    Counted sum;
    for (const auto& [kernel, traffic] : by_kernel) {
        sum.issued += traffic.issued();
        sum.distinct += traffic.distinct();
        sum.kernels +=
            fmt::format("\n  {} x {}: issued {} + {}, distinct {} + {} (read + written)", traffic.launches, kernel,
                        traffic.issued_read, traffic.issued_written, traffic.distinct_read, traffic.distinct_written);
    }
    return sum;
}

// Equal where nothing is claimed.
bool holds(std::int64_t claimed, std::uint64_t counted) {
    const auto expected = static_cast<double>(claimed);
    return std::abs(static_cast<double>(counted) - expected) <= kAllowed * expected;
}

const std::vector<TrafficCase>& cases() {
    static const std::vector<TrafficCase> all = traffic_cases();
    return all;
}

std::set<std::string> launchers_with_cases() {
    std::set<std::string> names;
    for (const TrafficCase& one : cases()) {
        names.insert(one.launcher);
    }
    return names;
}

class Traffic : public ::testing::TestWithParam<std::string> {};

TEST_P(Traffic, IsWhatTheHeaderSays) {
    for (const TrafficCase& one : cases()) {
        if (one.launcher == GetParam()) {
            SCOPED_TRACE(one.launcher + ", " + one.call);
            const Counted counted = sum_of(count(one));
            EXPECT_TRUE(holds(one.claimed.issued, counted.issued))
                << "issued: " << counted.issued << " counted, " << one.claimed.issued << " claimed" << counted.kernels;
            EXPECT_TRUE(holds(one.claimed.distinct, counted.distinct))
                << "distinct: " << counted.distinct << " counted, " << one.claimed.distinct << " claimed"
                << counted.kernels;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Launchers, Traffic, ::testing::ValuesIn(launchers_with_cases()),
                         [](const auto& one) { return one.param; });

std::string text_of(const std::filesystem::path& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
}

// ---- the counter

// Read, written; read, written: issued and distinct.
using Bytes = std::array<std::uint64_t, 4>;
Bytes bytes_of(const TrafficCase& probe) {
    const std::map<std::string, simt::Traffic> kernels = count(probe);
    EXPECT_EQ(kernels.size(), 1u);
    const simt::Traffic& t = kernels.begin()->second;
    return {t.issued_read, t.issued_written, t.distinct_read, t.distinct_written};
}

TEST(TrafficCount, SeesAtomics) {
    const Bytes bytes =
        bytes_of({"", "", {}, [](DeviceMemory& m) { launch_atomics(m.zeros<int>(4), m.zeros<float>(1)); }});
    // A float's sum is a loop: it is loaded first, and written when nobody else did meanwhile.
    EXPECT_EQ(bytes, (Bytes{32 * 12, 32 * 8, 20, 20}));
}

TEST(TrafficCount, SeesAsynchronousCopies) {
    EXPECT_EQ(
        bytes_of({"", "", {}, [](DeviceMemory& m) { launch_async_copies(m.zeros<uint4>(32), m.zeros<uint4>(32)); }}),
        (Bytes{256, 256, 256, 256}));
}

TEST(TrafficCount, SeesCopiesAndFillsOfStructs) {
    EXPECT_EQ(
        bytes_of({"", "", {}, [](DeviceMemory& m) { launch_struct_copies(m.zeros<Wide>(32), m.zeros<Wide>(1)); }}),
        (Bytes{32 * 48, 33 * 48, 48, 32 * 48}));
}

// ---- the table

// What kernels/*.h declares on a stream without a default, which is how launchers of CUDA kernels end.
TEST(TrafficTable, HasEveryLauncherOfTheHeaders) {
    const std::set<std::string> library = {"matmul"};  // cuBLASLt's; what it moves is its own affair
    const std::regex launcher(R"(void\s+(\w+)\([^;]*Stream stream\);)");
    std::set<std::string> declared;
    for (const auto& entry : std::filesystem::directory_iterator(CUTIS_SOURCE_DIR "/kernels")) {
        if (entry.path().extension() != ".h") {
            continue;
        }
        const std::string text = text_of(entry.path());
        for (std::sregex_iterator match(text.begin(), text.end(), launcher), end; match != end; ++match) {
            const std::string name = (*match)[1];
            if (library.count(name) == 0) {
                declared.insert(name);
                EXPECT_NE(text.find(" " + name + "_traffic("), std::string::npos)
                    << entry.path().filename() << " does not say what " << name << " moves";
            }
        }
    }
    EXPECT_EQ(declared, launchers_with_cases());
}

// A new form of a launcher is a kernel that no case may reach.
TEST(TrafficTable, ReachesEveryKernel) {
    const std::regex kernel(
        R"(__global__\s+(?:void\s+)?(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s*)?(?:void\s+)?(\w+)\()");
    std::set<std::string> written, launched;
    for (const auto& entry : std::filesystem::directory_iterator(CUTIS_SOURCE_DIR "/kernels")) {
        if (entry.path().extension() == ".cu" || entry.path().extension() == ".cuh") {
            const std::string text = text_of(entry.path());
            for (std::sregex_iterator match(text.begin(), text.end(), kernel), end; match != end; ++match) {
                written.insert((*match)[1]);
            }
        }
    }
    for (const TrafficCase& one : cases()) {
        for (const auto& [name, traffic] : count(one)) {
            launched.insert(name.substr(0, name.find('<')));
        }
    }
    EXPECT_EQ(launched, written);
}

}  // namespace
}  // namespace cutis::testing
