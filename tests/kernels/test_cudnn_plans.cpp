#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/vendor/cudnn.h"
#include "kernels/vendor/cudnn_double.h"
#include "kernels/vendor/cudnn_graph.h"
#include "tests/support/error_of.h"

// The search for an engine, the plans that are kept, and the errors of the vendor backend on a GPU, with cuDNN's
// stand-in. This file sees NVIDIA's headers (kernels/vendor/cudnn_library.h); device memory is the CPU's.

namespace cutis::testing {
namespace {

using cudnn_double::behaviour;
using cudnn_double::counts;

class CudnnPlans : public ::testing::Test {
  protected:
    void SetUp() override {
        cudnn::forget_plans();
        before_ = counts();
    }
    void TearDown() override {
        behaviour() = {};
        cudnn::use_functions(nullptr);
    }
    /// How often an engine ran in this test.
    std::int64_t runs_of(cudnn_double::Engine engine) const {
        return counts().runs[static_cast<std::size_t>(engine)] - before_.runs[static_cast<std::size_t>(engine)];
    }

  private:
    cudnn_double::Counts before_;
};

constexpr ConvShape kShape{1, 4, 4, 4, 4, 3, 3, 1, 1};

/// A small convolution, from `offset` values into its arrays.
struct Convolution {
    std::vector<float> x = std::vector<float>(80, 1.0f), w = std::vector<float>(160, 2.0f), y = std::vector<float>(80);
    void run(Stream stream = {}, int offset = 0, const ConvShape& shape = kShape) {
        cudnn::conv_forward<float>(y.data() + offset, x.data() + offset, w.data() + offset, nullptr, shape, nullptr,
                                   MatrixPrecision::fp32, stream);
        if (stream.handle == nullptr) {
            EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
        }
    }
};

TEST_F(CudnnPlans, CudaTriesOnceForEachShape) {
    Convolution conv;
    conv.run();
    const cudnn::PlanCounts first = cudnn::plan_counts();
    EXPECT_EQ(first.problems, 1);
    EXPECT_GT(first.tried, 3);
    conv.run();
    conv.run();
    const cudnn::PlanCounts again = cudnn::plan_counts();
    EXPECT_EQ(again.tried, first.tried) << "a plan was made although there was one";
    EXPECT_EQ(again.runs, first.runs + 2);
    conv.run({}, 0, {1, 4, 4, 4, 4, 3, 3, 2, 1});
    EXPECT_EQ(cudnn::plan_counts().problems, 2);
    conv.run({}, 1);  // aligned to 4 bytes only: engines for 16 may not be used
    EXPECT_EQ(cudnn::plan_counts().problems, 3);
}

TEST_F(CudnnPlans, CudaKeepsTheFastestOfThoseThatMayBeUsed) {
    for (const auto& [slow, fast] :
         {std::pair{cudnn_double::direct, cudnn_double::plain}, std::pair{cudnn_double::plain, cudnn_double::direct}}) {
        cudnn::forget_plans();
        behaviour().sleeps = slow;
        Convolution conv;
        conv.run();
        const std::int64_t before = runs_of(fast);
        conv.run();
        EXPECT_EQ(runs_of(fast), before + 1);
    }
    EXPECT_EQ(runs_of(cudnn_double::greedy), 0) << "wants more work space than there is";
    EXPECT_EQ(runs_of(cudnn_double::nondeterministic), 0);
    EXPECT_EQ(runs_of(cudnn_double::tensor_core), 0) << "fp32 products were rounded to tf32";
}

TEST_F(CudnnPlans, CudaRoundsToTf32WhereThatIsWanted) {
    Convolution conv;
    behaviour().sleeps = cudnn_double::direct;
    cudnn::conv_forward<float>(conv.y.data(), conv.x.data(), conv.w.data(), nullptr, kShape, nullptr,
                               MatrixPrecision::tf32, {});
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_GT(runs_of(cudnn_double::tensor_core), 0);
}

TEST_F(CudnnPlans, CudaPassesOverEnginesThatFail) {
    behaviour().fails = cudnn_double::direct;
    Convolution conv;
    conv.run();
    EXPECT_EQ(conv.y[20], 9 * 4 * 2.0f);
}

TEST_F(CudnnPlans, CudaSaysWhatHasNoEngine) {
    behaviour().has_engines = false;
    Convolution conv;
    const std::string message = error_of([&] { conv.run(); });
    EXPECT_TRUE(is_line_with(message, "conv forward 1x4x4x4 by 4x3x3x4 stride 1 padding 1 groups 1", "no engine",
                             "use --backend native"))
        << message;
}

// A recorded step's plans were found when it ran before; a missing one is the library's first proposal, without a
// search, which a call outside makes up for.
TEST_F(CudnnPlans, CudaDoesNotSearchWhileAGraphIsCaptured) {
    Convolution conv;
    cudaStream_t stream = nullptr;
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    conv.run({stream});
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess) << "the capture was spoilt";
    EXPECT_EQ(cudnn::plan_counts().tried, 3) << "refuses, greedy, direct";
    EXPECT_EQ(conv.y[20], 0.0f) << "ran while it was recorded";
    cudaGraphExec_t executable = nullptr;
    ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);

    conv.run({stream});
    EXPECT_GT(cudnn::plan_counts().tried, 3) << "no search after the capture";
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    conv.y.assign(conv.y.size(), 0.0f);
    ASSERT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(conv.y[20], 9 * 4 * 2.0f) << "the recorded plan is gone";
    EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_F(CudnnPlans, CudaLeavesNoDescriptorBehind) {
    cudnn::use_functions(nullptr);
    const std::int64_t before = counts().descriptors;
    Convolution conv;
    conv.run();
    const std::int64_t kept = counts().descriptors;
    conv.run();
    EXPECT_EQ(counts().descriptors, kept) << "a call leaves descriptors beside its plan's";
    const LstmShape shape{1, 2, 3, 4};
    EXPECT_GT(cudnn::lstm_workspace_bytes<float>(shape, MatrixPrecision::fp32), 0);
    EXPECT_EQ(counts().descriptors, kept);
    cudnn::forget_plans();
    EXPECT_EQ(counts().descriptors, before);
}

// The stand-in is as strict as the library: what it would refuse does not pass here.
TEST_F(CudnnPlans, CudaDescriptorsAreChecked) {
    cudnn::Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    EXPECT_NE(error_of([&] { tensor.finalize(); }), "(no error)") << "without attributes";
    EXPECT_NE(error_of([&] { tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_DOUBLE, 1.0); }), "(no error)");
    EXPECT_NE(error_of([&] { tensor.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT); }),
              "(no error)");
    cudnn::Graph graph(16);
    const auto x = graph.tensor(cudnn::channels_last(1, 4, 4, 4), CUDNN_DATA_FLOAT),
               w = graph.tensor(cudnn::channels_last(4, 4, 3, 3), CUDNN_DATA_FLOAT),
               y = graph.tensor(cudnn::channels_last(1, 4, 3, 4), CUDNN_DATA_FLOAT);
    EXPECT_TRUE(is_line_with(error_of([&] {
                                 graph.convolution_forward(y, x, w, {1, 1});
                             }),
                             "cuDNN", "finalize"))
        << "an output of another size";
}

TEST_F(CudnnPlans, CudaSaysHowToGoOnWithoutTheLibrary) {
    const std::string message = error_of([] { cudnn::load_functions("libcudnn_of_nobody.so.9"); });
    EXPECT_TRUE(is_line_with(message, "libcudnn_of_nobody.so.9", "not found", "install cuDNN", "--backend native"));
    EXPECT_TRUE(is_line_with(error_of([] { cudnn::load_functions("libm.so.6"); }), "libm.so.6 has no cudnn"));
    cudnn::use_functions(nullptr);
    behaviour().starts = false;
    Convolution conv;
    EXPECT_TRUE(is_line_with(error_of([&] { conv.run(); }), "cuDNN does not start", "NOT_INITIALIZED"));
}

}  // namespace
}  // namespace cutis::testing
