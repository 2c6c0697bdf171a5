#include "bench/cuda_cases.h"

#include <algorithm>

#include "engine/cuda_device.h"
#include "engine/half.h"
#include "kernels/philox.h"

namespace cutis::bench {
namespace {

constexpr std::int64_t kPattern = 1 << 18;  // random values that large arrays repeat

// The pattern in device memory, made once for each type.
const Tensor& pattern(DType type) {
    static const auto make = [](DType wanted) {
        Tensor wide = Tensor::empty({kPattern});
        PhiloxStream random(1, RandomPurpose::test);
        for (std::int64_t i = 0; i < kPattern; ++i) {
            wide.data()[i] = random.uniform(-1.0f, 1.0f);
        }
        if (wanted == DType::f32) {
            return wide.to(gpu());
        }
        Tensor narrow = Tensor::empty({kPattern}, DType::bf16);
        std::transform(wide.data(), wide.data() + kPattern, narrow.data<BFloat16>(),
                       [](float value) { return BFloat16{f32_to_bf16(value)}; });
        return narrow.to(gpu());
    };
    static const Tensor wide = make(DType::f32), narrow = make(DType::bf16);
    return type == DType::f32 ? wide : narrow;
}

}  // namespace

Device gpu() {
    return {DeviceKind::cuda, 0};
}

Tensor Arrays::empty(std::int64_t n, DType type) {
    Tensor tensor = Tensor::empty({n}, type, gpu());
    bytes_ += static_cast<double>(tensor.bytes());
    return tensor;
}

Tensor Arrays::noise(std::int64_t n, DType type, int ways) {
    Tensor tensor = Tensor::empty({n}, type, gpu());
    bytes_ += static_cast<double>(tensor.bytes()) * ways;
    // What has been written is written once more behind itself, and so doubles.
    auto* const begin = static_cast<unsigned char*>(tensor.raw());
    std::size_t written = std::min(tensor.bytes(), pattern(type).bytes());
    copy_bytes(begin, gpu(), pattern(type).raw(), gpu(), written);
    while (written < tensor.bytes()) {
        const std::size_t more = std::min(written, tensor.bytes() - written);
        copy_bytes(begin + written, gpu(), begin, gpu(), more);
        written += more;
    }
    return tensor;
}

NormArrays::NormArrays(int c) {
    Arrays uncounted;
    for (Tensor* random : {&mean, &shift, &a, &b, &d}) {
        *random = uncounted.input(c);
    }
    for (Tensor* one : {&inv_std, &scale}) {
        *one = Tensor::full({c}, 1.0f, gpu());
    }
    for (Tensor* result : {&dgamma, &dbeta, &batch_mean, &batch_var}) {
        *result = uncounted.output(c);
    }
}

}  // namespace cutis::bench
