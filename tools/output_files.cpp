#include "tools/output_files.h"

#include <algorithm>
#include <system_error>

#include "kernels/error.h"

namespace cutis {
namespace {

namespace fs = std::filesystem;

bool same_file(const fs::path& a, const fs::path& b) {
    std::error_code failed;
    if (fs::equivalent(a, b, failed)) {
        return true;
    }
    const fs::path there_a = fs::weakly_canonical(a, failed), there_b = fs::weakly_canonical(b, failed);
    return !failed && there_a == there_b;
}

}  // namespace

void require_distinct_files(std::initializer_list<FlaggedFile> written, const std::vector<FlaggedFile>& read) {
    for (const FlaggedFile* out = written.begin(); out != written.end(); ++out) {
        const auto is_out = [&](const FlaggedFile& other) {
            return !out->path.empty() && !other.path.empty() && same_file(out->path, other.path);
        };
        const FlaggedFile* const twin = std::find_if(written.begin(), out, is_out);
        require(twin == out, "{} {}: is the file of {} as well; give each a name of its own", out->flag,
                out->path.string(), twin->flag);
        const auto source = std::find_if(read.begin(), read.end(), is_out);
        require(source == read.end(), "{} {}: is read by {} and would be overwritten; choose another name", out->flag,
                out->path.string(), source == read.end() ? "" : source->flag);
    }
}

void make_out_folder(const fs::path& out) {
    std::error_code failed;
    require(!fs::exists(out, failed) || fs::is_directory(out, failed),
            "--out {}: is a file, but a folder is wanted; choose another name", out.string());
    fs::create_directories(out, failed);
    require(!failed, "--out {}: cannot make the folder: {}; choose another place", out.string(), failed.message());
}

}  // namespace cutis
