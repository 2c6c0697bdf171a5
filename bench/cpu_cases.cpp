#include "bench/cpu_cases.h"

#include <vector>

#include "kernels/philox.h"

namespace cutis::bench {

Array noise(std::int64_t n) {
    static const std::vector<float> pattern = [] {
        std::vector<float> values(1 << 18);
        PhiloxStream random(1, RandomPurpose::test);
        for (float& value : values) {
            value = random.uniform(-1.0f, 1.0f);
        }
        return values;
    }();
    auto array = std::make_shared<Tensor>(Tensor::empty({n}));
    float* const values = array->data();
    for (std::int64_t i = 0; i < n; ++i) {
        values[i] = pattern[static_cast<std::size_t>(i) % pattern.size()];
    }
    return array;
}

Array ones(std::int64_t n) {
    return std::make_shared<Tensor>(Tensor::full({n}, 1.0f));
}

}  // namespace cutis::bench
