#pragma once

#include "kernels/bfloat16.h"
#include "kernels/simt/simt.h"

/// Values of fp32 or bf16 arrays in registers, always as fp32. One access moves up to 16 bytes: 4 fp32 or 8 bf16
/// values, which lie next to each other in a channels-last array.

namespace cutis::cuda {

/// Values of one 16-byte access.
template <class T>
inline constexpr int kVector = 16 / static_cast<int>(sizeof(T));

/// call<N>() with N = kVector<T> where every pixel's c channels are whole vectors, else 1.
template <class T, class Call>
void with_vector_width(int c, Call&& call) {
    if (c % kVector<T> == 0) {
        call.template operator()<kVector<T>>();
    } else {
        call.template operator()<1>();
    }
}

template <int N>
struct Floats {
    float v[N];
    __device__ __forceinline__ float& operator[](int i) { return v[i]; }
    __device__ __forceinline__ float operator[](int i) const { return v[i]; }
};

template <int N>
__device__ __forceinline__ Floats<N> splat(float value) {
    Floats<N> r;
#pragma unroll
    for (int i = 0; i < N; ++i) {
        r.v[i] = value;
    }
    return r;
}

__device__ __forceinline__ float to_float(float value) {
    return value;
}
__device__ __forceinline__ float to_float(BFloat16 value) {
    return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}

/// Two fp32 values as two bf16 values, the first in the lower half; rounded to the nearest, ties to even.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
#if defined(__CUDA_ARCH__)
    unsigned packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
#else
    const auto narrow = [](float value) {
        const unsigned bits = __float_as_uint(value);
        if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
            return 0x7FFFu;  // NaN, as the instruction gives it
        }
        return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    };
    return narrow(low) | narrow(high) << 16;
#endif
}

template <class T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
    return value;
}
template <>
__device__ __forceinline__ BFloat16 from_float<BFloat16>(float value) {
    return {static_cast<std::uint16_t>(pack_bf16(value, 0.0f) & 0xFFFFu)};
}
/// What a value of type T would be after a store and a load.
template <class T>
__device__ __forceinline__ float rounded(float value) {
    return to_float(from_float<T>(value));
}

/// N values from p, which is aligned to N values (16 bytes where N values are 16 bytes or more).
template <int N>
__device__ __forceinline__ Floats<N> load(const float* p) {
    Floats<N> r;
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            const float4 part = *reinterpret_cast<const float4*>(p + i);
            r.v[i] = part.x;
            r.v[i + 1] = part.y;
            r.v[i + 2] = part.z;
            r.v[i + 3] = part.w;
        }
    } else if constexpr (N == 2) {
        const float2 part = *reinterpret_cast<const float2*>(p);
        r.v[0] = part.x;
        r.v[1] = part.y;
    } else {
        static_assert(N == 1);
        r.v[0] = *p;
    }
    return r;
}

namespace detail {
__device__ __forceinline__ void unpack(float* values, unsigned packed) {
    values[0] = __uint_as_float(packed << 16);
    values[1] = __uint_as_float(packed & 0xFFFF0000u);
}
}  // namespace detail

template <int N>
__device__ __forceinline__ Floats<N> load(const BFloat16* p) {
    Floats<N> r;
    if constexpr (N % 8 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 8) {
            const uint4 part = *reinterpret_cast<const uint4*>(p + i);
            detail::unpack(r.v + i, part.x);
            detail::unpack(r.v + i + 2, part.y);
            detail::unpack(r.v + i + 4, part.z);
            detail::unpack(r.v + i + 6, part.w);
        }
    } else if constexpr (N == 4) {
        const uint2 part = *reinterpret_cast<const uint2*>(p);
        detail::unpack(r.v, part.x);
        detail::unpack(r.v + 2, part.y);
    } else if constexpr (N == 2) {
        detail::unpack(r.v, *reinterpret_cast<const unsigned*>(p));
    } else {
        static_assert(N == 1);
        r.v[0] = to_float(*p);
    }
    return r;
}

template <int N>
__device__ __forceinline__ void store(float* p, const Floats<N>& r) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            *reinterpret_cast<float4*>(p + i) = make_float4(r.v[i], r.v[i + 1], r.v[i + 2], r.v[i + 3]);
        }
    } else if constexpr (N == 2) {
        *reinterpret_cast<float2*>(p) = make_float2(r.v[0], r.v[1]);
    } else {
        static_assert(N == 1);
        *p = r.v[0];
    }
}

template <int N>
__device__ __forceinline__ void store(BFloat16* p, const Floats<N>& r) {
    if constexpr (N % 8 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 8) {
            *reinterpret_cast<uint4*>(p + i) =
                make_uint4(pack_bf16(r.v[i], r.v[i + 1]), pack_bf16(r.v[i + 2], r.v[i + 3]),
                           pack_bf16(r.v[i + 4], r.v[i + 5]), pack_bf16(r.v[i + 6], r.v[i + 7]));
        }
    } else if constexpr (N == 4) {
        *reinterpret_cast<uint2*>(p) = make_uint2(pack_bf16(r.v[0], r.v[1]), pack_bf16(r.v[2], r.v[3]));
    } else if constexpr (N == 2) {
        *reinterpret_cast<unsigned*>(p) = pack_bf16(r.v[0], r.v[1]);
    } else {
        static_assert(N == 1);
        *p = from_float<BFloat16>(r.v[0]);
    }
}

}  // namespace cutis::cuda
