#include "engine/text.h"

#include <fmt/format.h>

#include <cstddef>

namespace cutis {
namespace {

/// Bytes of the UTF-8 character that begins at `text[at]`; 0 where none does (RFC 3629, table 3-7 of the Unicode
/// standard).
std::size_t utf8_length(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const unsigned lead = byte(at);
    if (lead < 0x80) {
        return 1;
    }
    const std::size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(at + i) & 0xC0) != 0x80) {
            return 0;
        }
    }
    const unsigned second = byte(at + 1);
    const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
    const bool surrogate = lead == 0xED && second >= 0xA0;
    const bool beyond_unicode = lead == 0xF4 && second >= 0x90;
    return overlong || surrogate || beyond_unicode ? 0 : length;
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        std::size_t length = utf8_length(text, i);
        const auto byte = static_cast<unsigned char>(text[i]);
        // C0 controls and DEL; C1 controls are C2 80..9F in UTF-8 and some terminals obey them.
        const bool control = byte < 0x20 || byte == 0x7F ||
                             (length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0);
        const bool escape = length == 0 || control;
        const std::string piece = escape ? fmt::format("\\x{:02x}", byte) : std::string(text.substr(i, length));
        if (out.size() + piece.size() > limit) {
            return out + "...";
        }
        out += piece;
        i += escape ? 1 : length;
    }
    return out;
}

std::string lower_case(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') {
            c = static_cast<char>(c - 'A' + 'a');
        }
    }
    return out;
}

}  // namespace cutis
