#include "engine/packed_dataset.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <thread>

#include "engine/crc32c.h"
#include "engine/image.h"
#include "engine/jpeg_encode.h"
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

// Files of earlier versions stay readable as long as these bytes do not change.
TEST_F(PackedDatasetTest, ARawFileIsWhatItHasAlwaysBeen) {
    const std::string file = read_text_file(path_);
    EXPECT_EQ(file.size(), 4691u);
    EXPECT_EQ(crc32c(std::as_bytes(std::span(file))), 0x9c1b6daeu);
    EXPECT_EQ(PackedDataset(path_).codec(), PackedCodec::raw);
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
    const std::string other_codec = with_index(read_text_file(path_), "\"raw\"", "\"webp\"");
    EXPECT_TRUE(is_line_with(parse_error(other_codec), "d.cutis", "stored as 'webp'", "reads 'raw' and 'jpeg'",
                             "run `cutis prepare` again"));
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

constexpr int kJpegSide = 20;

/// Smooth, as photographs are: what JPEG is for.
std::vector<std::uint8_t> smooth_picture(int seed) {
    std::vector<std::uint8_t> rgb;
    for (int i = 0; i < kJpegSide * kJpegSide; ++i) {
        for (const double phase : {0.0, 1.0, 2.5}) {
            const double wave = std::sin(0.2 * (i % kJpegSide) + 0.1 * (i / kJpegSide) + phase + seed);
            rgb.push_back(static_cast<std::uint8_t>(128 + 90 * wave));
        }
    }
    return rgb;
}

std::vector<std::uint8_t> jpeg(int seed) {
    return encode_jpeg(smooth_picture(seed), kJpegSide, kJpegSide, 80);
}

/// Three JPEG images, `change` applied to each and its sample.
template <class Change>
void write_three_jpeg(const std::filesystem::path& path, Change change) {
    PackedDatasetWriter writer(path, kJpegSide, {"MEL", "NV", "Ü"}, true, {{"framing", "crop"}}, PackedCodec::jpeg);
    for (int i = 0; i < 3; ++i) {
        Sample row = sample(i);
        std::vector<std::uint8_t> image = jpeg(i);
        change(i, row, image);
        writer.add(row, image);
    }
    writer.commit();
}

class JpegDatasetTest : public ::testing::Test {
  protected:
    JpegDatasetTest() {
        write_three_jpeg(path_, [](int, Sample&, std::vector<std::uint8_t>&) {});
    }

    /// The file with `image` in the place of the second one, every checksum as it should be.
    std::string with_second(std::span<const std::uint8_t> image) const {
        const std::string good = read_text_file(path_);
        const std::size_t at = 4096 + jpeg(0).size();
        std::string file = good;
        file.replace(at, jpeg(1).size(), reinterpret_cast<const char*>(image.data()), image.size());
        const std::uint64_t offset = 4096 + jpeg(0).size() + image.size() + jpeg(2).size();
        std::memcpy(file.data() + 16, &offset, 8);
        const auto numbers = [](std::uint64_t a, std::uint64_t b) { return fmt::format("{},{}", a, b); };
        const auto checksum = [](std::span<const std::uint8_t> bytes) { return crc32c(std::as_bytes(bytes)); };
        file = with_index(file, numbers(checksum(jpeg(0)), checksum(jpeg(1))),
                          numbers(checksum(jpeg(0)), checksum(image)));
        return with_index(file, numbers(jpeg(0).size(), jpeg(1).size()), numbers(jpeg(0).size(), image.size()));
    }

    TempDir folder_;
    std::filesystem::path path_ = folder_ / "ä.cutis";
};

TEST_F(JpegDatasetTest, ReadsWhatWasWritten) {
    const PackedDataset data(path_);
    ASSERT_EQ(data.size(), 3u);
    EXPECT_EQ(data.codec(), PackedCodec::jpeg);
    EXPECT_EQ(data.image_size(), kJpegSide);
    EXPECT_EQ(data.properties(), (std::map<std::string, std::string>{{"framing", "crop"}}));
    for (const int i : {2, 0, 1, 2}) {
        const auto n = static_cast<std::size_t>(i);
        const auto image = data.image(n);
        ASSERT_EQ(image.size(), smooth_picture(i).size());
        const std::vector<std::uint8_t> file = jpeg(i);
        EXPECT_EQ(std::vector<std::uint8_t>(image.begin(), image.end()),
                  decode_image(std::as_bytes(std::span(file)), "encoded").rgb);
        double squares = 0;
        for (std::size_t k = 0; k < image.size(); ++k) {
            squares += std::pow(image[k] - smooth_picture(i)[k], 2);
        }
        EXPECT_GT(10 * std::log10(255 * 255 * static_cast<double>(image.size()) / squares), 30);
        EXPECT_EQ(image.data(), data.image(n).data()) << "decoded once";
        EXPECT_EQ(data.sample(n).image_id, sample(i).image_id);
        EXPECT_EQ(data.sample(n).label, sample(i).label);
    }
    EXPECT_TRUE(is_line_with(error_of([&] { (void)data.image(3); }), "image 3", "it has 3"));
}

TEST_F(JpegDatasetTest, ImagesStayWhereTheyAreWhenTheDataSetMoves) {
    std::optional<PackedDataset> data(std::in_place, path_);
    const auto before = data->image(1);
    const PackedDataset moved = std::move(*data);
    data.reset();
    EXPECT_EQ(moved.image(1).data(), before.data());
    EXPECT_EQ(moved.image(0).size(), before.size());
}

TEST_F(JpegDatasetTest, TheChecksumNamesTheContents) {
    const auto checksum_with = [&](auto change) {
        write_three_jpeg(folder_ / "other.cutis", change);
        return PackedDataset(folder_ / "other.cutis").checksum();
    };
    const std::string checksum = PackedDataset(path_).checksum();
    using Bytes = std::vector<std::uint8_t>;
    EXPECT_EQ(checksum_with([](int, Sample&, Bytes&) {}), checksum);
    EXPECT_EQ(read_text_file(folder_ / "other.cutis"), read_text_file(path_));
    EXPECT_NE(checksum_with([](int i, Sample&, Bytes& image) { image = i == 1 ? jpeg(7) : image; }), checksum);
    EXPECT_NE(checksum_with([](int i, Sample& row, Bytes&) { row.label ^= i == 2 ? 3 : 0; }), checksum);
    EXPECT_NE(checksum_with([](int i, Sample& row, Bytes&) { row.image_id += i == 0 ? "x" : ""; }), checksum);
    EXPECT_NE(checksum_with([](int i, Sample& row, Bytes&) { row.lesion_id += i == 0 ? "x" : ""; }), checksum);
}

TEST_F(JpegDatasetTest, EveryFlippedByteIsNoticed) {
    const std::string whole = read_text_file(path_);
    const std::filesystem::path flipped = folder_ / "flipped.cutis";
    ASSERT_EQ(read_all(path_), "(no error)");
    const std::size_t first = 4096 + jpeg(0).size(), second = first + jpeg(1).size(), third = second + jpeg(2).size();
    for (std::size_t i = 0; i < whole.size(); i += i < 4000 ? 97 : 1) {
        std::string file = whole;
        file[i] = static_cast<char>(file[i] ^ (1 << (i % 8)));
        const bool in_an_image = i >= 4096 && i < third;
        ASSERT_EQ(parse_error(file) == "(no error)", in_an_image) << i;
        if (in_an_image && i % 7 == 0) {
            std::ofstream(flipped, std::ios::binary) << file;
            const int image = i < first ? 0 : i < second ? 1 : 2;
            ASSERT_TRUE(is_line_with(read_all(flipped), "flipped.cutis: image " + std::to_string(image),
                                     "'" + sample(image).image_id + "'", "is damaged", "run `cutis prepare` again"))
                << i;
        }
    }
}

TEST_F(JpegDatasetTest, EveryCutIsNoticed) {
    const std::string whole = read_text_file(path_);
    for (std::size_t size = 0; size < whole.size(); size += 11) {
        ASSERT_TRUE(is_line_with(parse_error(std::string_view(whole).substr(0, size)), "d.cutis", "cutis prepare"))
            << size;
    }
}

TEST_F(JpegDatasetTest, RefusesHostileIndices) {
    const std::string good = read_text_file(path_);
    const std::string sizes = fmt::format("\"sizes\":[{},{},{}]", jpeg(0).size(), jpeg(1).size(), jpeg(2).size());
    const auto with_sizes = [&](std::string_view text) { return parse_error(with_index(good, sizes, text)); };
    EXPECT_EQ(with_sizes(sizes), "(no error)");
    const auto three = [](std::int64_t a, std::int64_t b, std::int64_t c) {
        return fmt::format("\"sizes\":[{},{},{}]", a, b, c);
    };
    const auto a = static_cast<std::int64_t>(jpeg(0).size()), b = static_cast<std::int64_t>(jpeg(1).size()),
               c = static_cast<std::int64_t>(jpeg(2).size());
    constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
    for (const std::string& text :
         {std::string("\"sixes\":[]"), std::string("\"sizes\":[]"), fmt::format("\"sizes\":[{},{}]", a, b + c),
          fmt::format("\"sizes\":[{},{},{}.0]", a, b, c), three(a, b, c - 1), three(a, b, c + 1), three(a + b, 0, c),
          three(a + b + c, 0, 0), three(-1, a + b + 1, c), three(kLargest, kLargest, a),
          std::string("\"sizes\":[18446744073709551615,1,1]"), std::string("\"sizes\":7")}) {
        EXPECT_TRUE(is_line_with(with_sizes(text), "d.cutis: \"sizes\" of its index", "run `cutis prepare` again"))
            << text;
    }
    EXPECT_TRUE(is_line_with(parse_error(with_index(good, "\"jpeg\"", "\"raw\"")), "3 images of 20 x 20 pixels"));
}

// What no checksum finds, since whoever made the file put it there.
TEST_F(JpegDatasetTest, RefusesOtherImagesThanTheIndexStates) {
    const std::filesystem::path path = folder_ / "hostile.cutis";
    const auto refusal = [&](std::span<const std::uint8_t> image) {
        write_file_atomically(path, with_second(image));
        return read_all(path);
    };
    EXPECT_EQ(refusal(jpeg(5)), "(no error)");
    EXPECT_TRUE(is_line_with(refusal(encode_jpeg(smooth_picture(1), kJpegSide / 2, kJpegSide * 2, 80)),
                             "hostile.cutis: image 1 ('ISIC_1') has 10 x 40 pixels instead of 20 x 20"));
    const std::vector<std::uint8_t> whole = jpeg(5);
    EXPECT_TRUE(is_line_with(refusal(std::span(whole).first(whole.size() / 2)),
                             "hostile.cutis: image 1 ('ISIC_1'): ", "; copy or download it again"));
    EXPECT_TRUE(is_line_with(refusal(smooth_picture(1)), "image 1 ('ISIC_1') is no JPEG file; run `cutis prepare`"));
}

TEST_F(JpegDatasetTest, TheWriterRefusesWhatIsNoJpegOfItsSize) {
    const std::vector<std::uint8_t> whole = jpeg(0);
    PackedDatasetWriter writer(folder_ / "d.cutis", kJpegSide, {"A"}, true, {}, PackedCodec::jpeg);
    const auto refusal = [&](std::span<const std::uint8_t> image) {
        return error_of([&] { writer.add(sample(0), image); });
    };
    EXPECT_TRUE(is_line_with(refusal(smooth_picture(0)), "d.cutis: image 'ISIC_0' is no JPEG file", "encode it first"));
    EXPECT_TRUE(is_line_with(refusal({}), "is no JPEG file"));
    EXPECT_TRUE(is_line_with(refusal(std::span(whole).first(whole.size() - 2)), "d.cutis: image 'ISIC_0'"));
    EXPECT_TRUE(is_line_with(refusal(encode_jpeg(smooth_picture(0), 10, 40, 80)), "has 10 x 40 pixels instead of 20"));
    EXPECT_EQ(refusal(whole), "(no error)");
    EXPECT_TRUE(is_line_with(
        error_of([&] { PackedDatasetWriter(folder_ / "e.cutis", 10001, {"A"}, true, {}, PackedCodec::jpeg); }),
        "e.cutis: 10001x10001 pixels"));
}

void read_from_four_threads(const PackedDataset& data, const std::vector<std::uint8_t>& first_bytes) {
    std::vector<std::thread> threads;
    std::vector<int> wrong(4, 0);
    for (std::size_t t = 0; t < wrong.size(); ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t i = 0; i < 300; ++i) {
                const std::size_t n = (i + t) % first_bytes.size();
                wrong[t] += data.image(n)[0] == first_bytes[n] ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST_F(PackedDatasetTest, ManyThreadsReadAtOnce) {
    read_from_four_threads(PackedDataset(path_), {picture(0)[0], picture(1)[0], picture(2)[0]});
}

TEST_F(JpegDatasetTest, ManyThreadsReadAtOnce) {
    const PackedDataset data(path_);
    read_from_four_threads(PackedDataset(path_), {data.image(0)[0], data.image(1)[0], data.image(2)[0]});
}

}  // namespace
}  // namespace cutis
