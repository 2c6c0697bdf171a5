#include "kernels/cublaslt.h"

#include <atomic>
#include <cstdlib>
#include <string_view>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/error.h"

#ifndef CUTIS_WITH_SIMT
#include <cublasLt.h>
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <string>

#include "kernels/launch.h"
#include "kernels/matrix_checks.h"
#endif

namespace cutis::cuda {
namespace {

MatrixPath path_at_start() {
    const char* const wanted = std::getenv("CUTIS_MATRIX_PATH");
    if (wanted == nullptr || *wanted == '\0' || wanted == std::string_view("automatic")) {
        return MatrixPath::automatic;
    }
    if (wanted == std::string_view("cublaslt")) {
        return MatrixPath::cublaslt;
    }
    require(wanted == std::string_view("own"), "CUTIS_MATRIX_PATH={}: unknown; use automatic, cublaslt or own", wanted);
    return MatrixPath::own;
}

std::atomic<MatrixPath>& chosen_path() {
    static std::atomic<MatrixPath> path{path_at_start()};
    return path;
}

}  // namespace

MatrixPath matrix_path() {
    return chosen_path().load(std::memory_order_relaxed);
}
void set_matrix_path(MatrixPath path) {
    chosen_path().store(path, std::memory_order_relaxed);
}

bool by_cublaslt(bool joined) {
    if (backend() == Backend::vendor) {
        return true;
    }
    switch (matrix_path()) {
        case MatrixPath::own:
            return false;
        case MatrixPath::cublaslt:
            return true;
        case MatrixPath::automatic:
            break;
    }
    return !joined && cublaslt_found();
}

#ifdef CUTIS_WITH_SIMT

bool cublaslt_found() {
    return true;
}

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

// The library's functions. It is half a gigabyte, more than all of cutis, and most of what cutis does needs none of it:
// it is loaded when it is first asked for, so that the program starts without it.
struct Functions {
    void* library = nullptr;
    std::string name;
    decltype(&cublasLtGetStatusString) status_string = nullptr;
    decltype(&cublasLtCreate) create = nullptr;
    decltype(&cublasLtMatmulDescCreate) operation_create = nullptr;
    decltype(&cublasLtMatmulDescSetAttribute) operation_set = nullptr;
    decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
    decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
    decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
    decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
    decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
    decltype(&cublasLtMatmul) multiply = nullptr;

    Functions() : name("libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR)) {
        library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) {
            return;
        }
        const bool complete = find(status_string, "cublasLtGetStatusString") && find(create, "cublasLtCreate") &&
                              find(operation_create, "cublasLtMatmulDescCreate") &&
                              find(operation_set, "cublasLtMatmulDescSetAttribute") &&
                              find(layout_create, "cublasLtMatrixLayoutCreate") &&
                              find(preference_create, "cublasLtMatmulPreferenceCreate") &&
                              find(preference_set, "cublasLtMatmulPreferenceSetAttribute") &&
                              find(preference_destroy, "cublasLtMatmulPreferenceDestroy") &&
                              find(heuristic, "cublasLtMatmulAlgoGetHeuristic") && find(multiply, "cublasLtMatmul");
        if (!complete) {
            dlclose(library);
            library = nullptr;
        }
    }

  private:
    template <class Function>
    bool find(Function& function, const char* symbol) const {
        function = reinterpret_cast<Function>(dlsym(library, symbol));
        return function != nullptr;
    }
};
const Functions& functions() {
    static const auto* const found = new Functions;  // never unloaded: it may be in use until the process ends
    return *found;
}

void check_library(cublasStatus_t status, const char* what) {
    require(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt, {}: {}", what, functions().status_string(status));
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
    check_library(functions().layout_create(&result, type, static_cast<std::uint64_t>(columns),
                                            static_cast<std::uint64_t>(rows), ld),
                  "matrix layout");
    return result;
}

Plan make_plan(cublasLtHandle_t handle, const Problem& p) {
    Plan plan;
    check_library(functions().operation_create(&plan.operation, p.compute, CUDA_R_32F), "product");
    const auto transpose = [&](cublasLtMatmulDescAttributes_t which, bool yes) {
        const cublasOperation_t operation = yes ? CUBLAS_OP_T : CUBLAS_OP_N;
        check_library(functions().operation_set(plan.operation, which, &operation, sizeof operation), "transpose");
    };
    transpose(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b);  // b comes first
    transpose(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a);
    plan.a = p.transpose_a ? layout(p.type, p.k, p.m, p.lda) : layout(p.type, p.m, p.k, p.lda);
    plan.b = p.transpose_b ? layout(p.type, p.n, p.k, p.ldb) : layout(p.type, p.k, p.n, p.ldb);
    plan.c = layout(p.type_c, p.m, p.n, p.ldc);

    cublasLtMatmulPreference_t preference = nullptr;
    check_library(functions().preference_create(&preference), "preference");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
        check_library(functions().preference_set(preference, which, &value, sizeof value), "preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
    // Parts of k are added in fp32 and in their order: in c's own type a bf16 sum would be rounded again and again.
    constexpr std::uint32_t kReductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, kReductions);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.alignment[1]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.alignment[0]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.alignment[2]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.alignment[2]);
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const cublasStatus_t status =
        functions().heuristic(handle, plan.operation, plan.b, plan.a, plan.c, plan.c, preference, 1, &found, &count);
    functions().preference_destroy(preference);
    require(status == CUBLAS_STATUS_SUCCESS && count > 0,
            "matrix product {} x {} x {}: cuBLASLt has no algorithm for it ({})", p.m, p.n, p.k,
            functions().status_string(status));
    plan.algorithm = found.algo;
    plan.workspace = found.workspaceSize;
    return plan;
}

}  // namespace

bool cublaslt_found() {
    return functions().library != nullptr;
}

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
    require(cublaslt_found(),
            "matrix product: {} is not found; install it, or use --backend native and CUTIS_MATRIX_PATH=own",
            functions().name);
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
        const AllocationsWhileCapturing allowed;
        cublasLtHandle_t& known = lib.handles[device];
        if (known == nullptr) {
            check_library(functions().create(&known), "start");
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
    check_library(
        functions().multiply(library_handle, plan->operation, &alpha, b, plan->b, a, plan->a, &beta, c, plan->c, c,
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
