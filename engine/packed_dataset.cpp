#include "engine/packed_dataset.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/crc32c.h"
#include "engine/image.h"
#include "engine/image_layout.h"
#include "engine/json.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers of the header page are little-endian");

// The first byte is no text and the line end is Windows': a transfer in text mode changes one of them.
constexpr char kMagic[8] = {'\x89', 'C', 'U', 'T', 'I', 'S', '\r', '\n'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kPageSize = 4096;
constexpr int kLargestImage = 16384;
constexpr const char* kRemedy = "run `cutis prepare` again";
constexpr PackedCodec kCodecs[] = {PackedCodec::raw, PackedCodec::jpeg};

struct Header {
    char magic[8];
    std::uint32_t version;
    std::uint32_t index_checksum;
    std::uint64_t index_offset;
    std::uint64_t index_size;
};
static_assert(sizeof(Header) == 32, "written and read as it lies in memory");

std::size_t image_bytes(int image_size) {
    return static_cast<std::size_t>(image_size) * static_cast<std::size_t>(image_size) * 3;
}

/// The header of a file whose size and first page are as they were written.
Header read_header(std::span<const std::byte> file, std::string_view name) {
    require(file.size() >= sizeof kMagic && std::memcmp(file.data(), kMagic, sizeof kMagic) == 0,
            "{}: is no packed data set of cutis; give a file that `cutis prepare` wrote", name);
    require(file.size() >= kPageSize, "{}: is cut short after {} bytes; {}", name, file.size(), kRemedy);
    Header header{};
    std::memcpy(&header, file.data(), sizeof header);
    require(header.version == kVersion,
            "{}: has format version {}, but this cutis reads version {}; {}, or use a newer cutis", name,
            header.version, kVersion, kRemedy);
    std::uint32_t checksum = 0;
    std::memcpy(&checksum, file.data() + kPageSize - sizeof checksum, sizeof checksum);
    require(crc32c(file.first(kPageSize - sizeof checksum)) == checksum,
            "{}: its header is damaged (bytes 0 to {}); {}", name, kPageSize - 1, kRemedy);
    std::uint64_t size = 0;
    require(header.index_offset >= kPageSize && !__builtin_add_overflow(header.index_offset, header.index_size, &size),
            "{}: its header states an index of {} bytes at offset {}, which cannot be; {}", name, header.index_size,
            header.index_offset, kRemedy);
    require(file.size() >= size, "{}: is cut short: {} of {} bytes are there; {}", name, file.size(), size, kRemedy);
    require(file.size() == size, "{}: has {} bytes, {} more than were written; {}", name, file.size(),
            file.size() - size, kRemedy);
    return header;
}

/// Reads members of the index, each with its type checked.
class IndexReader {
  public:
    IndexReader(const nlohmann::json& index, std::string_view name) : index_(index), name_(name) {
        check(index.is_object(), "itself");
    }

    const nlohmann::json& member(const char* key) const {
        const auto found = index_.find(key);
        check(found != index_.end(), key);
        return *found;
    }
    std::string text(const char* key) const { return text(member(key), key); }
    bool flag(const char* key) const {
        check(member(key).is_boolean(), key);
        return member(key).get<bool>();
    }
    /// A whole number from `low` to `high`.
    std::int64_t number(const nlohmann::json& value, const char* key, std::int64_t low, std::int64_t high) const {
        check(value.is_number_integer(), key);
        // What is above 2^63 - 1 comes out negative, below every `low` here.
        const auto number = value.get<std::int64_t>();
        check(number >= low && number <= high, key);
        return number;
    }
    std::vector<std::string> texts(const char* key) const {
        const nlohmann::json& list = member(key);
        check(list.is_array(), key);
        std::vector<std::string> texts;
        texts.reserve(list.size());
        for (const nlohmann::json& value : list) {
            texts.push_back(text(value, key));
        }
        return texts;
    }
    std::map<std::string, std::string> text_map(const char* key) const {
        check(member(key).is_object(), key);
        std::map<std::string, std::string> map;
        for (const auto& [property, value] : member(key).items()) {
            map[property] = text(value, key);
        }
        return map;
    }
    void check(bool rule, const char* key) const {
        require(rule, "{}: \"{}\" of its index is missing or not what it should be; {}", name_, key, kRemedy);
    }

  private:
    std::string text(const nlohmann::json& value, const char* key) const {
        check(value.is_string(), key);
        return value.get<std::string>();
    }

    const nlohmann::json& index_;
    std::string_view name_;
};

/// The lists of the index that hold a text per image, and where each goes.
constexpr std::pair<const char*, std::string Sample::*> kTextLists[] = {{"image_ids", &Sample::image_id},
                                                                        {"lesion_ids", &Sample::lesion_id},
                                                                        {"ages", &Sample::age},
                                                                        {"sexes", &Sample::sex},
                                                                        {"localizations", &Sample::localization}};

std::vector<Sample> read_samples(const IndexReader& reader, std::size_t classes) {
    const nlohmann::json& labels = reader.member("labels");
    reader.check(labels.is_array() && !labels.empty(), "labels");
    std::vector<Sample> samples(labels.size());
    for (std::size_t i = 0; i < samples.size(); ++i) {
        samples[i].label =
            static_cast<int>(reader.number(labels[i], "labels", 0, static_cast<std::int64_t>(classes) - 1));
    }
    for (const auto& [key, member] : kTextLists) {
        std::vector<std::string> texts = reader.texts(key);
        reader.check(texts.size() == samples.size(), key);
        for (std::size_t i = 0; i < samples.size(); ++i) {
            samples[i].*member = std::move(texts[i]);
        }
    }
    return samples;
}

PackedCodec read_codec(const IndexReader& reader, std::string_view name) {
    const std::string text = reader.text("codec");
    const auto* const codec = std::find_if(std::begin(kCodecs), std::end(kCodecs),
                                           [&](PackedCodec candidate) { return name_of(candidate) == text; });
    require(codec != std::end(kCodecs),
            "{}: its images are stored as '{}', but this cutis reads 'raw' and 'jpeg'; {}, or use a newer cutis", name,
            printable(text), kRemedy);
    return *codec;
}

/// Where the images begin, and where the last one ends: at `end`, since no byte may lie outside of all checksums.
std::vector<std::uint64_t> read_offsets(const IndexReader& reader, const PackedIndex& index, std::uint64_t end,
                                        std::string_view name) {
    const std::size_t count = index.samples.size();
    std::vector<std::uint64_t> offsets{kPageSize};
    if (index.codec == PackedCodec::raw) {
        const std::uint64_t data_bytes = end - kPageSize;
        const std::uint64_t each = image_bytes(index.image_size);
        require(data_bytes % each == 0 && data_bytes / each == count,
                "{}: {} images of {} x {} pixels do not take the {} bytes that are there; {}", name, count,
                index.image_size, index.image_size, data_bytes, kRemedy);
        for (std::size_t i = 0; i < count; ++i) {
            offsets.push_back(offsets.back() + each);
        }
        return offsets;
    }
    const nlohmann::json& sizes = reader.member("sizes");
    reader.check(sizes.is_array() && sizes.size() == count, "sizes");
    for (const nlohmann::json& size : sizes) {
        const auto left = static_cast<std::int64_t>(end - offsets.back());
        offsets.push_back(offsets.back() + static_cast<std::uint64_t>(reader.number(size, "sizes", 1, left)));
    }
    reader.check(offsets.back() == end, "sizes");
    return offsets;
}

std::string index_text(const PackedIndex& index, const std::string& name) {
    nlohmann::ordered_json json{{"codec", name_of(index.codec)},
                                {"image_size", index.image_size},
                                {"class_names", index.class_names},
                                {"has_lesion_ids", index.has_lesion_ids},
                                {"properties", index.properties}};
    for (const auto& [key, member] : kTextLists) {
        nlohmann::ordered_json& list = json[key] = nlohmann::ordered_json::array();
        for (const Sample& sample : index.samples) {
            list.push_back(sample.*member);
        }
    }
    for (const Sample& sample : index.samples) {
        json["labels"].push_back(sample.label);
    }
    json["checksums"] = index.checksums;
    if (index.codec == PackedCodec::jpeg) {
        for (std::size_t i = 0; i < index.samples.size(); ++i) {
            json["sizes"].push_back(index.offsets[i + 1] - index.offsets[i]);
        }
    }
    try {
        return json.dump();
    } catch (const nlohmann::json::exception& error) {
        fail("{}: an id or name is not UTF-8 text: {}; rename it", name, printable(error.what(), 200));
    }
}

}  // namespace

std::string_view name_of(PackedCodec codec) {
    return codec == PackedCodec::jpeg ? "jpeg" : "raw";
}

PackedIndex parse_packed_index(std::span<const std::byte> file, std::string_view name) {
    const Header header = read_header(file, name);
    const auto bytes = file.subspan(static_cast<std::size_t>(header.index_offset));
    PackedIndex index;
    index.checksum = crc32c(bytes);
    require(index.checksum == header.index_checksum, "{}: its index is damaged (bytes {} to {}); {}", name,
            header.index_offset, file.size() - 1, kRemedy);
    const nlohmann::json json =
        parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, fmt::format("{}: index", name));
    const IndexReader reader(json, name);
    index.codec = read_codec(reader, name);
    index.image_size = static_cast<int>(reader.number(reader.member("image_size"), "image_size", 1, kLargestImage));
    index.class_names = reader.texts("class_names");
    index.has_lesion_ids = reader.flag("has_lesion_ids");
    index.properties = reader.text_map("properties");
    index.samples = read_samples(reader, index.class_names.size());
    reader.check(index.samples.size() <= std::numeric_limits<int>::max(), "labels");

    const nlohmann::json& checksums = reader.member("checksums");
    reader.check(checksums.is_array() && checksums.size() == index.samples.size(), "checksums");
    for (const nlohmann::json& checksum : checksums) {
        index.checksums.push_back(static_cast<std::uint32_t>(
            reader.number(checksum, "checksums", 0, std::numeric_limits<std::uint32_t>::max())));
    }
    index.offsets = read_offsets(reader, index, header.index_offset, name);
    return index;
}

PackedDataset::PackedDataset(const std::filesystem::path& path)
    : file_(path), index_(parse_packed_index(file_.bytes(), path.string())) {
    if (codec() == PackedCodec::jpeg) {
        decoded_ = std::make_unique<Decoded>();
        decoded_->images.resize(size());
    }
}

std::string PackedDataset::name_of_image(std::size_t i) const {
    return fmt::format("{}: image {} ('{}')", path().string(), i, printable(sample(i).image_id));
}

std::span<const std::byte> PackedDataset::stored(std::size_t i) const {
    const std::uint64_t begin = index_.offsets[i], end = index_.offsets[i + 1];
    const auto bytes = file_.bytes().subspan(begin, end - begin);
    if (crc32c(bytes) != index_.checksums[i]) {
        fail("{} is damaged (bytes {} to {}); {}", name_of_image(i), begin, end - 1, kRemedy);
    }
    return bytes;
}

std::span<const std::uint8_t> PackedDataset::image(std::size_t i) const {
    require(i < size(), "{}: image {} was asked for, but it has {}", path().string(), i, size());
    if (decoded_ == nullptr) {
        const auto rgb = stored(i);
        return {reinterpret_cast<const std::uint8_t*>(rgb.data()), rgb.size()};
    }
    std::vector<std::uint8_t>& kept = decoded_->images[i];
    {
        const std::lock_guard lock(decoded_->mutex);
        if (!kept.empty()) {
            return kept;
        }
    }
    // Unlocked, so that threads decode side by side: where two decode the same image, the second result is dropped.
    const auto bytes = stored(i);
    require(is_jpeg(bytes), "{} is no JPEG file; {}", name_of_image(i), kRemedy);
    Image image = decode_image(bytes, name_of_image(i));
    require(image.width == image_size() && image.height == image_size(), "{} has {} x {} pixels instead of {} x {}; {}",
            name_of_image(i), image.width, image.height, image_size(), image_size(), kRemedy);
    const std::lock_guard lock(decoded_->mutex);
    if (kept.empty()) {
        kept = std::move(image.rgb);
    }
    return kept;
}

void PackedDataset::move_class_last(int label) {
    std::vector<std::string>& names = index_.class_names;
    const int last = static_cast<int>(names.size()) - 1;
    require(label >= 0 && label <= last, "{}: class {} of {}", path().string(), label, names.size());
    std::rotate(names.begin() + label, names.begin() + label + 1, names.end());
    for (Sample& sample : index_.samples) {
        sample.label = sample.label == label ? last : sample.label - (sample.label > label ? 1 : 0);
    }
}

std::string PackedDataset::checksum() const {
    return fmt::format("{:08x}", index_.checksum);
}

PackedDatasetWriter::PackedDatasetWriter(const std::filesystem::path& path, int image_size,
                                         std::vector<std::string> class_names, bool has_lesion_ids,
                                         std::map<std::string, std::string> properties, PackedCodec codec)
    : name_(path.string()), file_(path) {
    require(image_size >= 1 && image_size <= kLargestImage, "{}: images of {} pixels a side; 1 to {} are possible",
            name_, image_size, kLargestImage);
    if (codec == PackedCodec::jpeg) {
        check_image_size(image_size, image_size, name_);  // what can be decoded again
    }
    require(!class_names.empty(), "{}: no class names; a data set needs at least one", name_);
    index_.codec = codec;
    index_.image_size = image_size;
    index_.class_names = std::move(class_names);
    index_.has_lesion_ids = has_lesion_ids;
    index_.properties = std::move(properties);
    const std::string page(kPageSize, '\0');  // overwritten by commit
    file_.write(page);
    index_.offsets.push_back(file_.size());
}

void PackedDatasetWriter::add(const Sample& sample, std::span<const std::uint8_t> image) {
    const int side = index_.image_size;
    if (index_.codec == PackedCodec::jpeg) {
        const std::string name = fmt::format("{}: image '{}'", name_, printable(sample.image_id));
        require(is_jpeg(std::as_bytes(image)), "{} is no JPEG file, but the codec is 'jpeg'; encode it first", name);
        const ImageLayout layout = inspect_jpeg(std::as_bytes(image), name);
        require(layout.width == side && layout.height == side, "{} has {} x {} pixels instead of {} x {}", name,
                layout.width, layout.height, side, side);
    } else {
        require(image.size() == image_bytes(side), "{}: image '{}' has {} bytes, but {} x {} pixels of RGB take {}",
                name_, printable(sample.image_id), image.size(), side, side, image_bytes(side));
    }
    require(sample.label >= 0 && static_cast<std::size_t>(sample.label) < index_.class_names.size(),
            "{}: image '{}' has label {}, but there are {} classes", name_, printable(sample.image_id), sample.label,
            index_.class_names.size());
    require(image_ids_.insert(sample.image_id).second, "{}: image '{}' was added before; give each image once", name_,
            printable(sample.image_id));
    file_.write(image.data(), image.size());
    index_.samples.push_back(sample);
    index_.checksums.push_back(crc32c(std::as_bytes(image)));
    index_.offsets.push_back(file_.size());
}

void PackedDatasetWriter::commit() {
    require(!index_.samples.empty(), "{}: no images to pack; check the folder of images and the metadata", name_);
    const std::string index = index_text(index_, name_);
    Header header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersion;
    header.index_checksum = crc32c(std::as_bytes(std::span(index)));
    header.index_offset = file_.size();
    header.index_size = index.size();
    file_.write(index);

    std::string page(kPageSize, '\0');
    std::memcpy(page.data(), &header, sizeof header);
    const std::size_t covered = kPageSize - sizeof(std::uint32_t);
    const std::uint32_t checksum = crc32c(std::as_bytes(std::span(page)).first(covered));
    std::memcpy(page.data() + covered, &checksum, sizeof checksum);
    file_.rewrite(0, page.data(), page.size());
    file_.commit();
}

}  // namespace cutis
