#include "engine/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>

#include "engine/half.h"
#include "engine/json.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian and read as they are");

constexpr std::size_t kLengthBytes = 8;
// The limit of the format's own reader.
constexpr std::uint64_t kLargestHeader = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";
constexpr const char* kRemedy = "copy or download the file again";

struct DTypeEntry {
    FileDType dtype;
    std::string_view name;
    std::size_t bits;
};

constexpr std::array<DTypeEntry, 22> kDTypes{{
    {FileDType::boolean, "BOOL", 8},
    {FileDType::u8, "U8", 8},
    {FileDType::i8, "I8", 8},
    {FileDType::u16, "U16", 16},
    {FileDType::i16, "I16", 16},
    {FileDType::f16, "F16", 16},
    {FileDType::bf16, "BF16", 16},
    {FileDType::u32, "U32", 32},
    {FileDType::i32, "I32", 32},
    {FileDType::f32, "F32", 32},
    {FileDType::u64, "U64", 64},
    {FileDType::i64, "I64", 64},
    {FileDType::f64, "F64", 64},
    {FileDType::c64, "C64", 64},
    {FileDType::f4, "F4", 4},
    {FileDType::f6_e2m3, "F6_E2M3", 6},
    {FileDType::f6_e3m2, "F6_E3M2", 6},
    {FileDType::f8_e5m2, "F8_E5M2", 8},
    {FileDType::f8_e4m3, "F8_E4M3", 8},
    {FileDType::f8_e8m0, "F8_E8M0", 8},
    {FileDType::f8_e4m3fnuz, "F8_E4M3FNUZ", 8},
    {FileDType::f8_e5m2fnuz, "F8_E5M2FNUZ", 8},
}};

const DTypeEntry& entry_of(FileDType dtype) {
    return *std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeEntry& entry) { return entry.dtype == dtype; });
}

std::optional<FileDType> dtype_named(std::string_view name) {
    for (const DTypeEntry& entry : kDTypes) {
        if (entry.name == name) {
            return entry.dtype;
        }
    }
    return std::nullopt;
}

std::string dtype_names() {
    std::string names;
    for (const DTypeEntry& entry : kDTypes) {
        names += fmt::format("{}{}", names.empty() ? "" : ", ", entry.name);
    }
    return names;
}

/// Bytes of a tensor; nothing where they do not fit 64 bits or end within a byte (possible with 4 and 6 bits).
std::optional<std::uint64_t> byte_size(const std::vector<std::int64_t>& shape, FileDType dtype) {
    if (std::find(shape.begin(), shape.end(), 0) != shape.end()) {
        return 0;
    }
    std::uint64_t bits = dtype_bits(dtype);
    for (const std::int64_t extent : shape) {
        if (extent < 0 || __builtin_mul_overflow(bits, static_cast<std::uint64_t>(extent), &bits)) {
            return std::nullopt;
        }
    }
    return bits % 8 == 0 ? std::optional(bits / 8) : std::nullopt;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    // A hostile header may state a million extents.
    std::string text = "[";
    for (std::size_t i = 0; i < std::min<std::size_t>(shape.size(), 8); ++i) {
        text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
    }
    return text + (shape.size() > 8 ? ", ...]" : "]");
}

/// A whole number from 0 to 2^63 - 1 of a header.
std::int64_t whole_number(const nlohmann::json& value, std::string_view file, std::string_view tensor,
                          std::string_view member) {
    constexpr std::uint64_t kLargest = std::uint64_t{1} << 63;
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= kLargest) {
        fail("{}: tensor '{}': \"{}\" must hold whole numbers from 0 to 2^63 - 1, not {}; {}", file, printable(tensor),
             member, printable(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace), 40), kRemedy);
    }
    return value.get<std::int64_t>();
}

const nlohmann::json& member_of(const nlohmann::json& description, const char* member, bool array,
                                std::string_view file, std::string_view tensor) {
    const auto found = description.find(member);
    if (found == description.end() || (array ? !found->is_array() : !found->is_string())) {
        fail("{}: tensor '{}': \"{}\" is missing or not {}; {}", file, printable(tensor), member,
             array ? "a list" : "a text", kRemedy);
    }
    return *found;
}

/// Checks one tensor of the header against itself and against the `data` that follow the header.
TensorView read_description(const std::string& tensor, const nlohmann::json& description,
                            std::span<const std::byte> data, std::string_view file) {
    if (!description.is_object()) {
        fail("{}: tensor '{}': its description is no JSON object; {}", file, printable(tensor), kRemedy);
    }
    TensorView view{.name = tensor, .shape = {}, .bytes = {}};
    const auto& dtype = member_of(description, "dtype", false, file, tensor).get_ref<const std::string&>();
    const std::optional<FileDType> known = dtype_named(dtype);
    if (!known) {
        fail("{}: tensor '{}': unknown dtype '{}' (known: {}); convert the file", file, printable(tensor),
             printable(dtype, 40), dtype_names());
    }
    view.dtype = *known;
    for (const nlohmann::json& extent : member_of(description, "shape", true, file, tensor)) {
        view.shape.push_back(whole_number(extent, file, tensor, "shape"));
    }
    const nlohmann::json& offsets = member_of(description, "data_offsets", true, file, tensor);
    if (offsets.size() != 2) {
        fail("{}: tensor '{}': \"data_offsets\" must hold a begin and an end, but holds {} values; {}", file,
             printable(tensor), offsets.size(), kRemedy);
    }
    const std::int64_t begin = whole_number(offsets[0], file, tensor, "data_offsets");
    const std::int64_t end = whole_number(offsets[1], file, tensor, "data_offsets");
    if (begin > end || static_cast<std::uint64_t>(end) > data.size()) {
        fail("{}: tensor '{}': offsets {} to {} lie outside the {} bytes of data (the file may be cut short); {}", file,
             printable(tensor), begin, end, data.size(), kRemedy);
    }
    const std::optional<std::uint64_t> size = byte_size(view.shape, view.dtype);
    if (size != static_cast<std::uint64_t>(end - begin)) {
        fail("{}: tensor '{}': {} of shape {} takes {} bytes, but offsets {} to {} hold {}; {}", file,
             printable(tensor), dtype, shape_text(view.shape),
             size ? fmt::format("{}", *size) : "an impossible number of", begin, end, end - begin, kRemedy);
    }
    view.bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    return view;
}

std::map<std::string, std::string> read_metadata(const nlohmann::json& metadata, std::string_view file) {
    require(metadata.is_object(), "{}: \"__metadata__\" is no JSON object; {}", file, kRemedy);
    std::map<std::string, std::string> texts;
    for (const auto& [key, value] : metadata.items()) {
        if (!value.is_string()) {
            fail("{}: \"__metadata__\": the value of '{}' is no text; {}", file, printable(key), kRemedy);
        }
        texts[key] = value.get<std::string>();
    }
    return texts;
}

}  // namespace

std::string_view dtype_name(FileDType dtype) {
    return entry_of(dtype).name;
}

std::size_t dtype_bits(FileDType dtype) {
    return entry_of(dtype).bits;
}

SafetensorsContent parse_safetensors(std::span<const std::byte> file, std::string_view name) {
    require(file.size() >= kLengthBytes, "{}: {} bytes are too few for a safetensors file; {}", name, file.size(),
            kRemedy);
    std::uint64_t header_size = 0;
    std::memcpy(&header_size, file.data(), kLengthBytes);
    require(header_size <= kLargestHeader,
            "{}: states a header of {} bytes, more than the {} a safetensors file may have; check that it is one", name,
            header_size, kLargestHeader);
    require(header_size <= file.size() - kLengthBytes,
            "{}: states a header of {} bytes, but only {} bytes follow (the file may be cut short); {}", name,
            header_size, file.size() - kLengthBytes, kRemedy);
    const std::string_view header_text(reinterpret_cast<const char*>(file.data()) + kLengthBytes,
                                       static_cast<std::size_t>(header_size));
    require(header_text.starts_with('{'),
            "{}: its header does not begin with '{{'; check that it is a safetensors file", name);
    const nlohmann::json header = parse_json(header_text, fmt::format("{}: header", name));
    const auto data = file.subspan(kLengthBytes + static_cast<std::size_t>(header_size));

    SafetensorsContent content;
    for (const auto& [key, value] : header.items()) {
        if (key == kMetadataKey) {
            content.metadata = read_metadata(value, name);
        } else {
            content.tensors.push_back(read_description(key, value, data, name));
        }
    }
    // By where they lie; an empty tensor before the one that begins at the same place.
    std::sort(content.tensors.begin(), content.tensors.end(), [](const TensorView& a, const TensorView& b) {
        return a.bytes.data() != b.bytes.data() ? a.bytes.data() < b.bytes.data() : a.bytes.size() < b.bytes.size();
    });
    std::size_t covered = 0;
    for (const TensorView& tensor : content.tensors) {
        const auto begin = static_cast<std::size_t>(tensor.bytes.data() - data.data());
        if (begin != covered) {
            fail("{}: tensor '{}': begins at {}, but the data before it end at {} ({}); {}", name,
                 printable(tensor.name), begin, covered,
                 begin < covered ? "they overlap" : "a hole, which the format forbids", kRemedy);
        }
        covered += tensor.bytes.size();
    }
    require(covered == data.size(), "{}: its tensors end at byte {} of the data, but {} bytes are there; {}", name,
            covered, data.size(), kRemedy);
    return content;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), content_(parse_safetensors(file_.bytes(), path.string())) {
    for (std::size_t i = 0; i < content_.tensors.size(); ++i) {
        index_.emplace(content_.tensors[i].name, i);
    }
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? nullptr : &content_.tensors[found->second];
}

const TensorView& SafetensorsFile::at(std::string_view name) const {
    const TensorView* tensor = find(name);
    require(tensor != nullptr, "{}: has no tensor '{}' among its {}; check that it belongs to this model",
            path().string(), name, tensors().size());
    return *tensor;
}

std::vector<float> SafetensorsFile::read_f32(const TensorView& tensor) const {
    std::vector<float> values(tensor.bytes.size() * 8 / dtype_bits(tensor.dtype));
    if (tensor.dtype == FileDType::f32) {
        if (!values.empty()) {
            std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
        }
    } else if (tensor.dtype == FileDType::f16 || tensor.dtype == FileDType::bf16) {
        const auto widen = tensor.dtype == FileDType::f16 ? f16_to_f32 : bf16_to_f32;
        for (std::size_t i = 0; i < values.size(); ++i) {
            std::uint16_t bits = 0;
            std::memcpy(&bits, tensor.bytes.data() + 2 * i, sizeof bits);
            values[i] = widen(bits);
        }
    } else {
        fail("{}: tensor '{}': is {}, but F32, F16 or BF16 is wanted; convert the file", path().string(),
             printable(tensor.name), dtype_name(tensor.dtype));
    }
    return values;
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata) {
    std::vector<std::size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return dtype_bits(tensors[a].dtype) > dtype_bits(tensors[b].dtype);
    });

    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) {
        header[kMetadataKey] = metadata;
    }
    std::set<std::string_view> names{kMetadataKey};
    std::uint64_t offset = 0;
    for (const std::size_t i : order) {
        const TensorToWrite& tensor = tensors[i];
        require(names.insert(tensor.name).second, "{}: the tensor name '{}' is given twice or reserved; rename one",
                path.string(), printable(tensor.name));
        require(byte_size(tensor.shape, tensor.dtype) == tensor.bytes.size(),
                "{}: tensor '{}': {} of shape {} does not take the {} bytes that were given", path.string(),
                printable(tensor.name), dtype_name(tensor.dtype), shape_text(tensor.shape), tensor.bytes.size());
        header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                               {"shape", tensor.shape},
                               {"data_offsets", {offset, offset + tensor.bytes.size()}}};
        offset += tensor.bytes.size();
    }

    std::string text;
    try {
        text = header.dump();
    } catch (const nlohmann::json::exception& error) {
        fail("{}: a tensor name or metadata text is not UTF-8: {}; rename it", path.string(),
             printable(error.what(), 200));
    }
    text.append((8 - (kLengthBytes + text.size()) % 8) % 8, ' ');
    require(text.size() <= kLargestHeader,
            "{}: its header would take {} bytes, but the format allows {}; write fewer tensors", path.string(),
            text.size(), kLargestHeader);

    AtomicFile file(path);
    const std::uint64_t header_size = text.size();
    file.write(&header_size, kLengthBytes);
    file.write(text);
    for (const std::size_t i : order) {
        file.write(tensors[i].bytes.data(), tensors[i].bytes.size());
    }
    file.commit();
}

}  // namespace cutis
