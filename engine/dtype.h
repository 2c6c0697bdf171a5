#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/bfloat16.h"

namespace cutis {

/// Element types of a tensor. bf16 is stored as its upper 16 bits of an fp32 value.
enum class DType { f32, bf16, i64, i32, u8 };

constexpr std::size_t dtype_size(DType dtype) {
    switch (dtype) {
        case DType::i64:
            return 8;
        case DType::f32:
        case DType::i32:
            return 4;
        case DType::bf16:
            return 2;
        case DType::u8:
            break;
    }
    return 1;
}

constexpr std::string_view dtype_name(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return "f32";
        case DType::bf16:
            return "bf16";
        case DType::i64:
            return "i64";
        case DType::i32:
            return "i32";
        case DType::u8:
            break;
    }
    return "u8";
}

/// The DType that holds values of C++ type T.
template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
    return DType::f32;
}
template <>
constexpr DType dtype_of<BFloat16>() {
    return DType::bf16;
}
template <>
constexpr DType dtype_of<std::int64_t>() {
    return DType::i64;
}
template <>
constexpr DType dtype_of<std::int32_t>() {
    return DType::i32;
}
template <>
constexpr DType dtype_of<std::uint8_t>() {
    return DType::u8;
}

}  // namespace cutis
