#pragma once

/// CUDA's device functions as functions of the CPU; see simt.h.

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/simt/scheduler.h"

#define __launch_bounds__(...)
#define __shared__ static_assert(false, "write SIMT_SHARED(type, name, [size]) or simt::dynamic_shared<type>()");

#define threadIdx (::simt::detail::current->thread)
#define blockIdx (::simt::detail::current->block)
#define blockDim (::simt::detail::current->block_dim)
#define gridDim (::simt::detail::current->grid_dim)
inline constexpr int warpSize = 32;

/// An array in the block's shared memory, filled with NaN bit patterns and surrounded by guard bytes at a block's
/// start.
#define SIMT_SHARED(T, name, ...)                             \
    static const char simt_key_##name = 0;                    \
    typedef T simt_type_##name __VA_ARGS__;                   \
    simt_type_##name& name = *static_cast<simt_type_##name*>( \
        ::simt::detail::shared_array(&simt_key_##name, sizeof(simt_type_##name), alignof(simt_type_##name)))

namespace simt {

template <class T>
T* dynamic_shared() {
    return static_cast<T*>(detail::shared_dynamic());
}
inline void cluster_sync(Site site = Site::here()) {
    detail::cluster_barrier(site);
}
template <unsigned Blocks>
void cluster_sync(Site site = Site::here()) {
    Blocks > 1 ? detail::cluster_barrier(site) : detail::block_barrier(site);
}
inline unsigned cluster_rank() {
    return detail::current->cluster_rank;
}
inline unsigned cluster_size() {
    return detail::current->cluster_size;
}
template <class T>
T* map_shared(T* pointer, unsigned rank, Site site = Site::here()) {
    return static_cast<T*>(detail::shared_of_rank(pointer, rank, site));
}

namespace detail {

inline int lane() {
    return static_cast<int>(current->linear & 31u);
}

template <class T>
T shuffle(unsigned mask, T value, int source, int width, Site site) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    std::uint32_t in[3] = {}, out[2];
    std::memcpy(in, &value, sizeof value);
    const int base = lane() & ~(width - 1);
    in[2] = static_cast<std::uint32_t>(source < base || source >= base + width ? lane() : source);
    warp_operation(WarpOp::shuffle, mask, in, 3, out, 2, site);
    std::memcpy(&value, out, sizeof value);
    return value;
}

inline void mma(WarpOp op, float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Site site) {
    std::uint32_t in[10], out[4];
    std::memcpy(in, a, sizeof a);
    std::memcpy(in + 4, b, sizeof b);
    std::memcpy(in + 6, d, sizeof d);
    warp_operation(op, 0xFFFFFFFFu, in, 10, out, 4, site);
    std::memcpy(d, out, sizeof d);
}

inline void ldmatrix(WarpOp op, std::uint32_t (&r)[4], const void* row, Site site) {
    if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) {
        broken_rule(site, "ldmatrix: row address %p is not 16-byte aligned", row);
    }
    const uint4 words = *static_cast<const uint4*>(row);  // this lane's own load, so that the sanitizers see it
    const std::uint32_t in[4] = {words.x, words.y, words.z, words.w};
    warp_operation(op, 0xFFFFFFFFu, in, 4, r, 4, site);
}

template <int Bytes>
void copy_async(void* shared, const void* global, bool wanted, Site site) {
    const std::uintptr_t addresses =
        reinterpret_cast<std::uintptr_t>(shared) | (wanted ? reinterpret_cast<std::uintptr_t>(global) : 0);
    if (addresses % Bytes != 0) {
        broken_rule(site, "cp.async of %d bytes: %p from %p is not aligned", Bytes, shared, global);
    }
    // The copy itself is compiled here, with the kernel, so that the sanitizers see it.
    queue_copy(
        [](void* to, const void* from, bool read) {
            struct alignas(Bytes) Words {
                std::uint32_t value[Bytes / 4];
            };
            *static_cast<Words*>(to) = read ? *static_cast<const Words*>(from) : Words{};
        },
        shared, global, wanted);
}

}  // namespace detail
}  // namespace simt

inline void __syncthreads(simt::Site site = simt::Site::here()) {
    simt::detail::block_barrier(site);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, simt::Site site = simt::Site::here()) {
    simt::detail::warp_operation(simt::detail::WarpOp::sync, mask, nullptr, 0, nullptr, 0, site);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, simt::Site site = simt::Site::here()) {
    const int base = simt::detail::lane() & ~(width - 1);
    return simt::detail::shuffle(mask, value, base + (source & (width - 1)), width, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, simt::Site site = simt::Site::here()) {
    return simt::detail::shuffle(mask, value, simt::detail::lane() ^ bits, width, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, simt::Site site = simt::Site::here()) {
    return simt::detail::shuffle(mask, value, simt::detail::lane() + static_cast<int>(delta), width, site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, simt::Site site = simt::Site::here()) {
    return simt::detail::shuffle(mask, value, simt::detail::lane() - static_cast<int>(delta), width, site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, simt::Site site = simt::Site::here()) {
    const std::uint32_t in = predicate != 0;
    std::uint32_t out;
    simt::detail::warp_operation(simt::detail::WarpOp::ballot, mask, &in, 1, &out, 1, site);
    return out;
}
inline int __any_sync(unsigned mask, int predicate, simt::Site site = simt::Site::here()) {
    return __ballot_sync(mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, simt::Site site = simt::Site::here()) {
    return __ballot_sync(mask, predicate, site) == mask;
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, simt::Site site = simt::Site::here()) {
    std::uint32_t out;
    simt::detail::warp_operation(simt::detail::WarpOp::reduce_add, mask, &value, 1, &out, 1, site);
    return out;
}

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
    return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
    std::atomic_ref<T> target(*address);
    T old = target.load(std::memory_order_relaxed);
    while (old < value && !target.compare_exchange_weak(old, value, std::memory_order_relaxed)) {
    }
    return old;
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
    std::atomic_ref<T>(*address).compare_exchange_strong(compare, value, std::memory_order_relaxed);
    return compare;
}
inline void __threadfence() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
}
inline void __threadfence_block() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
}
template <class T>
T __ldg(const T* pointer) {
    return *pointer;
}

// Macros, since the C library declares functions of some of these names. A GPU's fast versions are less exact.
#define __expf(x) ::expf(x)
#define __logf(x) ::logf(x)
#define __sinf(x) ::sinf(x)
#define __cosf(x) ::cosf(x)
#define __powf(x, y) ::powf(x, y)
#define __fdividef(a, b) ((a) / (b))
inline float rsqrtf(float x) {
    return 1.0f / std::sqrt(x);
}
inline float __fmaf_rn(float a, float b, float c) {
    return std::fma(a, b, c);
}
inline float __saturatef(float x) {
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}
inline float __uint_as_float(unsigned bits) {
    return std::bit_cast<float>(bits);
}
inline unsigned __float_as_uint(float value) {
    return std::bit_cast<unsigned>(value);
}
inline float __int_as_float(int bits) {
    return std::bit_cast<float>(bits);
}
inline int __float_as_int(float value) {
    return std::bit_cast<int>(value);
}
inline int __popc(unsigned value) {
    return std::popcount(value);
}
inline int __clz(int value) {
    return std::countl_zero(static_cast<unsigned>(value));
}
inline int __ffs(int value) {
    return value != 0 ? std::countr_zero(static_cast<unsigned>(value)) + 1 : 0;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>((static_cast<std::uint64_t>(a) * b) >> 32);
}
template <class T>
constexpr T min(T a, T b) {
    return b < a ? b : a;
}
template <class T>
constexpr T max(T a, T b) {
    return a < b ? b : a;
}
