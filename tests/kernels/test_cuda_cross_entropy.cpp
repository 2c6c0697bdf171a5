#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/philox.h"
#include "kernels/softmax_cross_entropy.h"
#include "tests/support/device_array.h"
#include "tests/support/device_values.h"

namespace cutis::testing {
namespace {

std::vector<float> random_logits(int n, int c) {
    PhiloxStream words(11, RandomPurpose::test);
    std::vector<float> logits(static_cast<std::size_t>(n) * static_cast<std::size_t>(c));
    for (float& value : logits) {
        value = words.uniform(-4.0f, 4.0f);
    }
    return logits;
}

// A row of one warp, of several columns a lane, of the whole block; with the focal term every thread reads the label's
// probability, whose place one of them overwrites.
TEST(CudaCrossEntropy, GradientsMayOverwriteTheProbabilities) {
    constexpr int n = 11;
    for (const int c : {7, 70, 1100}) {
        SCOPED_TRACE(c);
        std::vector<std::int32_t> host_labels;
        for (int i = 0; i < n; ++i) {
            host_labels.push_back((i * 37 + c - 1) % c);  // the last one, too
        }
        const DeviceValues<std::int32_t> labels(host_labels);
        const DeviceArray<float> logits(random_logits(n, c));
        DeviceArray<float> loss(1), probabilities(std::int64_t{n} * c), apart(std::int64_t{n} * c);
        CrossEntropyOptions options;
        options.focal_gamma = 2.0f;
        cuda::softmax_cross_entropy_forward(loss.data(), nullptr, probabilities.data(),
                                            static_cast<const float*>(logits.data()), labels.data(), options, n, c, {});
        const float* const read = probabilities.data();
        cuda::softmax_cross_entropy_backward(apart.data(), 1.0f, read, labels.data(), options, n, c, {});
        cuda::softmax_cross_entropy_backward(probabilities.data(), 1.0f, read, labels.data(), options, n, c, {});
        EXPECT_EQ(apart.values(), probabilities.values());
    }
}

}  // namespace
}  // namespace cutis::testing
