#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "engine/crc32c.h"
#include "engine/packed_dataset.h"
#include "tests/fuzz/accepts.h"

using namespace cutis;

namespace {

constexpr std::size_t kPageSize = 4096;

/// A packed data set of zeros with this index, every checksum as it should be: random bytes would never get past them.
std::string file_around(std::string_view index, std::size_t data_bytes) {
    std::string file(kPageSize + data_bytes, '\0');
    const std::uint32_t version = 1;
    const std::uint32_t index_checksum = crc32c(std::as_bytes(std::span(index)));
    const std::uint64_t offset = file.size();
    const std::uint64_t index_size = index.size();
    std::memcpy(file.data(),
                "\x89"
                "CUTIS\r\n",
                8);
    std::memcpy(file.data() + 8, &version, 4);
    std::memcpy(file.data() + 12, &index_checksum, 4);
    std::memcpy(file.data() + 16, &offset, 8);
    std::memcpy(file.data() + 24, &index_size, 8);
    const std::uint32_t page_checksum = crc32c(std::as_bytes(std::span(file)).first(kPageSize - 4));
    std::memcpy(file.data() + kPageSize - 4, &page_checksum, 4);
    return file.append(index);
}

void check(std::span<const std::byte> file) {
    PackedIndex index;
    if (fuzz::accepts([&] { index = parse_packed_index(file, "fuzz.cutis"); })) {
        const auto side = static_cast<std::size_t>(index.image_size);
        fuzz::insist(!index.samples.empty() && index.samples.size() == index.checksums.size());
        fuzz::insist(index.offsets.size() == index.samples.size() + 1);
        fuzz::insist(index.offsets.front() == kPageSize && index.offsets.back() < file.size());
        for (std::size_t i = 0; i < index.samples.size(); ++i) {
            fuzz::insist(index.offsets[i] < index.offsets[i + 1]);
            fuzz::insist(index.codec != PackedCodec::raw || index.offsets[i + 1] - index.offsets[i] == side * side * 3);
        }
        for (const Sample& sample : index.samples) {
            fuzz::insist(sample.label >= 0 && static_cast<std::size_t>(sample.label) < index.class_names.size());
        }
    }
}

}  // namespace

/// Packed data sets. The input is the bytes of a file, and once more two bytes that say how many bytes of images there
/// are and then an index.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check(std::as_bytes(std::span(data, size)));
    if (size >= 2) {
        const std::size_t data_bytes = data[0] + std::size_t{256} * data[1];
        const std::string file = file_around({reinterpret_cast<const char*>(data) + 2, size - 2}, data_bytes);
        check(std::as_bytes(std::span(file)));
    }
    return 0;
}
