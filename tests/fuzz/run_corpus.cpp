#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

/// Runs a fuzzer's function over the files of a corpus folder, each also cut short at many places: what libFuzzer would
/// start from, without libFuzzer. A crash or an exception that escapes is the failure.
int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
        return 2;
    }
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
        std::ifstream file(entry.path(), std::ios::binary);
        const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
        const std::size_t step = std::max<std::size_t>(1, bytes.size() / 64);
        for (std::size_t size = 0; size <= bytes.size(); size += step) {
            // A buffer of exactly this size, so that the address sanitizer sees a read behind its end.
            const std::vector<std::uint8_t> part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
            LLVMFuzzerTestOneInput(part.data(), part.size());
        }
        const std::vector<std::uint8_t> whole(bytes.begin(), bytes.end());
        LLVMFuzzerTestOneInput(whole.data(), whole.size());
        ++files;
    }
    std::printf("%d files\n", files);
    return files > 0 ? 0 : 1;
}
