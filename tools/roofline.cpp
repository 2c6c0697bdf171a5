#include "tools/roofline.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

#include "engine/cuda_device.h"
#include "engine/on_device.h"
#include "engine/ops.h"
#include "engine/profiler.h"
#include "engine/tensor.h"
#include "kernels/parallel.h"
#include "tools/signals.h"

namespace cutis {
namespace {

constexpr int kTries = 5;

// The shortest of `count` runs of work(number); a first one only warms up.
double fastest(Device device, int count, const std::function<void(int)>& work) {
    Profiler profiler(device);
    for (int i = -1; i < count; ++i) {
        throw_if_stopped();
        const ProfileRange range("ceiling");
        work(std::max(i, 0));
    }
    double seconds = std::numeric_limits<double>::infinity();
    for (const ProfiledRange& range : profiler.take()) {
        seconds = std::min(seconds, static_cast<double>(range.duration_ns()) * 1e-9);
    }
    return std::max(seconds, 1e-9);
}

void copy(Tensor to, const Tensor& from) {
    if (from.device().kind == DeviceKind::cuda) {
        copy_bytes(to.raw(), to.device(), from.raw(), from.device(), from.bytes());
        return;
    }
    auto* const target = static_cast<std::byte*>(to.raw());
    const auto* const source = static_cast<const std::byte*>(from.raw());
    parallel_for(static_cast<std::int64_t>(from.bytes()), 1, [&](std::int64_t begin, std::int64_t end, int) {
        std::memcpy(target + begin, source + begin, static_cast<std::size_t>(end - begin));
    });
}

void measure_copy(Ceilings& ceilings, Device device) {
    const bool gpu = device.kind == DeviceKind::cuda, pretended = gpu && std::string_view(cuda_mode()) == "simt";
    // Two sides of it are more than the last cache holds. The simt build's "GPU" is not worth the wait.
    ceilings.copied = std::int64_t{pretended ? 4 : 256} << 20;
    // On a CPU in turn piece by piece: each has left the cache when its turn comes again, and is copied between two
    // interruptions by other programs.
    const int pieces = gpu ? 1 : 16;
    const Tensor from = Tensor::zeros({pieces, ceilings.copied / 4 / pieces}, DType::f32, device);
    const Tensor to = Tensor::zeros(from.shape(), DType::f32, device);
    const double seconds = fastest(device, kTries * pieces, [&](int i) {
        const int piece = i % pieces;
        copy(to.rows(piece, piece + 1), from.rows(piece, piece + 1));
    });
    ceilings.bytes_per_second = 2.0 * static_cast<double>(ceilings.copied / pieces) / seconds;
}

// Values from -0.5 to 0.5. Not zeros: a GPU that multiplies zeros draws less power and clocks higher.
Tensor noise(std::int64_t side, DType type, Device device) {
    Tensor values = Tensor::empty({side, side});
    float* const data = values.data();
    std::uint32_t state = 1;
    for (std::int64_t i = 0; i < values.elements(); ++i) {
        state = state * 1664525u + 1013904223u;
        data[i] = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    return cast(values.to(device), type);
}

// The side doubles until a product takes long enough for its rate to have settled.
void measure_product(Ceilings& ceilings, Device device, DType type) {
    constexpr double kLongEnough = 4e-3;
    constexpr std::int64_t kLargest = 8192;
    double seconds = 0;
    for (std::int64_t side = 64; side <= kLargest && seconds < kLongEnough; side *= 2) {
        const Tensor x = noise(side, type, device), w = noise(side, type, device);
        Tensor y = Tensor::empty({side, side}, type, device);
        seconds = fastest(device, kTries, [&](int) {
            by_type(type, [&]<class T>() {
                on::linear_forward(device, y.data<T>(), x.data<T>(), w.data<T>(), static_cast<const float*>(nullptr),
                                   side, static_cast<int>(side), static_cast<int>(side));
            });
        });
        const auto n = static_cast<double>(side);
        if (const double rate = 2.0 * n * n * n / seconds; rate > ceilings.flops_per_second) {
            ceilings.flops_per_second = rate;
            ceilings.product = side;
        }
    }
}

}  // namespace

Ceilings measure_ceilings(Device device, std::string_view precision) {
    Ceilings ceilings;
    measure_copy(ceilings, device);
    const MatrixPrecision before = matrix_precision();
    set_matrix_precision(precision == "tf32" ? MatrixPrecision::tf32 : MatrixPrecision::fp32);
    measure_product(ceilings, device, precision == "bf16" ? DType::bf16 : DType::f32);
    set_matrix_precision(before);
    return ceilings;
}

double least_seconds(double flops, double bytes, const Ceilings& ceilings) {
    return std::max(bytes / ceilings.bytes_per_second, flops / ceilings.flops_per_second);
}

}  // namespace cutis
