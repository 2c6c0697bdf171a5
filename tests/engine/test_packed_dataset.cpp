#include "engine/packed_dataset.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>

#include "engine/crc32c.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis {
namespace {

using testing::error_of;
using testing::is_line_with;
using testing::TempDir;

constexpr int kSize = 5;

std::vector<std::uint8_t> picture(int seed) {
    std::vector<std::uint8_t> rgb(kSize * kSize * 3);
    for (std::size_t i = 0; i < rgb.size(); ++i) {
        rgb[i] = static_cast<std::uint8_t>(static_cast<std::size_t>(seed) * 37 + i * 11);
    }
    return rgb;
}

Sample sample(int i) {
    Sample made;
    made.image_id = "ISIC_" + std::to_string(i);
    made.lesion_id = "HAM_" + std::to_string(i / 2);
    made.label = i % 3;
    made.age = i == 0 ? "" : "45.0";
    made.sex = "female";
    made.localization = "Rücken";
    return made;
}

void write_three(const std::filesystem::path& path) {
    PackedDatasetWriter writer(path, kSize, {"MEL", "NV", "Ü"}, true, {{"framing", "crop"}});
    for (int i = 0; i < 3; ++i) {
        writer.add(sample(i), picture(i));
    }
    EXPECT_EQ(writer.size(), 3u);
    writer.commit();
}

/// Opens a packed data set that lies in memory and reads all of it, as PackedDataset does.
std::string read_all(const std::filesystem::path& path) {
    return error_of([&] {
        const PackedDataset data(path);
        for (std::size_t i = 0; i < data.size(); ++i) {
            (void)data.image(i);
        }
    });
}

std::string parse_error(std::string_view file) {
    return error_of([&] { (void)parse_packed_index(std::as_bytes(std::span(file)), "d.cutis"); });
}

/// Puts the right checksums over a file whose index or header was changed, so that what they say is looked at.
std::string resealed(std::string file) {
    std::uint64_t offset = 0;
    std::memcpy(&offset, file.data() + 16, 8);
    if (offset <= file.size()) {
        const std::uint32_t index = crc32c(std::as_bytes(std::span(file)).subspan(offset));
        std::memcpy(file.data() + 12, &index, 4);
    }
    const std::uint32_t page = crc32c(std::as_bytes(std::span(file)).first(4092));
    std::memcpy(file.data() + 4092, &page, 4);
    return file;
}

/// The file with `part` of its index replaced by a text of another length.
std::string with_index(std::string file, std::string_view part, std::string_view replacement) {
    std::uint64_t offset = 0;
    std::memcpy(&offset, file.data() + 16, 8);
    const std::size_t at = file.find(part, offset);
    EXPECT_NE(at, std::string::npos) << part;
    file.replace(at, part.size(), replacement);
    const std::uint64_t size = file.size() - offset;
    std::memcpy(file.data() + 24, &size, 8);
    return resealed(file);
}

class PackedDatasetTest : public ::testing::Test {
  protected:
    PackedDatasetTest() { write_three(path_); }

    TempDir folder_;
    std::filesystem::path path_ = folder_ / "ä.cutis";
};

TEST_F(PackedDatasetTest, ReadsWhatWasWritten) {
    const PackedDataset data(path_);
    ASSERT_EQ(data.size(), 3u);
    EXPECT_EQ(data.image_size(), kSize);
    EXPECT_EQ(data.class_names(), (std::vector<std::string>{"MEL", "NV", "Ü"}));
    EXPECT_TRUE(data.has_lesion_ids());
    EXPECT_EQ(data.properties(), (std::map<std::string, std::string>{{"framing", "crop"}}));
    for (int i = 0; i < 3; ++i) {
        const auto n = static_cast<std::size_t>(i);
        const auto image = data.image(n);
        EXPECT_EQ(std::vector<std::uint8_t>(image.begin(), image.end()), picture(i));
        EXPECT_EQ(data.sample(n).image_id, sample(i).image_id);
        EXPECT_EQ(data.sample(n).lesion_id, sample(i).lesion_id);
        EXPECT_EQ(data.sample(n).label, sample(i).label);
        EXPECT_EQ(data.sample(n).age, sample(i).age);
        EXPECT_EQ(data.sample(n).sex, "female");
        EXPECT_EQ(data.sample(n).localization, "Rücken");
    }
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data.image(0).data()) % 4096, 0u);
    EXPECT_TRUE(is_line_with(error_of([&] { (void)data.image(3); }), "image 3", "it has 3"));
}

TEST_F(PackedDatasetTest, TheChecksumNamesTheContents) {
    const std::string checksum = PackedDataset(path_).checksum();
    EXPECT_EQ(checksum.size(), 8u);
    EXPECT_EQ(checksum.find_first_not_of("0123456789abcdef"), std::string::npos);
    write_three(folder_ / "again.cutis");
    EXPECT_EQ(PackedDataset(folder_ / "again.cutis").checksum(), checksum);
    EXPECT_EQ(read_text_file(path_), read_text_file(folder_ / "again.cutis"));

    PackedDatasetWriter writer(folder_ / "other.cutis", kSize, {"MEL", "NV", "Ü"}, true, {{"framing", "crop"}});
    for (int i = 0; i < 3; ++i) {
        auto rgb = picture(i);
        rgb[74] ^= static_cast<std::uint8_t>(i == 1);  // one bit of one image
        writer.add(sample(i), rgb);
    }
    writer.commit();
    EXPECT_NE(PackedDataset(folder_ / "other.cutis").checksum(), checksum);
}

TEST_F(PackedDatasetTest, EveryFlippedByteIsNoticed) {
    const std::string whole = read_text_file(path_);
    const std::filesystem::path flipped = folder_ / "flipped.cutis";
    ASSERT_EQ(read_all(path_), "(no error)");
    std::size_t at_open = 0;
    for (std::size_t i = 0; i < whole.size(); ++i) {
        std::string file = whole;
        file[i] = static_cast<char>(file[i] ^ (1 << (i % 8)));
        // Reading from memory first: only the images' bytes may pass there.
        const bool opens = parse_error(file) == "(no error)";
        const bool in_an_image = i >= 4096 && i < 4096 + 3 * kSize * kSize * 3;
        ASSERT_EQ(opens, in_an_image) << i;
        at_open += opens ? 0 : 1;
        if (in_an_image) {
            std::FILE* out = std::fopen(flipped.c_str(), "wb");
            ASSERT_EQ(std::fwrite(file.data(), 1, file.size(), out), file.size());
            std::fclose(out);
            ASSERT_TRUE(is_line_with(read_all(flipped), "flipped.cutis", "is damaged", "run `cutis prepare` again",
                                     "'" + sample(static_cast<int>((i - 4096) / (kSize * kSize * 3))).image_id + "'"))
                << i;
        }
    }
    EXPECT_EQ(at_open, whole.size() - 3 * kSize * kSize * 3);
}

TEST_F(PackedDatasetTest, EveryCutAndEveryExcessIsNoticed) {
    const std::string whole = read_text_file(path_);
    for (std::size_t size = 0; size < whole.size(); size += size < 4200 ? 13 : 1) {
        ASSERT_TRUE(is_line_with(parse_error(std::string_view(whole).substr(0, size)), "d.cutis", "cutis prepare"))
            << size;
    }
    EXPECT_TRUE(is_line_with(parse_error(std::string_view(whole).substr(0, 4100)), "cut short: 4100 of"));
    EXPECT_TRUE(is_line_with(parse_error(std::string_view(whole).substr(0, 4000)), "cut short after 4000 bytes"));
    EXPECT_TRUE(is_line_with(parse_error(whole + "x"), "1 more than were written"));
    EXPECT_TRUE(is_line_with(parse_error(""), "is no packed data set"));
}

TEST_F(PackedDatasetTest, RefusesOtherFilesAndNewerVersions) {
    std::string file = read_text_file(path_);
    EXPECT_TRUE(
        is_line_with(parse_error(std::string(5000, 'x')), "is no packed data set", "that `cutis prepare` wrote"));
    file[8] = 2;
    EXPECT_TRUE(is_line_with(parse_error(resealed(file)), "format version 2, but this cutis reads version 1"));
    const std::string other_codec = with_index(read_text_file(path_), "\"raw\"", "\"jpeg\"");
    EXPECT_TRUE(is_line_with(parse_error(other_codec), "stored as 'jpeg'", "only 'raw'"));
    EXPECT_TRUE(is_line_with(error_of([&] { PackedDataset(folder_ / "none.cutis"); }), "none.cutis", "No such file"));
}

TEST_F(PackedDatasetTest, RefusesHostileHeadersAndIndices) {
    const std::string good = read_text_file(path_);
    EXPECT_EQ(parse_error(with_index(good, "\"raw\"", " \"raw\" ")), "(no error)");
    const auto header = [&](std::size_t at, std::uint64_t value) {
        std::string file = good;
        std::memcpy(file.data() + at, &value, 8);
        return parse_error(resealed(file));
    };
    EXPECT_TRUE(is_line_with(header(16, 0), "at offset 0, which cannot be"));
    EXPECT_TRUE(is_line_with(header(16, ~0ull), "which cannot be"));
    EXPECT_TRUE(is_line_with(header(24, ~0ull), "which cannot be"));
    EXPECT_TRUE(is_line_with(header(24, ~0ull - 10'000), "cut short"));
    EXPECT_TRUE(is_line_with(header(24, 0), "more than were written"));

    std::string gap = good;
    std::uint64_t offset = 0;
    std::memcpy(&offset, gap.data() + 16, 8);
    gap.insert(offset, 1, '\0');
    ++offset;
    std::memcpy(gap.data() + 16, &offset, 8);
    EXPECT_TRUE(is_line_with(parse_error(resealed(gap)), "3 images of 5 x 5 pixels do not take the 226 bytes"));

    const auto index = [&](std::string_view part, std::string_view replacement) {
        return parse_error(with_index(good, part, replacement));
    };
    EXPECT_TRUE(is_line_with(index("{\"codec\"", "{\"codex\""), "\"codec\" of its index"));
    EXPECT_TRUE(is_line_with(index("{\"codec\"", "\"codec\""), "d.cutis: index: not valid JSON"));
    EXPECT_TRUE(is_line_with(index("\"image_size\":5", "\"image_size\":0"), "\"image_size\" of its index"));
    EXPECT_TRUE(is_line_with(index("\"image_size\":5", "\"image_size\":5.0"), "\"image_size\" of its index"));
    EXPECT_TRUE(is_line_with(index("\"image_size\":5", "\"image_size\":1000000000"), "\"image_size\" of its index"));
    EXPECT_TRUE(is_line_with(index("\"image_size\":5", "\"image_size\":18446744073709551615"), "\"image_size\""));
    EXPECT_TRUE(is_line_with(index("\"image_size\":5", "\"image_size\":4"),
                             "3 images of 4 x 4 pixels do not take the 225 bytes"));
    EXPECT_TRUE(is_line_with(index("\"image_size\":5", "\"image_size\":16384"), "do not take the 225 bytes"));
    EXPECT_TRUE(is_line_with(index("\"labels\":[0,1,2]", "\"labels\":[0,1,3]"), "\"labels\" of its index"));
    EXPECT_TRUE(is_line_with(index("\"labels\":[0,1,2]", "\"labels\":[0,1,-1]"), "\"labels\" of its index"));
    EXPECT_TRUE(is_line_with(index("\"labels\":[0,1,2]", "\"labels\":[0,1]"), "\"image_ids\" of its index"));
    EXPECT_TRUE(is_line_with(index("\"labels\":[0,1,2]", "\"labels\":[]"), "\"labels\" of its index"));
    EXPECT_TRUE(is_line_with(index("\"labels\":[0,1,2]", "\"labels\":{}"), "\"labels\" of its index"));
    EXPECT_TRUE(is_line_with(index("\"ISIC_1\"", "7"), "\"image_ids\" of its index"));
    EXPECT_TRUE(is_line_with(index("[\"MEL\",\"NV\",\"Ü\"]", "[]"), "\"labels\" of its index"));
    EXPECT_TRUE(is_line_with(index("[\"MEL\",\"NV\",\"Ü\"]", "null"), "\"class_names\" of its index"));
    EXPECT_TRUE(
        is_line_with(index("\"has_lesion_ids\":true", "\"has_lesion_ids\":1"), "\"has_lesion_ids\" of its index"));
    EXPECT_TRUE(is_line_with(index("{\"framing\":\"crop\"}", "{\"framing\":1}"), "\"properties\" of its index"));
    EXPECT_TRUE(is_line_with(index("\"checksums\":[", "\"checksums\":[1,"), "\"checksums\" of its index"));
    EXPECT_TRUE(
        is_line_with(index("\"checksums\":[", "\"checksums\":[4294967296],\"x\":["), "\"checksums\" of its index"));
}

TEST(PackedDatasetWriter, RefusesWhatDoesNotFit) {
    TempDir folder;
    write_file_atomically(folder / "d.cutis", "earlier");
    {
        PackedDatasetWriter writer(folder / "d.cutis", kSize, {"A", "B", "C"});
        EXPECT_TRUE(is_line_with(error_of([&] { writer.commit(); }), "d.cutis", "no images to pack"));
        writer.add(sample(0), picture(0));
        EXPECT_TRUE(is_line_with(error_of([&] { writer.add(sample(0), picture(0)); }), "'ISIC_0' was added before"));
        EXPECT_TRUE(is_line_with(error_of([&] { writer.add(sample(1), std::vector<std::uint8_t>(74)); }),
                                 "'ISIC_1' has 74 bytes", "5 x 5 pixels of RGB take 75"));
        Sample other = sample(1);
        other.label = 3;
        EXPECT_TRUE(is_line_with(error_of([&] { writer.add(other, picture(1)); }), "label 3, but there are 3 classes"));
        other.label = -1;
        EXPECT_TRUE(is_line_with(error_of([&] { writer.add(other, picture(1)); }), "label -1"));
        other.label = 1;
        other.lesion_id = "\xFF";
        writer.add(other, picture(1));
        EXPECT_TRUE(is_line_with(error_of([&] { writer.commit(); }), "d.cutis", "not UTF-8"));
    }
    EXPECT_EQ(read_text_file(folder / "d.cutis"), "earlier");
    EXPECT_TRUE(
        is_line_with(error_of([&] { PackedDatasetWriter(folder / "d.cutis", 0, {"A"}); }), "images of 0 pixels"));
    EXPECT_TRUE(is_line_with(error_of([&] { PackedDatasetWriter(folder / "d.cutis", 16385, {"A"}); }), "16385 pixels"));
    EXPECT_TRUE(is_line_with(error_of([&] { PackedDatasetWriter(folder / "d.cutis", 8, {}); }), "no class names"));
}

TEST_F(PackedDatasetTest, ManyThreadsReadAtOnce) {
    const PackedDataset data(path_);
    std::vector<std::thread> threads;
    std::vector<int> wrong(4, 0);
    for (std::size_t t = 0; t < wrong.size(); ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t i = 0; i < 300; ++i) {
                const auto image = data.image((i + t) % 3);
                wrong[t] += image[0] == picture(static_cast<int>((i + t) % 3))[0] ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace cutis
