#include <gtest/gtest.h>

#include "engine/cuda_device.h"
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

}  // namespace
}  // namespace cutis
