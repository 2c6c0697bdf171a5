#include "tests/kernels/op_cases.h"

#include <numeric>

namespace cutis::testing {
namespace {

// Every operand is touched once.
void state_bytes(OpCase& op) {
    const auto size = [](double sum, const Operand& operand) { return sum + 4.0 * static_cast<double>(operand.size); };
    op.bytes = std::accumulate(op.inputs.begin(), op.inputs.end(), 0.0, size) +
               std::accumulate(op.outputs.begin(), op.outputs.end(), 0.0, size);
}

}  // namespace

const std::vector<OpCase>& op_cases() {
    static const std::vector<OpCase> all = [] {
        std::vector<OpCase> cases;
        for (auto part : {convolution_cases(), normalisation_cases(), pooling_cases(), channel_cases(),
                          training_cases(), recurrent_cases()}) {
            for (OpCase& op : part) {
                state_bytes(op);
                cases.push_back(std::move(op));
            }
        }
        return cases;
    }();
    return all;
}

}  // namespace cutis::testing
