#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "engine/crc32c.h"

namespace cutis {

/// A whole file mapped read-only. Throws Error naming the file when it cannot be opened or mapped, or is no regular
/// file. An empty file maps to an empty span. Files written by AtomicFile may be replaced while they are mapped (the
/// old bytes stay); a program that shortens a mapped file in place ends this one with SIGBUS.
class MappedFile {
  public:
    explicit MappedFile(const std::filesystem::path& path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    std::span<const std::byte> bytes() const { return {data_, size_}; }
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

/// A file that appears whole or not at all: bytes go to a temporary neighbour; `commit` flushes it to the disk (fsync),
/// renames it over `path` and flushes the folder. Without `commit` the neighbour is removed and an earlier `path` stays
/// as it was. Every failed write (disk full, no permission) throws Error with the file, the system's reason and a
/// remedy, and removes the neighbour. A symbolic link is followed; a folder or a device in the place of `path` is
/// refused; an earlier file's permissions are kept.
class AtomicFile {
  public:
    explicit AtomicFile(std::filesystem::path path);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    /// Appends `size` bytes (buffered).
    void write(const void* data, std::size_t size);
    /// Appends text as it is.
    void write(std::string_view text) { write(text.data(), text.size()); }
    /// Overwrites `size` bytes that were already written, at `offset` from the start (for headers that hold checksums).
    void rewrite(std::uint64_t offset, const void* data, std::size_t size);
    /// Bytes written so far.
    std::uint64_t size() const { return size_; }
    /// Makes the file appear under its name. Nothing may be written afterwards.
    void commit();

  private:
    void flush();
    void write_through(const char* data, std::size_t size, std::uint64_t offset);
    void discard() noexcept;
    [[noreturn]] void fail_with(int code, std::string_view doing);

    std::filesystem::path path_;    // as given, for messages
    std::filesystem::path target_;  // with symbolic links followed
    std::filesystem::path temporary_;
    std::string buffer_;
    std::uint64_t size_ = 0;     // buffer included
    std::uint64_t flushed_ = 0;  // what the system has got
    int descriptor_ = -1;
};

/// `AtomicFile` for a text at hand.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Reads a whole text file of at most `limit` bytes; throws Error naming the file when it cannot be read, and the limit
/// when it is larger.
std::string read_text_file(const std::filesystem::path& path, std::size_t limit = std::size_t{1} << 30);

}  // namespace cutis
