#include "engine/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <string>

#include "engine/half.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;
using testing::TempDir;

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
    return std::as_bytes(std::span(values));
}

/// A safetensors file of this header and so many data bytes.
std::string file_of(std::string_view header, std::size_t data_bytes = 0) {
    const std::uint64_t length = header.size();
    std::string file(8, '\0');
    std::memcpy(file.data(), &length, 8);
    file += header;
    for (std::size_t i = 0; i < data_bytes; ++i) {
        file += static_cast<char>(i);
    }
    return file;
}

std::string parse_error(const std::string& file) {
    return error_of([&] { (void)parse_safetensors(std::as_bytes(std::span(file)), "w.safetensors"); });
}

std::string header_error(std::string_view header, std::size_t data_bytes = 0) {
    return parse_error(file_of(header, data_bytes));
}

TEST(Safetensors, ReadsTheReferenceImplementationsFile) {
    const SafetensorsFile file(std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/tiny.safetensors");
    EXPECT_EQ(file.tensors().size(), 7u);
    EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{
                                   {"format", "pt"}, {"mean", "0.5,0.5,0.5"}, {"note", "quotes \" and ü"}}));

    const TensorView& weight = file.at("features.0.0.weight");
    EXPECT_EQ(weight.dtype, FileDType::f32);
    EXPECT_EQ(weight.shape, (std::vector<std::int64_t>{2, 3, 2}));
    std::vector<float> expected;
    for (int i = -6; i < 6; ++i) {
        expected.push_back(static_cast<float>(i) / 4);
    }
    EXPECT_EQ(file.read_f32(weight), expected);
    EXPECT_EQ(file.read_f32(file.at("half")), (std::vector<float>{1.0f, -0.5f, 65504.0f, 0x1.0p-24f}));
    EXPECT_EQ(file.read_f32(file.at("brain")), (std::vector<float>{1.0f, -2.5f, 3.140625f}));
    EXPECT_EQ(file.at("nothing").shape, (std::vector<std::int64_t>{0, 7}));
    EXPECT_TRUE(file.read_f32(file.at("nothing")).empty());

    std::int64_t step = 0;
    EXPECT_TRUE(file.at("step").shape.empty());
    ASSERT_EQ(file.at("step").bytes.size(), sizeof step);
    std::memcpy(&step, file.at("step").bytes.data(), sizeof step);
    EXPECT_EQ(step, -(std::int64_t{1} << 40));
    EXPECT_EQ(file.at("läsion").dtype, FileDType::i32);
    EXPECT_EQ(file.at("bytes").bytes[2], std::byte{255});

    EXPECT_EQ(file.find("features.0.0.weigh"), nullptr);
    EXPECT_TRUE(is_line_with(error_of([&] { (void)file.at("head.weight"); }), "tiny.safetensors", "'head.weight'"));
    EXPECT_TRUE(
        is_line_with(error_of([&] { (void)file.read_f32(file.at("step")); }), "'step'", "is I64", "F32, F16 or BF16"));
}

TEST(Safetensors, WritesWhatItReadsAlignedAndTheSameEveryTime) {
    TempDir folder;
    const std::vector<std::uint16_t> halves{f32_to_f16(1.5f), f32_to_f16(-2.0f), f32_to_f16(0.25f)};
    const std::vector<float> floats{1.0f, 2.0f, -3.5f};
    const std::vector<std::int64_t> step{42};
    const std::vector<std::uint8_t> odd{9};
    const std::vector<TensorToWrite> tensors{
        {"a", FileDType::u8, {1}, bytes_of(odd)},     {"b.half", FileDType::f16, {3, 1}, bytes_of(halves)},
        {"z", FileDType::f32, {3}, bytes_of(floats)}, {"y", FileDType::f32, {1, 3}, bytes_of(floats)},
        {"empty", FileDType::i32, {4, 0}, {}},        {"step", FileDType::i64, {}, bytes_of(step)}};
    write_safetensors(folder / "w.safetensors", tensors, {{"note", "line\nbreak \"ü\""}, {"k", ""}});
    write_safetensors(folder / "again.safetensors", tensors, {{"note", "line\nbreak \"ü\""}, {"k", ""}});
    EXPECT_EQ(read_text_file(folder / "w.safetensors"), read_text_file(folder / "again.safetensors"));

    SafetensorsFile opened(folder / "w.safetensors");
    const SafetensorsFile file = std::move(opened);
    EXPECT_EQ(file.metadata().at("note"), "line\nbreak \"ü\"");
    std::string order;
    for (const TensorView& tensor : file.tensors()) {
        order += tensor.name + " ";
        const auto address = reinterpret_cast<std::uintptr_t>(tensor.bytes.data());
        EXPECT_EQ(address % (dtype_bits(tensor.dtype) / 8), 0u) << tensor.name;
        EXPECT_EQ(file.find(tensor.name), &tensor);
    }
    EXPECT_EQ(order, "step z y empty b.half a ");
    EXPECT_EQ(file.read_f32(file.at("b.half")), (std::vector<float>{1.5f, -2.0f, 0.25f}));
    EXPECT_EQ(file.read_f32(file.at("y")), floats);
    EXPECT_EQ(file.at("y").shape, (std::vector<std::int64_t>{1, 3}));
    EXPECT_EQ(file.at("empty").shape, (std::vector<std::int64_t>{4, 0}));

    write_safetensors(folder / "none.safetensors", {});
    EXPECT_TRUE(SafetensorsFile(folder / "none.safetensors").tensors().empty());
}

TEST(Safetensors, RefusesToWriteWhatItCouldNotRead) {
    TempDir folder;
    const auto path = folder / "w.safetensors";
    write_file_atomically(path, "earlier");
    const std::vector<float> floats{1.0f, 2.0f};
    const auto write = [&](std::vector<TensorToWrite> tensors, std::map<std::string, std::string> metadata = {}) {
        return error_of([&] { write_safetensors(path, tensors, metadata); });
    };
    EXPECT_TRUE(is_line_with(write({{"a", FileDType::f32, {3}, bytes_of(floats)}}), "w.safetensors", "'a'",
                             "F32 of shape [3]", "8 bytes"));
    EXPECT_TRUE(is_line_with(write({{"a", FileDType::f32, {-1, -2}, bytes_of(floats)}}), "shape [-1, -2]"));
    EXPECT_TRUE(is_line_with(
        write({{"a", FileDType::f32, {2}, bytes_of(floats)}, {"a", FileDType::f32, {2}, bytes_of(floats)}}), "'a'",
        "twice"));
    EXPECT_TRUE(is_line_with(write({{"__metadata__", FileDType::f32, {2}, bytes_of(floats)}}), "reserved"));
    EXPECT_TRUE(is_line_with(write({{"\xFF", FileDType::f32, {2}, bytes_of(floats)}}), "not UTF-8"));
    EXPECT_TRUE(is_line_with(write({}, {{"k", "\xFF"}}), "not UTF-8"));
    EXPECT_TRUE(is_line_with(write({}, {{"k", std::string(100'000'000, 'x')}}), "100000000"));
    EXPECT_EQ(read_text_file(path), "earlier");
}

TEST(Safetensors, EveryCutIsNoticed) {
    const std::string whole = read_text_file(std::filesystem::path(CUTIS_SOURCE_DIR) / "tests/data/tiny.safetensors");
    EXPECT_EQ(parse_error(whole), "(no error)");
    for (std::size_t size = 0; size < whole.size(); ++size) {
        ASSERT_TRUE(is_line_with(parse_error(whole.substr(0, size)), "w.safetensors")) << size;
    }
    EXPECT_TRUE(is_line_with(parse_error(whole + "x"), "end at byte 77 of the data, but 78 bytes are there"));
}

TEST(Safetensors, RefusesALyingHeaderLength) {
    std::string file = file_of("{}");
    EXPECT_EQ(parse_error(file), "(no error)");
    file[0] = 3;
    EXPECT_TRUE(
        is_line_with(parse_error(file), "w.safetensors", "header of 3 bytes, but only 2", "download the file again"));
    file.replace(0, 8, 8, '\xFF');
    EXPECT_TRUE(is_line_with(parse_error(file), "18446744073709551615 bytes, more than the 100000000"));
    EXPECT_TRUE(is_line_with(parse_error(""), "0 bytes are too few"));
    EXPECT_TRUE(is_line_with(header_error(""), "does not begin with '{'"));
    EXPECT_TRUE(is_line_with(header_error(" {}"), "does not begin with '{'"));
}

TEST(Safetensors, RefusesHeadersThatAreNotTheFormats) {
    EXPECT_TRUE(is_line_with(header_error("{\"a\":"), "w.safetensors: header: not valid JSON at line 1, column 6"));
    EXPECT_TRUE(is_line_with(header_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                                          "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                                          2),
                             "'a' stands twice"));
    EXPECT_TRUE(is_line_with(header_error("{\"a\":7}"), "'a'", "no JSON object"));
    EXPECT_TRUE(is_line_with(header_error("{\"a\":{}}"), "'a'", "\"dtype\" is missing"));
    EXPECT_TRUE(is_line_with(header_error("{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1), "'a'",
                             "unknown dtype 'F31'", "F32", "convert the file"));
    EXPECT_TRUE(
        is_line_with(header_error("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1), "\"shape\" is missing"));
    EXPECT_TRUE(
        is_line_with(header_error("{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1), "not a list"));
    EXPECT_TRUE(is_line_with(header_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1),
                             "whole numbers", "not -1"));
    EXPECT_TRUE(
        is_line_with(header_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1), "not 1.0"));
    EXPECT_TRUE(is_line_with(header_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]}}", 1),
                             "not \"1\""));
    EXPECT_TRUE(is_line_with(header_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1),
                             "holds 3 values"));
    EXPECT_TRUE(is_line_with(header_error("{\"__metadata__\":[]}"), "no JSON object"));
    EXPECT_TRUE(is_line_with(header_error("{\"__metadata__\":{\"epoch\":3}}"), "'epoch' is no text"));
    EXPECT_TRUE(is_line_with(header_error("{\"a\\nb\":7}"), "'a\\x0ab'"));
}

TEST(Safetensors, RefusesLyingSizesAndOffsets) {
    const auto one = [](std::string_view dtype, std::string_view shape, std::string_view offsets, std::size_t data) {
        return header_error(
            fmt::format("{{\"a\":{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":{}}}}}", dtype, shape, offsets),
            data);
    };
    EXPECT_EQ(one("F32", "[2]", "[0,8]", 8), "(no error)");
    EXPECT_EQ(one("F4", "[2]", "[0,1]", 1), "(no error)");
    EXPECT_TRUE(is_line_with(one("F32", "[2]", "[0,7]", 7), "'a'", "F32 of shape [2] takes 8 bytes", "0 to 7 hold 7"));
    EXPECT_TRUE(is_line_with(one("F16", "[2]", "[0,8]", 8), "takes 4 bytes"));
    EXPECT_TRUE(is_line_with(one("F4", "[3]", "[0,1]", 1), "impossible"));
    EXPECT_TRUE(is_line_with(one("U8", "[4294967296,4294967296]", "[0,0]", 0), "impossible"));
    EXPECT_TRUE(is_line_with(one("I64", "[2305843009213693952]", "[0,0]", 0), "impossible"));
    EXPECT_TRUE(is_line_with(one("U8", "[9223372036854775807,2,0]", "[0,1]", 1), "takes 0 bytes"));
    EXPECT_TRUE(is_line_with(one("U8", "[9223372036854775808]", "[0,1]", 1), "2^63 - 1, not 9223372036854775808"));
    EXPECT_TRUE(is_line_with(one("U8", "[1,1,1,1,1,1,1,1,1]", "[0,2]", 2), "[1, 1, 1, 1, 1, 1, 1, 1, ...]"));
    EXPECT_TRUE(is_line_with(one("U8", "[9]", "[0,9]", 8), "0 to 9 lie outside the 8 bytes", "cut short"));
    EXPECT_TRUE(is_line_with(one("U8", "[1]", "[1,0]", 8), "1 to 0 lie outside"));
    EXPECT_TRUE(is_line_with(one("U8", "[1]", "[9223372036854775806,9223372036854775807]", 8), "lie outside"));
    EXPECT_TRUE(is_line_with(one("U8", "[1]", "[1,2]", 2), "'a'", "begins at 1", "at 0", "hole"));
    EXPECT_TRUE(is_line_with(one("U8", "[1]", "[0,1]", 2), "end at byte 1 of the data, but 2"));

    const auto two = [](std::string_view first, std::string_view second) {
        return header_error(fmt::format("{{\"b\":{{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":{}}},"
                                        "\"a\":{{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":{}}}}}",
                                        first, second),
                            9);
    };
    EXPECT_TRUE(is_line_with(two("[0,4]", "[3,7]"), "'a'", "begins at 3", "at 4", "overlap"));
    EXPECT_TRUE(is_line_with(two("[0,4]", "[0,4]"), "overlap"));
    EXPECT_TRUE(is_line_with(two("[0,4]", "[5,9]"), "'a'", "hole"));
}

TEST(Safetensors, EmptyTensorsMayStandBetweenOthers) {
    const std::string file = file_of(
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
        "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
        "\"c\":{\"dtype\":\"U8\",\"shape\":[0,5],\"data_offsets\":[2,2]}}   ",
        2);
    EXPECT_EQ(parse_safetensors(std::as_bytes(std::span(file)), "x").tensors.size(), 3u);
}

TEST(Safetensors, ReadsUnalignedData) {
    TempDir folder;
    // A header of an odd size, as older writers made.
    std::string file = file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} ");
    const float value = 1.25f;
    file.append(reinterpret_cast<const char*>(&value), 4);
    ASSERT_EQ((file.size() - 4) % 2, 1u);
    write_file_atomically(folder / "odd.safetensors", file);
    const SafetensorsFile opened(folder / "odd.safetensors");
    EXPECT_EQ(opened.read_f32(opened.at("a")), std::vector<float>{1.25f});
}

}  // namespace
}  // namespace cutis
