#include <gtest/gtest.h>

#include "kernels/backend.h"
#include "tests/models/model_steps.h"

// Training of every model of the table by oneDNN's kernels against ours.

namespace cutis {
namespace {

using namespace testing;

class VendorBackend : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Table, VendorBackend, ::testing::ValuesIn(model_names()),
                         [](const auto& tested) { return tested.param; });

TEST_P(VendorBackend, ThreeStepsFollowOurs) {
    const std::vector<float> start = state_of(*network(GetParam()));
    const Outcome ours = train_on_cpu(GetParam(), 3);
    const BackendScope theirs(Backend::vendor);
    const Outcome vendor = train_on_cpu(GetParam(), 3);
    expect_follows(vendor, ours, start);
    EXPECT_NE(ours.state, vendor.state);  // bit for bit: else it would not have been their kernels
}

}  // namespace
}  // namespace cutis
