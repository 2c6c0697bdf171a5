#include "kernels/reduction.h"

#include <algorithm>

#include "kernels/parallel.h"
#include "kernels/simd/rows.h"

namespace cutis::cpu {

ChannelSums::ChannelSums(int threads, int c) : c_(c), parts_(static_cast<std::size_t>(threads)) {
    for (Part& part : parts_) {
        part.block.assign(2 * static_cast<std::size_t>(c), 0.0f);
        part.total.assign(2 * static_cast<std::size_t>(c), 0.0);
        part.center.assign(static_cast<std::size_t>(c), 0.0f);
    }
}

const float* ChannelSums::center(int thread, const float* row) {
    Part& mine = part(thread);
    if (!mine.has_center) {
        std::copy_n(row, c_, mine.center.begin());
        mine.has_center = true;
    }
    return mine.center.data();
}

void ChannelSums::end_block(int thread, std::int64_t rows) {
    Part& mine = part(thread);
    for (std::size_t i = 0; i < mine.block.size(); ++i) {
        mine.total[i] += static_cast<double>(mine.block[i]);
        mine.block[i] = 0.0f;
    }
    mine.rows += rows;
}

void ChannelSums::finish_statistics(float* mean, float* var) const {
    const auto channels = static_cast<std::size_t>(c_);
    for (std::size_t i = 0; i < channels; ++i) {
        double count = 0.0, average = 0.0, spread = 0.0;  // spread: sum of squared deviations from the average
        for (const Part& part : parts_) {
            if (part.rows == 0) {
                continue;
            }
            const auto n = static_cast<double>(part.rows);
            const double offset = part.total[i] / n;
            const double part_mean = static_cast<double>(part.center[i]) + offset;
            const double part_spread = std::max(0.0, part.total[channels + i] - offset * part.total[i]);
            const double delta = part_mean - average;
            spread += part_spread + delta * delta * count * n / (count + n);
            average += delta * n / (count + n);
            count += n;
        }
        mean[i] = static_cast<float>(average);
        var[i] = static_cast<float>(spread / count);
    }
}

void ChannelSums::finish_sums(float* first, float* second, const float* factor) const {
    const auto channels = static_cast<std::size_t>(c_);
    for (std::size_t i = 0; i < channels; ++i) {
        double a = 0.0, b = 0.0;
        for (const Part& part : parts_) {
            a += part.total[i];
            b += part.total[channels + i];
        }
        first[i] = static_cast<float>(a);
        if (second != nullptr) {
            second[i] = static_cast<float>(factor != nullptr ? b * static_cast<double>(factor[i]) : b);
        }
    }
}

void sum_rows(float* sum, const float* x, std::int64_t rows, int c) {
    ChannelSums sums(thread_count(), c);
    const std::int64_t block = rows_per_block(c);
    parallel_for(rows, block, [&](std::int64_t begin, std::int64_t end, int thread) {
        for (std::int64_t row = begin; row < end; row += block) {
            const std::int64_t count = std::min(block, end - row);
            simd::row_kernels().column_sum(sums.first(thread), x + row * c, count, c);
            sums.end_block(thread, count);
        }
    });
    sums.finish_sums(sum, nullptr, nullptr);
}

std::int64_t rows_per_block(int c) {
    return std::max<std::int64_t>(16, 32768 / std::max(c, 1));
}

bool too_large_to_cache(std::int64_t values) {
    constexpr std::int64_t kValues = std::int64_t{4} << 20;  // 16 MiB
    return values >= kValues;
}

}  // namespace cutis::cpu
