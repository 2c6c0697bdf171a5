#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "kernels/vendor/cudnn.h"
#include "kernels/vendor/cudnn_graph.h"
#include "tests/support/error_of.h"

// What cuDNN itself says of the graphs that the vendor backend makes of MobileNetV2's shapes, where the library is
// installed; a GPU is not needed: from cuDNN 9.8 on it takes a GPU's properties in the place of one, finalizes
// descriptors and plans for it and lists its engines. Nothing is executed. Whether the plans run, and what they
// compute, only a GPU shows.

namespace cutis::testing {
namespace {

// As the library writes them for an H100.
constexpr const char* kH100 =
    R"({"deviceVer":900,"driverVer":13000,"deviceName":"NVIDIA H100 80GB HBM3","cudaDeviceId":0,)"
    R"("maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,)"
    R"("multiProcessorCount":132,"smClockRateKHz":1980000,"memClockRateKHz":2619000,"l2CacheSize":52428800,)"
    R"("warpSize":32,"maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":232448,)"
    R"("reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"pciDeviceId":8976,"maxCtasPerSM":32,)"
    R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"isTccDriver":0,"supportCoopLaunch":1,)"
    R"("totalGlobalMem":85000000000})";

cudnn::Functions g_real;
cudnnBackendDescriptor_t g_properties = nullptr, g_plan = nullptr;

cudnnStatus_t create(cudnnHandle_t* handle) {
    static int stands_for_it = 0;
    *handle = reinterpret_cast<cudnnHandle_t>(&stands_for_it);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t set_stream(cudnnHandle_t, cudaStream_t) {
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t execute(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t) {
    return CUDNN_STATUS_SUCCESS;
}
// The properties where the backend gives its handle. Plans stay as they are: to finalize one the library loads its
// kernels, hundreds of megabytes of them.
cudnnStatus_t attribute_set(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                            cudnnBackendAttributeType_t type, std::int64_t count, const void* values) {
    if (type == CUDNN_TYPE_HANDLE) {
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG) {
        g_plan = descriptor;
    }
    if (name == CUDNN_ATTR_ENGINEHEUR_MODE) {
        g_real.attribute_set(descriptor, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                             &g_properties);
    }
    return g_real.attribute_set(descriptor, name, type, count, values);
}
cudnnStatus_t descriptor_finalize(cudnnBackendDescriptor_t descriptor) {
    if (descriptor == g_plan) {
        g_plan = nullptr;  // its address may come again
        return CUDNN_STATUS_SUCCESS;
    }
    return g_real.descriptor_finalize(descriptor);
}
cudnnStatus_t attribute_get(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                            cudnnBackendAttributeType_t type, std::int64_t wanted, std::int64_t* count, void* values) {
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) {
        *static_cast<std::int64_t*>(values) = 0;
        return CUDNN_STATUS_SUCCESS;
    }
    const cudnnStatus_t status = g_real.attribute_get(descriptor, name, type, wanted, count, values);
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && wanted == 0) {
        *count = std::min<std::int64_t>(*count, 10);  // enough to find one that may be used
    }
    return status;
}

class CudnnLibrary : public ::testing::Test {
  protected:
    void SetUp() override {
        const std::string found = error_of([] { g_real = cudnn::load_functions("libcudnn.so.9"); });
        if (found != "(no error)") {
            GTEST_SKIP() << found;
        }
        if (g_real.version() < 90800) {
            GTEST_SKIP() << "cuDNN " << g_real.version() << " takes no GPU's properties";
        }
        cudnn::Functions table = g_real;
        table.create = create;
        table.set_stream = set_stream;
        table.execute = execute;
        table.attribute_set = attribute_set;
        table.attribute_get = attribute_get;
        table.descriptor_finalize = descriptor_finalize;
        table_ = table;
        cudnn::use_functions(&*table_);
        properties_.emplace(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
        const std::string text = kH100;
        properties_->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                         static_cast<std::int64_t>(text.size()), text.data());
        properties_->finalize();
        g_properties = properties_->raw();
    }
    void TearDown() override {
        cudnn::forget_plans();
        properties_.reset();
        cudnn::use_functions(nullptr);
    }

    /// Addresses that are never read.
    template <class T>
    T* somewhere() {
        return reinterpret_cast<T*>(0x1000);
    }

  private:
    std::optional<cudnn::Functions> table_;
    std::optional<cudnn::Descriptor> properties_;
};

// One test: each process loads the library, which takes longer than the questions.
TEST_F(CudnnLibrary, CudaHasEnginesForConvolutions) {
    constexpr MatrixPrecision kExact = MatrixPrecision::fp32;
    const auto ask_for = [&]<class T>(T* t) {
        for (const ConvShape& s :
             {ConvShape{32, 224, 224, 3, 32, 3, 3, 2, 1}, ConvShape{32, 14, 14, 256, 256, 3, 3, 1, 1},
              ConvShape{32, 27, 27, 96, 256, 5, 5, 1, 2, 2}}) {
            cudnn::conv_forward<T>(t, t, t, nullptr, s, nullptr, kExact, {});
            cudnn::conv_backward<T>(t, nullptr, nullptr, t, nullptr, t, t, s, kExact, {});
        }
        constexpr std::int64_t kRows = 32 * 56 * 56;
        cudnn::pointwise_forward<T>(t, t, t, nullptr, nullptr, kRows, 24, 144, kExact, {});
        cudnn::pointwise_backward<T>(t, nullptr, t, nullptr, t, nullptr, nullptr, nullptr, t, kRows, 24, 144, kExact,
                                     {});
        std::vector<float> taps(9 * 144), gradients(9 * 144);  // these are read and written
        for (const int stride : {1, 2}) {
            const DepthwiseShape s{32, 56, 56, 144, stride};
            cudnn::depthwise_forward<T>(t, t, taps.data(), nullptr, nullptr, s, {});
            cudnn::depthwise_backward<T>(t, gradients.data(), t, nullptr, t, nullptr, nullptr, taps.data(), s, {});
        }
        EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    };
    EXPECT_EQ(error_of([&] { ask_for(somewhere<float>()); }), "(no error)");
    EXPECT_EQ(error_of([&] { ask_for(somewhere<BFloat16>()); }), "(no error)");
    EXPECT_EQ(cudnn::plan_counts().problems, 2 * (3 * 2 + 2 + 2 * 3));
}

}  // namespace
}  // namespace cutis::testing
