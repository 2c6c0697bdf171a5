#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace cutis {

/// CRC-32C (Castagnoli polynomial, reflected, as in iSCSI (RFC 3720) and TensorBoard's records); uses the processor's
/// instruction where it has one. `crc` is the checksum of what came before, 0 at the start.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);

/// The same by tables alone, for processors without the instruction.
std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t crc = 0);

}  // namespace cutis
