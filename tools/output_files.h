#pragma once

#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <vector>

/// What a command checks of its outputs before it begins to work.

namespace cutis {

/// A flag with the file that it names; an empty path: it was not given.
struct FlaggedFile {
    std::string_view flag;
    std::filesystem::path path;
};

/// Throws Error naming both flags where a file to be written is also one that is read, or is written twice, under
/// whatever names.
void require_distinct_files(std::initializer_list<FlaggedFile> written, const std::vector<FlaggedFile>& read = {});

/// Makes the folder that --out names, with those above it, unless it is there. Throws Error where it cannot be made, or
/// is a file.
void make_out_folder(const std::filesystem::path& out);

}  // namespace cutis
