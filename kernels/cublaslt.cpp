#include "kernels/cublaslt.h"

#include <atomic>

#include "kernels/bfloat16.h"

#ifndef CUTIS_WITH_SIMT
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>

#include "kernels/error.h"
#include "kernels/launch.h"
#include "kernels/matrix_checks.h"
#endif

namespace cutis::cuda {
namespace {

std::atomic<MatrixPath> chosen_path{MatrixPath::cublaslt};

}  // namespace

MatrixPath matrix_path() {
    return chosen_path.load(std::memory_order_relaxed);
}
void set_matrix_path(MatrixPath path) {
    chosen_path.store(path, std::memory_order_relaxed);
}

#ifdef CUTIS_WITH_SIMT

template <class T, class C>
void matmul(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
            std::int64_t lda, const T* b, std::int64_t ldb, bool accumulate, C* c, std::int64_t ldc,
            MatrixPrecision precision, Stream stream) {
    gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, accumulate, c, ldc, precision, stream);
}

#else

// cuBLASLt counts columns first: a row-major matrix is the transpose of a column-major one, and c^T = op(b)^T *
// op(a)^T, so that b and a change places and nothing is moved.

namespace {

constexpr std::size_t kMostWorkspace = std::size_t{32} << 20;

void check_library(cublasStatus_t status, const char* what) {
    require(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt, {}: {}", what, cublasLtGetStatusString(status));
}

template <class T>
constexpr cudaDataType_t kDataType = sizeof(T) == 2 ? CUDA_R_16BF : CUDA_R_32F;

// What the choice of an algorithm depends on.
struct Problem {
    int device;
    bool transpose_a, transpose_b, accumulate;
    std::int64_t m, n, k, lda, ldb, ldc;
    cudaDataType_t type, type_c;
    cublasComputeType_t compute;
    std::array<std::uint32_t, 3> alignment;  // bytes, of a, b, c
    auto operator<=>(const Problem&) const = default;
};

// Never taken down: the driver may be gone before static objects are.
struct Plan {
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
    std::size_t workspace = 0;
};

struct Library {
    std::mutex mutex;
    std::map<int, cublasLtHandle_t> handles;  // by device
    std::map<Problem, Plan> plans;
};
Library& library() {
    static auto* const instance = new Library;
    return *instance;
}

std::uint32_t alignment_of(const void* pointer) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    return static_cast<std::uint32_t>(std::min<std::uintptr_t>(256, address & (~address + 1)));
}

cublasLtMatrixLayout_t layout(cudaDataType_t type, std::int64_t rows, std::int64_t columns, std::int64_t ld) {
    cublasLtMatrixLayout_t result = nullptr;
    check_library(cublasLtMatrixLayoutCreate(&result, type, static_cast<std::uint64_t>(columns),
                                             static_cast<std::uint64_t>(rows), ld),
                  "matrix layout");
    return result;
}

Plan make_plan(cublasLtHandle_t handle, const Problem& p) {
    Plan plan;
    check_library(cublasLtMatmulDescCreate(&plan.operation, p.compute, CUDA_R_32F), "product");
    const auto transpose = [&](cublasLtMatmulDescAttributes_t which, bool yes) {
        const cublasOperation_t operation = yes ? CUBLAS_OP_T : CUBLAS_OP_N;
        check_library(cublasLtMatmulDescSetAttribute(plan.operation, which, &operation, sizeof operation), "transpose");
    };
    transpose(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b);  // b comes first
    transpose(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a);
    plan.a = p.transpose_a ? layout(p.type, p.k, p.m, p.lda) : layout(p.type, p.m, p.k, p.lda);
    plan.b = p.transpose_b ? layout(p.type, p.n, p.k, p.ldb) : layout(p.type, p.k, p.n, p.ldb);
    plan.c = layout(p.type_c, p.m, p.n, p.ldc);

    cublasLtMatmulPreference_t preference = nullptr;
    check_library(cublasLtMatmulPreferenceCreate(&preference), "preference");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
        check_library(cublasLtMatmulPreferenceSetAttribute(preference, which, &value, sizeof value), "preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.alignment[1]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.alignment[0]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.alignment[2]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.alignment[2]);
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, plan.operation, plan.b, plan.a, plan.c, plan.c,
                                                                 preference, 1, &found, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    require(status == CUBLAS_STATUS_SUCCESS && count > 0,
            "matrix product {} x {} x {}: cuBLASLt has no algorithm for it ({})", p.m, p.n, p.k,
            cublasLtGetStatusString(status));
    plan.algorithm = found.algo;
    plan.workspace = found.workspaceSize;
    return plan;
}

}  // namespace

template <class T, class C>
void matmul(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
            std::int64_t lda, const T* b, std::int64_t ldb, bool accumulate, C* c, std::int64_t ldc,
            MatrixPrecision precision, Stream stream) {
    check_product(m, n, k);
    if (m == 0 || n == 0) {
        return;
    }
    if (k == 0) {  // the library refuses empty matrices
        gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, accumulate, c, ldc, precision, stream);
        return;
    }
    int device = 0;
    check(cudaGetDevice(&device), "device");
    const bool tf32 = sizeof(T) == 4 && precision == MatrixPrecision::tf32;
    const Problem problem{device,
                          transpose_a == Transpose::yes,
                          transpose_b == Transpose::yes,
                          accumulate,
                          m,
                          n,
                          k,
                          lda,
                          ldb,
                          ldc,
                          kDataType<T>,
                          kDataType<C>,
                          tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                          {alignment_of(a), alignment_of(b), alignment_of(c)}};
    cublasLtHandle_t library_handle = nullptr;
    const Plan* plan = nullptr;
    {
        Library& lib = library();
        const std::lock_guard<std::mutex> lock(lib.mutex);
        cublasLtHandle_t& known = lib.handles[device];
        if (known == nullptr) {
            check_library(cublasLtCreate(&known), "start");
        }
        library_handle = known;
        auto found = lib.plans.find(problem);
        if (found == lib.plans.end()) {
            found = lib.plans.emplace(problem, make_plan(known, problem)).first;
        }
        plan = &found->second;  // a map's elements stay where they are
    }
    const Scratch<unsigned char> workspace(static_cast<std::int64_t>(plan->workspace), stream);
    const float alpha = 1.0f, beta = accumulate ? 1.0f : 0.0f;
    check_library(cublasLtMatmul(library_handle, plan->operation, &alpha, b, plan->b, a, plan->a, &beta, c, plan->c, c,
                                 plan->c, &plan->algorithm, workspace.data(), plan->workspace, handle(stream)),
                  "product");
}

#endif

template void matmul(Transpose, Transpose, std::int64_t, std::int64_t, std::int64_t, const float*, std::int64_t,
                     const float*, std::int64_t, bool, float*, std::int64_t, MatrixPrecision, Stream);
template void matmul(Transpose, Transpose, std::int64_t, std::int64_t, std::int64_t, const BFloat16*, std::int64_t,
                     const BFloat16*, std::int64_t, bool, BFloat16*, std::int64_t, MatrixPrecision, Stream);
template void matmul(Transpose, Transpose, std::int64_t, std::int64_t, std::int64_t, const BFloat16*, std::int64_t,
                     const BFloat16*, std::int64_t, bool, float*, std::int64_t, MatrixPrecision, Stream);

}  // namespace cutis::cuda
