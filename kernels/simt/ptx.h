#pragma once

#include "kernels/simt/simt.h"

/// Instructions that CUDA C++ has no function for, sm_80: tensor cores, their shared-memory loads, asynchronous copies.
/// Pointers go in, never shared-memory addresses, so that the CPU's counterparts have the same signatures. Layouts of
/// fragments: PTX ISA, "Matrix fragments for mma.m16n8k16" and "mma.m16n8k8"; lane l holds, with g = l / 4 and t = l %
/// 4,
///
///   m16n8k16, bf16   a[0] = A[g][2t..2t+1]   a[1] = A[g+8][2t..]   a[2] = A[g][2t+8..]   a[3] = A[g+8][2t+8..]
///                    b[0] = B[2t..2t+1][g]   b[1] = B[2t+8..][g]
///   m16n8k8, tf32    a[0] = A[g][t]   a[1] = A[g+8][t]   a[2] = A[g][t+4]   a[3] = A[g+8][t+4]
///                    b[0] = B[t][g]   b[1] = B[t+4][g]
///   both             d[0..1] = D[g][2t..2t+1]   d[2..3] = D[g+8][2t..2t+1]

namespace ptx {

#if defined(__CUDACC__)

namespace detail {
__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}
}  // namespace detail

/// d += a * b for the warp's 16x16 by 16x8 tile of bf16 values, fp32 accumulation.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const std::uint32_t (&a)[4],
                                                  const std::uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// d += a * b for the warp's 16x8 by 8x8 tile of tf32 values (fp32 bits rounded by to_tf32), fp32 accumulation.
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const std::uint32_t (&a)[4],
                                                 const std::uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// fp32 to tf32 (10 bits of fraction), to the nearest, ties away from zero.
__device__ __forceinline__ std::uint32_t to_tf32(float value) {
    std::uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(value));
    return bits;
}

/// Four 8x8 matrices of 16-bit values from shared memory: lane l gives the address of row l % 8 of matrix l / 8 (16
/// bytes, aligned); r[j] is then values 2t and 2t+1 of row g of matrix j.
__device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(detail::shared_address(row))
                 : "memory");
}
/// The same, each matrix transposed.
__device__ __forceinline__ void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(detail::shared_address(row))
                 : "memory");
}

/// Starts a copy of 16 bytes, both ends 16-byte aligned, from global to shared memory past the registers and L1.
/// Without `wanted` nothing is read and 16 zeros are stored.
__device__ __forceinline__ void cp_async16(void* shared, const void* global, bool wanted) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(detail::shared_address(shared)), "l"(global),
                 "r"(wanted ? 16 : 0)
                 : "memory");
}
/// The same for 4 bytes, 4-byte aligned (through L1).
__device__ __forceinline__ void cp_async4(void* shared, const void* global, bool wanted) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(detail::shared_address(shared)), "l"(global),
                 "r"(wanted ? 4 : 0)
                 : "memory");
}
/// Ends this thread's present group of copies.
__device__ __forceinline__ void cp_async_commit() {
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}
/// Waits until at most `Pending` of this thread's groups are under way. Other threads' copies need a barrier after it.
template <int Pending>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
}

#else

inline void mma_m16n8k16_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                              simt::Site site = simt::Site::here()) {
    simt::detail::mma(simt::detail::WarpOp::mma_bf16, d, a, b, site);
}
inline void mma_m16n8k8_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                             simt::Site site = simt::Site::here()) {
    simt::detail::mma(simt::detail::WarpOp::mma_tf32, d, a, b, site);
}
inline std::uint32_t to_tf32(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7F800000u) == 0x7F800000u) {
        return bits;  // infinity and NaN
    }
    return (bits + 0x1000u) & ~0x1FFFu;
}
inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* row, simt::Site site = simt::Site::here()) {
    simt::detail::ldmatrix(simt::detail::WarpOp::ldmatrix, r, row, site);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row, simt::Site site = simt::Site::here()) {
    simt::detail::ldmatrix(simt::detail::WarpOp::ldmatrix_transposed, r, row, site);
}
inline void cp_async16(void* shared, const void* global, bool wanted, simt::Site site = simt::Site::here()) {
    simt::detail::copy_async<16>(shared, global, wanted, site);
}
inline void cp_async4(void* shared, const void* global, bool wanted, simt::Site site = simt::Site::here()) {
    simt::detail::copy_async<4>(shared, global, wanted, site);
}
inline void cp_async_commit(simt::Site site = simt::Site::here()) {
    simt::detail::commit_copies(site);
}
template <int Pending>
void cp_async_wait(simt::Site site = simt::Site::here()) {
    simt::detail::wait_copies(Pending, site);
}

#endif

}  // namespace ptx
