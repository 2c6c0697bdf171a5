// One vector type per instruction set, chosen by the compiler flags of the including file. Everything has internal
// linkage: the same names are compiled three times, and a linker must never mix them. For the same reason the files
// that include this one use no standard library templates.
#pragma once

#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

/// Tag of an access to all lanes.
struct Full {};

#if defined(__AVX512F__)

constexpr int kLanes = 16;
using Vec = __m512;
struct Partial {
    __mmask16 mask;
    explicit Partial(int count) : mask(static_cast<__mmask16>((1u << count) - 1u)) {}
};

inline Vec zero() {
    return _mm512_setzero_ps();
}
inline Vec broadcast(float x) {
    return _mm512_set1_ps(x);
}
inline Vec load(const float* p, Full) {
    return _mm512_loadu_ps(p);
}
inline Vec load(const float* p, Partial t) {
    return _mm512_maskz_loadu_ps(t.mask, p);
}
inline void store(float* p, Vec v, Full) {
    _mm512_storeu_ps(p, v);
}
inline void store(float* p, Vec v, Partial t) {
    _mm512_mask_storeu_ps(p, t.mask, v);
}
inline void store_past_caches(float* p, Vec v) {
    _mm512_stream_ps(p, v);
}
inline void fence_stores() {
    _mm_sfence();
}
inline Vec add(Vec a, Vec b) {
    return _mm512_add_ps(a, b);
}
inline Vec sub(Vec a, Vec b) {
    return _mm512_sub_ps(a, b);
}
inline Vec mul(Vec a, Vec b) {
    return _mm512_mul_ps(a, b);
}
inline Vec fma(Vec a, Vec b, Vec c) {
    return _mm512_fmadd_ps(a, b, c);
}
// The instructions return their second operand when one is NaN: v stands there so that NaN is not swallowed.
inline Vec clamp(Vec v, Vec lo, Vec hi) {
    return _mm512_min_ps(hi, _mm512_max_ps(lo, v));
}
inline Vec keep_inside(Vec g, Vec v, Vec lo, Vec hi) {
    const __mmask16 inside = _mm512_cmp_ps_mask(v, lo, _CMP_GT_OQ) & _mm512_cmp_ps_mask(v, hi, _CMP_LT_OQ);
    return _mm512_maskz_mov_ps(inside, g);
}
// A number from 0 to 255 for each lane, a byte in memory; they wrap around.
using Marks = __m128i;
inline Marks broadcast_marks(int x) {
    return _mm_set1_epi8(static_cast<char>(x));
}
inline Marks add(Marks a, Marks b) {
    return _mm_add_epi8(a, b);
}
inline Marks sub(Marks a, Marks b) {
    return _mm_sub_epi8(a, b);
}
inline Marks choose_marks(__mmask16 which, Marks a, Marks b) {
    return _mm_mask_mov_epi8(b, which, a);
}
inline void store_marks(std::uint8_t* p, Marks v, Full) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v);
}
inline void store_marks(std::uint8_t* p, Marks v, Partial t) {
    _mm_mask_storeu_epi8(p, t.mask, v);
}
inline __mmask16 marked(const std::uint8_t* p, Marks as, Full) {
    return _mm_cmpeq_epi8_mask(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), as);
}
inline __mmask16 marked(const std::uint8_t* p, Marks as, Partial t) {
    return _mm_mask_cmpeq_epi8_mask(t.mask, _mm_maskz_loadu_epi8(t.mask, p), as);
}
// Not a <= b, where b is a number: NaN exceeds every number, and nothing exceeds NaN.
inline __mmask16 exceeds(Vec a, Vec b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ) & _mm512_cmp_ps_mask(b, b, _CMP_ORD_Q);
}
inline Vec choose(__mmask16 which, Vec a, Vec b) {
    return _mm512_mask_mov_ps(b, which, a);
}
inline __mmask16 above(Vec a, Vec b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
// a where it is above b, else b.
inline Vec larger(Vec a, Vec b) {
    return _mm512_max_ps(a, b);
}
inline bool has_nan(Vec a) {
    return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0;
}
inline Vec divide(Vec a, Vec b) {
    return _mm512_div_ps(a, b);
}
// 2^m, where an integer m, -126 to 127, stands in the lowest bits of x.
inline Vec power_of_two(Vec x) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(x), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(127 << 23)));
}
inline Vec square_root(Vec a) {
    return _mm512_sqrt_ps(a);
}

#elif defined(__AVX2__)

constexpr int kLanes = 8;
using Vec = __m256;
struct Partial {
    __m256i mask;
    int count;
    explicit Partial(int n)
        : mask(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))), count(n) {}
};

inline Vec zero() {
    return _mm256_setzero_ps();
}
inline Vec broadcast(float x) {
    return _mm256_set1_ps(x);
}
inline Vec load(const float* p, Full) {
    return _mm256_loadu_ps(p);
}
inline Vec load(const float* p, Partial t) {
    return _mm256_maskload_ps(p, t.mask);
}
inline void store(float* p, Vec v, Full) {
    _mm256_storeu_ps(p, v);
}
inline void store(float* p, Vec v, Partial t) {
    _mm256_maskstore_ps(p, t.mask, v);
}
inline void store_past_caches(float* p, Vec v) {
    _mm256_stream_ps(p, v);
}
inline void fence_stores() {
    _mm_sfence();
}
inline Vec add(Vec a, Vec b) {
    return _mm256_add_ps(a, b);
}
inline Vec sub(Vec a, Vec b) {
    return _mm256_sub_ps(a, b);
}
inline Vec mul(Vec a, Vec b) {
    return _mm256_mul_ps(a, b);
}
inline Vec fma(Vec a, Vec b, Vec c) {
    return _mm256_fmadd_ps(a, b, c);
}
// The instructions return their second operand when one is NaN: v stands there so that NaN is not swallowed.
inline Vec clamp(Vec v, Vec lo, Vec hi) {
    return _mm256_min_ps(hi, _mm256_max_ps(lo, v));
}
inline Vec keep_inside(Vec g, Vec v, Vec lo, Vec hi) {
    return _mm256_and_ps(g, _mm256_and_ps(_mm256_cmp_ps(v, lo, _CMP_GT_OQ), _mm256_cmp_ps(v, hi, _CMP_LT_OQ)));
}
// A number from 0 to 255 for each lane, a byte in memory; here they may leave that range on the way.
using Marks = __m256i;
inline Marks broadcast_marks(int x) {
    return _mm256_set1_epi32(x);
}
inline Marks add(Marks a, Marks b) {
    return _mm256_add_epi32(a, b);
}
inline Marks sub(Marks a, Marks b) {
    return _mm256_sub_epi32(a, b);
}
inline Marks choose_marks(Vec which, Marks a, Marks b) {
    return _mm256_blendv_epi8(b, a, _mm256_castps_si256(which));
}
inline std::int64_t packed_marks(Marks v) {
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return _mm_cvtsi128_si64(_mm_packus_epi16(words, words));
}
inline void store_marks(std::uint8_t* p, Marks v, Full) {
    const std::int64_t marks = packed_marks(v);
    __builtin_memcpy(p, &marks, sizeof marks);
}
inline void store_marks(std::uint8_t* p, Marks v, Partial t) {
    const std::int64_t marks = packed_marks(v);
    __builtin_memcpy(p, &marks, static_cast<unsigned long>(t.count));
}
inline Vec marked(const std::uint8_t* p, Marks as, Full) {
    const Marks marks = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(marks, as));
}
inline Vec marked(const std::uint8_t* p, Marks as, Partial t) {
    std::uint8_t all[kLanes] = {};
    __builtin_memcpy(all, p, static_cast<unsigned long>(t.count));
    return marked(all, as, Full{});
}
// Not a <= b, where b is a number: NaN exceeds every number, and nothing exceeds NaN.
inline Vec exceeds(Vec a, Vec b) {
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_NLE_UQ), _mm256_cmp_ps(b, b, _CMP_ORD_Q));
}
inline Vec choose(Vec which, Vec a, Vec b) {
    return _mm256_blendv_ps(b, a, which);
}
inline Vec above(Vec a, Vec b) {
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}
// a where it is above b, else b.
inline Vec larger(Vec a, Vec b) {
    return _mm256_max_ps(a, b);
}
inline bool has_nan(Vec a) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)) != 0;
}
inline Vec divide(Vec a, Vec b) {
    return _mm256_div_ps(a, b);
}
// 2^m, where an integer m, -126 to 127, stands in the lowest bits of x.
inline Vec power_of_two(Vec x) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(x), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23)));
}
inline Vec square_root(Vec a) {
    return _mm256_sqrt_ps(a);
}

#else

// Compiler vectors: SSE on x86-64, NEON on arm64.
constexpr int kLanes = 4;
typedef float Vec __attribute__((vector_size(16)));
typedef std::int32_t VecMask __attribute__((vector_size(16)));
struct Partial {
    int count;
    explicit Partial(int n) : count(n) {}
};

inline Vec zero() {
    return Vec{0, 0, 0, 0};
}
inline Vec broadcast(float x) {
    return Vec{x, x, x, x};
}
inline Vec load(const float* p, Full) {
    Vec v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline Vec load(const float* p, Partial t) {
    Vec v = zero();
    for (int i = 0; i < t.count; ++i) {
        v[i] = p[i];
    }
    return v;
}
inline void store(float* p, Vec v, Full) {
    __builtin_memcpy(p, &v, sizeof v);
}
inline void store(float* p, Vec v, Partial t) {
    for (int i = 0; i < t.count; ++i) {
        p[i] = v[i];
    }
}
inline void store_past_caches(float* p, Vec v) {
    store(p, v, Full{});
}
inline void fence_stores() {}
inline Vec add(Vec a, Vec b) {
    return a + b;
}
inline Vec sub(Vec a, Vec b) {
    return a - b;
}
inline Vec mul(Vec a, Vec b) {
    return a * b;
}
inline Vec fma(Vec a, Vec b, Vec c) {
    return a * b + c;
}
inline Vec choose(VecMask which, Vec a, Vec b) {
    return reinterpret_cast<Vec>((which & reinterpret_cast<VecMask>(a)) | (~which & reinterpret_cast<VecMask>(b)));
}
// A number from 0 to 255 for each lane, a byte in memory; here they may leave that range on the way.
using Marks = VecMask;
inline Marks broadcast_marks(int x) {
    return Marks{x, x, x, x};
}
inline Marks choose_marks(VecMask which, Marks a, Marks b) {
    return (which & a) | (~which & b);
}
inline Marks add(Marks a, Marks b) {
    return a + b;
}
inline Marks sub(Marks a, Marks b) {
    return a - b;
}
inline void store_marks(std::uint8_t* p, Marks v, Partial t) {
    for (int i = 0; i < t.count; ++i) {
        p[i] = static_cast<std::uint8_t>(v[i]);
    }
}
inline void store_marks(std::uint8_t* p, Marks v, Full) {
    store_marks(p, v, Partial(kLanes));
}
inline VecMask marked(const std::uint8_t* p, Marks as, Partial t) {
    Marks marks{-1, -1, -1, -1};
    for (int i = 0; i < t.count; ++i) {
        marks[i] = p[i];
    }
    return marks == as;
}
inline VecMask marked(const std::uint8_t* p, Marks as, Full) {
    return marked(p, as, Partial(kLanes));
}
// Not a <= b, where b is a number: NaN exceeds every number, and nothing exceeds NaN.
inline VecMask exceeds(Vec a, Vec b) {
    return ~(a <= b) & (b == b);
}
inline VecMask above(Vec a, Vec b) {
    return a > b;
}
// a where it is above b, else b.
inline Vec larger(Vec a, Vec b) {
    return choose(a > b, a, b);
}
inline bool has_nan(Vec a) {
    const VecMask numbers = a == a;
    return (numbers[0] & numbers[1] & numbers[2] & numbers[3]) == 0;
}
inline Vec divide(Vec a, Vec b) {
    return a / b;
}
// 2^m, where an integer m, -126 to 127, stands in the lowest bits of x.
inline Vec power_of_two(Vec x) {
    typedef std::uint32_t Bits __attribute__((vector_size(16)));
    return reinterpret_cast<Vec>((reinterpret_cast<Bits>(x) << 23) + (127u << 23));
}
inline Vec square_root(Vec a) {
    return Vec{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}
inline Vec clamp(Vec v, Vec lo, Vec hi) {
    v = choose(lo > v, lo, v);
    return choose(hi < v, hi, v);
}
inline Vec keep_inside(Vec g, Vec v, Vec lo, Vec hi) {
    return reinterpret_cast<Vec>(reinterpret_cast<VecMask>(g) & (v > lo) & (v < hi));
}

#endif

/// Whether rows of c values from p on can be stored past the caches: whole, aligned vectors.
inline bool can_stream(const float* p, int c) {
    return c % kLanes == 0 && reinterpret_cast<std::uintptr_t>(p) % (kLanes * sizeof(float)) == 0;
}

/// Stores past the caches, where can_stream() holds, or as usual.
template <bool Stream, class Tag>
inline void put(float* p, Vec v, Tag tag) {
    if constexpr (Stream) {
        store_past_caches(p, v);
    } else {
        store(p, v, tag);
    }
}
/// Calls body(first_channel, vectors, tag) for tiles of Most, 4 (below 8), 2 or 1 vectors of channels (vectors: a type
/// with a static `count`), the last one with a Partial tag where c is ragged. A tile's sums stay in registers while all
/// rows go by.
template <int N>
struct Count {
    static constexpr int count = N;
};
template <int Most, class Body>
inline void for_channel_tiles(int c, Body&& body) {
    int first = 0;
    for (; first + Most * kLanes <= c; first += Most * kLanes) {
        body(first, Count<Most>{}, Full{});
    }
    if constexpr (Most > 4) {
        for (; first + 4 * kLanes <= c; first += 4 * kLanes) {
            body(first, Count<4>{}, Full{});
        }
    }
    if constexpr (Most > 2) {
        for (; first + 2 * kLanes <= c; first += 2 * kLanes) {
            body(first, Count<2>{}, Full{});
        }
    }
    for (; first + kLanes <= c; first += kLanes) {
        body(first, Count<1>{}, Full{});
    }
    if (first < c) {
        body(first, Count<1>{}, Partial(c - first));
    }
}

/// Calls body(first_channel, tag) for each block of kLanes channels, the last one with a Partial tag where c is ragged.
template <class Body>
inline void for_channel_blocks(int c, Body&& body) {
    int first = 0;
    for (; first + kLanes <= c; first += kLanes) {
        body(first, Full{});
    }
    if (first < c) {
        body(first, Partial(c - first));
    }
}

}  // namespace
