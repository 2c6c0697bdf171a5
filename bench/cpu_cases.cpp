#include "bench/cpu_cases.h"

#include "kernels/philox.h"

namespace cutis::bench {

std::shared_ptr<std::vector<float>> noise(std::int64_t n) {
    static const std::vector<float> pattern = [] {
        std::vector<float> values(1 << 18);
        PhiloxStream random(1, RandomPurpose::test);
        for (float& value : values) {
            value = random.uniform(-1.0f, 1.0f);
        }
        return values;
    }();
    auto values = std::make_shared<std::vector<float>>(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < values->size(); ++i) {
        (*values)[i] = pattern[i % pattern.size()];
    }
    return values;
}

}  // namespace cutis::bench
