#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cutis {

/// `text` as it may stand in HTML, between tags or in a quoted attribute: & < > " ' become entities; what is not UTF-8,
/// control characters and characters that turn the writing direction become U+FFFD, so that no name can disturb its
/// page.
std::string html_escape(std::string_view text);

/// At most `characters` characters of `text` (not escaped); the last is an ellipsis where some were cut.
std::string shortened(std::string_view text, std::size_t characters);

/// A data: address that holds a PNG or JPEG file, or "" where `image` is neither.
std::string image_data_uri(std::span<const std::uint8_t> image);

/// A page up to and with its <body>: self-contained, for any width of screen. Nothing is fetched and no script runs,
/// even if a hostile name were to find a way through the escaping.
/// @param body_class  of <body>; may be empty
std::string open_html_page(std::string_view title, std::string_view style, std::string_view body_class = "");

}  // namespace cutis
