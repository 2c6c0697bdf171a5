#include "tools/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace cutis {
namespace {

struct CodePoint {
    std::uint32_t value = 0;
    std::size_t bytes = 1;
    bool valid = false;
};

/// The first code point of `text` (not empty). Overlong forms, surrogates and values past U+10FFFF are not UTF-8.
CodePoint first_code_point(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
    if (byte(0) < 0x80) {
        return {byte(0), 1, true};
    }
    const std::size_t bytes = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
    if (byte(0) < 0xC2 || byte(0) > 0xF4 || text.size() < bytes) {
        return {};
    }
    std::uint32_t value = byte(0) & (0x7Fu >> bytes);
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((byte(i) & 0xC0) != 0x80) {
            return {};
        }
        value = value << 6 | (byte(i) & 0x3Fu);
    }
    constexpr std::array<std::uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
    if (value < kSmallest[bytes] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
        return {};
    }
    return {value, bytes, true};
}

bool is_disturbing(std::uint32_t c) {
    const bool control = (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7F && c < 0xA0) || c == 0xFFFE || c == 0xFFFF;
    const bool direction =
        c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
    return control || direction;
}

std::string base64(std::span<const std::uint8_t> bytes) {
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t here = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t group = static_cast<std::uint32_t>(bytes[i]) << 16;
        group |= here > 1 ? static_cast<std::uint32_t>(bytes[i + 1]) << 8 : 0u;
        group |= here > 2 ? static_cast<std::uint32_t>(bytes[i + 2]) : 0u;
        for (std::size_t digit = 0; digit < 4; ++digit) {
            text += digit <= here ? kDigits[group >> (18 - 6 * digit) & 63] : '=';
        }
    }
    return text;
}

bool starts_with(std::span<const std::uint8_t> bytes, std::initializer_list<std::uint8_t> magic) {
    return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
}

}  // namespace

std::string html_escape(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    while (!text.empty()) {
        const CodePoint point = first_code_point(text);
        if (!point.valid || is_disturbing(point.value)) {
            result += "\xEF\xBF\xBD";
        } else if (point.value == '&') {
            result += "&amp;";
        } else if (point.value == '<') {
            result += "&lt;";
        } else if (point.value == '>') {
            result += "&gt;";
        } else if (point.value == '"') {
            result += "&quot;";
        } else if (point.value == '\'') {
            result += "&#39;";
        } else {
            result += text.substr(0, point.bytes);
        }
        text.remove_prefix(point.bytes);
    }
    return result;
}

std::string shortened(std::string_view text, std::size_t characters) {
    std::size_t kept = 0;
    std::size_t last_start = 0;
    for (std::size_t n = 0; kept < text.size(); ++n) {
        if (n == characters) {
            return std::string(text.substr(0, last_start)) + "\xE2\x80\xA6";
        }
        last_start = kept;
        kept += first_code_point(text.substr(kept)).bytes;
    }
    return std::string(text);
}

std::string image_data_uri(std::span<const std::uint8_t> image) {
    if (starts_with(image, {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'})) {
        return "data:image/png;base64," + base64(image);
    }
    if (starts_with(image, {0xFF, 0xD8, 0xFF})) {
        return "data:image/jpeg;base64," + base64(image);
    }
    return "";
}

std::string open_html_page(std::string_view title, std::string_view style, std::string_view body_class) {
    return fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\"/>\n<title>{}</title>\n<style>{}</style>\n</head>\n<body{}>\n",
        html_escape(title), style, body_class.empty() ? "" : fmt::format(" class=\"{}\"", body_class));
}

}  // namespace cutis
