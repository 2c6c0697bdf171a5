#include "engine/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "kernels/error.h"

namespace cutis {
namespace {

constexpr std::size_t kBufferSize = std::size_t{1} << 20;

std::string reason(int code) {
    return std::generic_category().message(code);
}

const char* remedy(int code) {
    switch (code) {
        case ENOENT:
        case ENOTDIR:
            return "check the path";
        case EACCES:
        case EPERM:
        case EROFS:
            return "choose a place that you may write to, or change the permissions";
        case ENOSPC:
        case EDQUOT:
            return "free some space or choose another disk, then run it again";
        case EFBIG:
            return "the file system or the shell's limit (ulimit -f) allows no larger file; choose another disk or "
                   "raise it";
        case EMFILE:
        case ENFILE:
            return "too many files are open; close some or raise the limit (ulimit -n)";
        case ENAMETOOLONG:
            return "choose a shorter name";
        default:
            return "check the disk and the path, then run it again";
    }
}

const char* kind(mode_t mode) {
    return S_ISDIR(mode) ? "a folder" : "a pipe or a device";
}

/// A regular file opened for reading, closed at the end of the scope.
class OpenedFile {
  public:
    explicit OpenedFile(const std::filesystem::path& path)
        // O_NONBLOCK, since opening a named pipe would wait for a writer.
        : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
        if (descriptor_ < 0) {
            const int code = errno;
            const char* advice = code == EACCES || code == EPERM ? "change its permissions" : remedy(code);
            fail("{}: cannot open: {}; {}", path.string(), reason(code), advice);
        }
        struct stat status {};
        const int code = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
        if (code != 0 || !S_ISREG(status.st_mode)) {
            ::close(descriptor_);
            require(code == 0, "{}: cannot read its size: {}; {}", path.string(), reason(code), remedy(code));
            fail("{}: is {}, but a regular file is wanted; check the path", path.string(), kind(status.st_mode));
        }
        size_ = static_cast<std::size_t>(status.st_size);
    }
    ~OpenedFile() { ::close(descriptor_); }
    OpenedFile(const OpenedFile&) = delete;
    OpenedFile& operator=(const OpenedFile&) = delete;

    int descriptor() const { return descriptor_; }
    std::size_t size() const { return size_; }

  private:
    int descriptor_;
    std::size_t size_ = 0;
};

std::filesystem::path folder_of(const std::filesystem::path& path) {
    return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

/// Where symbolic links at the end of `path` lead to; the file there need not exist yet.
std::filesystem::path follow_links(const std::filesystem::path& path) {
    std::filesystem::path end = path;
    std::error_code no_link;
    for (int followed = 0; followed < 40; ++followed) {
        const std::filesystem::path next = std::filesystem::read_symlink(end, no_link);
        if (no_link) {
            return end;
        }
        end = end.parent_path() / next;
    }
    fail("{}: its symbolic links go in a circle; remove or mend them", path.string());
}

/// A hidden neighbour that no other process and no other file of this process uses. It carries no part of the target's
/// name, which may already be as long as the file system allows.
std::filesystem::path neighbour_name(const std::filesystem::path& target) {
    static std::atomic<unsigned> counter{0};
    return folder_of(target) / fmt::format(".cutis-{}-{}.tmp", ::getpid(), counter.fetch_add(1));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
    const OpenedFile file(path);
    if (file.size() > 0) {
        void* address = ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
        if (address == MAP_FAILED) {
            const int code = errno;
            fail("{}: cannot map its {} bytes: {}; {}", path.string(), file.size(), reason(code), remedy(code));
        }
        data_ = static_cast<const std::byte*>(address);
        size_ = file.size();
    }
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) {
        ::munmap(const_cast<std::byte*>(data_), size_);
    }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)), target_(follow_links(path_)) {
    struct stat earlier {};
    const bool exists = ::stat(target_.c_str(), &earlier) == 0;
    require(!exists || S_ISREG(earlier.st_mode), "{}: is {}, so no file can be written there; choose another name",
            path_.string(), kind(earlier.st_mode));
    require(target_.has_filename(), "'{}': names no file; give a path that ends in a file name", path_.string());

    do {
        temporary_ = neighbour_name(target_);
        descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        // A killed process of the same number may have left its neighbour behind.
    } while (descriptor_ < 0 && errno == EEXIST);
    if (descriptor_ < 0) {
        const int code = errno;
        const char* advice = code == ENOENT ? "make the folder first, or check the path" : remedy(code);
        fail("{}: cannot write into the folder '{}': {}; {}", path_.string(), folder_of(target_).string(), reason(code),
             advice);
    }
    if (exists && ::fchmod(descriptor_, earlier.st_mode & 0777) != 0) {
        fail_with(errno, "keep the permissions");
    }
}

AtomicFile::~AtomicFile() {
    discard();
}

void AtomicFile::discard() noexcept {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
        ::unlink(temporary_.c_str());
        descriptor_ = -1;
    }
}

void AtomicFile::fail_with(int code, std::string_view doing) {
    discard();
    fail("{}: cannot {}: {}; {}; an earlier file of this name is as it was", path_.string(), doing, reason(code),
         remedy(code));
}

void AtomicFile::write_through(const char* data, std::size_t size, std::uint64_t offset) {
    while (size > 0) {
        const ssize_t written = ::pwrite(descriptor_, data, size, static_cast<off_t>(offset));
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            fail_with(errno, fmt::format("write {} bytes at offset {}", size, offset));
        }
        data += written;
        offset += static_cast<std::uint64_t>(written);
        size -= static_cast<std::size_t>(written);
    }
}

void AtomicFile::flush() {
    write_through(buffer_.data(), buffer_.size(), flushed_);
    flushed_ += buffer_.size();
    buffer_.clear();
}

void AtomicFile::write(const void* data, std::size_t size) {
    require(descriptor_ >= 0, "{}: written to after it was committed or had failed", path_.string());
    const char* bytes = static_cast<const char*>(data);
    if (buffer_.size() + size > kBufferSize) {
        flush();
    }
    if (size > kBufferSize) {
        write_through(bytes, size, flushed_);
        flushed_ += size;
    } else if (size > 0) {
        buffer_.append(bytes, size);
    }
    size_ += size;
}

void AtomicFile::rewrite(std::uint64_t offset, const void* data, std::size_t size) {
    require(descriptor_ >= 0, "{}: written to after it was committed or had failed", path_.string());
    require(offset <= size_ && size <= size_ - offset, "{}: rewriting {} bytes at offset {}, but only {} were written",
            path_.string(), size, offset, size_);
    flush();
    write_through(static_cast<const char*>(data), size, offset);
}

void AtomicFile::commit() {
    require(descriptor_ >= 0, "{}: committed after it was committed or had failed", path_.string());
    flush();
    if (::fsync(descriptor_) != 0) {
        fail_with(errno, "flush it to the disk");
    }
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
        fail_with(errno, "put it in its place");
    }
    ::close(std::exchange(descriptor_, -1));
    // Without this a power cut may forget the rename. Some file systems cannot flush a folder (EINVAL); that is no
    // failure.
    const int folder = ::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        const int code = ::fsync(folder) == 0 ? 0 : errno;
        ::close(folder);
        require(code != EIO, "{}: flushing its folder reported: {}; check the disk and write it again", path_.string(),
                reason(code));
    }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
    AtomicFile file(path);
    file.write(text);
    file.commit();
}

std::string read_text_file(const std::filesystem::path& path, std::size_t limit) {
    const OpenedFile file(path);
    std::string text;
    if (file.size() <= limit) {
        text.reserve(file.size());
        char piece[1 << 16];
        // Files of /proc state no size, so the end is where read() says it is.
        while (text.size() <= limit) {
            const ssize_t got = ::read(file.descriptor(), piece, sizeof piece);
            if (got == 0) {
                return text;
            }
            if (got > 0) {
                text.append(piece, static_cast<std::size_t>(got));
            } else if (errno != EINTR) {
                const int code = errno;
                fail("{}: cannot read: {}; {}", path.string(), reason(code), remedy(code));
            }
        }
    }
    fail("{}: larger than the {} bytes allowed here; check that it is the right file", path.string(), limit);
}

}  // namespace cutis
