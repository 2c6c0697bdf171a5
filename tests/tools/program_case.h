#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/files.h"
#include "engine/packed_dataset.h"
#include "kernels/philox.h"
#include "tests/support/error_of.h"
#include "tests/support/run_program.h"
#include "tests/support/temp_dir.h"
#include "tools/png.h"

/// What the tests of the program's commands share.

namespace cutis::testing {

/// `cutis <arguments>`.
inline ProgramResult cutis_program(std::vector<std::string> arguments, const ProgramOptions& options = {}) {
    arguments.insert(arguments.begin(), CUTIS_PROGRAM);
    return run_program(arguments, options);
}

/// `cutis <arguments>` within a limit that the shell's `ulimit` sets, e.g. "-f 8".
inline ProgramResult cutis_program_within(const std::string& limit, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"/bin/sh", "-c", "ulimit " + limit + " && exec \"$@\"", "sh", CUTIS_PROGRAM});
    return run_program(arguments);
}

/// That it ended with `status` and one line on standard error that holds every part.
template <class... Parts>
::testing::AssertionResult failed_with(int status, const ProgramResult& result, const Parts&... parts) {
    if (result.status != status) {
        return ::testing::AssertionFailure()
               << "status " << result.status << " instead of " << status << ": " << result.err;
    }
    if (!result.err.starts_with("cutis: error: ") || !result.err.ends_with("\n")) {
        return ::testing::AssertionFailure() << "no line of cutis: " << result.err;
    }
    return is_line_with(result.err.substr(0, result.err.size() - 1), parts...);
}

/// That it ended well and wrote nothing to standard error.
inline ::testing::AssertionResult succeeded(const ProgramResult& result) {
    if (result.status != 0 || !result.err.empty()) {
        return ::testing::AssertionFailure() << "status " << result.status << ": " << result.err;
    }
    return ::testing::AssertionSuccess();
}

inline bool holds(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

/// Pictures of three classes, told apart by their mean colour, as 36 PNG files of 40 x 32 pixels with their metadata,
/// two to a lesion, below a folder whose name is not ASCII.
struct Pictures {
    explicit Pictures(int count = 36) {
        std::filesystem::create_directories(images);
        std::string rows = "lesion_id,image_id,dx\n";
        PhiloxStream random(5, RandomPurpose::test);
        std::vector<std::uint8_t> rgb(40 * 32 * 3);
        for (int i = 0; i < count; ++i) {
            const int label = i / 2 % 3;
            for (std::size_t v = 0; v < rgb.size(); ++v) {
                rgb[v] = static_cast<std::uint8_t>((v % 3 == static_cast<std::size_t>(label) ? 140u : 90u) +
                                                   random.below(64));
            }
            const std::vector<std::uint8_t> bytes = encode_png(rgb, 40, 32);
            const std::string id = "image" + std::to_string(i);
            write_file_atomically(images / (id + ".png"), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
            rows += "L" + std::to_string(i / 2) + "," + id + "," +
                    std::string(label == 0   ? "red"
                                : label == 1 ? "green"
                                             : "blue") +
                    "\n";
        }
        write_file_atomically(metadata, rows);
    }

    /// `cutis prepare` of them.
    ProgramResult prepare(std::vector<std::string> further = {}) const {
        std::vector<std::string> arguments{
            "prepare", "--images", images.string(), "--metadata", metadata.string(), "--class-names", "red,green,blue",
            "--size",  "32",       "--out",         data.string()};
        arguments.insert(arguments.end(), further.begin(), further.end());
        return cutis_program(arguments);
    }

    TempDir folder;
    std::filesystem::path home = folder / "Läsionen";
    std::filesystem::path images = home / "Bilder", metadata = home / "m.csv", data = home / "d.cutis";
};

/// The embedded sample of HAM10000, packed at 32 pixels.
struct PackedSample {
    PackedSample() {
        EXPECT_TRUE(
            succeeded(cutis_program({"prepare", "--images", (home / "images").string(), "--metadata",
                                     (home / "HAM10000_metadata.csv").string(), "--size", "32", "--out", data})));
    }

    TempDir folder;
    std::filesystem::path home = std::filesystem::path(CUTIS_SOURCE_DIR) / "tools/sample/ham10000";
    std::string data = (folder / "sample.cutis").string();
};

}  // namespace cutis::testing
