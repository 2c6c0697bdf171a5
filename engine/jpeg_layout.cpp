#include <array>
#include <cstring>

#include "engine/exif.h"
#include "engine/image_layout.h"
#include "kernels/error.h"

namespace cutis {
namespace {

// Markers of ITU-T T.81, table B.1.
enum Marker : int {
    kStartBaseline = 0xC0,
    kStartProgressive = 0xC2,
    kHuffmanTables = 0xC4,
    kRestart0 = 0xD0,
    kRestart7 = 0xD7,
    kEndOfImage = 0xD9,
    kStartOfScan = 0xDA,
    kQuantTables = 0xDB,
    kNumberOfLines = 0xDC,
    kRestartInterval = 0xDD,
    kApp0 = 0xE0,
    kApp1 = 0xE1,
    kApp14 = 0xEE,
    kApp15 = 0xEF,
    kComment = 0xFE,
};

// Encoders write about ten scans; a few kilobytes of forged ones would keep the decoder busy for minutes.
constexpr int kMaxScans = 100;

class JpegWalk {
  public:
    JpegWalk(std::span<const std::byte> bytes, std::string_view name) : bytes_(bytes), name_(name) {}

    ImageLayout run() {
        at_ = 2;  // after the start-of-image marker
        for (;;) {
            const int marker = next_marker();
            if (marker == kEndOfImage) {
                check_complete();
                return layout_;
            }
            segment(marker);
            if (marker == kStartOfScan) {
                skip_entropy_coded_data();
            }
        }
    }

  private:
    struct Component {
        int id;
        int quant_table;
        bool has_data;
    };

    [[noreturn]] void truncated() const {
        fail("{}: truncated JPEG: {} bytes without an end marker; copy or download it again", name_, bytes_.size());
    }
    [[noreturn]] void damaged(std::string_view what) const {
        fail("{}: damaged JPEG: {} near byte {}; copy or export it again", name_, what, at_);
    }
    void check(bool rule, std::string_view what) const {
        if (!rule) [[unlikely]] {
            damaged(what);
        }
    }
    int u8(std::size_t at) const { return std::to_integer<int>(bytes_[at]); }
    int u16(std::size_t at) const { return u8(at) << 8 | u8(at + 1); }

    // Moves behind the next marker and returns it. Bytes between segments are padding; 0xFF before a marker is fill.
    int next_marker() {
        while (at_ < bytes_.size() && u8(at_) != 0xFF) {
            ++at_;
        }
        while (at_ < bytes_.size() && u8(at_) == 0xFF) {
            ++at_;
        }
        if (at_ >= bytes_.size()) {
            truncated();
        }
        return u8(at_++);
    }

    // Reads the segment that follows `marker` and moves behind it.
    void segment(int marker) {
        if (bytes_.size() - at_ < 2) {
            truncated();
        }
        const bool frame_start =
            marker >= 0xC0 && marker <= 0xCF && marker != kHuffmanTables && marker != 0xC8 && marker != 0xCC;
        const bool known = frame_start || marker == kHuffmanTables || marker == kStartOfScan ||
                           marker == kQuantTables || marker == kNumberOfLines || marker == kRestartInterval ||
                           (marker >= kApp0 && marker <= kApp15) || marker == kComment;
        check(known, fmt::format("unexpected marker 0xFF{:02X}", marker));
        const std::size_t length = static_cast<std::size_t>(u16(at_));
        check(length >= 2, fmt::format("segment 0xFF{:02X} with length {}", marker, length));
        if (length > bytes_.size() - at_) {
            truncated();
        }
        const std::size_t begin = at_ + 2, end = at_ + length;
        if (frame_start) {
            frame(marker, begin, end);
        } else if (marker == kHuffmanTables) {
            huffman_tables(begin, end);
        } else if (marker == kQuantTables) {
            quant_tables(begin, end);
        } else if (marker == kStartOfScan) {
            scan(begin, end);
        } else if (marker == kApp1) {
            exif(begin, end);
        } else if (marker == kApp14 && end - begin >= 12 && std::memcmp(&bytes_[begin], "Adobe\0", 6) == 0) {
            layout_.adobe_transform_offset = begin + 11;
        }
        at_ = end;
    }

    void exif(std::size_t begin, std::size_t end) {
        constexpr std::size_t kTag = 6;
        if (!seen_exif_ && end - begin >= kTag && std::memcmp(&bytes_[begin], "Exif\0\0", kTag) == 0) {
            seen_exif_ = true;
            layout_.orientation = exif_orientation(bytes_.subspan(begin, end - begin));
        }
    }

    void frame(int marker, std::size_t begin, std::size_t end) {
        require(marker <= kStartProgressive,
                "{}: JPEG of an unsupported kind (lossless, hierarchical or arithmetic coding, marker 0xFF{:02X}); "
                "save it as "
                "a baseline JPEG or a PNG",
                name_, marker);
        check(component_count_ == 0, "a second frame header");
        check(end - begin >= 6, "a frame header too short");
        require(u8(begin) == 8, "{}: JPEG with {} bits per channel; save it with 8 bits, or as a PNG", name_,
                u8(begin));
        layout_.height = u16(begin + 1);
        layout_.width = u16(begin + 3);
        const int count = u8(begin + 5);
        require(count == 1 || count == 3 || count == 4,
                "{}: JPEG with {} colour components; save it as grey, RGB or CMYK", name_, count);
        check(end - begin == 6 + 3 * static_cast<std::size_t>(count), "a frame header of the wrong length");
        check_image_size(layout_.width, layout_.height, name_);
        // A block of 64 pixels takes at least one bit of the file, whatever the coding.
        const std::int64_t pixels = std::int64_t{layout_.width} * layout_.height;
        require(pixels / 512 <= static_cast<std::int64_t>(bytes_.size()),
                "{}: JPEG header claims {}x{} pixels, which {} bytes cannot hold; copy or download it again", name_,
                layout_.width, layout_.height, bytes_.size());
        progressive_ = marker == kStartProgressive;
        for (int i = 0; i < count; ++i) {
            const std::size_t entry = begin + 6 + 3 * static_cast<std::size_t>(i);
            const int id = u8(entry);
            for (int before = 0; before < i; ++before) {
                check(components_[before].id != id, fmt::format("colour component {} declared twice", id));
            }
            check(u8(entry + 2) < 4, "a quantisation table number beyond 3");
            components_[i] = {.id = id, .quant_table = u8(entry + 2), .has_data = false};
        }
        component_count_ = count;
        layout_.components = count;
    }

    void huffman_tables(std::size_t begin, std::size_t end) {
        for (std::size_t at = begin; at < end;) {
            check(end - at >= 17, "a Huffman table cut short");
            const int kind = u8(at) >> 4, number = u8(at) & 15;
            check(kind < 2 && number < 4, "a Huffman table number out of range");
            std::size_t symbols = 0;
            for (std::size_t bits = 1; bits <= 16; ++bits) {
                symbols += static_cast<std::size_t>(u8(at + bits));
            }
            check(symbols <= 256 && symbols <= end - at - 17, fmt::format("a Huffman table of {} symbols", symbols));
            (kind == 0 ? has_dc_table_ : has_ac_table_)[number] = true;
            at += 17 + symbols;
        }
    }

    void quant_tables(std::size_t begin, std::size_t end) {
        for (std::size_t at = begin; at < end;) {
            const int precision = u8(at) >> 4, number = u8(at) & 15;
            check(precision < 2 && number < 4, "a quantisation table number out of range");
            const std::size_t size = precision == 0 ? 65 : 129;
            check(size <= end - at, "a quantisation table cut short");
            has_quant_table_[number] = true;
            at += size;
        }
    }

    void scan(std::size_t begin, std::size_t end) {
        check(component_count_ > 0, "image data before the frame header");
        const std::size_t count = end > begin ? static_cast<std::size_t>(u8(begin)) : 0;
        check(count >= 1 && count <= 4 && end - begin == 4 + 2 * count, "a scan header of the wrong length");
        check(++scans_ <= kMaxScans, fmt::format("more than {} scans", kMaxScans));
        const int spectral_start = u8(end - 3);
        const bool refines = u8(end - 1) >> 4 != 0;
        const bool needs_dc = !progressive_ || (spectral_start == 0 && !refines);
        const bool needs_ac = !progressive_ || spectral_start > 0;
        for (std::size_t i = 0; i < count; ++i) {
            const int id = u8(begin + 1 + 2 * i), tables = u8(begin + 2 + 2 * i);
            Component* component = nullptr;
            for (int c = 0; c < component_count_; ++c) {
                component = components_[c].id == id ? &components_[c] : component;
            }
            check(component != nullptr, fmt::format("a scan of undeclared colour component {}", id));
            const int dc = tables >> 4, ac = tables & 15;
            check(dc < 4 && ac < 4, "a Huffman table number beyond 3");
            check((!needs_dc || has_dc_table_[dc]) && (!needs_ac || has_ac_table_[ac]) &&
                      has_quant_table_[component->quant_table],
                  "a scan whose Huffman or quantisation table is missing");
            check(needs_dc || component->has_data, "a refining scan before the first one of its colour component");
            component->has_data = true;
        }
    }

    // Compressed data ends at the first marker that is neither a stuffed zero nor a restart.
    void skip_entropy_coded_data() {
        for (;;) {
            const void* found = at_ < bytes_.size() ? std::memchr(&bytes_[at_], 0xFF, bytes_.size() - at_) : nullptr;
            if (found == nullptr) {
                truncated();
            }
            std::size_t at = static_cast<std::size_t>(static_cast<const std::byte*>(found) - bytes_.data());
            while (at < bytes_.size() && u8(at) == 0xFF) {
                ++at;
            }
            if (at >= bytes_.size()) {
                truncated();
            }
            const int marker = u8(at);
            if (marker != 0 && (marker < kRestart0 || marker > kRestart7)) {
                at_ = at - 1;
                return;
            }
            at_ = at + 1;
        }
    }

    void check_complete() const {
        check(component_count_ > 0, "no image data");
        for (int c = 0; c < component_count_; ++c) {
            check(components_[c].has_data, fmt::format("no data of colour component {}", components_[c].id));
        }
    }

    std::span<const std::byte> bytes_;
    std::string_view name_;
    std::size_t at_ = 0;
    ImageLayout layout_;
    bool progressive_ = false, seen_exif_ = false;
    int scans_ = 0;
    int component_count_ = 0;
    std::array<Component, 4> components_{};
    std::array<bool, 4> has_dc_table_{}, has_ac_table_{}, has_quant_table_{};
};

}  // namespace

bool is_jpeg(std::span<const std::byte> bytes) {
    return bytes.size() >= 3 && std::memcmp(bytes.data(), "\xFF\xD8\xFF", 3) == 0;
}

ImageLayout inspect_jpeg(std::span<const std::byte> bytes, std::string_view name) {
    return JpegWalk(bytes, name).run();
}

}  // namespace cutis
