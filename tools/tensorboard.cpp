#include "tools/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>

#include "engine/crc32c.h"
#include "kernels/error.h"

namespace cutis {
namespace {

constexpr std::size_t kBufferBytes = 1 << 16;

// Wire types of protobuf.
enum class Wire : std::uint64_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void append_little_endian(std::string& out, std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) {
        out += static_cast<char>(value >> (8 * i));
    }
}

void append_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
        out += static_cast<char>(value | 0x80);
    }
    out += static_cast<char>(value);
}

void append_key(std::string& out, std::uint64_t field, Wire wire) {
    append_varint(out, field << 3 | static_cast<std::uint64_t>(wire));
}

void append_bytes(std::string& out, std::uint64_t field, std::string_view bytes) {
    append_key(out, field, Wire::bytes);
    append_varint(out, bytes.size());
    out += bytes;
}

/// The start of an Event: wall_time = 1 (double), step = 2 (int64).
std::string event_at(double wall_time, std::int64_t step) {
    std::string event;
    append_key(event, 1, Wire::fixed64);
    append_little_endian(event, std::bit_cast<std::uint64_t>(wall_time), 8);
    append_key(event, 2, Wire::varint);
    append_varint(event, static_cast<std::uint64_t>(step));
    return event;
}

/// A CRC of data that itself holds CRCs is weak, hence TFRecord's rotation and constant.
std::uint32_t masked_crc(std::string_view data) {
    return std::rotr(crc32c(std::as_bytes(std::span(data))), 15) + 0xA282EAD8u;
}

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') {
        return "localhost";
    }
    std::string host = name.data();
    for (char& c : host) {
        if (c == '/') {
            c = '_';
        }
    }
    return host;
}

}  // namespace

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& folder, std::int64_t first_step) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    require(!error, "{}: cannot make the folder of TensorBoard events: {}", folder.string(), error.message());
    const double now = seconds_now();
    for (int number = 0; descriptor_ < 0; ++number) {
        path_ = folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<std::int64_t>(now), host_name(),
                                     getpid(), number);
        descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        require(descriptor_ >= 0 || errno == EEXIST, "{}: cannot be made: {}; is the folder writable?", path_.string(),
                std::strerror(errno));
    }
    std::string version = event_at(now, 0);
    append_bytes(version, 3, "brain.Event:2");  // file_version = 3
    record(version);
    if (first_step > 0) {
        std::string start;  // SessionLog: status = 1, of which START is 1
        append_key(start, 1, Wire::varint);
        append_varint(start, 1);
        std::string event = event_at(now, first_step);
        append_bytes(event, 7, start);  // session_log = 7
        record(event);
    }
}

TensorBoardWriter::~TensorBoardWriter() {
    try {
        flush();
    } catch (const Error&) {
        // A destructor must not throw; who has to know calls flush().
    }
    close(descriptor_);
}

void TensorBoardWriter::record(std::string_view event) {
    std::string length;
    append_little_endian(length, event.size(), 8);
    buffer_ += length;
    append_little_endian(buffer_, masked_crc(length), 4);
    buffer_ += event;
    append_little_endian(buffer_, masked_crc(event), 4);
}

void TensorBoardWriter::scalar(std::string_view tag, double value, std::int64_t step, double wall_time) {
    std::string point;  // Summary.Value: tag = 1, simple_value = 2
    append_bytes(point, 1, tag);
    append_key(point, 2, Wire::fixed32);
    append_little_endian(point, std::bit_cast<std::uint32_t>(static_cast<float>(value)), 4);
    std::string summary;  // Summary: value = 1
    append_bytes(summary, 1, point);
    std::string event = event_at(wall_time, step);
    append_bytes(event, 5, summary);  // summary = 5
    record(event);
    if (buffer_.size() >= kBufferBytes) {
        flush();
    }
}

void TensorBoardWriter::flush() {
    std::string_view left = buffer_;
    while (!left.empty()) {
        const ssize_t written = write(descriptor_, left.data(), left.size());
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            const int reason = errno;
            buffer_.erase(0, buffer_.size() - left.size());  // so that a second try repeats nothing
            fail("{}: cannot write: {}; free some space and resume", path_.string(), std::strerror(reason));
        }
        left.remove_prefix(static_cast<std::size_t>(written));
    }
    buffer_.clear();
}

}  // namespace cutis
