#include "tools/tensorboard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <span>

#include "engine/crc32c.h"
#include "engine/files.h"
#include "kernels/error.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

/// The fields of a protobuf message: number to values (varints and fixed-size values as numbers, the rest as bytes).
struct Message {
    std::multimap<std::uint64_t, std::uint64_t> numbers;
    std::multimap<std::uint64_t, std::string> texts;

    explicit Message(std::string_view bytes) {
        while (!bytes.empty()) {
            const std::uint64_t key = varint(bytes);
            switch (key & 7) {
                case 0:
                    numbers.emplace(key >> 3, varint(bytes));
                    break;
                case 1:
                    numbers.emplace(key >> 3, fixed(bytes, 8));
                    break;
                case 2: {
                    const std::uint64_t size = varint(bytes);
                    texts.emplace(key >> 3, bytes.substr(0, size));
                    bytes.remove_prefix(size);
                    break;
                }
                case 5:
                    numbers.emplace(key >> 3, fixed(bytes, 4));
                    break;
                default:
                    ADD_FAILURE() << "wire type " << (key & 7);
                    return;
            }
        }
    }
    std::uint64_t number(std::uint64_t field) const { return numbers.find(field)->second; }
    std::string text(std::uint64_t field) const { return texts.find(field)->second; }

    static std::uint64_t varint(std::string_view& bytes) {
        std::uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            const auto byte = static_cast<std::uint8_t>(bytes.at(0));
            bytes.remove_prefix(1);
            value |= std::uint64_t{byte & 0x7Fu} << shift;
            if (byte < 0x80) {
                return value;
            }
        }
    }
    static std::uint64_t fixed(std::string_view& bytes, std::size_t size) {
        std::uint64_t value = 0;
        std::memcpy(&value, bytes.substr(0, size).data(), size);
        bytes.remove_prefix(size);
        return value;
    }
};

std::uint32_t unmasked(std::uint64_t masked) {
    return std::rotl(static_cast<std::uint32_t>(masked) - 0xA282EAD8u, 15);
}

std::uint32_t checksum(std::string_view data) {
    return crc32c(std::as_bytes(std::span(data)));
}

std::vector<Message> read_events(const std::filesystem::path& path) {
    const std::string file = read_text_file(path);
    std::string_view rest = file;
    std::vector<Message> events;
    while (!rest.empty()) {
        const std::string_view length_bytes = rest.substr(0, 8);
        const std::uint64_t length = Message::fixed(rest, 8);
        EXPECT_EQ(unmasked(Message::fixed(rest, 4)), checksum(length_bytes));
        const std::string_view data = rest.substr(0, length);
        rest.remove_prefix(length);
        EXPECT_EQ(unmasked(Message::fixed(rest, 4)), checksum(data));
        events.emplace_back(data);
    }
    return events;
}

TEST(TensorBoard, RecordsHoldWhatWasWritten) {
    const testing::TempDir folder;
    const std::string long_tag(300, 'x');
    TensorBoardWriter writer(folder / "events");
    EXPECT_NE(writer.path().filename().string().find("events.out.tfevents."), std::string::npos);
    writer.scalar("loss/train", 1.25, 1, 1700000000.5);
    writer.scalar(long_tag, -0.5, 3'000'000'000, 1700000001);
    writer.scalar("nan", NAN, 4, 0);
    writer.flush();

    const std::vector<Message> events = read_events(writer.path());
    ASSERT_EQ(events.size(), 4u);
    EXPECT_EQ(events[0].text(3), "brain.Event:2");
    EXPECT_EQ(std::bit_cast<double>(events[1].number(1)), 1700000000.5);
    EXPECT_EQ(events[1].number(2), 1u);
    const Message first(Message(events[1].text(5)).text(1));
    EXPECT_EQ(first.text(1), "loss/train");
    EXPECT_EQ(std::bit_cast<float>(static_cast<std::uint32_t>(first.number(2))), 1.25f);
    EXPECT_EQ(events[2].number(2), 3'000'000'000u);
    EXPECT_EQ(Message(Message(events[2].text(5)).text(1)).text(1), long_tag);
    const Message third(Message(events[3].text(5)).text(1));
    EXPECT_TRUE(std::isnan(std::bit_cast<float>(static_cast<std::uint32_t>(third.number(2)))));
}

TEST(TensorBoard, AResumedRunTellsWhereItStarts) {
    const testing::TempDir folder;
    TensorBoardWriter writer(folder.path(), 70);
    writer.flush();
    const std::vector<Message> events = read_events(writer.path());
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[1].number(2), 70u);
    EXPECT_EQ(Message(events[1].text(7)).number(1), 1u);
}

TEST(TensorBoard, EveryStartMakesItsOwnFile) {
    const testing::TempDir folder;
    std::filesystem::path first;
    {
        TensorBoardWriter writer(folder.path());
        writer.scalar("a", 1, 1, 0);
        first = writer.path();
    }
    const std::string before = read_text_file(first);
    EXPECT_EQ(read_events(first).size(), 2u) << "the destructor flushes";
    TensorBoardWriter second(folder.path());
    TensorBoardWriter third(folder.path());
    EXPECT_NE(second.path(), first);
    EXPECT_NE(second.path(), third.path());
    second.scalar("a", 2, 2, 0);
    second.flush();
    EXPECT_EQ(read_text_file(first), before);
}

TEST(TensorBoard, ManyPointsArriveInOrder) {
    const testing::TempDir folder;
    TensorBoardWriter writer(folder.path());
    for (int step = 0; step < 5000; ++step) {
        writer.scalar("loss", step, step, step);
    }
    writer.flush();
    const std::vector<Message> events = read_events(writer.path());
    ASSERT_EQ(events.size(), 5001u);
    for (std::size_t step = 0; step < 5000; ++step) {
        ASSERT_EQ(events[step + 1].number(2), step);
    }
}

TEST(TensorBoard, AFolderThatCannotBeMadeIsNamed) {
    const testing::TempDir folder;
    std::ofstream(folder / "file") << "x";
    try {
        TensorBoardWriter writer(folder / "file" / "events");
        FAIL() << "a folder below a file";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("file/events"), std::string::npos) << error.what();
    }
    EXPECT_THROW(TensorBoardWriter(folder / "file"), Error);
}

}  // namespace
}  // namespace cutis
