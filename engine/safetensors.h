#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/files.h"

namespace cutis {

/// Every element type that the safetensors format names; cutis itself reads and writes few of them.
enum class FileDType {
    boolean,
    u8,
    i8,
    u16,
    i16,
    f16,
    bf16,
    u32,
    i32,
    f32,
    u64,
    i64,
    f64,
    c64,
    f4,
    f6_e2m3,
    f6_e3m2,
    f8_e5m2,
    f8_e4m3,
    f8_e8m0,
    f8_e4m3fnuz,
    f8_e5m2fnuz,
};

/// The format's own name: "F32", "BF16", ...
std::string_view dtype_name(FileDType dtype);
/// Bits of one element (4 and 6 occur).
std::size_t dtype_bits(FileDType dtype);

/// One tensor of an open file. `bytes` points into the file (little-endian, row-major, not necessarily aligned).
struct TensorView {
    std::string name;
    FileDType dtype = FileDType::f32;
    std::vector<std::int64_t> shape;
    std::span<const std::byte> bytes;
};

/// What a safetensors file holds.
struct SafetensorsContent {
    std::vector<TensorView> tensors;  ///< in the order of their data
    std::map<std::string, std::string> metadata;
};

/// Reads a whole safetensors file that lies in memory; the views point into `file`. Everything the header says is
/// checked before it is believed. Throws Error naming `name`, the key and the remedy for: a file cut short, a header
/// longer than the file or than 100 MB, invalid JSON, a key twice, an unknown dtype, a size that is not shape times
/// dtype, offsets that overlap, leave a hole or lie outside, bytes that belong to no tensor, metadata that are not
/// strings. Format: https://github.com/huggingface/safetensors#format
SafetensorsContent parse_safetensors(std::span<const std::byte> file, std::string_view name);

/// A safetensors file, mapped and checked when opened. Views stay valid as long as the file lives, also when it is
/// moved.
class SafetensorsFile {
  public:
    explicit SafetensorsFile(const std::filesystem::path& path);

    const std::vector<TensorView>& tensors() const { return content_.tensors; }
    /// The tensor of that name, or null.
    const TensorView* find(std::string_view name) const;
    /// The tensor of that name; throws Error naming file and tensor when the file has none.
    const TensorView& at(std::string_view name) const;
    const std::map<std::string, std::string>& metadata() const { return content_.metadata; }
    const std::filesystem::path& path() const { return file_.path(); }

    /// Its elements as fp32, row-major; f16 and bf16 are widened (exact). Throws Error for any other dtype.
    std::vector<float> read_f32(const TensorView& tensor) const;

  private:
    MappedFile file_;
    SafetensorsContent content_;
    std::map<std::string, std::size_t, std::less<>> index_;
};

/// A tensor to be written: `bytes` little-endian and row-major, shape times dtype of them.
struct TensorToWrite {
    std::string name;
    FileDType dtype = FileDType::f32;
    std::vector<std::int64_t> shape;
    std::span<const std::byte> bytes;
};

/// Writes a safetensors file, whole or not at all. The data start at a multiple of 8 and wider element types come first
/// (within a width in the order given), so that every tensor is aligned; the same input gives the same bytes. Throws
/// Error for a name given twice, the reserved name "__metadata__", text that is not UTF-8, bytes that do not fit the
/// shape, a full disk.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace cutis
