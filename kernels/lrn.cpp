#include "kernels/lrn.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/simd/rows.h"

// A row's squares stand in scratch memory between zeros as wide as a window, so that every loop runs over whole rows
// and vectorises: `size` additions a value for s, then a power. beta = 3/4, the value of every network that has used
// this, needs square roots only. Bytes: 8 a value forward, 12 backward; the power takes longer.

namespace cutis {

void check_local_response_norm(const LocalResponseNorm& norm, int c) {
    require(norm.size >= 1 && norm.size <= 1024, "local response norm: size {} is not in 1..1024", norm.size);
    require(norm.k > 0.0f && norm.alpha >= 0.0f,
            "local response norm: k {}, alpha {}; k is positive and alpha not negative", norm.k, norm.alpha);
    require(c >= 1, "local response norm: {} channels; at least one is needed", c);
}

namespace cpu {
namespace {

enum Slot { kSquares, kSums, kPowers, kProducts };

constexpr float kThreeQuarters = 0.75f;

// Arrays of the calling thread for rows of c channels; values stand `size` places behind the start, zeros around them.
struct Row {
    Row(const LocalResponseNorm& norm, int c)
        : squares(padded(kSquares, norm.size, c)),
          products(padded(kProducts, norm.size, c)),
          sums(thread_scratch(kSums, c)),
          powers(thread_scratch(kPowers, c)) {}
    float *squares, *products, *sums, *powers;

  private:
    static float* padded(Slot slot, int size, int c) {
        float* const start = thread_scratch(slot, std::int64_t{2} * size + c);
        std::fill_n(start, 2 * size + c, 0.0f);
        return start + size;
    }
};

// sums = s, powers = s^-beta of a row of x.
void normalisers(const Row& row, const float* x, const LocalResponseNorm& norm, int c) {
    for (int i = 0; i < c; ++i) {
        row.squares[i] = x[i] * x[i];
    }
    std::fill_n(row.sums, c, 0.0f);
    for (int offset = -norm.channels_before(); offset <= norm.channels_behind(); ++offset) {
        for (int i = 0; i < c; ++i) {
            row.sums[i] += row.squares[i + offset];
        }
    }
    const float factor = norm.alpha / static_cast<float>(norm.size);
    for (int i = 0; i < c; ++i) {
        row.sums[i] = norm.k + factor * row.sums[i];
    }
    for (int i = 0; i < c; ++i) {
        row.powers[i] = std::pow(row.sums[i], -norm.beta);
    }
}

template <class Body>
void for_rows(std::int64_t rows, const LocalResponseNorm& norm, int c, Body&& body) {
    parallel_for(rows, std::max(1, 4096 / c), [&](std::int64_t begin, std::int64_t end, int) {
        const Row row(norm, c);
        for (std::int64_t i = begin; i < end; ++i) {
            body(row, i * c);
        }
    });
}

}  // namespace

void local_response_norm_forward(float* y, const float* x, const LocalResponseNorm& norm, std::int64_t rows, int c,
                                 Stream) {
    check_local_response_norm(norm, c);
    const float factor = norm.alpha / static_cast<float>(norm.size);
    for_rows(rows, norm, c, [&](const Row& row, std::int64_t at) {
        if (norm.beta == kThreeQuarters) {
            simd::row_kernels().response_norm(y + at, row.squares, x + at, norm.size, norm.channels_before(), factor,
                                              norm.k, c);
            return;
        }
        normalisers(row, x + at, norm, c);
        for (int i = 0; i < c; ++i) {
            y[at + i] = x[at + i] * row.powers[i];
        }
    });
}

void local_response_norm_backward(float* dx, const float* dy, const float* x, const LocalResponseNorm& norm,
                                  std::int64_t rows, int c, Stream) {
    check_local_response_norm(norm, c);
    const float factor = 2.0f * norm.alpha * norm.beta / static_cast<float>(norm.size);
    for_rows(rows, norm, c, [&](const Row& row, std::int64_t at) {
        if (norm.beta == kThreeQuarters) {
            simd::row_kernels().response_norm_gradient(dx + at, row.squares, row.products, row.powers, dy + at, x + at,
                                                       norm.size, norm.channels_before(),
                                                       norm.alpha / static_cast<float>(norm.size), factor, norm.k, c);
            return;
        }
        normalisers(row, x + at, norm, c);
        for (int i = 0; i < c; ++i) {
            row.products[i] = dy[at + i] * x[at + i] * row.powers[i] / row.sums[i];
        }
        std::fill_n(row.sums, c, 0.0f);  // i is in the windows of i - channels_behind .. i + channels_before
        for (int offset = -norm.channels_behind(); offset <= norm.channels_before(); ++offset) {
            for (int i = 0; i < c; ++i) {
                row.sums[i] += row.products[i + offset];
            }
        }
        for (int i = 0; i < c; ++i) {
            dx[at + i] = dy[at + i] * row.powers[i] - factor * x[at + i] * row.sums[i];
        }
    });
}

}  // namespace cpu
}  // namespace cutis
