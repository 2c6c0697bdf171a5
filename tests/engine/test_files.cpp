#include "engine/files.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>
#include <vector>

#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;
using testing::TempDir;

std::string contents(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void put(const std::filesystem::path& path, std::string_view text) {
    std::ofstream(path, std::ios::binary) << text;
}

std::size_t entries(const std::filesystem::path& folder) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

/// Lets no file of this process grow beyond `bytes`, so that a write fails in the middle as on a full disk.
class FileSizeLimit {
  public:
    explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() {
        setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }

  private:
    rlimit before_{};
    void (*handler_)(int);
};

TEST(AtomicFile, AppearsOnlyAtCommit) {
    TempDir folder;
    put(folder / "a.bin", "old");
    {
        AtomicFile file(folder / "a.bin");
        file.write("new ");
        file.write(std::string_view("bytes\0!", 7));
        EXPECT_EQ(file.size(), 11u);
        EXPECT_EQ(contents(folder / "a.bin"), "old");
        file.commit();
        EXPECT_EQ(contents(folder / "a.bin"), std::string_view("new bytes\0!", 11));
    }
    EXPECT_EQ(contents(folder / "a.bin"), std::string_view("new bytes\0!", 11));
    EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(AtomicFile, LeavesNothingBehindWithoutCommit) {
    TempDir folder;
    put(folder / "a.bin", "old");
    {
        AtomicFile file(folder / "a.bin");
        file.write(std::string(3 << 20, 'x'));
        EXPECT_EQ(entries(folder.path()), 2u);
    }
    EXPECT_EQ(contents(folder / "a.bin"), "old");
    EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(AtomicFile, MixesSmallAndLargeWritesInOrder) {
    TempDir folder;
    AtomicFile file(folder / "a.bin");
    std::string expected;
    for (const std::size_t size : {1u, 0u, (1u << 20) - 1, 1u, 1u << 20, (1u << 20) + 1, 7u, 3u << 20, 5u}) {
        const std::string piece(size, static_cast<char>('a' + expected.size() % 26));
        file.write(piece);
        expected += piece;
        EXPECT_EQ(file.size(), expected.size());
    }
    file.commit();
    EXPECT_TRUE(contents(folder / "a.bin") == expected);
}

TEST(AtomicFile, RewritesWhatWasWritten) {
    TempDir folder;
    AtomicFile file(folder / "a.bin");
    file.write("0123456789");
    file.rewrite(2, "ab", 2);
    file.write("tail");
    file.rewrite(9, "XYZ", 3);
    EXPECT_TRUE(is_line_with(error_of([&] { file.rewrite(13, "ab", 2); }), "offset 13, but only 14 were written"));
    EXPECT_TRUE(is_line_with(error_of([&] { file.rewrite(~0ull, "ab", 2); }), "only 14 were written"));
    file.commit();
    EXPECT_EQ(contents(folder / "a.bin"), "01ab45678XYZil");
}

TEST(AtomicFile, RefusesUseAfterCommit) {
    TempDir folder;
    AtomicFile file(folder / "a.bin");
    file.commit();
    EXPECT_TRUE(is_line_with(error_of([&] { file.write("x"); }), "after it was committed"));
    EXPECT_TRUE(is_line_with(error_of([&] { file.commit(); }), "after it was committed"));
    EXPECT_EQ(contents(folder / "a.bin"), "");
}

TEST(AtomicFile, FullDiskKeepsTheEarlierFile) {
    TempDir folder;
    put(folder / "a.bin", "old");
    std::string message;
    {
        const FileSizeLimit limit(100'000);
        AtomicFile file(folder / "a.bin");
        message = error_of([&] {
            file.write(std::string(60'000, 'x'));
            file.write(std::string(60'000, 'y'));
            file.commit();
        });
        // A caller that swallows the error still cannot put half a file in place.
        EXPECT_TRUE(is_line_with(error_of([&] { file.commit(); }), "had failed"));
    }
    EXPECT_TRUE(is_line_with(message, (folder / "a.bin").string(), "File too large",
                             "an earlier file of this name is as it was"));
    EXPECT_EQ(contents(folder / "a.bin"), "old");
    EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(AtomicFile, NamesTheMissingFolder) {
    TempDir folder;
    const std::string message = error_of([&] { AtomicFile(folder / "none" / "a.bin"); });
    EXPECT_TRUE(is_line_with(message, (folder / "none" / "a.bin").string()));
    EXPECT_TRUE(is_line_with(message, "make the folder first"));
    EXPECT_EQ(entries(folder.path()), 0u);
}

TEST(AtomicFile, NamesFoldersOneMayNotWriteTo) {
    if (::geteuid() == 0) {
        GTEST_SKIP() << "root may write everywhere";
    }
    TempDir folder;
    std::filesystem::permissions(folder.path(),
                                 std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    EXPECT_TRUE(
        is_line_with(error_of([&] { AtomicFile(folder / "a.bin"); }), "a.bin", "Permission denied", "may write to"));
    std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
}

TEST(AtomicFile, RefusesFoldersPipesAndEmptyNames) {
    TempDir folder;
    std::filesystem::create_directory(folder / "sub");
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    EXPECT_TRUE(is_line_with(error_of([&] { AtomicFile(folder / "sub"); }), "is a folder"));
    EXPECT_TRUE(is_line_with(error_of([&] { AtomicFile(folder / "pipe"); }), "is a pipe or a device"));
    EXPECT_TRUE(is_line_with(error_of([&] { AtomicFile("/dev/null"); }), "is a pipe or a device"));
    EXPECT_TRUE(is_line_with(error_of([&] { AtomicFile(""); }), "names no file"));
    EXPECT_TRUE(is_line_with(error_of([&] { AtomicFile(folder / "none/"); }), "names no file"));
    EXPECT_EQ(entries(folder.path()), 2u);
}

TEST(AtomicFile, FollowsSymbolicLinksAndKeepsPermissions) {
    TempDir folder;
    std::filesystem::create_directory(folder / "other");
    put(folder / "other" / "target", "old");
    std::filesystem::permissions(folder / "other" / "target", std::filesystem::perms(0640));
    std::filesystem::create_symlink("other/target", folder / "link");
    write_file_atomically(folder / "link", "new");
    EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
    EXPECT_EQ(contents(folder / "other" / "target"), "new");
    EXPECT_EQ(std::filesystem::status(folder / "other" / "target").permissions(), std::filesystem::perms(0640));
    EXPECT_EQ(entries(folder / "other"), 1u);

    std::filesystem::create_symlink("other/fresh", folder / "dangling");
    write_file_atomically(folder / "dangling", "made");
    EXPECT_EQ(contents(folder / "other" / "fresh"), "made");

    std::filesystem::create_symlink("loop", folder / "loop");
    EXPECT_TRUE(is_line_with(error_of([&] { AtomicFile(folder / "loop"); }), "symbolic links go in a circle"));
}

TEST(AtomicFile, ManyAtOnceDoNotMeet) {
    TempDir folder;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 8; ++i) {
                write_file_atomically(folder / "same", std::string(1000, static_cast<char>('0' + t)));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const std::string text = contents(folder / "same");
    EXPECT_EQ(text, std::string(1000, text.at(0)));
    EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(AtomicFile, PassesOverANeighbourOfAKilledProcess) {
    TempDir folder;
    std::string name;
    {
        AtomicFile file(folder / "a");
        name = std::filesystem::directory_iterator(folder.path())->path().filename().string();
    }
    // The counter is the number before ".tmp"; occupy the next few names.
    const std::string stem = name.substr(0, name.rfind('-') + 1);
    const int counter = std::stoi(name.substr(stem.size()));
    for (int i = 1; i <= 3; ++i) {
        put(folder / (stem + std::to_string(counter + i) + ".tmp"), "left over");
    }
    write_file_atomically(folder / "a", "new");
    EXPECT_EQ(contents(folder / "a"), "new");
    EXPECT_EQ(entries(folder.path()), 4u);
}

TEST(Files, NonAsciiAndLongestNames) {
    TempDir folder;
    const auto path = folder / "Läsion Ω 皮膚" / (std::string(251, 'n') + ".bin");
    std::filesystem::create_directory(path.parent_path());
    write_file_atomically(path, "text");
    EXPECT_EQ(read_text_file(path), "text");
    EXPECT_EQ(MappedFile(path).bytes().size(), 4u);
    EXPECT_TRUE(is_line_with(error_of([&] { AtomicFile(folder / std::string(300, 'n')).commit(); }), "shorter name"));
    EXPECT_TRUE(is_line_with(error_of([&] { MappedFile(folder / "Läsion Ω 皮膚" / "none"); }), "Läsion Ω 皮膚"));
}

TEST(MappedFile, MapsMovesAndOutlivesReplacement) {
    TempDir folder;
    put(folder / "a", "abc");
    put(folder / "empty", "");
    MappedFile first(folder / "a");
    write_file_atomically(folder / "a", "something else");
    MappedFile second(std::move(first));
    ASSERT_EQ(second.bytes().size(), 3u);
    EXPECT_EQ(static_cast<char>(second.bytes()[2]), 'c');
    MappedFile third(folder / "empty");
    EXPECT_TRUE(third.bytes().empty());
    third = std::move(second);
    EXPECT_EQ(third.path(), folder / "a");
    EXPECT_EQ(third.bytes().size(), 3u);
}

TEST(MappedFile, RefusesWhatIsNoFile) {
    TempDir folder;
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    EXPECT_TRUE(is_line_with(error_of([&] { MappedFile(folder / "none"); }), "No such file"));
    EXPECT_TRUE(is_line_with(error_of([&] { MappedFile(folder.path()); }), "is a folder"));
    EXPECT_TRUE(is_line_with(error_of([&] { MappedFile(folder / "pipe"); }), "is a pipe or a device"));
    EXPECT_TRUE(is_line_with(error_of([&] { MappedFile(folder / "pipe" / "x"); }), "check the path"));
}

TEST(ReadTextFile, ReadsUpToItsLimit) {
    TempDir folder;
    put(folder / "a", std::string("ten\r\nby\0es", 10));
    EXPECT_EQ(read_text_file(folder / "a", 10), std::string("ten\r\nby\0es", 10));
    const std::string message = error_of([&] { (void)read_text_file(folder / "a", 9); });
    EXPECT_TRUE(is_line_with(message, "larger than the 9 bytes"));
    EXPECT_TRUE(is_line_with(error_of([&] { (void)read_text_file(folder.path()); }), "is a folder"));
    put(folder / "large", std::string(200'000, 'x'));
    EXPECT_EQ(read_text_file(folder / "large"), std::string(200'000, 'x'));
}

TEST(ReadTextFile, ReadsFilesThatStateNoSize) {
    if (!std::filesystem::exists("/proc/self/status")) {
        GTEST_SKIP() << "no /proc here";
    }
    EXPECT_NE(read_text_file("/proc/self/status").find("Pid:"), std::string::npos);
    EXPECT_TRUE(
        is_line_with(error_of([&] { (void)read_text_file("/proc/self/status", 10); }), "larger than the 10 bytes"));
}

}  // namespace
}  // namespace cutis
