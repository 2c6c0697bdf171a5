#include <cstdio>
#include <filesystem>

#include "kernels/parallel.h"

/// Counts on cutis' threads and looks for the installed weights: leaves with 0 when both are as they should be.
int main() {
    std::int64_t counted = 0;
    cutis::set_thread_count(1);
    cutis::parallel_for(100, 10, [&](std::int64_t begin, std::int64_t end, int) { counted += end - begin; });
    const auto weights =
        std::filesystem::path(SAMPLE_DIR) / "weights" / "mobilenet_v2_imagenet_features.safetensors";
    std::printf("counted %d, weights %s\n", static_cast<int>(counted), weights.c_str());
    return counted == 100 && std::filesystem::exists(weights) ? 0 : 1;
}
