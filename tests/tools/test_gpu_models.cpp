#include <gtest/gtest.h>

#include "engine/cuda_device.h"
#include "kernels/backend.h"
#include "tests/models/model_steps.h"
#include "tools/gpu_step.h"

// Training of every model of the table on a GPU (in a simt build: the same kernels and the same host code, on the CPU)
// against the CPU's: small and narrow, but each with all of its layers, dropout included.

namespace cutis {
namespace {

using namespace testing;

Outcome train_on_gpu(const std::string& name, std::uint64_t steps) {
    const Device device{DeviceKind::cuda, 0};
    const std::unique_ptr<Model> model = network(name);
    const Batch batch = batch_for(*model);
    model->parts().move_to(device);
    Optimizer optimizer = sgd_of(*model);
    GpuStep gpu(*model, optimizer, nullptr, {}, {.device = device, .seed = 8});
    for (std::uint64_t step = 0; step < steps; ++step) {
        gpu.submit({&batch, 1}, step, 1.0);
    }
    return {gpu.take_losses(), state_of(*model)};
}

class GpuModels : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Table, GpuModels, ::testing::ValuesIn(model_names()),
                         [](const auto& tested) { return tested.param; });

// The second step is a recorded graph, whose loss shows that the first one moved the weights as the CPU did.
TEST_P(GpuModels, TwoStepsFollowTheCpus) {
    const std::vector<float> start = state_of(*network(GetParam()));
    const Outcome cpu = train_on_cpu(GetParam(), 2), gpu = train_on_gpu(GetParam(), 2);
    expect_follows(gpu, cpu, start);
}

#ifdef CUTIS_WITH_CUDNN
// Pointwise, depthwise and dense convolutions, batchnorms and an LSTM; convolutions with biases. The third step is a
// replay of the graph that the second one was recorded as.
class GpuVendor : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Some, GpuVendor, ::testing::Values("mobilenet_v2_lstm49", "alexnet"),
                         [](const auto& tested) { return tested.param; });

TEST_P(GpuVendor, ThreeStepsFollowOurs) {
    const std::vector<float> start = state_of(*network(GetParam()));
    const Outcome ours = train_on_gpu(GetParam(), 3);
    const BackendScope theirs(Backend::vendor);
    const Outcome vendor = train_on_gpu(GetParam(), 3);
    expect_follows(vendor, ours, start);
    EXPECT_NE(ours.state, vendor.state);  // bit for bit: else it would not have been their kernels
}
#endif

}  // namespace
}  // namespace cutis
