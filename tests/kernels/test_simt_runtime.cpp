#include <cmath>

#include "tests/kernels/simt_case.h"

// Streams, graphs, events and memory of CUDA's runtime on the CPU, and launching through kernels/launch.h.

namespace cutis::testing {
namespace {

__global__ void add_one(float* out, int n) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) {
        out[i] += 1.0f;
    }
}

class RuntimeStreams : public ::testing::TestWithParam<bool> {
  protected:
    RuntimeStreams() : before_(simt::options()) {
        simt::options().lazy_streams = GetParam();
        cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
    }
    ~RuntimeStreams() override {
        cudaStreamDestroy(stream_);
        simt::options() = before_;
    }
    simt::Options before_;
    cudaStream_t stream_ = nullptr;
};

TEST_P(RuntimeStreams, RunGraphsAgainAndAgain) {
    DeviceArray<float> out(std::vector<float>(5, 0.0f));
    ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), cudaSuccess);
    float* scratch = nullptr;
    ASSERT_EQ(cudaMallocAsync(&scratch, 20, stream_), cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(scratch, out.data(), 20, cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
    ASSERT_EQ(simt::launch<add_one>({.grid = 1, .block = 32}, stream_, scratch, 5), cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(out.data(), scratch, 20, cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
    ASSERT_EQ(cudaFreeAsync(scratch, stream_), cudaSuccess);
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
    EXPECT_EQ(out.values(), std::vector<float>(5, 0.0f)) << "capturing runs nothing";
    cudaGraphExec_t executable = nullptr;
    ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    for (int i = 0; i < 3; ++i) {
        ASSERT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
    }
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(out.values(), std::vector<float>(5, 3.0f));
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
}

TEST_P(RuntimeStreams, RefuseInCaptureWhatCudaRefuses) {
    DeviceArray<float> out(std::vector<float>(5, 0.0f));
    ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), cudaSuccess);
    void* memory = nullptr;
    EXPECT_NE(cudaMalloc(&memory, 20), cudaSuccess);
    EXPECT_NE(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_NE(simt::launch<add_one>({.grid = 1, .block = 32}, nullptr, out.data(), 5), cudaSuccess)
        << "the null stream";
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    cudaGetLastError();
}

TEST_P(RuntimeStreams, KeepOrderBetweenStreamsByEvents) {
    cudaStream_t other = nullptr;
    ASSERT_EQ(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
    cudaEvent_t event = nullptr;
    ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    void* pinned = nullptr;
    ASSERT_EQ(cudaHostAlloc(&pinned, 20, cudaHostAllocDefault), cudaSuccess);
    DeviceArray<float> out(std::vector<float>(5, 0.0f));
    ASSERT_EQ(simt::launch<add_one>({.grid = 1, .block = 32}, stream_, out.data(), 5), cudaSuccess);
    ASSERT_EQ(cudaEventRecord(event, stream_), cudaSuccess);
    ASSERT_EQ(simt::launch<add_one>({.grid = 1, .block = 32}, stream_, out.data(), 5), cudaSuccess);
    ASSERT_EQ(cudaStreamWaitEvent(other, event, 0), cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(pinned, out.data(), 20, cudaMemcpyDeviceToHost, other), cudaSuccess);
    const float* const copy = static_cast<const float*>(pinned);
    if (GetParam()) {
        EXPECT_TRUE(std::isnan(copy[0])) << "lazy streams have run nothing yet";
    }
    ASSERT_EQ(cudaStreamSynchronize(other), cudaSuccess);
    EXPECT_EQ(copy[0], GetParam() ? 1.0f : 2.0f);
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(out.values(), std::vector<float>(5, 2.0f));
    cudaFreeHost(pinned);
    cudaEventDestroy(event);
    cudaStreamDestroy(other);
}

INSTANTIATE_TEST_SUITE_P(EagerAndLazy, RuntimeStreams, ::testing::Bool());

TEST(Runtime, TellsHostFromDeviceMemory) {
    DeviceArray<float> device(4);
    float host[4] = {};
    EXPECT_EQ(cudaMemcpy(host, device.data(), sizeof host, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(host, host, sizeof host, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(device.data(), host, 4096, cudaMemcpyHostToDevice), cudaErrorInvalidValue) << "too long";
    EXPECT_EQ(cudaFree(host), cudaErrorInvalidValue);
    cudaGetLastError();
}

TEST(Launch, NamesTheKernelAndItsShape) {
    std::string message;
    try {
        cuda::launch<add_one>({.grid = 1, .block = 2000}, {}, static_cast<float*>(nullptr), 0);
    } catch (const std::exception& error) {
        message = error.what();
    }
    EXPECT_SAYS(message, "add_one <<<(1, 1, 1), (2000, 1, 1), 0 bytes>>>");
    EXPECT_SAYS(message, "1 to 1024 threads");
}

TEST(Launch, OfAnEmptyGridIsNone) {
    cuda::launch<add_one>({.grid = 0, .block = 32}, {}, static_cast<float*>(nullptr), 0);
}

}  // namespace
}  // namespace cutis::testing
